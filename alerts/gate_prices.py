"""Gate cost: the reference price of a token that gates count in, for API models and for our own GPUs."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from alerts.models import Gate, GatePrice
from attribution import queries as spend_queries
from attribution import rates
from costobs.kernel import money
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import Filter, SpendScope
from ingest import queries as ingest_queries
from ingest import reference_prices
from ingest.reference_prices import ANY_MODEL, TokenPrice

_FRESH = timedelta(minutes=10)
_MEASURED = timedelta(days=7)
_SELF_HOSTED = "self_hosted"
_MILLION = Decimal(1_000_000)


def refresh(*, now: datetime) -> int:
    """Brings the prices up to date for the providers behind gates, where they are older than ten minutes."""
    gates = list(Gate.objects.values_list("provider", "source_id"))
    own = {provider for provider, _ in gates}
    if not _old(own, now):
        return 0
    # A proxy overflows to providers that only its calls tell of.
    served = ingest_queries.providers_of(source_ids=[source for _, source in gates], since=now - _MEASURED)
    return sum(_refresh(provider, now) for provider in _old(own | served, now))


def _old(providers: set[str], now: datetime) -> list[str]:
    fresh = GatePrice.objects.filter(provider__in=providers, known_at__gt=now - _FRESH)
    return sorted(providers - set(fresh.values_list("provider", flat=True).distinct()))


def known(*, provider: str) -> list[GatePrice]:
    """The prices of a provider, by model; and of models that it has no price for, the dearest of another provider's."""
    found: dict[str, GatePrice] = {}
    for row in GatePrice.objects.order_by("-output_price", "-input_price", "provider"):
        is_own = row.provider == provider
        if is_own or (row.model != ANY_MODEL and row.model not in found):
            found[row.model] = row
    return [found[model] for model in sorted(found)]


def _refresh(provider: str, now: datetime) -> int:
    listed = [_row(provider, price, now) for price in reference_prices.token_prices(provider=provider, now=now)]
    found = {row.model: row for row in listed if row is not None}
    if provider == _SELF_HOSTED:
        found |= {row.model: row for row in _measured(now)}
        found |= _any_of_own(found, now)
    GatePrice.objects.bulk_create(
        [found[model] for model in sorted(found)],
        update_conflicts=True,
        unique_fields=["provider", "model"],
        update_fields=["currency", "input_price", "cached_price", "output_price", "basis", "known_at"],
    )
    # A model whose price has gone costs what any other does.
    GatePrice.objects.filter(provider=provider).exclude(model__in=found).delete()
    return len(found)


def _measured(now: datetime) -> Iterable[GatePrice]:
    """Own models at what their tokens cost on our GPUs in the last seven days, by the books."""
    today = periods.day_of(now)
    kind = Filter("cost_kind", ("gpu_compute",))
    scope = SpendScope(Days(today - _MEASURED, today), (kind,), "effective", settings.COSTOBS_CURRENCY, teams=None)
    for one in spend_queries.unit_costs(scope=scope, group_by=("model",)):
        each, output = one.cost_per_million_tokens, one.cost_per_million_output
        if not one.keys[0] or not each or each <= 0:
            continue
        prices = [one.cost_per_million_input or each, one.cost_per_million_cached or each, output or each]
        yield _priced(_SELF_HOSTED, one.keys[0], prices, "the books, last 7 days", now)


def _any_of_own(found: dict[str, GatePrice], now: datetime) -> dict[str, GatePrice]:
    """A model of our own that nobody has measured costs the dearest that somebody has."""
    own = [row for model, row in found.items() if model != ANY_MODEL]
    if not own:
        return {}
    prices = [
        max(getattr(row, name) for row in own) * _MILLION for name in ("input_price", "cached_price", "output_price")
    ]
    return {ANY_MODEL: _priced(_SELF_HOSTED, ANY_MODEL, prices, "the dearest own model", now)}


def _row(provider: str, price: TokenPrice, now: datetime) -> GatePrice | None:
    per_million = [each * _MILLION for each in (price.input_price, price.cached_price, price.output_price)]
    try:
        converted = [
            rates.convert(each, currency=price.currency, into=settings.COSTOBS_CURRENCY, day=periods.day_of(now))
            for each in per_million
        ]
    except rates.MissingRate:
        return None
    basis = "the dearest known of the provider" if price.model == ANY_MODEL else "price list"
    return _priced(provider, price.model, converted, basis, now)


def _priced(provider: str, model: str, per_million: list[Decimal], basis: str, now: datetime) -> GatePrice:
    each = [money.DIVISION.divide(amount, _MILLION) for amount in per_million]
    return GatePrice(
        provider=provider,
        model=model,
        currency=settings.COSTOBS_CURRENCY,
        input_price=each[0],
        cached_price=min(each[1], each[0]),
        output_price=each[2],
        basis=basis,
        known_at=now,
    )
