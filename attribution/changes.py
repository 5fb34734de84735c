"""Why spend differs between two periods: volume, mix and price, which add up to the change exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from attribution.queries import UnitCost

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Change:
    """The effects between `before` and `now`: volume + mix + price + other = now - before.

    `other` is what no token drives: idle capacity, shared cost, storage, tax, credits. Formula (V tokens, C cost that tokens
    drive, P = C / V, m = share of V; 0 before, 1 now): volume = (V1 - V0) * C0 / V0; mix = V1 * sum((m1 - m0) * P0);
    price = sum(V1 * (P1 - P0)). A group without a before takes P0 = P1, so that it makes no price effect; the mix takes
    what division leaves.
    """

    before: Decimal
    now: Decimal
    volume: Decimal
    mix: Decimal
    price: Decimal
    other: Decimal


def explain(
    *, now: Sequence[UnitCost], before: Sequence[UnitCost], total_now: Decimal, total_before: Decimal
) -> Change:
    """The change between two scopes: their totals, and their answers of `queries.unit_costs`, grouped alike."""
    first = {row.keys: row for row in before}
    driven_now, driven_before = _sum(row.usage_cost for row in now), _sum(row.usage_cost for row in before)
    tokens_now, tokens_before = sum(row.tokens for row in now), sum(row.tokens for row in before)
    change = driven_now - driven_before
    if not tokens_before or not tokens_now:
        volume, price = change, _ZERO
    else:
        volume = (driven_before / tokens_before) * (tokens_now - tokens_before)
        price = _sum(_price_effect(row, first.get(row.keys)) for row in now)
    return Change(
        before=total_before,
        now=total_now,
        volume=volume,
        mix=change - volume - price,
        price=price,
        other=(total_now - total_before) - change,
    )


def _price_effect(now: UnitCost, before: UnitCost | None) -> Decimal:
    if before is None or not before.tokens or not now.tokens:
        return _ZERO
    return now.usage_cost - before.usage_cost / before.tokens * now.tokens


def _sum(amounts: object) -> Decimal:
    return sum(amounts, _ZERO)  # type: ignore[call-overload,no-any-return]  # an iterable of Decimals
