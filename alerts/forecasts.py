"""What was said about budgets and what it became: their forecasts of periods that are over, beside the actual cost."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from alerts import queries, spans, spent, wording
from alerts.models import Budget, BudgetForecast
from alerts.rows import Said
from alerts.spent import Window
from costobs.kernel import money
from costobs.kernel.period import Days

_PERIODS = 4


def said(*, budget_id: int, now: datetime, teams: queries.Teams) -> list[Said]:
    """What was expected on a few days of each period that is over, the newest first. Raises NotFound.

    Actual cost is what the books say now. Of each period the forecasts nearest to a third and two thirds of it are taken.
    """
    row = Budget.objects.filter(pk=budget_id).first()
    if row is None or not queries.may_see(row, teams):
        raise queries.NotFound(f"there is no budget {budget_id}")
    today = spans.today(row, now)
    rows = BudgetForecast.objects.filter(budget=row, period_end__lte=today, forecast_cost__isnull=False)
    by_period: dict[Days, list[BudgetForecast]] = {}
    for one in rows.order_by("-period_start", "through"):
        days = spans.keyed(row, one.period_start, now).days
        if days.end == one.period_end:  # the budget began or ended elsewhere when it was made
            by_period.setdefault(days, []).append(one)
    shown = list(by_period.items())[:_PERIODS]
    if not shown:
        return []
    actual = _actual(row, Days(shown[-1][0].start, shown[0][0].end))
    return [_said(row, days, one, actual) for days, kept in shown for one in _chosen(days, kept)]


def _chosen(days: Days, kept: list[BudgetForecast]) -> list[BudgetForecast]:
    """The forecasts nearest to a third and to two thirds of the period, each once."""
    found = set()
    for third in (1, 2):
        wanted = days.start + timedelta(days=len(days) * third // 3)
        _, nearest = min((abs((one.through - wanted).days), one.pk) for one in kept)
        found.add(nearest)
    return [one for one in kept if one.pk in found]


def _actual(row: Budget, days: Days) -> dict[date, Decimal]:
    zone = spans.zone_of(row)
    starts_at, ends_at = spans.midnight(days.start, zone), spans.midnight(days.end, zone)
    return spent.by_day(Window(row.scope, row.currency, starts_at, ends_at, ends_at), zone)


def _said(row: Budget, days: Days, one: BudgetForecast, actual: dict[date, Decimal]) -> Said:
    forecast = one.forecast_cost or Decimal(0)
    return Said(
        days=days,
        label=wording.period(row.period, days),
        through=one.through,
        forecast_cost=forecast,
        low_cost=forecast if one.forecast_low_cost is None else one.forecast_low_cost,
        high_cost=forecast if one.forecast_high_cost is None else one.forecast_high_cost,
        actual_cost=money.total(cost for day, cost in actual.items() if day in days),
        method=one.method,
        is_later=one.is_later,
    )
