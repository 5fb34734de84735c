"""The sample's budgets: amounts from what it spends, ladders climbed by playing its period through the real steps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from alerts import budgets, escalate, evaluate, execute, gates, measure, policy, queries
from alerts.budgets import PLAIN, RungSpec
from alerts.rows import BudgetTerms
from attribution import queries as spend_queries
from costobs.embedded.sample import organisation
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope

PREFIX = f"{organisation.LABEL}: "
_GATE = f"{PREFIX}edge"
_PROCESS = "edge-0"
_THROTTLE = {"requests_per_minute": 2, "retry_after_seconds": 30}
_USUAL_DAYS = 28
_REPLAYED_DAYS = 12
_LEAST_DAYS = 4  # a period that has less of its usual spend than of these days is too young for a story
_STEP = Decimal(50)
_ALL = "All AI spend"
_BRIEFS = "Market briefs, any 7 days"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A budget by the state it shall be in: `used` of it now, or `forecast` of it at the end of the period (percent).

    `under` is the title of the budget above it. With `rolling_days` in its terms it counts those instead of the period.
    """

    title: str
    team: str
    rungs: tuple[RungSpec, ...]
    used: int = 0
    forecast: int = 0
    feature: str = ""
    under: str = _ALL
    terms: BudgetTerms = PLAIN

    @property
    def scope(self) -> dict[str, list[str]]:
        named = {"team": self.team, "feature": self.feature}
        return {dimension: [value] for dimension, value in named.items() if value}


def _rung(
    percent: int,
    action: str,
    config: Mapping[str, object] | None = None,
    approval: str = "automatic",
    trigger: str = "actual",
) -> RungSpec:
    return RungSpec(Decimal(percent), action, config or {}, approval, trigger=trigger)


_REPLAYED = (
    _Wanted(
        _ALL,
        "",
        (
            _rung(80, "notify"),
            _rung(100, "notify", trigger="forecast"),
            _rung(200, "notify", {"hours": 24}, trigger="burn_rate"),
        ),
        forecast=104,
        under="",
    ),
    _Wanted(
        "Search",
        "search",
        (
            _rung(60, "notify"),
            _rung(85, "throttle", _THROTTLE),
            _rung(110, "shutdown", approval="one"),
            _rung(400, "notify", trigger="trend"),
        ),
        used=91,
    ),
    _Wanted(
        "Growth",
        "growth",
        (_rung(70, "notify"), _rung(90, "throttle", _THROTTLE), _rung(100, "shutdown", {"retry_after_seconds": 600})),
        used=103,
    ),
    _Wanted(
        "Support",
        "support",
        (
            _rung(95, "notify"),
            _rung(100, "throttle", _THROTTLE),
            _rung(120, "throttle", _THROTTLE, approval="one", trigger="forecast"),
        ),
        forecast=82,
        terms=BudgetTerms(rollover="unused", rollover_cap_percent=Decimal(10), criticality="high"),
    ),
    _Wanted("Research", "research", (_rung(60, "notify"), _rung(100, "throttle", _THROTTLE)), used=64),
    _Wanted(
        _BRIEFS,
        "growth",
        (
            _rung(90, "notify"),
            _rung(250, "notify", {"hours": 6}, trigger="burn_rate"),
            _rung(300, "notify", trigger="trend"),
        ),
        used=72,
        feature="market-briefs",
        under="Growth",
        terms=BudgetTerms(rolling_days=7),
    ),
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

    Those that are there stay. Where there are budgets already nothing is replayed: their ladders must not see the past
    again.
    """
    known = {line.name: line.id for line in queries.budgets(now=now, teams=None, with_inactive=True)}
    missing = [wanted for wanted in (*_REPLAYED, _WAITING) if _named(wanted.title) not in known]
    if not missing:
        return 0
    _gate(usage_source_id, now=now)
    period, is_first = _period(now), not known
    for wanted in missing:
        if wanted is not _WAITING:
            known[_named(wanted.title)] = _create(wanted, period, known, now=now)
    if is_first:
        for moment in _moments(periods.budget_period(period, periods.day_of(now)), now):
            _act(usage_source_id, moment)
    if _WAITING in missing:
        _create(_WAITING, period, known, now=now)
    _act(usage_source_id, now)
    evaluate.run(now=now)  # again: what is in force now is part of a budget's state
    return len(missing)


def _named(title: str) -> str:
    return f"{PREFIX}{title}"


def _act(usage_source_id: int, moment: datetime) -> None:
    """One round of the ladder, with a gate that holds the policy a second later and proves it."""
    evaluate.run(now=moment)
    measure.run(now=moment)
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
    """Just before the noon of each of the last days of the period that are over: what an hour cost is known when it ends."""
    for day in list(days.until(periods.day_of(now)))[-_REPLAYED_DAYS:]:
        yield Days(day, day + timedelta(days=1)).start_at + timedelta(hours=11, minutes=59)


def _create(wanted: _Wanted, period: str, known: Mapping[str, int], *, now: datetime) -> int:
    """The id of the new budget. It counts as made when the period before began, so that there is something to look back on."""
    terms = replace(wanted.terms, parent_id=known.get(_named(wanted.under)))
    team = next((team for team in organisation.TEAMS if team.name == wanted.team), None)
    days = periods.budget_period(period, periods.day_of(now))
    return budgets.create(
        name=_named(wanted.title),
        scope=wanted.scope,
        amount=_amount(wanted, days, now),
        currency="USD",
        period="rolling" if terms.rolling_days else period,
        rungs=wanted.rungs,
        owner_email=team.email if team else "finance@quillfern.example",
        terms=terms,
        by=organisation.SET_BY,
        now=periods.budget_period(period, days.start - timedelta(days=1)).start_at,
        is_sample=True,
    )


def _amount(wanted: _Wanted, period: Days, now: datetime) -> Decimal:
    """What makes the budget as far used, or as far ahead, as it shall be."""
    today = periods.day_of(now)
    tomorrow = today + timedelta(days=1)
    rolling = wanted.terms.rolling_days
    days = Days(tomorrow - timedelta(days=rolling), tomorrow) if rolling else period
    spent = _spent(wanted.scope, days.until(tomorrow))
    if wanted.used:
        return _rounded(spent * 100 / wanted.used)
    complete = days.until(today)
    pace = _spent(wanted.scope, complete) / len(complete) if len(complete) > 2 else _usual(wanted.scope, now)
    return _rounded(max(pace * len(days), spent) * 100 / wanted.forecast)


def _period(now: datetime) -> str:
    """The month, or on its first days a longer or shorter period that has more to show."""
    today = periods.day_of(now)
    least = _usual({}, now) * _LEAST_DAYS
    for period in ("month", "week", "quarter"):
        if _spent({}, periods.budget_period(period, today).until(today + timedelta(days=1))) >= least:
            return period
    return "month"


def _usual(scope: Mapping[str, list[str]], now: datetime) -> Decimal:
    """What an average day of the last weeks has cost."""
    today = periods.day_of(now)
    return _spent(scope, Days(today - timedelta(days=_USUAL_DAYS), today)) / _USUAL_DAYS


def _spent(scope: Mapping[str, list[str]], days: Days) -> Decimal:
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
