"""The arithmetic of a ladder: what is used, what is crossed, which action is strongest, what a budget is called."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from costobs.kernel import fmt
from costobs.kernel.period import Days

STRENGTH = {"notify": 0, "throttle": 1, "reroute": 2, "shutdown": 3}
ENFORCING = frozenset({"throttle", "reroute", "shutdown"})
# How many different people must agree.
APPROVALS = {"automatic": 0, "one": 1, "two": 2}
# How much a stop of the scope hurts, as its owner says; the less critical act first.
CRITICALITIES = ("low", "normal", "high", "critical")
# The share of the last 7 days' requests that an automatic action may hit, in percent, where the rung names none.
_WIDEST = {"high": Decimal(50), "critical": Decimal(25)}
# Open: a person or the clock may still change them. Applying: gates are told about them.
OPEN = ("waiting_approval", "running", "in_force")
APPLYING = ("running", "in_force")
MIN_PACE_DAYS = 3
NAIVE_PACE = "naive pace"
ATTENTION = ("over", "stopped", "throttled", "rerouted", "watch", "unknown")

_CENTI = Decimal("0.01")
_MOST_PERCENT = Decimal("9999999.99")  # of a budget of a cent; the column has an end
_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Pace:
    """What an average day cost, and where that leads by the end of the period."""

    per_day_cost: Decimal
    through: date  # first day that is not in the average
    spent_cost: Decimal  # before `through`
    forecast_cost: Decimal


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides how a budget is called."""

    used_percent: Decimal | None
    forecast_percent: Decimal | None
    lowest_rung: Decimal | None
    is_stale: bool
    is_paused: bool
    in_force: frozenset[str]  # actions that are applied now


def percent_of(part: Decimal, whole: Decimal) -> Decimal:
    """`part` in percent of `whole`, cut (not rounded) at two decimals, so that 99.999 is not yet 100.

    Of nothing (what was overrun before has taken the whole amount) it is 100, and without bound once something is spent.
    """
    if whole <= 0:
        return _MOST_PERCENT if part > 0 else Decimal(100)
    percent = min(max(part * 100 / whole, -_MOST_PERCENT), _MOST_PERCENT)
    return percent.quantize(_CENTI, rounding=ROUND_DOWN)


def threshold_cost(amount: Decimal, percent: Decimal) -> Decimal:
    """The spend at which a rung is crossed, exactly."""
    return amount * percent / 100


def naive_pace(
    *, days: Days, complete: Days, complete_cost: Decimal, spend_cost: Decimal, adjusted_cost: Decimal = Decimal(0)
) -> Pace | None:
    """The average of the complete days of the period, carried on to its end; None with fewer than three of them.

    It knows no weekdays and no trend, so it is labelled and may only notify. It is never below what is spent already.
    `adjusted_cost` corrects closed months: it is spent (`complete_cost` is without it), and no day costs it again.
    """
    if len(complete) < MIN_PACE_DAYS:
        return None
    per_day = (complete_cost / len(complete)).quantize(_MICRO, rounding=ROUND_HALF_EVEN)
    spent = complete_cost + adjusted_cost
    return Pace(per_day, complete.end, spent, max(per_day * len(days) + adjusted_cost, spend_cost))


def pace_of(*, forecast_cost: Decimal | None, spend_cost: Decimal, period: Days, today: date) -> Pace | None:
    """The pace behind a naive forecast: what each day from today on costs until the period ends there."""
    gone = period.until(today)
    left = len(period) - len(gone)
    if forecast_cost is None or not left:
        return None
    per_day = ((forecast_cost - spend_cost) / left).quantize(_MICRO, rounding=ROUND_HALF_EVEN)
    return Pace(per_day, gone.end, spend_cost, forecast_cost)


def expected_on(*, pace: Pace | None, period: Days, cost: Decimal) -> date | None:
    """The day on which spend would reach `cost` at this pace; None when that is not in this period."""
    if pace is None or pace.per_day_cost <= 0:
        return None
    missing = cost - pace.spent_cost
    days = max(Decimal(1), (missing / pace.per_day_cost).to_integral_value(rounding="ROUND_CEILING"))
    if days > len(period):
        return None
    day = pace.through + timedelta(days=int(days) - 1)
    return day if day in period else None


def standing(facts: Facts) -> str:
    """paused, unknown, stopped, rerouted, throttled, over, watch or on_track: the first that holds.

    What is being done to traffic comes before how much is used: the percentage stands beside it anyway.
    """
    if facts.is_paused:
        return "paused"
    if facts.is_stale or facts.used_percent is None:
        return "unknown"
    if "shutdown" in facts.in_force:
        return "stopped"
    if "reroute" in facts.in_force:
        return "rerouted"
    if "throttle" in facts.in_force:
        return "throttled"
    if facts.used_percent >= 100:
        return "over"
    reached = facts.lowest_rung is not None and facts.used_percent >= facts.lowest_rung
    return "watch" if reached or (facts.forecast_percent or Decimal(0)) > 100 else "on_track"


def strongest(actions: Iterable[str]) -> str | None:
    """The strongest of these actions."""
    return max(actions, key=lambda action: STRENGTH[action], default=None)


def approval(mode: str, *, action: str, criticality: str, is_too_wide: bool = False) -> str:
    """What approval an action needs in the end: automatic, one or two.

    What enforces on a `critical` scope needs one person more than its rung says, and so does a shutdown of a `high` one; an
    automatic action that would hit too much is asked for.
    """
    if action not in ENFORCING:
        return "automatic"
    needed = APPROVALS[mode]
    if criticality == "critical" or (criticality == "high" and action == "shutdown"):
        needed += 1
    return list(APPROVALS)[min(2, max(needed, 1 if is_too_wide else 0))]


def widest_percent(max_share_percent: Decimal | None, *, criticality: str) -> Decimal | None:
    """The share of the last 7 days' requests and of their spend that an automatic action may hit; None: any."""
    return _WIDEST.get(criticality) if max_share_percent is None else max_share_percent


def matches(scope: Mapping[str, Sequence[str]], gate_names: Mapping[str, str]) -> list[dict[str, str]]:
    """Every combination of the scope's values, in the names a gate knows; raises KeyError for any other dimension."""
    found: list[dict[str, str]] = [{}]
    for dimension in sorted(scope):
        name = gate_names[dimension]
        found = [{**match, name: value} for match in found for value in scope[dimension]]
    return found


def target(scope: Mapping[str, Sequence[str]]) -> str:
    """The scope in one line, always the same for the same scope: `model:m;team:a|b`, or `*` for everything."""
    return ";".join(f"{name}:{'|'.join(sorted(scope[name]))}" for name in sorted(scope)) or "*"


def short_percent(percent: Decimal) -> str:
    """A measured level as people read it: `87.4 %`."""
    return fmt.percent(percent / 100)
