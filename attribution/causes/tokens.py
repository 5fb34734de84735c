"""Why a bill counts other tokens than the log: repeats, another day, cached tokens counted elsewhere, streams without usage.

Each finding rests on numbers that agree to the token in several cells; what is left over is a matter of `amounts`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from attribution.causes.facts import (
    CACHED,
    CANCELLED,
    DAY_BOUNDARY,
    DUPLICATES,
    ZERO,
    Calls,
    Cell,
    Class,
    Line,
    Month,
    Tokens,
)

# Hours from the start of the UTC day to the start of a local day: from UTC+14 to UTC-12.
_OFFSETS = [offset for offset in range(-14, 13) if offset]
_UNCACHED, _READ = "input_uncached", "cache_read"
_INPUTS = frozenset({_UNCACHED, _READ, "cache_write_5m", "cache_write_1h", "audio_input", "image_input"})
# A stream without usage may have had so many times the average output of its model; more must have come from elsewhere.
_LONGER, _MUCH_LONGER = 4, 25
_SAME_SHARE = Decimal("0.000001")
_VOTES = 2

At = tuple[Cell, date]
Account = tuple[str, str]

_HOW = {
    "logged_twice": "the log counts cached tokens as input once more",
    "no_discount": "the bill charges cached tokens as input",
    "not_told": "the log does not tell cached tokens from input",
    "billed_twice": "the bill counts cached tokens as input once more",
}


@dataclass(slots=True)
class Moves:
    """By which tokens the log has to change to count what the bill counts, by cause, and why."""

    changes: dict[At, dict[str, Tokens]] = field(default_factory=dict)
    evidence: dict[tuple[At, str], dict[str, str]] = field(default_factory=dict)

    def add(self, at: At, cause: str, tokens: Tokens, **evidence: str) -> None:
        tokens = {of: count for of, count in tokens.items() if count}
        if tokens:
            self.changes.setdefault(at, {})[cause] = tokens
            self.evidence[at, cause] = evidence


@dataclass(slots=True)
class Counts:
    """What is counted on each side: `logged` with everything the log has, `expected` after the moves found so far."""

    month: Month
    logged: dict[At, Tokens]
    expected: dict[At, Tokens]
    billed: dict[At, Decimal]
    margin: dict[At, Decimal]
    moves: Moves = field(default_factory=Moves)
    shift: dict[Account, int] = field(default_factory=dict)

    def excess(self, at: At) -> Decimal:
        """Billed minus expected tokens; zero where they are the same but for rounding."""
        apart = self.billed.get(at, ZERO) - total(self.expected.get(at, {}))
        return ZERO if abs(apart) <= self.margin.get(at, ZERO) else apart

    def move(self, at: At, cause: str, tokens: Tokens, **evidence: str) -> None:
        self.moves.add(at, cause, tokens, **evidence)
        expected = self.expected.setdefault(at, {})
        for of, count in tokens.items():
            expected[of] = expected.get(of, ZERO) + count


def total(tokens: Tokens) -> Decimal:
    return sum(tokens.values(), ZERO)


def billed_tokens(lines: Iterable[Line], unit_cost: Decimal | None) -> tuple[Decimal, Decimal]:
    """The tokens a bill charges for, and within which margin the same number would do; a bill that states no tokens charges
    for as many as its amount pays at list."""
    tokens, margin = ZERO, Decimal(1)
    for line in lines:
        if line.tokens is not None:
            tokens += line.tokens
        elif unit_cost:
            tokens += line.list_cost / unit_cost
            margin += line.quantum / unit_cost
    return tokens, margin + abs(tokens) * _SAME_SHARE


def explain(counts: Counts) -> None:
    """Finds the moves, the surest first."""
    _repeats(counts)
    accounts = sorted({(cell.provider, cell.account) for cell, _day in counts.billed})
    for account in accounts:
        _boundary(counts, account)
    for account in accounts:
        _cached(counts, account)
    _unmetered(counts)


def _repeats(counts: Counts) -> None:
    """Calls the log holds twice. Where the bill agrees with the log on the days that have them, they were calls of their own."""
    month = counts.month
    found: dict[tuple[str, str, str], list[tuple[At, Tokens]]] = {}
    for cell, classes in month.logged.items():
        for day in month.days:
            start = month.start(day)
            twice = {of: -Decimal(one.twice_between(start, start + 24)) for of, one in classes.items()}
            if any(twice.values()):
                found.setdefault((cell.provider, cell.account, cell.model), []).append(((cell, day), twice))
    for repeats in found.values():
        is_own = [counts.excess(at) == 0 for at, _twice in repeats if at in counts.billed]
        if sum(is_own) * 2 > len(is_own):
            for (cell, _day), _twice in repeats:
                for one in month.logged[cell].values():
                    one.keep_repeats()
            continue
        for at, twice in repeats:
            counts.move(at, DUPLICATES, twice, calls="the same event or the same content twice")


def _boundary(counts: Counts, account: Account) -> None:
    """A bill that cuts its days elsewhere: one offset that makes cells equal which were not."""
    ours = [at for at in counts.billed if (at[0].provider, at[0].account) == account and at[0] in counts.month.logged]
    apart = {at: counts.excess(at) for at in ours}
    if not any(apart.values()):
        return
    votes = {offset: _votes(counts, apart, offset) for offset in _OFFSETS}
    best = max(votes, key=lambda offset: (votes[offset], -abs(offset), offset))
    if votes[best] < _VOTES:
        return
    counts.shift[account] = best
    told = f"the days of the bill begin {abs(best)} h {'after' if best > 0 else 'before'} UTC midnight"
    for cell, classes in counts.month.logged.items():
        if (cell.provider, cell.account) == account and classes:
            for day in counts.month.days:
                if (cell.provider, day) in counts.month.complete:
                    at = (cell, day)
                    counts.move(at, DAY_BOUNDARY, _moved(counts.month, at, best), offset_hours=str(best), found=told)


def _votes(counts: Counts, apart: dict[At, Decimal], offset: int) -> int:
    """How many more cells an offset makes equal than it makes unequal; those in which it moves nothing have no voice."""
    votes = 0
    for at, before in apart.items():
        moved = total(_moved(counts.month, at, offset))
        if abs(moved) > counts.margin[at]:
            is_same = abs(before - moved) <= counts.margin[at]
            votes += (before != 0 and is_same) - (before == 0 and not is_same)
    return votes


def _moved(month: Month, at: At, offset: int) -> Tokens:
    """What a day that begins `offset` hours later has more than the UTC day, without repeats."""
    cell, day = at
    start = month.start(day)
    moved = {}
    for of, one in month.logged[cell].items():
        window = one.between(start + offset, start + offset + 24) - one.twice_between(
            start + offset, start + offset + 24
        )
        moved[of] = Decimal(window - one.between(start, start + 24) + one.twice_between(start, start + 24))
    return moved


@dataclass(frozen=True, slots=True)
class _Input:
    """The two cells of a model and day between which cached tokens may move."""

    input: At
    read: At
    excess: tuple[Decimal, Decimal]
    options: dict[str, tuple[Tokens, Tokens]]


def _cached(counts: Counts, account: Account) -> None:
    """Cached tokens that one side counts as input and the other does not."""
    inputs = list(_inputs(counts, account))
    sure: dict[str, dict[str, list[date]]] = {}
    left = []
    for one in inputs:
        name = next((name for name, option in one.options.items() if _fits(counts, one, option)), None)
        if name is None:
            left.append(one)
        else:
            sure.setdefault(name, {}).setdefault(one.input[0].model, []).append(one.input[1])
            _move_cached(counts, one, name)
    for one in left:
        for name in sorted(one.options, key=lambda each: -len(sure.get(each, {}))):
            if _is_likely(counts, one, name, sure.get(name, {})):
                _move_cached(counts, one, name)
                break


def _inputs(counts: Counts, account: Account) -> Iterable[_Input]:
    for cell, day in sorted(set(counts.billed) | set(counts.expected)):
        if (cell.provider, cell.account) != account or cell.kind != _UNCACHED:
            continue
        at, read = (cell, day), (Cell(cell.provider, cell.account, cell.model, _READ, cell.currency), day)
        excess = (counts.excess(at), counts.excess(read))
        if not any(excess):
            continue
        logged = {of: count for of, count in counts.expected.get(read, {}).items() if count}
        options: dict[str, tuple[Tokens, Tokens]] = {}
        if logged:
            same = {(price, _UNCACHED): count for (price, _kind), count in logged.items()}
            options["logged_twice"] = (_negative(same), {})
            options["no_discount"] = (same, _negative(logged))
            options["billed_twice"] = (same, {})
        elif counts.billed.get(read, ZERO) > 0 and counts.expected.get(at):
            told = _by_price(counts, at, read)
            options["not_told"] = ({(price, _UNCACHED): -count for (price, _kind), count in told.items()}, told)
        if options:
            yield _Input(at, read, excess, options)


def _by_price(counts: Counts, at: At, read: At) -> Tokens:
    """The cached tokens of a bill by the price that input was logged at: the one that comes nearest to what they cost."""
    month, found = counts.month, Tokens()
    logged = sorted(counts.expected[at], key=lambda of: (-counts.expected[at][of], of))
    for line in month.lines.get(read, []):

        def distance(of: Class, line: Line = line) -> Decimal:
            price = month.prices[of[0]]
            rate = month.rates.get((read[1], price.currency, read[0].currency), Decimal(1))
            expected = month.price((of[0], _READ)) * rate * (line.tokens or ZERO)
            return max(expected / line.list_cost, line.list_cost / expected) if expected and line.list_cost else ZERO

        price = min(logged, key=distance)[0]
        found[price, _READ] = found.get((price, _READ), ZERO) + (line.tokens or ZERO)
    return found


def _left(one: _Input, option: tuple[Tokens, Tokens]) -> tuple[Decimal, Decimal]:
    return one.excess[0] - total(option[0]), one.excess[1] - total(option[1])


def _fits(counts: Counts, one: _Input, option: tuple[Tokens, Tokens]) -> bool:
    left = _left(one, option)
    return abs(left[0]) <= counts.margin.get(one.input, 1) and abs(left[1]) <= counts.margin.get(one.read, 1)


def _is_likely(counts: Counts, one: _Input, name: str, sure: dict[str, list[date]]) -> bool:
    """Beside traffic nobody logged: where the same was found for sure around the day, or where that traffic alone cannot be
    why, since it only adds and the log has more of one kind than the bill.
    """
    if min(_left(one, one.options[name])) < -1:
        return False
    cell, day = one.input
    output = (Cell(cell.provider, cell.account, cell.model, "output", cell.currency), day)
    if min(one.excess) < -1 and counts.excess(output) > 0:
        return True
    days = sure.get(cell.model) or [each for found in sure.values() for each in found]
    return bool(days) and min(days) <= day <= max(days)


def _move_cached(counts: Counts, one: _Input, name: str) -> None:
    for at, tokens in zip((one.input, one.read), one.options[name], strict=True):
        counts.move(at, CACHED, tokens, how=name, found=_HOW[name])


def _negative(tokens: Tokens) -> Tokens:
    return {of: -count for of, count in tokens.items()}


def _unmetered(counts: Counts) -> None:
    """Streams that ended without usage: the bill has more output than the log, on days with calls of unknown usage."""
    by_model: dict[tuple[str, str, str, date], list[At]] = {}
    for cell, day in counts.billed:
        by_model.setdefault((cell.provider, cell.account, cell.model, day), []).append((cell, day))
    for key, ats in by_model.items():
        calls = _calls(counts, key)
        unknown = calls.unknown
        excess = {at: counts.excess(at) for at in ats if counts.excess(at) > 0}
        output = any(at[0].kind not in _INPUTS for at in excess)
        if not unknown or not output or not _is_possible(counts, calls, excess):
            continue
        for at, count in excess.items():
            of = _main(counts, at)
            if of is not None:
                counts.move(at, CANCELLED, {of: count}, calls=str(unknown), found=f"{unknown} calls of unknown usage")


def _calls(counts: Counts, key: tuple[str, str, str, date]) -> Calls:
    """The calls of a day of the bill, which lie on two UTC days where it begins at another hour."""
    provider, account, model, day = key
    offset = counts.shift.get((provider, account), 0)
    days = {day, day + timedelta(days=(offset > 0) - (offset < 0))}
    found = [one for each in days if (one := counts.month.calls.get((provider, account, model, each))) is not None]
    return Calls(sum(one.requests for one in found), sum(one.unknown for one in found))


def _is_possible(counts: Counts, calls: Calls, excess: dict[At, Decimal]) -> bool:
    """What is missing is what so many calls of this model have; where only output is, even of long answers."""
    is_output = all(at[0].kind and at[0].kind not in _INPUTS for at in excess)
    known = calls.requests - calls.unknown
    longer = _MUCH_LONGER if is_output else _LONGER
    return (is_output and not known) or all(
        count * known <= longer * calls.unknown * total(counts.expected.get(at, {})) for at, count in excess.items()
    )


def _main(counts: Counts, at: At) -> Class | None:
    """The class most tokens of a cell belong to: on the day, else in the month, else of a sibling kind."""
    tokens = counts.expected.get(at)
    if tokens and any(count > 0 for count in tokens.values()):
        return max(tokens, key=lambda of: tokens[of])
    return main_class(counts.month, at[0])


def main_class(month: Month, cell: Cell) -> Class | None:
    """The class that most tokens of a cell have in the month, else the one they would have by the model's other kinds."""
    classes = month.logged.get(cell, {})
    if classes:
        return max(classes, key=lambda of: (classes[of].total, of))
    sizes: dict[int, int] = {}
    for other, found in month.logged.items():
        if (other.provider, other.model) == (cell.provider, cell.model):
            for (price, _kind), one in found.items():
                sizes[price] = sizes.get(price, 0) + one.total
    if sizes:
        return max(sizes, key=lambda price: (sizes[price], price)), cell.kind
    listed = month.tiers.get((cell.provider, cell.model))
    return (listed[0], cell.kind) if listed else None
