"""The naive pace: what a period comes to if its open days cost what its complete days did on average. Labelled as such.

Corrections of closed months are spend of the period, but no day costs them again: they are added once, in no average.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from costobs.kernel.period import Days

METHOD = "naive pace"
_FEWEST_DAYS = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """`amount` is the whole period at the average of its `complete_days`; `low` and `high` use its cheapest and dearest day."""

    amount: Decimal
    low: Decimal
    high: Decimal
    complete_days: int
    adjusted_cost: Decimal = Decimal(0)  # of the amount: what corrects closed months


def of(
    *, by_day: Mapping[date, Decimal], period: Days, today: date, adjusted: Mapping[date, Decimal] | None = None
) -> Pace | None:
    """The pace of `period`, None with fewer than three complete days. A day without rows costs nothing, which is known.

    `adjusted` is the part of each day in `by_day` that corrects closed months.
    """
    booked = adjusted or {}
    complete = [by_day.get(day, Decimal(0)) - booked.get(day, Decimal(0)) for day in period.until(today)]
    if len(complete) < _FEWEST_DAYS:
        return None
    spent, left = sum(complete, Decimal(0)), len(period) - len(complete)
    once = sum((cost for day, cost in booked.items() if day in period), Decimal(0))
    return Pace(
        amount=once + spent + spent / len(complete) * left,
        low=once + spent + min(complete) * left,
        high=once + spent + max(complete) * left,
        complete_days=len(complete),
        adjusted_cost=once,
    )
