"""Prices to count by while a call runs: what a token of each model of a provider costs now, at its dearest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Q

from costobs.kernel.period import day_of
from ingest import price_rows
from ingest.models import UnitPrice

ANY_MODEL = "*"
_STANDARD = "standard"


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """What one token costs; `*` is any model without a price of its own, at the dearest known of its provider."""

    model: str
    currency: str
    input_price: Decimal
    cached_price: Decimal
    output_price: Decimal
    is_conservative: bool


def token_prices(*, provider: str, now: datetime) -> list[TokenPrice]:
    """The models of a provider that have a price, and `*`. Of several steps by prompt size the dearest counts."""
    rows = UnitPrice.objects.filter(
        Q(valid_to=None) | Q(valid_to__gt=now),
        provider=provider,
        service_tier=_STANDARD,
        known_to=None,
        is_conservative=False,
        valid_from__lte=now,
    ).order_by("model", "pk")
    by_model: dict[tuple[str, str], list[UnitPrice]] = {}
    for row in rows:
        by_model.setdefault((row.model, row.currency), []).append(row)
    found = [_dearest(model, of_model) for (model, _currency), of_model in by_model.items()]
    return [*found, _dearest(ANY_MODEL, price_rows.rows_for((provider, ANY_MODEL, _STANDARD), day_of(now)))]


def _dearest(model: str, rows: Sequence[UnitPrice]) -> TokenPrice:
    return TokenPrice(
        model=model,
        currency=rows[0].currency,
        input_price=max(row.input_uncached_price for row in rows),
        cached_price=max(row.cache_read_price for row in rows),
        output_price=max(row.output_price for row in rows),
        is_conservative=any(row.is_conservative for row in rows),
    )
