"""What a series should have cost: its level and season, learned robustly from logs, and how far off is too far.

Pure. The score is the modified z-score of Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993): the distance to
the median in units of 1.4826 x MAD; they call 3.5 an outlier. It is taken of the logarithm, because spend moves by factors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from statistics import median

from costobs.kernel import money

THRESHOLD = Decimal("3.5")
ENOUGH_DAYS = 21  # known days before a day is judged: three of each weekday
ENOUGH_HOURS = 14 * 24
NEW_LEVEL = 14  # so many odd periods on end are the new level of a scope by day; by hour it is two days
NEW_LEVEL_HOURS = 48

_MAD = Decimal("1.4826")
_ZERO, _ONE = Decimal(0), Decimal(1)
_FLOORS = {"day": Decimal("0.06"), "hour": Decimal("0.2")}  # the least spread that is believed
_LEVELS = {"day": 14, "hour": 168}  # how many known periods make the level
_PLACES = Decimal("0.0001")
_TENTH = 10  # what costs so many times less than expected has fallen away


@dataclass(frozen=True, slots=True)
class Judged:
    """One period: what it cost and what was expected; `score` None: too little history, nothing is said about it."""

    at: datetime
    cost: Decimal
    expected: Decimal | None
    low: Decimal | None
    high: Decimal | None
    score: Decimal | None
    is_odd: bool
    is_accepted: bool = False  # somebody said that it is all right: it stays odd, and nobody is told

    @property
    def excess(self) -> Decimal:
        return _ZERO if self.expected is None else self.cost - self.expected


@dataclass(frozen=True, slots=True)
class _Past:
    """The known, ordinary periods before one: logarithms without season, and the errors of having foretold each."""

    season: Mapping[int, Decimal]
    level: Decimal
    spread: Decimal
    bias: Decimal


def judge(
    series: Sequence[tuple[datetime, Decimal]],
    *,
    grain: str,
    judged_from: datetime,
    threshold: Decimal = THRESHOLD,
    accepted: Callable[[datetime], bool] = lambda _at: False,
) -> list[Judged]:
    """Every period from `judged_from` on, in order: is it above what the periods before it let expect?

    `series` has one cost for each *known* period, in order; a gap is absent, never zero. With y = ln(cost + c), c a
    hundredth of the median: the season is the median of y minus the median of its neighbourhood (the week, or the day
    around it) by weekday, or by hour of working days and of weekends; the level is the median of the last fourteen days
    without season; the spread is 1.4826 x MAD of the errors this would have made on each of them, at least 6 % by day and
    20 % by hour; their median, the bias, carries steady growth. Odd is what lies more than `threshold` spreads above.

    Odd periods do not teach, until as many have followed on each other as make a new level; accepted ones (feedback,
    planned events) do not teach either.
    """
    step = timedelta(days=1) if grain == "day" else timedelta(hours=1)
    enough, patience = (ENOUGH_DAYS, NEW_LEVEL) if grain == "day" else (ENOUGH_HOURS, NEW_LEVEL_HOURS)
    shift = _shift([cost for at, cost in series if at < judged_from])
    ordinary = [(at, (max(cost, _ZERO) + shift).ln()) for at, cost in series if at < judged_from]
    held: list[tuple[datetime, Decimal]] = []
    found: list[Judged] = []
    past: _Past | None = None
    learned = -1
    for at, cost in series:
        if at < judged_from:
            continue
        # Hours are learned from once a day: what a single one would change is nothing beside the noise.
        if len(ordinary) >= enough and (past is None or grain == "day" or len(ordinary) - learned >= 24):
            past, learned = _learn(ordinary, grain, step), len(ordinary)
        one = _judge_one(at, cost, past, shift, threshold, grain, accepted(at))
        found.append(one)
        value = (at, (max(cost, _ZERO) + shift).ln())
        if one.is_accepted:
            held = []
        elif one.is_odd:
            held.append(value)
            if len(held) >= patience:
                ordinary, held, past = [*ordinary[-enough:], *held], [], None
        else:
            held = []
            ordinary.append(value)
    return found


def judge_new(
    series: Sequence[tuple[datetime, Decimal]],
    *,
    grain: str,
    judged_from: datetime,
    least: Decimal,
    accepted: Callable[[datetime], bool] = lambda _at: False,
) -> list[Judged]:
    """Every period from `judged_from` on of what is seen for the first time: nothing was expected, and `least` or more is odd.

    For as long as a new level takes, from its first cost on; after that nothing is said about it until there is history. The
    score is how many times `least` it cost.
    """
    reach = timedelta(days=NEW_LEVEL) if grain == "day" else timedelta(hours=NEW_LEVEL_HOURS)
    first = next((at for at, cost in series if cost > 0), None)
    found: list[Judged] = []
    for at, cost in series:
        if at < judged_from:
            continue
        if first is not None and at >= first + reach:
            found.append(Judged(at, cost, None, None, None, None, is_odd=False, is_accepted=accepted(at)))
            continue
        score = (cost / least).quantize(Decimal("0.01")) if least > 0 else _ONE
        is_odd = cost > 0 and cost >= least
        found.append(Judged(at, cost, _ZERO, _ZERO, least, score, is_odd=is_odd, is_accepted=accepted(at)))
    return found


def fallen(judged: Sequence[Judged], *, least: Decimal, threshold: Decimal = THRESHOLD) -> tuple[Judged, ...]:
    """The newest periods on end that cost a tenth or less of `least` or more that was expected; most often none."""
    found: list[Judged] = []
    for one in reversed(judged):
        if one.expected is None or one.score is None or one.is_accepted:
            break
        if one.expected < least or one.cost > one.expected / _TENTH or one.score > -threshold:
            break
        found.append(one)
    return tuple(reversed(found))


def _shift(costs: Sequence[Decimal]) -> Decimal:
    """A hundredth of the median, so that a period without cost has a logarithm and cents weigh nothing."""
    known = [cost for cost in costs if cost > 0]
    return max(median(known) / 100, Decimal("0.01")) if known else Decimal("0.01")


def _judge_one(
    at: datetime, cost: Decimal, past: _Past | None, shift: Decimal, threshold: Decimal, grain: str, is_accepted: bool
) -> Judged:
    if past is None:
        return Judged(at, cost, None, None, None, None, is_odd=False, is_accepted=is_accepted)
    middle = past.level + past.bias + past.season.get(_place(at, grain), _ZERO)
    reach = threshold * past.spread
    expected, low, high = (max(_ZERO, one.exp() - shift) for one in (middle, middle - reach, middle + reach))
    score = ((max(cost, _ZERO) + shift).ln() - middle) / past.spread
    band = (expected.quantize(_PLACES), low.quantize(_PLACES), high.quantize(_PLACES))
    return Judged(at, cost, *band, score.quantize(Decimal("0.01")), score > threshold, is_accepted)


def _learn(ordinary: Sequence[tuple[datetime, Decimal]], grain: str, step: timedelta) -> _Past:
    window = 7 if grain == "day" else 24
    kept = ordinary[-56:] if grain == "day" else ordinary[-28 * 24 :]
    season = _season(kept, grain, step * (window // 2))
    flat = [(at, value - season.get(_place(at, grain), _ZERO)) for at, value in kept]
    values = [value for _at, value in flat]
    width = _LEVELS[grain]
    # By hour one day is stepped over at a time: the level of a fortnight hardly moves within it.
    stride = 1 if grain == "day" else 24
    errors: list[Decimal] = []
    for end in range(max(7, width // 2) if grain == "day" else width, len(values), stride):
        level = median(values[max(0, end - width) : end])
        errors += [value - level for value in values[end : end + stride]]
    bias = median(errors) if errors else _ZERO
    spread = _MAD * median(abs(error - bias) for error in errors) if errors else _ONE
    limit = Decimal("0.25")
    return _Past(season, median(values[-width:]), max(spread, _FLOORS[grain]), max(-limit, min(limit, bias)))


def _season(kept: Sequence[tuple[datetime, Decimal]], grain: str, reach: timedelta) -> dict[int, Decimal]:
    by_place: dict[int, list[Decimal]] = {}
    start = end = 0
    for at, value in kept:
        while kept[start][0] < at - reach:
            start += 1
        while end < len(kept) and kept[end][0] <= at + reach:
            end += 1
        around = median(one for _at, one in kept[start:end])
        by_place.setdefault(_place(at, grain), []).append(value - around)
    return {place: median(values) for place, values in by_place.items()}


def _place(at: datetime, grain: str) -> int:
    """The season a period is of: the weekday, or the hour of a working day (0 to 23) or of a weekend (24 to 47)."""
    return at.weekday() if grain == "day" else at.hour + (24 if at.weekday() >= 5 else 0)


@dataclass(frozen=True, slots=True)
class Episode:
    """Odd periods that belong together: one ordinary period between two of them does not part them."""

    periods: tuple[Judged, ...]  # all from the first odd one to the last
    is_open: bool  # the newest judged period is odd

    @property
    def odd(self) -> tuple[Judged, ...]:
        return tuple(one for one in self.periods if one.is_odd and not one.is_accepted)

    @property
    def at(self) -> frozenset[datetime]:
        return frozenset(one.at for one in self.periods if one.is_odd)

    @property
    def impact(self) -> Decimal:
        """What the odd periods cost above what was expected of them."""
        return money.total(one.excess for one in self.odd)


def episodes(judged: Sequence[Judged], *, minimum: Decimal) -> list[Episode]:
    """The runs of odd periods, oldest first; those whose dearest period costs less than `minimum` are no anomaly."""
    found: list[list[int]] = []
    for index, one in enumerate(judged):
        if not one.is_odd:
            continue
        if found and index - found[-1][-1] <= 2:
            found[-1].append(index)
        else:
            found.append([index])
    made = [
        Episode(tuple(judged[places[0] : places[-1] + 1]), is_open=places[-1] == len(judged) - 1) for places in found
    ]
    return [one for one in made if max(period.cost for period in one.periods) >= minimum]
