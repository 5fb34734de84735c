"""The forecasts that were worked out, as whoever evaluates or shows a budget reads them: a curve to the end of its period."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from alerts.models import BudgetForecast
from attribution import outlook
from attribution.outlook import OutlookDay
from costobs.kernel.period import day_of

# A forecast from days that ended longer ago is not read any more: the naive pace stands in for it.
_OLDEST = timedelta(days=10)


@dataclass(frozen=True, slots=True)
class Curve:
    """One forecast: running totals of the period from its first open day to its end, and how good its method was."""

    days: tuple[OutlookDay, ...]
    method: str
    error_percent: Decimal | None
    pace_error_percent: Decimal | None
    tests: int
    tested_days: int
    history_days: int
    through: date
    adjusted_cost: Decimal

    @property
    def end(self) -> OutlookDay:
        return self.days[-1]

    def at(self, *, today: date, spent_cost: Decimal, adjusted_cost: Decimal | None = None) -> "Curve":
        """The curve with what is known since: spend of today beyond what was expected, and corrections booked meanwhile."""
        late = Decimal(0) if adjusted_cost is None else adjusted_cost - self.adjusted_cost
        moved = [OutlookDay(one.day, one.expected + late, one.low + late, one.high + late) for one in self.days]
        days = outlook.lifted(moved, today=today, spent_cost=spent_cost)
        return Curve(
            days, self.method, self.error_percent, self.pace_error_percent, self.tests, self.tested_days,
            self.history_days, self.through, self.adjusted_cost + late,
        )  # fmt: skip

    def crossing(self, cost: Decimal) -> "Crossing":
        """On which days spend is expected to reach `cost`, and between which in 80 of 100 cases; None: not in this period."""
        return Crossing(
            expected_on=next((one.day for one in self.days if one.expected >= cost), None),
            earliest_on=next((one.day for one in self.days if one.high >= cost), None),
            latest_on=next((one.day for one in self.days if one.low >= cost), None),
        )


@dataclass(frozen=True, slots=True)
class Crossing:
    """When a running total reaches an amount; None: not before the period ends."""

    expected_on: date | None
    earliest_on: date | None
    latest_on: date | None


def newest(*, starts: Mapping[int, date], now: datetime) -> dict[int, Curve]:
    """The newest forecast of each budget for the period that begins on its date; budgets without a usable one are absent."""
    today = day_of(now)
    rows = BudgetForecast.objects.filter(
        budget_id__in=starts,
        period_start__in=set(starts.values()),
        through__gt=today - _OLDEST,
        through__lte=today + timedelta(days=1),  # it may be tomorrow already in the budget's zone
    )
    found: dict[int, BudgetForecast] = {}
    for row in rows.filter(is_later=False).exclude(method="").exclude(days=[]).order_by("made_at"):
        if row.period_start == starts[row.budget_id]:
            found[row.budget_id] = row
    return {budget_id: curve(row) for budget_id, row in found.items()}


def curve(row: BudgetForecast) -> Curve:
    """A stored forecast as a curve."""
    return Curve(
        days=tuple(
            OutlookDay(date.fromisoformat(day), Decimal(expected), Decimal(low), Decimal(high))
            for day, expected, low, high in row.days
        ),
        method=row.method,
        error_percent=row.error_percent,
        pace_error_percent=row.pace_error_percent,
        tests=row.tests,
        tested_days=row.tested_days,
        history_days=row.history_days,
        through=row.through,
        adjusted_cost=row.adjusted_cost,
    )
