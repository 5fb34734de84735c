"""Why a sum left what was expected: volume, price, mix, what is new, and the rest; the parts add to the difference exactly.

Pure. The split of usage is the price-volume-mix analysis of management accounting, over cells of one model and one key:

    new key    = cost after of cells whose key was not seen before
    new model  = cost after of the other cells whose model was not seen before
    volume     = (Q1 - Q0) x P0                    Q: tokens of the cells that are not new, P0 = their cost before / Q0
    price      = sum of q1 x (p1 - p0)             over cells with tokens before and after, p = cost / tokens
    mix        = what is left of the difference of these cells: dearer or cheaper cells had another share of Q1
    other      = difference of cost that no token carries: idle capacity, fees, corrections
    season     = before - expected: what the weekday and the trend explain of the days that are compared

`before` is the average of ordinary days, scaled to as many days as are explained. Quotients are cut to 12 decimals, and mix
is the remainder, so no digit is lost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from costobs.kernel import money

KINDS = ("volume", "price", "mix", "new_key", "new_model", "other", "season")
NAMED = 3  # so many new keys or models are named
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Cell:
    """One model called with one key."""

    model: str
    key: str


@dataclass(frozen=True, slots=True)
class Amount:
    """What a cell cost and how many tokens it used; cost without tokens is not of usage."""

    cost: Decimal
    tokens: Decimal


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of `difference`, actual minus expected; they add to it exactly."""

    volume: Decimal
    price: Decimal
    mix: Decimal
    new_key: Decimal
    new_model: Decimal
    other: Decimal
    season: Decimal
    difference: Decimal
    volume_percent: Decimal | None  # tokens after against before, less 100; None: there were none
    price_percent: Decimal | None  # what the same tokens cost after against before, less 100
    new_keys: tuple[tuple[str, Decimal], ...] = ()  # the dearest of `new_key`, by name
    new_models: tuple[tuple[str, Decimal], ...] = ()

    def named(self) -> list[tuple[str, Decimal]]:
        """Kind and amount, the largest first; those that are nothing are left out."""
        found = [(kind, getattr(self, kind)) for kind in KINDS]
        return sorted((one for one in found if one[1]), key=lambda one: (-abs(one[1]), one[0]))


def explain(before: Mapping[Cell, Amount], after: Mapping[Cell, Amount], *, expected: Decimal) -> Parts:
    """Splits the cost after minus `expected`. The order of the cells does not matter."""
    used_before = {cell: one for cell, one in before.items() if one.tokens > 0}
    used_after = {cell: one for cell, one in after.items() if one.tokens > 0}
    keys, models = {cell.key for cell in before}, {cell.model for cell in before}
    new_keys = [cell for cell in used_after if cell.key not in keys]
    new_models = [cell for cell in used_after if cell.key in keys and cell.model not in models]
    known = {cell: one for cell, one in used_after.items() if cell not in {*new_keys, *new_models}}
    q0, c0 = _tokens(used_before), _cost(used_before)
    q1, c1 = _tokens(known), _cost(known)
    usual = _cut(c0, q0) if q0 else _ZERO
    volume = _times(q1 - q0, usual)
    met = {cell: one for cell, one in known.items() if cell in used_before}
    priced = money.total(
        _times(one.tokens, _cut(used_before[cell].cost, used_before[cell].tokens)) for cell, one in met.items()
    )
    price = _minus(_cost(met), priced)
    all_before, all_after = _cost(before), _cost(after)
    return Parts(
        volume=volume,
        price=price,
        mix=_minus(_minus(c1, c0), money.EXACT.add(volume, price)),
        new_key=money.total(used_after[cell].cost for cell in new_keys),
        new_model=money.total(used_after[cell].cost for cell in new_models),
        other=_minus(_minus(all_after, _cost(used_after)), _minus(all_before, c0)),
        season=_minus(all_before, expected),
        difference=_minus(all_after, expected),
        volume_percent=_percent(_tokens(used_after), q0),
        price_percent=_percent(priced + price, priced),
        new_keys=_dearest((cell.key, used_after[cell].cost) for cell in new_keys),
        new_models=_dearest((cell.model, used_after[cell].cost) for cell in new_models),
    )


def _dearest(costs: Iterable[tuple[str, Decimal]]) -> tuple[tuple[str, Decimal], ...]:
    """The names that cost most, each once."""
    sums: dict[str, Decimal] = {}
    for name, cost in costs:
        if name:
            sums[name] = money.EXACT.add(sums.get(name, _ZERO), cost)
    return tuple(sorted(sums.items(), key=lambda one: (-one[1], one[0]))[:NAMED])


def _percent(after: Decimal, before: Decimal) -> Decimal | None:
    return None if before <= 0 else ((after / before - 1) * 100).quantize(Decimal("0.1"))


def _tokens(cells: Mapping[Cell, Amount]) -> Decimal:
    return money.total(one.tokens for one in cells.values())


def _cost(cells: Mapping[Cell, Amount]) -> Decimal:
    return money.total(one.cost for one in cells.values())


def _cut(cost: Decimal, tokens: Decimal) -> Decimal:
    return money.DIVISION.divide(cost, tokens).quantize(money.SPLIT_QUANTUM, rounding=ROUND_DOWN)


def _minus(one: Decimal, other: Decimal) -> Decimal:
    return money.EXACT.subtract(one, other)


def _times(one: Decimal, other: Decimal) -> Decimal:
    return money.EXACT.multiply(one, other)
