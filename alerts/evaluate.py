"""Compare every budget with the books: how much is used, where it leads, and whether the data can be trusted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from alerts import brakes, curves, ladder
from alerts.models import ActionRun, Budget, BudgetState, Rung
from attribution import queries as spend_queries
from costobs.kernel import money
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
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


@dataclass(frozen=True, slots=True)
class _Spent:
    """The spend of a budget in its period so far; `complete_cost` is without today and without what corrects closed months."""

    cost: Decimal
    estimated_cost: Decimal
    unpriced_cost: Decimal
    complete_cost: Decimal
    adjusted_cost: Decimal


@dataclass(frozen=True, slots=True)
class _Ahead:
    """Where a budget leads; only a forecast that was tested on the past has an interval and an error."""

    cost: Decimal | None
    method: str
    low_cost: Decimal | None = None
    high_cost: Decimal | None = None
    error_percent: Decimal | None = None


_EVALUATED = (
    "period_end",
    "evaluated_at",
    "complete_through",
    "spend_cost",
    "estimated_cost",
    "unpriced_cost",
    "forecast_cost",
    "forecast_method",
    "forecast_low_cost",
    "forecast_high_cost",
    "forecast_error_percent",
    "used_percent",
    "state",
    "is_stale",
)


def run(*, now: datetime) -> list[Evaluation]:
    """Evaluates every active budget in its current period and keeps the result; repeating it changes only the time.

    The spend is the answer of `attribution.queries` to the budget's scope: billed where the bill is in, else estimated,
    with unpriced usage at its conservative price. With stale books the figures are kept and the state is `unknown`.
    """
    rows = list(Budget.objects.filter(is_active=True).order_by("pk"))
    if not rows:
        return []
    is_stale = ingest_queries.is_stale(now=now)
    pause = brakes.pause(now=now)
    complete_through = ingest_queries.freshness(now=now).complete_through
    in_force = _in_force(rows)
    lowest = _lowest_rungs()
    spent = _spent(rows, periods.day_of(now))
    forecasts = _forecasts(rows, periods.day_of(now))
    states = [
        _evaluate(
            row,
            spent[row.pk],
            now,
            is_stale,
            complete_through,
            in_force.get(row.pk, frozenset()),
            lowest.get(row.pk),
            forecasts.get(row.pk),
            is_paused=brakes.paused_until(row, pause, now) is not None,
        )
        for row in rows
    ]
    BudgetState.objects.bulk_create(
        states,
        update_conflicts=True,
        unique_fields=["budget", "period_start"],
        update_fields=_EVALUATED,
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
    spent: _Spent,
    now: datetime,
    is_stale: bool,
    complete_through: datetime | None,
    in_force: frozenset[str],
    lowest_rung: Decimal | None,
    curve: curves.Curve | None,
    *,
    is_paused: bool,
) -> BudgetState:
    today = periods.day_of(now)
    days = periods.budget_period(row.period, today)
    ahead = _ahead(curve, days, spent, today)
    forecast = ahead.cost
    used = ladder.percent_of(spent.cost, row.amount)
    facts = ladder.Facts(
        used_percent=used,
        forecast_percent=None if forecast is None else ladder.percent_of(forecast, row.amount),
        lowest_rung=lowest_rung,
        is_stale=is_stale,
        is_paused=is_paused,
        in_force=in_force,
    )
    return BudgetState(
        budget=row,
        period_start=days.start,
        period_end=days.end,
        evaluated_at=now,
        complete_through=complete_through,
        spend_cost=spent.cost,
        estimated_cost=spent.estimated_cost,
        unpriced_cost=spent.unpriced_cost,
        forecast_cost=forecast,
        forecast_method=ahead.method,
        forecast_low_cost=ahead.low_cost,
        forecast_high_cost=ahead.high_cost,
        forecast_error_percent=ahead.error_percent,
        used_percent=used,
        state=ladder.standing(facts),
        is_stale=is_stale,
    )


def _forecasts(rows: Sequence[Budget], today: date) -> dict[int, curves.Curve]:
    starts = {row.pk: periods.budget_period(row.period, today).start for row in rows}
    return curves.newest(starts=starts, today=today)


def _ahead(curve: curves.Curve | None, days: Days, spent: _Spent, today: date) -> _Ahead:
    """The forecast that was worked out, with what is spent since; else the naive pace."""
    if curve is not None:
        now = curve.at(today=today, spent_cost=spent.cost, adjusted_cost=spent.adjusted_cost)
        return _Ahead(now.end.expected, now.method, now.end.low, now.end.high, now.error_percent)
    pace = ladder.naive_pace(
        days=days,
        complete=days.until(today),
        complete_cost=spent.complete_cost,
        spend_cost=spent.cost,
        adjusted_cost=spent.adjusted_cost,
    )
    return _Ahead(None, "") if pace is None else _Ahead(pace.forecast_cost, ladder.NAIVE_PACE)


def _spent(rows: Sequence[Budget], today: date) -> dict[int, _Spent]:
    """What each budget has spent. Budgets that ask alike are answered together: by their dimensions, summed exactly."""
    alike: dict[tuple[Days, str, tuple[str, ...]], list[Budget]] = {}
    for row in rows:
        days = periods.budget_period(row.period, today)
        alike.setdefault((days, row.currency, tuple(sorted(row.scope))), []).append(row)
    is_adjusted = spend_queries.is_adjusted()
    found: dict[int, _Spent] = {}
    for (days, currency, dimensions), members in alike.items():
        before = _groups(days.until(today), currency, dimensions)
        now = Days(today, today + timedelta(days=1))
        current = _groups(now, currency, dimensions)
        asked = (days.until(today), now) if is_adjusted else (Days(today, today), Days(today, today))
        corrected, today_corrected = (_adjusted(one, currency, dimensions) for one in asked)
        for row in members:
            wanted = [set(row.scope[name]) for name in dimensions]
            complete, all_ = _within(before, wanted), _within([*before, *current], wanted)
            found[row.pk] = _Spent(
                cost=money.total(group.cost for group in all_),
                estimated_cost=money.total(group.estimated_cost for group in all_),
                unpriced_cost=money.total(group.unpriced_cost for group in all_),
                complete_cost=money.EXACT.subtract(
                    money.total(group.cost for group in complete), _sum(corrected, wanted)
                ),
                adjusted_cost=money.EXACT.add(_sum(corrected, wanted), _sum(today_corrected, wanted)),
            )
    return found


def _groups(days: Days, currency: str, dimensions: tuple[str, ...]) -> list[spend_queries.SpendRow]:
    scope = SpendScope(days, (), "effective", currency, teams=None)
    return spend_queries.spend(scope=scope, group_by=dimensions) if len(days) else []


def _adjusted(days: Days, currency: str, dimensions: tuple[str, ...]) -> dict[tuple[str, ...], Decimal]:
    scope = SpendScope(days, (), "effective", currency, teams=None)
    return spend_queries.adjusted_spend(scope=scope, group_by=dimensions) if len(days) else {}


def _sum(found: Mapping[tuple[str, ...], Decimal], wanted: Sequence[set[str]]) -> Decimal:
    return money.total(
        cost for keys, cost in found.items() if all(key in values for key, values in zip(keys, wanted, strict=True))
    )


def _within(groups: Sequence[spend_queries.SpendRow], wanted: Sequence[set[str]]) -> list[spend_queries.SpendRow]:
    return [group for group in groups if all(key in values for key, values in zip(group.keys, wanted, strict=True))]


def _in_force(rows: Iterable[Budget]) -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    runs = ActionRun.objects.filter(budget__in=rows, state__in=ladder.APPLYING)
    for budget_id, action in runs.values_list("budget_id", "action"):
        found.setdefault(budget_id, set()).add(action)
    return {budget_id: frozenset(actions) for budget_id, actions in found.items()}


def _lowest_rungs() -> dict[int, Decimal]:
    found: dict[int, Decimal] = {}
    for budget_id, percent in (
        Rung.objects.filter(is_active=True, trigger="actual").order_by("-percent").values_list("budget_id", "percent")
    ):
        found[budget_id] = percent
    return found
