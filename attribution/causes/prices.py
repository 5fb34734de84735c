"""Why a bill charges another amount for the same tokens: another tier, another price, another exchange rate.

A rate is wrong for a whole bill and day, a price for a model and kind, a tier for all kinds of an account's calls. So the
same ratio is read as the widest of them that the other cells of the bill allow.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from attribution.causes.facts import ZERO, Cell, Class, Line, Month, Tokens
from attribution.causes.tokens import At, Counts, main_class, total

# An amount that several prices at once make: what the logged mix of them costs on average.
BLEND = 0
_SAME = Decimal("0.000002")
_ONE = Decimal(1)
# A rate that is further off is no exchange rate of a neighbouring day or month.
_RATES = (Decimal("0.6"), Decimal("1.7"))
# A new price differs by so much at most, when it is told apart from a tier by nothing better.
_PRICES = (Decimal("0.7"), Decimal("1.5"))


@dataclass(slots=True)
class Priced:
    """One line of a bill, read: which class of price it has, and by which factors it is off."""

    line: Line
    at: At
    tokens: Decimal
    unit: Decimal  # what a token cost at list, in the bill's currency
    options: dict[Class, Decimal]  # what it could cost, the first being what the log expects
    rate: Decimal  # of the price's currency in the bill's
    logged: frozenset[int]  # the prices that calls of the cell were logged at
    of: Class | None = None
    price_factor: Decimal = _ONE
    rate_factor: Decimal = _ONE

    @property
    def expected(self) -> Decimal:
        """What a token costs in the class that was found, in the bill's currency."""
        assert self.of is not None
        return self.options[self.of] * self.rate

    def match(self, factor: Decimal) -> Class | None:
        """The class whose price, times `factor`, makes the amount, within what rounding may do."""
        for of, price in self.options.items():
            amount = self.tokens * price * self.rate * factor
            if abs(self.line.list_cost - amount) <= self.line.quantum + abs(self.line.list_cost) * _SAME:
                return of
        return None

    def ratio(self, of: Class) -> Decimal | None:
        """Billed over expected price, were it of this class."""
        price = self.options[of] * self.rate
        return self.unit / price if price > 0 else None


@dataclass(slots=True)
class Read:
    """All lines with what was found, and the exchange rates that were used."""

    lines: dict[At, list[Priced]] = field(default_factory=dict)
    rates: dict[At, tuple[Decimal, str]] = field(default_factory=dict)


def rate_of(month: Month, cell: Cell, day: date, currency: str) -> tuple[Decimal, str]:
    """One unit of a price's currency in the bill's, and where it is from; a bill without a known rate gives its own."""
    if currency == cell.currency:
        return _ONE, ""
    known = month.rates.get((day, currency, cell.currency))
    if known is not None:
        return known, "published"
    return _implied(month, cell, day, currency), "the bill's own"


def _implied(month: Month, cell: Cell, day: date, currency: str) -> Decimal:
    """The middle of what the bill's lines of the day charge over the list price, to 9 digits."""
    found = []
    for (other, at), lines in month.lines.items():
        if at != day or (other.provider, other.currency) != (cell.provider, cell.currency):
            continue
        of = main_class(month, other)
        price = month.price(of) if of and month.prices[of[0]].currency == currency else ZERO
        found += [
            line.list_cost / line.tokens / price for line in lines if line.tokens and price and line.list_cost > 0
        ]
    return sorted(found)[len(found) // 2].quantize(Decimal("1e-9")) if found else _ONE


def options_of(month: Month, at: At, expected: Tokens) -> dict[Class, Decimal]:
    """What a token of the cell may cost: as logged, the most first; the blend of that; and in the model's other tiers."""
    cell, _day = at
    logged = sorted((of for of, count in expected.items() if count > 0), key=lambda of: (-expected[of], of))
    options = {of: month.price(of) for of in logged}
    if len(logged) > 1:
        options[BLEND, cell.kind] = total({of: expected[of] * options[of] for of in logged}) / total(
            {of: expected[of] for of in logged}
        )
    if not options and (main := main_class(month, cell)) is not None:
        options[main] = month.price(main)
    currency = month.prices[next(iter(options))[0]].currency if options else ""
    for price in month.tiers.get((cell.provider, cell.model), []):
        if cell.kind and month.prices[price].currency == currency:
            options.setdefault((price, cell.kind), month.price((price, cell.kind)))
    return options


def unit_of(options: dict[Class, Decimal]) -> Decimal:
    """What a token of a cell costs on average, as logged."""
    blend = [price for of, price in options.items() if of[0] == BLEND]
    return blend[0] if blend else next(iter(options.values()))


def read(counts: Counts) -> Read:
    """Reads every line of the bill that has a price to be compared with."""
    month, found = counts.month, Read()
    for (cell, day), lines in month.lines.items():
        at = (cell, day)
        options = options_of(month, at, counts.expected.get(at, {}))
        if not options:
            continue
        first = next(iter(options))
        logged = frozenset(price for (price, _kind), count in counts.expected.get(at, {}).items() if count > 0)
        rate, source = rate_of(month, cell, day, month.prices[first[0]].currency)
        found.rates[at] = (rate, source)
        for line in lines:
            tokens = line.tokens if line.tokens is not None else _implied_tokens(line, unit_of(options) * rate)
            unit = line.list_cost / tokens if tokens > 0 and line.list_cost > 0 else ZERO
            # What has no unit price, like tokens for nothing, can only be of the class that was logged.
            of = None if unit else first
            one = Priced(line, at, tokens, unit, options, rate, logged, of, Decimal(bool(unit)))
            found.lines.setdefault(at, []).append(one)
    every = [one for lines in found.lines.values() for one in lines if one.of is None]
    _rates(month, every)
    _tiers_and_prices(every)
    return found


def _implied_tokens(line: Line, unit: Decimal) -> Decimal:
    return line.list_cost / unit if unit > 0 else ZERO


def _rates(month: Month, lines: Iterable[Priced]) -> None:
    """The factor that most lines of a bill and day share, where the bill is in another currency than the price."""
    groups: dict[tuple[str, str, date], list[Priced]] = {}
    for one in lines:
        cell, day = one.at
        if month.prices[next(iter(one.options))[0]].currency != cell.currency:
            groups.setdefault((cell.provider, cell.currency, day), []).append(one)
    for group in groups.values():
        factor = _shared(group)
        for one in group:
            one.rate_factor = factor


def _shared(group: list[Priced]) -> Decimal:
    plain = sum(one.match(_ONE) is not None for one in group)
    candidates = Counter(_short(ratio) for one in group for ratio in _ratios(one) if _RATES[0] <= ratio <= _RATES[1])
    candidates.pop(_ONE, None)
    if plain == len(group) or not candidates:
        return _ONE
    # A tier of a whole bill would look like a rate of a half; the nearest to one is meant.
    best = min(candidates, key=lambda each: (-candidates[each], abs(each - 1)))
    same = [(one, of) for one in group for of in one.options if (r := one.ratio(of)) is not None and _short(r) == best]
    if candidates[best] <= plain:
        return _ONE
    expected = sum((one.tokens * one.options[of] * one.rate for one, of in same), ZERO)
    return sum((one.line.list_cost for one, _of in same), ZERO) / expected


def _ratios(one: Priced) -> set[Decimal]:
    return {ratio for of in one.options if (ratio := one.ratio(of)) is not None}


def _short(ratio: Decimal) -> Decimal:
    """A ratio to five digits: what rounding does to an amount must not make two of one."""
    return ratio.quantize(Decimal(1).scaleb(ratio.adjusted() - 4))


def _tiers_and_prices(lines: list[Priced]) -> None:
    """First the lines whose amount a known price makes; the others are off by a factor, in the tier their siblings have."""
    left = []
    for one in lines:
        one.of = one.match(one.rate_factor)
        if one.of is None:
            left.append(one)
    sure: dict[tuple[str, str, str, date], set[int]] = {}
    accounts: set[tuple[str, str, int]] = set()
    for one in lines:
        if one.of is not None and one.of[0] != BLEND:
            cell, day = one.at
            sure.setdefault((cell.provider, cell.account, cell.model, day), set()).add(one.of[0])
            accounts.add((cell.provider, cell.account, one.of[0]))
    seen = Counter((*_kind(one), _short(_off(one, next(iter(one.options))))) for one in left)
    for one in left:
        one.of = _class(one, sure, accounts, seen)
        one.price_factor = _off(one, one.of)  # zero where we know the model as free


def _kind(one: Priced) -> tuple[str, str, str]:
    return one.at[0].provider, one.at[0].model, one.at[0].kind


def _off(one: Priced, of: Class) -> Decimal:
    """The factor by which the price is off, were it of this class."""
    return (one.ratio(of) or ZERO) / one.rate_factor


def _class(
    one: Priced,
    sure: dict[tuple[str, str, str, date], set[int]],
    accounts: set[tuple[str, str, int]],
    seen: Counter[tuple[str, str, str, Decimal]],
) -> Class:
    cell, day = one.at
    first = next(iter(one.options))
    siblings = sure.get((cell.provider, cell.account, cell.model, day), set()) or one.logged

    def likelihood(of: Class) -> tuple[int, Decimal]:
        factor = _off(one, of)
        return (seen[(*_kind(one), _short(factor))] if factor else 0, -abs(factor - 1))

    if len(siblings) > 1 or (siblings and first[0] not in siblings):
        known = [of for of in one.options if of[0] in siblings]
        return max(known, key=likelihood) if known else first
    if first[0] in sure.get((cell.provider, cell.account, cell.model, day), set()):
        return first
    for of in one.options:
        factor = _off(one, of)
        is_near = _PRICES[0] <= factor <= _PRICES[1]
        is_known = of != first and of[0] != BLEND and (cell.provider, cell.account, of[0]) in accounts
        if is_known and is_near and likelihood(of)[0]:
            return of
    return first
