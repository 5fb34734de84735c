"""Measure what triggers ask beyond the evaluation: spend by the hour, and whether anybody uses a scope. Once a minute."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import F, Q

from alerts import ladder, queries, sights, spent
from alerts.models import Budget, BudgetState, Rung, RungLevel
from alerts.spent import Window
from alerts.triggers import KINDS
from alerts.triggers.base import Activity, Sight
from attribution import queries as spend_queries
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from ingest import queries as ingest_queries

EVERY = timedelta(minutes=1)
_KINDS = [kind.kind for kind in KINDS if kind.is_measured]
_IDLE_DAYS = 14
_OWN = "self_hosted"
_BEYOND = timedelta(hours=26)  # deliveries are late by up to a day


def run(*, now: datetime) -> int:
    """Measures the rungs that were measured a minute ago or longer, or with other settings; returns how many.

    A repeat within the minute measures nothing; two at once measure the same twice.
    """
    found: dict[int, list[Rung]] = {}
    for rung in _due(now):
        found.setdefault(rung.budget_id, []).append(rung)
    if not found:
        return 0
    through = ingest_queries.freshness(now=now).complete_through
    levels = [level for rungs in found.values() for level in _measure(rungs, through, now)]
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


def _measure(rungs: Sequence[Rung], through: datetime | None, now: datetime) -> list[RungLevel]:
    """The levels of the rungs of one budget; not known while its period was not evaluated."""
    budget = rungs[0].budget
    state = BudgetState.objects.filter(budget=budget, evaluated_at__lte=now).order_by("-evaluated_at").first()
    if state is None:
        return []
    state.budget = budget
    seen = _filled(sights.sight(state, now), budget, rungs, through)
    return [
        RungLevel(
            rung=rung,
            level=KINDS[rung.trigger]().level(rung.config, seen, is_enforcing=rung.action in ladder.ENFORCING),
            config=rung.config,
            measured_at=now,
        )
        for rung in rungs
    ]


def _filled(seen: Sight, budget: Budget, rungs: Sequence[Rung], through: datetime | None) -> Sight:
    kinds = [(KINDS[rung.trigger](), rung.config) for rung in rungs]
    hours = [ahead for kind, config in kinds if (ahead := kind.needs_hours(config)) is not None]
    calls = [ahead for kind, config in kinds if (ahead := kind.needs_calls(config)) is not None]
    idle = [timedelta(minutes=config["minutes"]) for kind, config in kinds if kind.needs_activity()]
    return replace(
        seen,
        hours=_spend(budget, max(hours), seen.now) if hours else None,
        calls=_calls(budget, max(calls), seen.now) if calls else None,
        activity=_activity(budget, through, max(idle), seen.now) if idle else None,
    )


def _spend(budget: Budget, back: timedelta, now: datetime) -> list[tuple[datetime, Decimal]]:
    days = Days(periods.day_of(now - back), periods.day_of(now) + timedelta(days=1))
    return list(spent.by_hour(Window(budget.scope, budget.currency, days.start_at, days.end_at, days.end_at)).items())


def _calls(budget: Budget, back: timedelta, now: datetime) -> list[tuple[datetime, Decimal]]:
    found = spend_queries.usage_by_hour(scope=_scope(budget, now), since=now - back, until=now)
    return [(hour.hour, hour.estimated_cost) for hour in found]


def _activity(budget: Budget, through: datetime | None, longest: timedelta, now: datetime) -> Activity:
    """The use of the scope in the last days. GPUs are looked at for the deployments of our own that its calls went to, and no
    further back than the longest idle time that a rung waits for.
    """
    first = (now - longest - _BEYOND).replace(minute=0, second=0, microsecond=0)
    group = ("deployment", "provider_name")
    since = now - timedelta(days=_IDLE_DAYS)
    used = spend_queries.usage_by_hour(scope=_scope(budget, now), since=since, until=now, group_by=group)
    named = set(budget.scope.get("deployment", ()))
    own = named | {hour.keys[0] for hour in used if hour.keys[0] and hour.keys[1] == _OWN}
    return Activity(
        complete_through=through,
        last_request_hour=max((max(hour.hour, first) for hour in used if hour.requests), default=None),
        has_gpus=bool(own),
        gpu_percents=_gpus(own, first, now) if own else {},
    )


def _gpus(deployments: set[str], first: datetime, now: datetime) -> dict[datetime, Decimal]:
    days = Days(periods.day_of(first), periods.day_of(now) + timedelta(days=1))
    found: dict[datetime, Decimal] = {}
    for cell in spend_queries.gpu_utilisation(scope=SpendScope(days, teams=None)):
        if cell.busy_permille is None or not deployments & set(cell.deployment.split(", ")):
            continue
        found[cell.hour] = max(found.get(cell.hour, Decimal(0)), Decimal(cell.busy_permille) / 10)
    return found


def _scope(budget: Budget, now: datetime) -> SpendScope:
    today = periods.day_of(now)
    return queries.spend_scope(budget, Days(today, today + timedelta(days=1)))
