"""The hours of a budget that are over, each as an evaluation a second before its end would have seen it.

Days, periods and currency are the budget's own, as `evaluate` and `expected` have them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property

from alerts import expected, ladder, queries, spans, spent, terms, triggers
from alerts.models import Budget, BudgetPeriod, BudgetState
from alerts.replay import Moment, Step
from alerts.spans import Span
from alerts.spent import Window
from alerts.triggers.base import Sight
from attribution import outlook
from attribution import queries as spend_queries
from costobs.kernel import money
from costobs.kernel import period as periods
from costobs.kernel.period import Days

HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_ZERO = Decimal(0)


class Past:
    """A budget and its steps on the local days `played`, of which none is open."""

    def __init__(self, row: Budget, steps: Sequence[Step], played: Days) -> None:
        self.row, self.played, self.zone = row, played, spans.zone_of(row)
        self.starts_at, self.ends_at = spans.midnight(played.start, self.zone), spans.midnight(played.end, self.zone)
        self.steps = [(step, triggers.KINDS[step.trigger]()) for step in steps]
        self.is_forecast = any(step.trigger == "forecast" for step in steps)
        first = min(played.start, spans.on(row, played.start).days.start)
        self.loaded_at = spans.midnight(first, self.zone)
        self.costs = spent.by_hour(self._window(self.loaded_at))
        self.by_day: dict[date, Decimal] = {}
        for hour, cost in self.costs.items():
            day = hour.astimezone(self.zone).date()
            self.by_day[day] = money.EXACT.add(self.by_day.get(day, _ZERO), cost)
        self._read_beside()
        self._curve: tuple[date, date, outlook.Outlook | None] | None = None

    def _window(self, starts_at: datetime) -> Window:
        return Window(self.row.scope, self.row.currency, starts_at, self.ends_at, self.ends_at)

    def _read_beside(self) -> None:
        """What steps look at beside the period: hours and calls, as far back as they look."""
        back = [ahead for step, kind in self.steps if (ahead := kind.needs_hours(step.config)) is not None]
        calls = [ahead for step, kind in self.steps if (ahead := kind.needs_calls(step.config)) is not None]
        self.hours_back, self.calls_back = max(back, default=timedelta(0)), max(calls, default=timedelta(0))
        days = utc_days(self.starts_at - self.hours_back, self.ends_at)
        scope = queries.spend_scope(self.row, days)
        asked = Window(self.row.scope, self.row.currency, days.start_at, days.end_at, days.end_at)
        self.hours = spent.by_hour(asked) if back else {}
        since = self.starts_at - self.calls_back
        used = spend_queries.usage_by_hour(scope=scope, since=since, until=self.ends_at) if calls else []
        self.calls = {one.hour: one.estimated_cost for one in used}

    @cached_property
    def history(self) -> Mapping[date, Decimal]:
        """Cost by local day, as far back as the first forecast looks."""
        since = expected.since(self.row, spans.on(self.row, self.played.start), self.played.start - _DAY)
        return spent.by_day(self._window(spans.midnight(since, self.zone)), self.zone)

    @cached_property
    def adjusted(self) -> Mapping[date, Decimal]:
        """By UTC day what corrects closed months."""
        if not self.is_forecast or not spend_queries.is_adjusted():
            return {}
        days = Days(min(self.history, default=self.played.start), periods.day_of(self.ends_at) + _DAY)
        return spend_queries.adjusted_by_day(scope=queries.spend_scope(self.row, days))

    @cached_property
    def _kept(self) -> Mapping[date, Decimal]:
        """By the day that names a period: what was carried over and borrowed there, as it was written down."""
        if not terms.has_memory(self.row):
            return {}
        kept: dict[date, Decimal] = {}
        for model in (BudgetState, BudgetPeriod):  # what was settled counts more than what was evaluated
            rows = model.objects.filter(budget_id=self.row.pk)
            for start, carried, borrowed in rows.values_list("period_start", "carried_cost", "borrowed_cost"):
                kept[start] = money.EXACT.add(carried, borrowed)
        return kept

    def amount(self, span: Span) -> Decimal:
        """What the budget as it is now could have spent in the period."""
        return max(_ZERO, money.EXACT.add(terms.base(self.row, span), self._kept.get(span.key_date, _ZERO)))

    def cost(self, days: Days) -> Decimal:
        """What these local days cost, as far as they were played."""
        return money.total(self.by_day.get(day, _ZERO) for day in days)

    def moments(self) -> Iterator[Moment]:
        """An evaluation a second before the end of each hour in which the budget ran."""
        seen: tuple[date, Span, Decimal, Decimal] | None = None
        today_cost = _ZERO
        hour = self.starts_at.replace(minute=0, second=0, microsecond=0)
        while (now := hour + HOUR - _SECOND) < self.ends_at:
            today = now.astimezone(self.zone).date()
            if seen is None or seen[0] != today:
                span = spans.on(self.row, today)
                seen, today_cost = (today, span, self.cost(span.days.until(today)), self.amount(span)), _ZERO
            if hour.astimezone(self.zone).date() == today:  # where midnight is not on the hour, it is of the day before
                today_cost = money.EXACT.add(today_cost, self.costs.get(hour, _ZERO))
            if spans.standing(self.row, now) == "running":
                _, span, complete, amount = seen
                yield self._moment(now, span, amount, complete, today_cost)
            hour += HOUR

    def _moment(self, now: datetime, span: Span, amount: Decimal, complete: Decimal, today_cost: Decimal) -> Moment:
        """What each step measures, in percent; what is not measured here is unknown."""
        cost, is_naive = self._forecast(now, span, complete, today_cost)
        seen = Sight(
            now=now,
            zone=self.row.zone,
            amount=amount,
            starts_at=span.starts_at,
            ends_at=span.ends_at,
            spend_cost=money.EXACT.add(complete, today_cost),
            forecast_cost=cost,
            is_naive=is_naive,
            hours=_recent(self.hours, now, self.hours_back),
            calls=_recent(self.calls, now, self.calls_back),
        )
        untils = {step.id: kind.until(step.config, seen.zone, now) for step, kind in self.steps}
        return Moment(
            at=now,
            period_start=span.key_date,
            ends_at=spans.acts_until(self.row, span, now),
            levels={
                step.id: kind.level(step.config, seen, is_enforcing=step.action in ladder.ENFORCING)
                for step, kind in self.steps
            },
            untils={number: until for number, until in untils.items() if until is not None},
            is_rolling=self.row.period == spans.ROLLING,
        )

    def _forecast(
        self, now: datetime, span: Span, complete: Decimal, today_cost: Decimal
    ) -> tuple[Decimal | None, bool]:
        """The forecast of an evaluation and whether it is the naive pace: what was worked out last, lifted by what has been
        spent since, or the average of the days that are over.
        """
        if not self.is_forecast:
            return None, True
        today = now.astimezone(self.zone).date()
        cost = money.EXACT.add(complete, today_cost)
        midnight = spans.midnight(today, self.zone)
        before = self._corrected(span.starts_at, midnight, now)
        corrected = money.EXACT.add(before, self._corrected(midnight, midnight + _DAY, now))
        ahead = self._newest(now, today, span, today_cost)
        if ahead is not None:
            late = corrected - ahead.adjusted_cost
            moved = [outlook.OutlookDay(one.day, one.expected + late, one.low, one.high) for one in ahead.days]
            return outlook.lifted(moved, today=today, spent_cost=cost)[-1].expected, ahead.is_naive
        pace = ladder.naive_pace(
            days=span.days,
            complete=span.days.until(today),
            complete_cost=complete - before,
            spend_cost=cost,
            adjusted_cost=corrected,
        )
        return (None if pace is None else pace.forecast_cost), True

    def _corrected(self, since: datetime, until: datetime, now: datetime) -> Decimal:
        """What the UTC days that begin there, and have begun, have booked for closed months."""
        begun = ((Days(day, day).start_at, cost) for day, cost in self.adjusted.items())
        return money.total(cost for at, cost in begun if since <= at < until and at <= now)

    def _newest(self, now: datetime, today: date, span: Span, today_cost: Decimal) -> outlook.Outlook | None:
        """As `expected` works it out: when a UTC day is complete, and when a period begins; a rolling window has none."""
        if self.row.period == spans.ROLLING:
            return None
        known = periods.day_of(now)
        if self._curve is None or self._curve[:2] != (known, span.key_date):
            self._curve = (known, span.key_date, self._ahead(known, today, span, today_cost))
        return self._curve[2]

    def _ahead(self, known: date, today: date, span: Span, today_cost: Decimal) -> outlook.Outlook | None:
        until = expected.complete_until(self.row, known)
        since = expected.since(self.row, span, until)
        costs = {day: cost for day, cost in self.history.items() if since <= day < today} | {today: today_cost}
        adjusted = {day: cost for day, cost in self.adjusted.items() if since <= day < known}
        found = outlook.with_costs(by_day=costs, adjusted=adjusted, period=span.days, until=until, today=today)
        return found if found is not None and found.is_interval else None


def utc_days(starts_at: datetime, ends_at: datetime) -> Days:
    """The UTC days that have a part of the time."""
    return Days(periods.day_of(starts_at), periods.day_of(ends_at - _SECOND) + _DAY)


def _recent(costs: Mapping[datetime, Decimal], now: datetime, back: timedelta) -> list[tuple[datetime, Decimal]] | None:
    """The hours that begin in the time before `now`, in order; None where nobody looks back."""
    if not back:
        return None
    first = (now - back).replace(minute=0, second=0, microsecond=0) + HOUR
    hours = (first + number * HOUR for number in range(int((now - first) // HOUR) + 1))
    return [(hour, costs[hour]) for hour in hours if hour in costs]
