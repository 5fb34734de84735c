"""Spend by day and any dimensions: the series that forecasts and anomalies learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from attribution.queries.scoped import books, fetch
from costobs.kernel.scope import SpendScope


@dataclass(frozen=True, slots=True)
class DayCost:
    """Spend of one group on one day."""

    day: date
    keys: tuple[str, ...]
    cost: Decimal


def daily_costs(*, scope: SpendScope, group_by: Sequence[str] = ()) -> list[DayCost]:
    """Spend by day and `group_by`, ordered by day; days without rows are absent. Raises BadScope.

    What corrects a closed month is left out: it is booked on a day on which nothing of it was used.
    """
    scoped = books(scope, group_by)
    keys = scoped.keys()
    listed = "".join(f"{key}, " for key in keys)
    places = ", ".join(str(index + 1) for index in range(len(keys) + 1))
    sql = f"""
        SELECT d.day, {listed} sum({scoped.cost}) {scoped.source()} AND d.is_current AND d.origin_day IS NULL
        GROUP BY {places} ORDER BY {places}"""
    return [DayCost(row[0], tuple(row[1:-1]), row[-1]) for row in fetch(sql, scoped.parameters)]
