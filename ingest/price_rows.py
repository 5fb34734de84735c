"""Rows of prices before they are stored: the list's, and conservative ones for models nobody prices."""

from datetime import date, datetime
from decimal import Decimal

from ingest import price_list, price_tiers
from ingest.models import UnitPrice
from ingest.price_list import ALWAYS, PRICED, Prices

OPERATOR = "operator"

Key = tuple[str, str, str]  # provider, model, service tier as it is priced


def rows_for(key: Key, day: date) -> list[UnitPrice]:
    """Unsaved rows: the list's period, or a conservative price when the list has none."""
    provider, model, tier = key
    if period := price_list.period_on(provider, model, tier, day):
        return [
            unsaved(key, step.prices, period.provenance, step.context_from, period.valid_from, period.valid_to)
            for step in period.steps
        ]
    prices, whose, currency = _dearest(provider, tier)
    return [unsaved(key, prices, f"conservative (dearest of {whose})", currency=currency, is_conservative=True)]


def _dearest(provider: str, tier: str) -> tuple[Prices, str, str]:
    """The dearest prices known of a provider, whose they are, and their currency; the operator's own count too."""
    operators: dict[str, list[Prices]] = {}
    for row in UnitPrice.objects.filter(provider=provider, provenance=OPERATOR, known_to=None):
        operators.setdefault(row.currency, []).append(prices_of(row))
    if provider == price_list.SELF_HOSTED and operators:
        currency = "USD" if "USD" in operators else min(operators)
        return price_list.maximum(operators[currency]), provider, currency
    listed, whose = price_list.dearest(provider)
    prices = price_list.maximum([listed, *operators.get("USD", [])])
    dearer = price_tiers.multiplier(provider, tier)
    return (dearer.apply(prices) if dearer and dearer.factor > 1 else prices), whose, "USD"


def unsaved(
    key: Key,
    prices: Prices,
    provenance: str,
    context_from: int = 0,
    valid_from: datetime = ALWAYS,
    valid_to: datetime | None = None,
    currency: str = "USD",
    is_conservative: bool = False,
) -> UnitPrice:
    return UnitPrice(
        provider=key[0],
        model=key[1],
        service_tier=key[2],
        context_from=context_from,
        currency=currency,
        valid_from=valid_from,
        valid_to=valid_to,
        provenance=provenance,
        is_conservative=is_conservative,
        **{f"{kind}_price": prices[kind] for kind in PRICED},
    )


def prices_of(row: UnitPrice) -> dict[str, Decimal]:
    return {kind: getattr(row, f"{kind}_price") for kind in PRICED}
