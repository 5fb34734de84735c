"""Compare every budget with the books: how much is used, where it leads, and whether the data can be trusted."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from alerts import ladder, queries
from alerts.models import ActionRun, Budget, BudgetState, Rung
from attribution import queries as spend_queries
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from ingest import queries as ingest_queries


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found for one budget."""

    budget_id: int
    name: str
    days: Days
    spend_cost: Decimal
    forecast_cost: Decimal | None
    used_percent: Decimal
    state: str
    is_stale: bool


def run(*, now: datetime) -> list[Evaluation]:
    """Evaluates every active budget in its current period and keeps the result; repeating it changes only the time.

    The spend is the answer of `attribution.queries` to the budget's scope: billed where the bill is in, else estimated,
    with unpriced usage at its conservative price. With stale books the figures are kept and the state is `unknown`.
    """
    rows = list(Budget.objects.filter(is_active=True).order_by("pk"))
    if not rows:
        return []
    today = periods.day_of(now)
    is_stale = ingest_queries.is_stale(now=now)
    complete_through = ingest_queries.freshness(now=now).complete_through
    in_force = _in_force(rows)
    lowest = _lowest_rungs()
    states = [
        _evaluate(row, now, today, is_stale, complete_through, in_force.get(row.pk, frozenset()), lowest.get(row.pk))
        for row in rows
    ]
    BudgetState.objects.bulk_create(
        states,
        update_conflicts=True,
        unique_fields=["budget", "period_start"],
        update_fields=[
            "period_end",
            "evaluated_at",
            "complete_through",
            "spend_cost",
            "estimated_cost",
            "unpriced_cost",
            "forecast_cost",
            "forecast_method",
            "used_percent",
            "state",
            "is_stale",
        ],
    )
    return [
        Evaluation(
            budget_id=row.pk,
            name=row.name,
            days=Days(state.period_start, state.period_end),
            spend_cost=state.spend_cost,
            forecast_cost=state.forecast_cost,
            used_percent=state.used_percent,
            state=state.state,
            is_stale=state.is_stale,
        )
        for row, state in zip(rows, states, strict=True)
    ]


def _evaluate(
    row: Budget,
    now: datetime,
    today: date,
    is_stale: bool,
    complete_through: datetime | None,
    in_force: frozenset[str],
    lowest_rung: Decimal | None,
) -> BudgetState:
    days = periods.budget_period(row.period, today)
    so_far = days.until(today + timedelta(days=1))
    scope = queries.spend_scope(row, so_far)
    (found,) = spend_queries.spend(scope=scope)
    pace = _pace(row, days, today, found.cost)
    forecast = None if pace is None else pace.forecast_cost
    used = ladder.percent_of(found.cost, row.amount)
    facts = ladder.Facts(
        used_percent=used,
        forecast_percent=None if forecast is None else ladder.percent_of(forecast, row.amount),
        lowest_rung=lowest_rung,
        is_stale=is_stale,
        is_paused=row.paused_until is not None and row.paused_until > now,
        in_force=in_force,
    )
    return BudgetState(
        budget=row,
        period_start=days.start,
        period_end=days.end,
        evaluated_at=now,
        complete_through=complete_through,
        spend_cost=found.cost,
        estimated_cost=found.estimated_cost,
        unpriced_cost=found.unpriced_cost,
        forecast_cost=forecast,
        forecast_method=ladder.NAIVE_PACE if forecast is not None else "",
        used_percent=used,
        state=ladder.standing(facts),
        is_stale=is_stale,
    )


def _pace(row: Budget, days: Days, today: date, spend_cost: Decimal) -> ladder.Pace | None:
    complete = days.until(today)
    if len(complete) < ladder.MIN_PACE_DAYS:
        return None
    (found,) = spend_queries.spend(scope=queries.spend_scope(row, complete))
    return ladder.naive_pace(days=days, complete=complete, complete_cost=found.cost, spend_cost=spend_cost)


def _in_force(rows: Iterable[Budget]) -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    runs = ActionRun.objects.filter(budget__in=rows, state__in=ladder.APPLYING)
    for budget_id, action in runs.values_list("budget_id", "action"):
        found.setdefault(budget_id, set()).add(action)
    return {budget_id: frozenset(actions) for budget_id, actions in found.items()}


def _lowest_rungs() -> dict[int, Decimal]:
    found: dict[int, Decimal] = {}
    for budget_id, percent in (
        Rung.objects.filter(is_active=True).order_by("-percent").values_list("budget_id", "percent")
    ):
        found[budget_id] = percent
    return found
