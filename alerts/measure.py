"""Measure what triggers ask beyond the evaluation: spend by the hour, and whether anybody uses a scope. Once a minute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import F, Q

from alerts import ladder, queries, sights, spent
from alerts.models import Budget, BudgetState, Rung, RungLevel
from alerts.spent import Window
from alerts.triggers import KINDS
from alerts.triggers.base import Activity, Sight
from attribution import dimensions
from attribution import queries as spend_queries
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from ingest import queries as ingest_queries
from ingest.queries import SourceLine

EVERY = timedelta(minutes=1)
_KINDS = [kind.kind for kind in KINDS if kind.is_measured]
_IDLE_DAYS = 14
_OWN = dimensions.PROVIDERS[dimensions.SELF_HOSTED].provider_name
_BEYOND = timedelta(hours=26)  # deliveries are late by up to a day
_HALF = timedelta(minutes=30)
_TELLING = frozenset({"usage", "usage_buckets", "gpu_samples"})


def run(*, now: datetime) -> int:
    """Measures the rungs that were measured a minute ago or longer, or with other settings; returns how many.

    A repeat within the minute measures nothing; two at once measure the same twice.
    """
    found: dict[int, list[Rung]] = {}
    for rung in _due(now):
        found.setdefault(rung.budget_id, []).append(rung)
    if not found:
        return 0
    sources = ingest_queries.freshness(now=now).sources
    levels = [level for rungs in found.values() for level in _measure(rungs, sources, now)]
    RungLevel.objects.bulk_create(
        levels,
        update_conflicts=True,
        unique_fields=["rung"],
        update_fields=["level", "config", "measured_at"],
    )
    return len(levels)


def _due(now: datetime) -> Sequence[Rung]:
    old = Q(measured=None) | Q(measured__measured_at__lte=now - EVERY) | ~Q(measured__config=F("config"))
    rungs = Rung.objects.filter(old, is_active=True, budget__is_active=True, trigger__in=_KINDS)
    return list(rungs.select_related("budget").order_by("budget_id", "pk"))


def _measure(rungs: Sequence[Rung], sources: Sequence[SourceLine], now: datetime) -> list[RungLevel]:
    """The levels of the rungs of one budget; not known while its period was not evaluated."""
    budget = rungs[0].budget
    state = BudgetState.objects.filter(budget=budget, evaluated_at__lte=now).order_by("-evaluated_at").first()
    if state is None:
        return []
    state.budget = budget
    seen = _filled(sights.sight(state, now), budget, rungs, sources)
    return [
        RungLevel(
            rung=rung,
            level=KINDS[rung.trigger]().level(rung.config, seen, is_enforcing=rung.action in ladder.ENFORCING),
            config=rung.config,
            measured_at=now,
        )
        for rung in rungs
    ]


def _filled(seen: Sight, budget: Budget, rungs: Sequence[Rung], sources: Sequence[SourceLine]) -> Sight:
    kinds = [(KINDS[rung.trigger](), rung.config) for rung in rungs]
    hours = [ahead for kind, config in kinds if (ahead := kind.needs_hours(config)) is not None]
    calls = [ahead for kind, config in kinds if (ahead := kind.needs_calls(config)) is not None]
    idle = [timedelta(minutes=config["minutes"]) for kind, config in kinds if kind.needs_activity()]
    return replace(
        seen,
        hours=_spend(budget, max(hours), seen.now) if hours else None,
        calls=_calls(budget, max(calls), seen.now) if calls else None,
        activity=_activity(budget, sources, max(idle), seen.now) if idle else None,
    )


def _spend(budget: Budget, back: timedelta, now: datetime) -> list[tuple[datetime, Decimal]]:
    days = Days(periods.day_of(now - back), periods.day_of(now) + timedelta(days=1))
    return list(spent.by_hour(Window(budget.scope, budget.currency, days.start_at, days.end_at, days.end_at)).items())


def _calls(budget: Budget, back: timedelta, now: datetime) -> list[tuple[datetime, Decimal]]:
    found = spend_queries.usage_by_hour(scope=_scope(budget, now), since=now - back, until=now)
    return [(hour.hour, hour.estimated_cost) for hour in found]


def _activity(budget: Budget, sources: Sequence[SourceLine], longest: timedelta, now: datetime) -> Activity:
    """The use of the scope in the last days. GPUs are looked at for the deployments of our own that its calls went to, and no
    further back than the longest idle time that a rung waits for.
    """
    first = (now - longest - _BEYOND).replace(minute=0, second=0, microsecond=0)
    group = ("deployment", "provider_name")
    since = now - timedelta(days=_IDLE_DAYS)
    used = spend_queries.calls_by_hour(scope=_scope(budget, now), since=since, until=now, group_by=group)
    places = {hour.keys for hour in used}
    own = {deployment for deployment, provider in places if deployment and provider == _OWN}
    unused = set(budget.scope.get("deployment", ())) - {deployment for deployment, _ in places}
    gpus = _Gpus.of(own | unused, first, now) if own | unused else None
    is_own = all(deployment and provider == _OWN for deployment, provider in places)
    return Activity(
        complete_through=_through(sources, gpus, is_own=is_own),
        last_request_hour=max((max(hour.hour, first) for hour in used if hour.requests), default=None),
        has_gpus=gpus is not None,
        gpu_percents={} if gpus is None else gpus.percents,
        gpu_gaps=frozenset() if gpus is None else gpus.gaps(),
    )


@dataclass(frozen=True, slots=True)
class _Gpus:
    """How busy the busiest GPU of some deployments was in each hour, and how much of the hour was measured."""

    percents: Mapping[datetime, Decimal]
    covered: Mapping[datetime, timedelta]

    @property
    def through(self) -> datetime | None:
        last = max(self.covered, default=None)
        return None if last is None else last + self.covered[last]

    def gaps(self) -> frozenset[datetime]:
        return frozenset(hour for hour, covered in self.covered.items() if covered < _HALF)

    @classmethod
    def of(cls, deployments: set[str], first: datetime, now: datetime) -> "_Gpus":
        days = Days(periods.day_of(first), periods.day_of(now) + timedelta(days=1))
        percents: dict[datetime, Decimal] = {}
        covered: dict[datetime, timedelta] = {}
        for cell in spend_queries.gpu_utilisation(scope=SpendScope(days, teams=None)):
            if cell.busy_permille is None or not deployments & set(cell.deployment.split(", ")):
                continue
            percents[cell.hour] = max(percents.get(cell.hour, Decimal(0)), Decimal(cell.busy_permille) / 10)
            here = timedelta(milliseconds=cell.covered_ms)
            covered[cell.hour] = max(covered.get(cell.hour, timedelta(0)), here)
        return cls(percents, covered)


def _through(sources: Sequence[SourceLine], gpus: _Gpus | None, *, is_own: bool) -> datetime | None:
    """Until when it is known whether anybody uses the scope. Bills do not tell. A source that is pushed to tells nothing while
    nobody calls; where all calls go to GPUs of our own, their telemetry tells instead.
    """
    is_told = gpus is not None and is_own
    known = [
        line.complete_through
        for line in sources
        if line.complete_through and line.status == "on_time" and line.produces in _TELLING
        if not (is_told and (line.is_pushed or line.produces == "usage_buckets"))
    ]
    if gpus is None:
        return min(known, default=None)
    return None if gpus.through is None else min([*known, gpus.through])


def _scope(budget: Budget, now: datetime) -> SpendScope:
    today = periods.day_of(now)
    return queries.spend_scope(budget, Days(today, today + timedelta(days=1)))
