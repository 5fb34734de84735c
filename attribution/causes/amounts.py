"""What each cause is worth: tokens at our own price, prices at the billed tokens, the rest as the bill states it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from attribution.causes.facts import (
    BYPASS,
    CANCELLED,
    COMMITMENT,
    DISCOUNT,
    FX,
    PRICE,
    ROUNDING,
    TIER,
    UNKNOWN,
    UNPRICED,
    ZERO,
    Cause,
    Explained,
    Extra,
    Month,
    Tokens,
)
from attribution.causes.prices import BLEND, Priced, Read, rate_of, unit_of
from attribution.causes.tokens import At, Counts, total

_QUANTUM = Decimal("1e-12")
_ONE = Decimal(1)


@dataclass(slots=True)
class _Sums:
    """The causes of one cell and day, as they are found."""

    amounts: dict[str, Decimal] = field(default_factory=dict)
    tokens: dict[str, Decimal] = field(default_factory=dict)
    evidence: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(
        self, name: str, amount: Decimal, tokens: Decimal = ZERO, evidence: Mapping[str, str] | None = None
    ) -> None:
        if amount:
            self.amounts[name] = self.amounts.get(name, ZERO) + amount
            self.tokens[name] = self.tokens.get(name, ZERO) + tokens
            self.evidence.setdefault(name, {}).update(evidence or {})

    def causes(self, difference: Decimal) -> tuple[Cause, ...]:
        """The causes, cut at 12 decimals; the largest takes what cutting leaves, so that they add to the difference."""
        amounts = {name: amount.quantize(_QUANTUM) for name, amount in self.amounts.items()}
        amounts = {name: amount for name, amount in amounts.items() if amount}
        left = difference - sum(amounts.values(), ZERO)
        if left:
            largest = max(amounts, key=lambda name: (abs(amounts[name]), name), default=ROUNDING)
            amounts[largest] = amounts.get(largest, ZERO) + left
        return tuple(
            Cause(name, amount, self.tokens.get(name, ZERO), self.evidence.get(name, {}))
            for name, amount in sorted(amounts.items())
        )


def explain(counts: Counts, read: Read) -> list[Explained]:
    """Every cell and day, those whose bill is not complete without causes."""
    month = counts.month
    every = sorted({*counts.logged, *month.lines, *((extra.cell, extra.day) for extra in month.extras)})
    extras: dict[At, list[Extra]] = {}
    for extra in month.extras:
        extras.setdefault((extra.cell, extra.day), []).append(extra)
    return [_cell(counts, read, at, extras.get(at, [])) for at in every]


def _cell(counts: Counts, read: Read, at: At, extras: list[Extra]) -> Explained:
    month, (cell, day) = counts.month, at
    lines, logged = month.lines.get(at, []), counts.logged.get(at, {})
    rate, source = _rate(month, read, at, logged)
    estimated = _cost(month, logged, rate).quantize(_QUANTUM) if rate != _ONE else _cost(month, logged, rate)
    sides = {
        name: sum((getattr(one, name) for one in (*lines, *extras)), ZERO)
        for name in ("billed_cost", "effective_cost", "list_cost", "contracted_cost")
    }
    is_billed = (cell.provider, day) in month.complete
    sums = _Sums()
    if is_billed:
        _tokens(counts, read, at, sums, rate)
        _prices(month, read.lines.get(at, []), sums, source)
        for one in lines:
            sums.add(COMMITMENT if one.is_committed else DISCOUNT, one.billed_cost - one.list_cost)
        for extra in extras:
            sums.add(extra.cause, extra.billed_cost, evidence={"lines": str(extra.rows)})
    listed = sum((one.list_cost for one in lines), ZERO)
    missed = sum((sums.amounts.get(name, ZERO) for name in (BYPASS, CANCELLED)), ZERO).quantize(_QUANTUM)
    return Explained(
        cell,
        day,
        is_billed,
        total(logged),
        sum((one.tokens for one in lines if one.tokens is not None), ZERO) if _counts(lines) else None,
        estimated,
        **sides,
        covered_cost=max(ZERO, listed - missed) if is_billed else ZERO,
        causes=sums.causes(sides["billed_cost"] - estimated) if is_billed else (),
    )


def _counts(lines: Iterable[object]) -> bool:
    return all(getattr(one, "tokens", None) is not None for one in lines)


def _rate(month: Month, read: Read, at: At, logged: Tokens) -> tuple[Decimal, str]:
    if at in read.rates:
        return read.rates[at]
    currencies = sorted({month.prices[of[0]].currency for of in logged})
    return rate_of(month, at[0], at[1], currencies[0]) if currencies else (_ONE, "")


def _cost(month: Month, tokens: Tokens, rate: Decimal) -> Decimal:
    return total({of: count * month.price(of) for of, count in tokens.items()}) * rate


def _tokens(counts: Counts, read: Read, at: At, sums: _Sums, rate: Decimal) -> None:
    """Differences of quantity, at our own price; what is left of them is bypass, or unknown where the log has more."""
    month, lines = counts.month, read.lines.get(at, [])
    for name, moved in counts.moves.changes.get(at, {}).items():
        evidence = counts.moves.evidence[at, name]
        sums.add(name, _cost(month, moved, rate), total(moved), evidence)
    expected = counts.expected.get(at, {})
    if not lines:
        _nothing_to_compare(counts, at, sums, rate)
        return
    billed: Tokens = {}
    at_list = ZERO
    for one in lines:
        assert one.of is not None
        billed[one.of] = billed.get(one.of, ZERO) + one.tokens
        at_list += one.tokens * one.expected
    apart = total(billed) - total(expected)
    left = apart * _unit(lines, billed, expected, apart) * rate
    if abs(apart) <= counts.margin.get(at, ZERO):
        sums.add(ROUNDING, left)
    else:
        sums.add(BYPASS if apart > 0 else UNKNOWN, left, apart)
    by_tier = at_list - _cost(month, expected, rate) - left
    sums.add(TIER if _moved(billed, expected) else ROUNDING, by_tier, total(billed), _tiers(month, lines))


def _nothing_to_compare(counts: Counts, at: At, sums: _Sums, rate: Decimal) -> None:
    """Usage the bill does not charge for, or charges for a model nobody knows a price of: what was billed is the size."""
    expected, listed = counts.expected.get(at, {}), counts.month.lines.get(at, [])
    if total(expected):
        margin = counts.margin.get(at, _ONE)
        name = ROUNDING if abs(total(expected)) <= margin else UNKNOWN
        sums.add(name, -_cost(counts.month, expected, rate), -total(expected), {"found": "logged and not on the bill"})
    else:
        sums.add(ROUNDING, -_cost(counts.month, expected, rate))
    for one in listed:
        sums.add(BYPASS, one.list_cost, one.tokens or ZERO, {"found": "the model was never logged"})


def _unit(lines: list[Priced], billed: Tokens, expected: Tokens, apart: Decimal) -> Decimal:
    """What a token too many, or too few, costs: as the calls around it are logged, not as they were billed."""
    options = lines[0].options
    surplus = {of: billed.get(of, ZERO) - expected.get(of, ZERO) for of in {*billed, *expected} if of[0] != BLEND}
    if any(of[0] == BLEND for of in billed):
        surplus = {}
    from_logged = {of: -count for of, count in surplus.items() if count < 0}
    weights = from_logged or ({of: count for of, count in surplus.items() if count > 0} if apart > 0 else {})
    weights = {of: count for of, count in weights.items() if of in options}
    whole = total(weights)
    return total({of: count * options[of] for of, count in weights.items()}) / whole if whole else unit_of(options)


def _moved(billed: Tokens, expected: Tokens) -> bool:
    """Whether tokens are billed at another class than they were logged at."""
    return any(of[0] != BLEND and count > expected.get(of, ZERO) for of, count in billed.items())


def _tiers(month: Month, lines: list[Priced]) -> dict[str, str]:
    names = sorted({month.prices[one.of[0]].tier for one in lines if one.of and one.of[0] != BLEND})
    return {"billed_as": ", ".join(names)} if names else {}


def _prices(month: Month, lines: list[Priced], sums: _Sums, source: str) -> None:
    """Differences of price, at the billed tokens: our price or theirs, and the rate between the two currencies."""
    for one in lines:
        assert one.of is not None
        without_rate = one.line.list_cost / one.rate_factor
        rates = {**_ratio("rate_ratio", one.rate_factor), "rate": f"{one.rate:f}"}
        sums.add(FX, one.line.list_cost - without_rate, one.tokens, rates)
        apart = without_rate - one.tokens * one.expected
        if not one.tokens:
            sums.add(UNKNOWN, apart, evidence={"found": "charged without a number of tokens"})
            continue
        if one.price_factor == _ONE:
            sums.add(ROUNDING, apart)
            continue
        is_guess = one.of[0] != BLEND and month.prices[one.of[0]].is_conservative
        name = UNPRICED if is_guess else PRICE
        sums.add(name, apart, one.tokens, _ratio("price_ratio", one.price_factor))
    if source and FX in sums.amounts:
        sums.evidence[FX]["rate_source"] = source


def _ratio(name: str, factor: Decimal) -> dict[str, str]:
    if not factor:
        return {"found": "free on one side"}
    return {name: f"{factor.quantize(Decimal('1e-6')).normalize():f}"}
