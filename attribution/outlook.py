"""What the period of a scope will come to: what is spent, what the open days are expected to cost, and how sure that is.

History is what is complete at `now` and no more. Corrections of closed months are spent once and are in no history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from attribution import forecast, pace, queries
from costobs.kernel import money
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope

LATE_DAYS = 10  # a history that ended longer ago is no ground for a forecast


@dataclass(frozen=True, slots=True)
class OutlookDay:
    """The running total of the period at the end of `day`: expected, and where it lies in 80 of 100 cases."""

    day: date
    expected: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Outlook:
    """The end of a period. `low` and `high` are an 80 % interval if `is_interval`, else the cheapest and the dearest day.

    `error_percent` is by how much sums of `tested_days` open days were missed in `tests` forecasts of the past. `spent_cost`
    is the period before `through`, the first day that was not complete, with the part of it that corrects closed months;
    `adjusted_cost` is what of the whole period corrects them.
    """

    period: Days
    through: date
    spent_cost: Decimal
    adjusted_cost: Decimal
    amount: Decimal
    low: Decimal
    high: Decimal
    is_interval: bool
    method: str
    error_percent: Decimal | None
    pace_error_percent: Decimal | None
    tests: int
    tested_days: int
    history_days: int
    days: tuple[OutlookDay, ...]

    @property
    def is_naive(self) -> bool:
        """Whether it is the naive pace, which knows no weekdays and may only notify."""
        return self.method == forecast.NAIVE_PACE


def of(*, scope: SpendScope, period: Days, now: datetime) -> Outlook | None:
    """The end of `period` as it is expected at `now`; the days of the scope do not count, its filters do.

    With fewer than 31 complete days of history it is the naive pace, and None with fewer than three of the period, or when
    the period is over.
    """
    today = periods.day_of(now)
    if today not in period:
        return None
    until = max(queries.known_until(scope=scope, now=now), today - timedelta(days=LATE_DAYS))
    asked = scope.during(Days(min(period.start, until - timedelta(days=forecast.MAX_DAYS)), today + timedelta(days=1)))
    by_day = {row.day: row.cost for row in queries.spend_by_day(scope=asked)}
    adjusted = queries.adjusted_by_day(scope=asked) if queries.is_adjusted() else {}
    return with_costs(by_day=by_day, adjusted=adjusted, period=period, until=until, today=today)


def with_costs(
    *, by_day: Mapping[date, Decimal], adjusted: Mapping[date, Decimal], period: Days, until: date, today: date
) -> Outlook | None:
    """The same from costs by day (today's so far, too), complete before `until`; of them `adjusted` corrects closed months."""
    zero = Decimal(0)
    first = min(by_day, default=until)
    history = [by_day.get(day, zero) - adjusted.get(day, zero) for day in Days(min(first, until), until)]
    ahead = Days(until, max(until, period.end))
    found = forecast.of(costs=history, until=until, ahead=len(ahead), elapsed=len(period.until(until)))
    before = {day: cost for day, cost in by_day.items() if day in period and day < until}
    spent_now = money.total(cost for day, cost in by_day.items() if day in period and day <= today)
    corrected = money.total(cost for day, cost in adjusted.items() if day in period)
    if found is None:
        return _naive(by_day, adjusted, period, today, spent_now)
    late = money.total(cost for day, cost in adjusted.items() if day in period and day >= until)
    spent = money.EXACT.add(money.total(before.values()), late)
    days = lifted(_running(found, period, spent), today=today, spent_cost=spent_now)
    return Outlook(
        period=period,
        through=until,
        spent_cost=spent,
        adjusted_cost=corrected,
        amount=days[-1].expected,
        low=days[-1].low,
        high=days[-1].high,
        is_interval=True,
        method=found.method,
        error_percent=found.error_percent,
        pace_error_percent=found.pace_error_percent,
        tests=found.tests,
        tested_days=found.tested_days,
        history_days=found.history_days,
        days=days,
    )


def lifted(days: Sequence[OutlookDay], *, today: date, spent_cost: Decimal) -> tuple[OutlookDay, ...]:
    """The curve with what is known of today: spend beyond what today should end at lifts every day from today on.

    `spent_cost` is the period so far; nothing from today on is below it.
    """
    now = next((one for one in days if one.day == today), None)
    if now is None:
        return tuple(days)
    lift, high_lift = max(Decimal(0), spent_cost - now.expected), max(Decimal(0), spent_cost - now.high)
    return tuple(
        one
        if one.day < today
        else OutlookDay(
            one.day,
            one.expected + lift,
            max(one.low, spent_cost),
            max(one.high + high_lift, one.expected + lift),
        )
        for one in days
    )


def _running(found: forecast.Forecast, period: Days, spent: Decimal) -> list[OutlookDay]:
    """Running totals of the days ahead as running totals of the period; open days before the period are taken off."""
    earlier = [one for one in found.days if one.day < period.start]
    skipped = (earlier[-1].expected, earlier[-1].low, earlier[-1].high) if earlier else (Decimal(0),) * 3
    days = []
    for one in found.days:
        if one.day in period:
            expected = spent + one.expected - skipped[0]
            low, high = spent + one.low - skipped[1], spent + one.high - skipped[2]
            days.append(OutlookDay(one.day, expected, min(low, expected), max(high, expected)))
    return days


def _naive(
    by_day: Mapping[date, Decimal],
    adjusted: Mapping[date, Decimal],
    period: Days,
    today: date,
    spent_now: Decimal,
) -> Outlook | None:
    """The average of the complete days of the period, straight on."""
    found = pace.of(by_day=by_day, period=period, today=today, adjusted=adjusted)
    if found is None:
        return None
    base = money.total(cost for day, cost in by_day.items() if day in period and day < today)
    left = [day for day in period if day >= today]
    amount, high = max(found.amount, spent_now), max(found.high, spent_now)
    return Outlook(
        period=period,
        through=today,
        spent_cost=base,
        adjusted_cost=found.adjusted_cost,
        amount=amount,
        low=max(found.low, spent_now),
        high=high,
        is_interval=False,
        method=pace.METHOD,
        error_percent=None,
        pace_error_percent=None,
        tests=0,
        tested_days=0,
        history_days=found.complete_days,
        days=tuple(
            OutlookDay(
                day,
                base + (amount - base) * step / len(left),
                base + (found.low - base) * step / len(left),
                base + (high - base) * step / len(left),
            )
            for step, day in enumerate(left, start=1)
        ),
    )
