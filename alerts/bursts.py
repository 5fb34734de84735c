"""How fast money burns this hour against the same hour of past weeks: the early warning for agents that run away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median

from costobs.kernel import money

WEEKS = 4  # how far back is looked
ENOUGH_WEEKS = 3  # with fewer, nothing is usual yet
MINIMUM_COST = Decimal(
    5
)  # an hour that usually costs less counts as this much: nights are quiet, and nobody is woken for cents
ALARM_PERCENT = Decimal(300)

_HOUR = timedelta(hours=1)
_WEEK = timedelta(days=7)
_SECONDS = Decimal(3600)


@dataclass(frozen=True, slots=True)
class Burn:
    """The burn of the hour at work. `usual_cost` is the median of the same hour of past weeks, unrounded and without minimum."""

    percent: Decimal
    burned_cost: Decimal  # in the last sixty minutes, or in this hour so far where that is more
    usual_cost: Decimal
    hour_cost: Decimal  # of this hour so far, and what of the usual falls on so much of it
    hour_usual_cost: Decimal


def level(
    hours: Sequence[tuple[datetime, Decimal]], now: datetime, *, minimum: Decimal = MINIMUM_COST
) -> Decimal | None:
    """The burn in percent of the usual, 100 being as always; None while fewer than three past weeks are known.

    `hours` are (start of the hour, cost) of at least three weeks, in any order, as far as the hour of `now`.
    """
    found = burn(hours, now, minimum=minimum)
    return None if found is None else found.percent


def burn(hours: Sequence[tuple[datetime, Decimal]], now: datetime, *, minimum: Decimal = MINIMUM_COST) -> Burn | None:
    """`level` with what it rests on.

    Two readings, and the higher one counts. *The last sixty minutes*: this hour so far and the part of the hour before
    that lies in them, against the usual cost of the two hours in the same parts; so the first minutes of an hour are
    never blown up to a whole one. *This hour so far* against the usual cost of all of it: what is spent already is spent,
    so this is a floor of what the hour will show. An hour without calls in a week that is known cost nothing; a
    week before the first known hour is unknown, and is not counted.
    """
    moment = now.astimezone(UTC)
    start = moment.replace(minute=0, second=0, microsecond=0)
    costs: dict[datetime, Decimal] = {}
    for at, cost in hours:
        costs[at] = money.EXACT.add(costs.get(at, Decimal(0)), cost)
    first = min(costs, default=start)
    usual, usual_before = _usual(costs, start, first), _usual(costs, start - _HOUR, first)
    if usual is None or usual_before is None:
        return None
    gone = Decimal(int((moment - start).total_seconds())) / _SECONDS
    current, before = costs.get(start, Decimal(0)), costs.get(start - _HOUR, Decimal(0))
    rolling = current + before * (1 - gone)
    expected = max(usual, minimum) * gone + max(usual_before, minimum) * (1 - gone)
    by_hour, by_minutes = current / max(usual, minimum), rolling / expected
    if by_hour >= by_minutes:
        return Burn(by_hour * 100, current, usual, current, _cut(usual * gone))
    return Burn(by_minutes * 100, rolling, usual * gone + usual_before * (1 - gone), current, _cut(usual * gone))


def _cut(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.0001"))


def _usual(costs: Mapping[datetime, Decimal], hour: datetime, first: datetime) -> Decimal | None:
    past = [hour - _WEEK * week for week in range(1, WEEKS + 1)]
    known = [costs.get(at, Decimal(0)) for at in past if at >= first]
    return median(known) if len(known) >= ENOUGH_WEEKS else None
