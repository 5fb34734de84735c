"""Work out where budgets will end, ahead of need: evaluations and pages only read what is written here."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from alerts import spans, spent
from alerts.models import Budget, BudgetForecast
from alerts.queries import spend_scope
from alerts.spans import Span
from alerts.spent import Window
from attribution import forecast, outlook
from attribution import queries as spend_queries
from costobs.kernel import money
from costobs.kernel import period as periods
from costobs.kernel.period import Days

_PAST_PERIODS = 3
_NEAR = 2  # days from which something said is as good
_DAYS_BY_THE_HOUR = 120  # of history in a zone other than UTC, whose days are read from hours
_SOME = 20  # forecasts of the past in one round: what is due now comes first


def run(*, now: datetime, limit: int = 100, again: bool = False) -> list[int]:
    """The ids of the forecasts made: for each active budget whose books before today, scope or period have changed since its
    last one, at most `limit`; then some that earlier periods lack, as they would have been from the books as they are now.

    Each is one row for the budget, its period and the first open day; making it again replaces it, so it is safe to repeat,
    to kill and to run twice at once. `again` makes those of now even where nothing changed.
    """
    budgets = [row for row in Budget.objects.filter(is_active=True).order_by("pk") if _has_outlook(row)]
    books = spend_queries.history_mark(now=now, days=forecast.MAX_DAYS)
    marks = {row.pk: _mark(row, books) for row in budgets}
    today = periods.day_of(now)
    stored = BudgetForecast.objects.filter(budget__in=budgets, period_end__gt=today, is_later=False).order_by("made_at")
    known = {(row.budget_id, row.period_start): row.mark for row in stored.defer("days")}
    due = [row for row in budgets if again or known.get((row.pk, spans.current(row, now).key_date)) != marks[row.pk]]
    made = [_make(row, marks[row.pk], now) for row in due[:limit]]
    if len(due) < limit:
        made += _make_past(budgets, now)
    return made


def _has_outlook(row: Budget) -> bool:
    """A rolling window has no end to look ahead to."""
    return bool(row.period != spans.ROLLING)


def _mark(row: Budget, books: str) -> str:
    scope = sorted((name, sorted(values)) for name, values in row.scope.items())
    asked = (books, scope, row.period, row.currency, row.zone, row.starts_on, row.ends_on)
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def _make(row: Budget, mark: str, at: datetime, *, made_at: datetime | None = None) -> int:
    """One forecast as it is (or would have been) at `at`; a row without a method says that there is not enough history."""
    today = spans.today(row, at)
    span = spans.current(row, at)
    days = span.days
    found = _outlook(row, span, at, is_later=made_at is not None)
    if found is not None and (not found.is_interval or (made_at is not None and found.through != today)):
        found = (
            None  # the naive pace moves with every call, so an evaluation works it out itself; late is not as it was
        )
    values = {
        "period_end": days.end,
        "made_at": made_at or at,
        "is_later": made_at is not None,
        "mark": mark,
        **(_values(found) if found else _UNKNOWN),
        **({} if made_at is None else {"days": []}),
    }
    stored, _ = BudgetForecast.objects.update_or_create(
        budget=row, period_start=span.key_date, through=found.through if found else today, defaults=values
    )
    # A curve is read from the newest only; what was said on a day is its end and its interval.
    if made_at is None:
        older = BudgetForecast.objects.filter(budget=row, made_at__lt=stored.made_at).exclude(pk=stored.pk)
        older.exclude(days=[]).update(days=[])
    return stored.pk


def _outlook(row: Budget, span: Span, at: datetime, *, is_later: bool) -> outlook.Outlook | None:
    """The end of the period from the complete days of the budget's zone, in its currency. `is_later`: the books know more
    than they did at `at`, so what came on the days that were open then is left out.
    """
    zone, today = spans.zone_of(row), spans.today(row, at)
    if today not in span.days:
        return None
    known = spend_queries.known_until(scope=spend_scope(row, span.days), now=at)
    until = max(complete_until(row, known), today - timedelta(days=outlook.LATE_DAYS))
    start = since(row, span, until)
    window = Window(
        scope=row.scope,
        currency=row.currency,
        starts_at=spans.midnight(start, zone),
        split_at=spans.midnight(today, zone),
        ends_at=spans.midnight(today + timedelta(days=1), zone),
    )
    adjusted = {}
    if spend_queries.is_adjusted():
        adjusted = spend_queries.adjusted_by_day(scope=spend_scope(row, Days(start, today + timedelta(days=1))))
    by_day = spent.by_day(window, zone)
    if is_later:
        by_day = {day: cost for day, cost in by_day.items() if day < until}
        adjusted = {day: cost for day, cost in adjusted.items() if day < until}
    return outlook.with_costs(by_day=by_day, adjusted=adjusted, period=span.days, until=until, today=today)


def complete_until(row: Budget, known: date) -> date:
    """The first open day of the budget's zone when the UTC days before `known` are complete."""
    return Days(known, known).start_at.astimezone(spans.zone_of(row)).date()


def since(row: Budget, span: Span, until: date) -> date:
    """The first day of the history of a forecast whose first open day is `until`."""
    back = forecast.MAX_DAYS if row.zone == "UTC" else _DAYS_BY_THE_HOUR
    return min(span.days.start, until - timedelta(days=back))


_UNKNOWN: dict[str, object] = {
    "spent_cost": 0,
    "adjusted_cost": 0,
    "forecast_cost": None,
    "forecast_low_cost": None,
    "forecast_high_cost": None,
    "method": "",
    "error_percent": None,
    "pace_error_percent": None,
    "tests": 0,
    "tested_days": 0,
    "history_days": 0,
    "days": [],
}


def _values(found: outlook.Outlook) -> dict[str, object]:
    return {
        "spent_cost": found.spent_cost,
        "adjusted_cost": found.adjusted_cost,
        "forecast_cost": found.amount,
        "forecast_low_cost": found.low,
        "forecast_high_cost": found.high,
        "method": found.method,
        "error_percent": found.error_percent,
        "pace_error_percent": found.pace_error_percent,
        "tests": found.tests,
        "tested_days": found.tested_days,
        "history_days": found.history_days,
        "days": [
            [one.day.isoformat(), money.text(one.expected), money.text(one.low), money.text(one.high)]
            for one in found.days
        ],
    }


def _make_past(budgets: Sequence[Budget], now: datetime) -> list[int]:
    """What would have been said a third and two thirds into the last periods, where nothing was said."""
    extent = spend_queries.extent()
    if extent is None:
        return []
    wanted = {row.pk: list(_checkpoints(row, spans.today(row, now))) for row in budgets}
    near = {
        day + timedelta(days=off) for days in wanted.values() for _, day in days for off in range(-_NEAR, _NEAR + 1)
    }
    said: dict[tuple[int, date], list[date]] = {}
    rows = BudgetForecast.objects.filter(budget__in=budgets, through__in=near)
    for budget_id, start, through in rows.values_list("budget_id", "period_start", "through"):
        said.setdefault((budget_id, start), []).append(through)
    made: list[int] = []
    for row in budgets:
        for span, day in wanted[row.pk]:
            is_known = any(abs((through - day).days) <= _NEAR for through in said.get((row.pk, span.key_date), ()))
            if is_known or day < extent.start + timedelta(days=forecast.MIN_DAYS):
                continue
            if len(made) >= _SOME:
                return made
            made.append(_make(row, "", Days(day, day + timedelta(days=1)).start_at, made_at=now))
    return made


def _checkpoints(row: Budget, today: date) -> Iterable[tuple[Span, date]]:
    """Days of earlier weeks, months and quarters on which it is worth knowing what was expected."""
    span: Span | None = spans.on(row, today)
    if span is None or len(span.days) < 7:
        return
    for _ in range(_PAST_PERIODS):
        span = spans.before(row, span)
        if span is None:
            return
        for third in (1, 2):
            yield span, span.days.start + timedelta(days=len(span.days) * third // 3)
