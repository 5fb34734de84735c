"""A budget through time: its spend by day in this period, and the periods before it."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from alerts import ladder, spans, spent, wording
from alerts.models import Budget, BudgetPeriod
from alerts.rows import BudgetLine, BurnDay, PeriodVariance
from alerts.spans import Span
from alerts.spent import Window
from attribution import queries as spend_queries
from costobs.kernel import money
from costobs.kernel.period import Days
from costobs.kernel.scope import Filter, SpendScope

_PERIODS_SHOWN = 6
_DAY = timedelta(days=1)


def window(row: Budget, now: datetime) -> Window:
    """The current period up to the end of today in the budget's zone."""
    span, zone, today = spans.current(row, now), spans.zone_of(row), spans.today(row, now)
    ends_at = max(span.starts_at, min(span.ends_at, spans.midnight(today + _DAY, zone)))
    return Window(row.scope, row.currency, span.starts_at, ends_at, ends_at)


def burn_up(row: Budget, asked: Window, now: datetime) -> tuple[BurnDay, ...]:
    """The running total at the end of each day of the current period, up to today."""
    span, zone, today = spans.current(row, now), spans.zone_of(row), spans.today(row, now)
    days = span.days.until(today + _DAY)
    by_day = spent.by_day(asked, zone) if len(days) else {}
    adjusted = spend_queries.adjusted_by_day(scope=spend_scope(row, days))
    final = spend_queries.last_final_day()
    final_until = None if final is None else Days(final, final + _DAY).end_at
    burn, running = [], Decimal(0)
    for day in days:
        cost = by_day.get(day, Decimal(0))
        running = money.EXACT.add(running, cost)
        is_final = final_until is not None and spans.midnight(day + _DAY, zone) <= final_until
        burn.append(BurnDay(day, cost, running, is_final, adjusted.get(day, Decimal(0))))
    return tuple(burn)


def periods(row: Budget, line: BudgetLine, spend_cost: Decimal, now: datetime) -> tuple[PeriodVariance, ...]:
    """The current period and those before it, newest first. What a period had is kept from when it ended; spend is today's."""
    current = spans.current(row, now)
    past = _past(row, current)
    answers = spent.spent(
        {
            number: Window(row.scope, row.currency, span.starts_at, span.ends_at, span.ends_at)
            for number, span in enumerate(past)
        }
    )
    kept = _kept(row, past)
    found = [_period(row, line, current, None, spend_cost, is_current=True)]
    found += [
        _period(row, line, span, kept.get(span.key_date), answers[number].cost, is_current=False)
        for number, span in enumerate(past)
    ]
    return tuple(found)


def during(lines: Sequence[BudgetLine], days: Days, now: datetime) -> dict[int, PeriodVariance]:
    """Each budget in its own period of exactly these days, where it has that, else in its current one: all asked at once."""
    rows = Budget.objects.in_bulk([line.id for line in lines])
    asked = [(rows[line.id], line) for line in lines if line.id in rows]
    currents = {row.pk: spans.current(row, now) for row, _ in asked}
    found = {row.pk: _same(row, currents[row.pk], days) for row, _ in asked}
    answers = spent.spent({row.pk: _asked(row, found[row.pk], currents[row.pk], now) for row, _ in asked})
    starts = {span.key_date for span in found.values()}
    past = BudgetPeriod.objects.filter(budget__in=rows, period_start__in=starts)
    kept = {(one.budget_id, one.period_start): one for one in past}
    return {
        row.pk: _period(
            row, line, found[row.pk], kept.get((row.pk, found[row.pk].key_date)), answers[row.pk].cost,
            is_current=found[row.pk] == currents[row.pk],
        )
        for row, line in asked
    }  # fmt: skip


def _same(row: Budget, current: Span, days: Days) -> Span:
    return next((span for span in (current, *_past(row, current)) if span.days == days), current)


def _asked(row: Budget, span: Span, current: Span, now: datetime) -> Window:
    if span == current:
        return window(row, now)
    return Window(row.scope, row.currency, span.starts_at, span.ends_at, span.ends_at)


def spend_scope(row: Budget, days: Days) -> SpendScope:
    """The budget's question to the books: the same one that a page with these filters asks."""
    filters = tuple(Filter(name, tuple(row.scope[name])) for name in sorted(row.scope))
    return SpendScope(days, filters, "effective", row.currency, teams=None)


def _past(row: Budget, current: Span) -> list[Span]:
    found: list[Span] = []
    one = spans.before(row, current)
    while one is not None and len(found) < _PERIODS_SHOWN - 1:
        found.append(one)
        one = spans.before(row, one)
    return found


def _kept(row: Budget, past: Sequence[Span]) -> Mapping[date, BudgetPeriod]:
    rows = BudgetPeriod.objects.filter(budget=row, period_start__in=[span.key_date for span in past])
    return {one.period_start: one for one in rows}


def _period(
    row: Budget,
    line: BudgetLine,
    span: Span,
    kept: BudgetPeriod | None,
    actual: Decimal,
    *,
    is_current: bool,
) -> PeriodVariance:
    base = spans.base_amount(row.amount, row.currency, is_prorated=row.is_prorated, span=span)
    amount = line.amount if is_current else kept.amount if kept else base
    forecast = line.forecast_cost if is_current else None
    variance = (actual if forecast is None else forecast) - amount
    return PeriodVariance(
        days=span.days,
        label=wording.period(row.period, span.days),
        amount=amount,
        actual_cost=actual,
        forecast_cost=forecast,
        variance_cost=variance,
        variance_percent=ladder.percent_of(variance, amount),
        is_favourable=variance <= 0,
        is_current=is_current,
        is_settled=is_current or kept is not None,
        carried_cost=line.carried_cost if is_current else kept.carried_cost if kept else Decimal(0),
        borrowed_cost=line.borrowed_cost if is_current else kept.borrowed_cost if kept else Decimal(0),
    )
