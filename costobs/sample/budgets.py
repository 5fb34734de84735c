"""The sample's budgets: amounts from what it spends, ladders climbed by playing its period through the real steps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from alerts import budgets, escalate, evaluate, execute, gates, policy, queries
from alerts.budgets import RungSpec
from attribution import queries as spend_queries
from costobs.embedded.sample import organisation
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope

PREFIX = f"{organisation.LABEL}: "
_GATE = f"{PREFIX}edge"
_PROCESS = "edge-0"
_THROTTLE = {"requests_per_minute": 40, "retry_after_seconds": 30}
_USUAL_DAYS = 28
_REPLAYED_DAYS = 12
_LEAST_DAYS = 4  # a period that has less of its usual spend than of these days is too young for a story
_STEP = Decimal(50)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A budget by the state it shall be in: `used` of it now, or `forecast` of it at the end of the period (percent)."""

    title: str
    team: str
    rungs: tuple[RungSpec, ...]
    used: int = 0
    forecast: int = 0


def _rung(
    percent: int, action: str, config: Mapping[str, object] | None = None, approval: str = "automatic"
) -> RungSpec:
    return RungSpec(Decimal(percent), action, config or {}, approval)


_REPLAYED = (
    _Wanted("All AI spend", "", (_rung(80, "notify"), _rung(100, "notify", {"on": "forecast"})), forecast=104),
    _Wanted(
        "Search",
        "search",
        (_rung(60, "notify"), _rung(85, "throttle", _THROTTLE), _rung(110, "shutdown", approval="one")),
        used=91,
    ),
    _Wanted(
        "Growth",
        "growth",
        (_rung(70, "notify"), _rung(90, "throttle", _THROTTLE), _rung(100, "shutdown", {"retry_after_seconds": 600})),
        used=103,
    ),
    _Wanted("Support", "support", (_rung(95, "notify"), _rung(100, "throttle", _THROTTLE)), forecast=82),
    _Wanted("Research", "research", (_rung(60, "notify"), _rung(100, "throttle", _THROTTLE)), used=64),
)
# Asked for now, so that somebody can approve it: a request ends after a day.
_WAITING = _Wanted(
    "Data platform",
    "data-platform",
    (_rung(60, "notify"), _rung(75, "throttle", _THROTTLE, approval="one"), _rung(100, "shutdown", approval="one")),
    used=77,
)


def create(*, usage_source_id: int, now: datetime) -> int:
    """Makes the budgets and plays their period so far through evaluate, escalate and execute; how many were made.

    Those that are there stay. Where people have budgets of their own nothing is replayed: their ladders must not see
    the past again.
    """
    known = {line.name: line.is_sample for line in queries.budgets(now=now, teams=None, with_inactive=True)}
    missing = [wanted for wanted in (*_REPLAYED, _WAITING) if f"{PREFIX}{wanted.title}" not in known]
    if not missing:
        return 0
    _gate(usage_source_id, now=now)
    period = _period(now)
    for wanted in missing:
        if wanted is not _WAITING:
            _create(wanted, period, now=now)
    if all(known.values()):
        for moment in _moments(periods.budget_period(period, periods.day_of(now)), now):
            _act(usage_source_id, moment)
    if _WAITING in missing:
        _create(_WAITING, period, now=now)
    _act(usage_source_id, now)
    evaluate.run(now=now)  # again: what is in force now is part of a budget's state
    return len(missing)


def _act(usage_source_id: int, moment: datetime) -> None:
    """One round of the ladder, with a gate that holds the policy a second later and proves it."""
    evaluate.run(now=moment)
    escalate.run(now=moment)
    execute.run(now=moment)
    held = ""
    for second in (1, 2):
        answer = policy.answer(
            source_id=usage_source_id,
            if_none_match=held,
            now=moment + timedelta(seconds=second),
            process=_PROCESS,
        )
        held = answer.etag
    execute.run(now=moment + timedelta(seconds=3))


def _moments(days: Days, now: datetime) -> Iterator[datetime]:
    """The noon of each of the last days of the period that are over."""
    for day in list(days.until(periods.day_of(now)))[-_REPLAYED_DAYS:]:
        yield Days(day, day + timedelta(days=1)).start_at + timedelta(hours=12)


def _create(wanted: _Wanted, period: str, *, now: datetime) -> None:
    today = periods.day_of(now)
    days = periods.budget_period(period, today)
    scope = {"team": [wanted.team]} if wanted.team else {}
    spent = _spent(scope, days.until(today + timedelta(days=1)))
    if wanted.used:
        amount = spent * 100 / wanted.used
    else:
        complete = days.until(today)
        pace = _spent(scope, complete) / len(complete) if len(complete) > 2 else _usual(scope, now)
        amount = max(pace * len(days), spent) * 100 / wanted.forecast
    team = next((team for team in organisation.TEAMS if team.name == wanted.team), None)
    budgets.create(
        name=f"{PREFIX}{wanted.title}",
        scope=scope,
        amount=_rounded(amount),
        currency="USD",
        period=period,
        rungs=wanted.rungs,
        owner_email=team.email if team else "finance@quillfern.example",
        by=organisation.SET_BY,
        now=now,
        is_sample=True,
    )


def _period(now: datetime) -> str:
    """The month, or on its first days a longer or shorter period that has more to show."""
    today = periods.day_of(now)
    least = _usual({}, now) * _LEAST_DAYS
    for period in ("month", "week", "quarter"):
        if _spent({}, periods.budget_period(period, today).until(today + timedelta(days=1))) >= least:
            return period
    return "month"


def _usual(scope: dict[str, list[str]], now: datetime) -> Decimal:
    """What an average day of the last weeks has cost."""
    today = periods.day_of(now)
    return _spent(scope, Days(today - timedelta(days=_USUAL_DAYS), today)) / _USUAL_DAYS


def _spent(scope: dict[str, list[str]], days: Days) -> Decimal:
    asked = SpendScope(days, teams=None)
    for dimension, values in scope.items():
        asked = asked.where(dimension, *values)
    return spend_queries.total(scope=asked).cost


def _rounded(amount: Decimal) -> Decimal:
    """To the next fifty, or to a cent where that would be nothing."""
    step = _STEP if amount >= 20 * _STEP else Decimal("0.01")
    return max((amount / step).quantize(Decimal(1), ROUND_HALF_EVEN) * step, Decimal("0.01"))


def _gate(usage_source_id: int, *, now: datetime) -> None:
    """One gate in front of everything, with a key for each team."""
    if any(gate.name == _GATE for gate in queries.gates(now=now)):
        return
    by = organisation.SET_BY
    gates.create(name=_GATE, deployment="llama-70b", source_id=usage_source_id, by=by, now=now, is_sample=True)
    known = {key.team for key in queries.client_keys() if key.is_sample}
    for team in organisation.TEAMS:
        if team.name not in known:
            gates.create_key(name=f"{PREFIX}{team.title}", team=team.name, by=by, now=now, is_sample=True)
