"""How far the books reach: their first and last day, what is final, which currencies."""

from dataclasses import dataclass
from datetime import date, timedelta

from attribution import periods
from attribution.queries.scoped import fetch
from costobs.kernel.period import Days


@dataclass(frozen=True, slots=True)
class BooksVersion:
    """Which state of the books figures come from: days as they were rebuilt, the rules of owners, and exchange rates."""

    by_day: dict[date, int]
    rules: int
    rates: int

    def of(self, days: Days) -> str:
        """One text for the days; it differs once any of them, the rules or a rate has changed."""
        return f"{sum(self.by_day.get(day, 0) for day in days)}.{self.rules}.{self.rates}"


def books_version(*, days: Days) -> BooksVersion:
    """The state the books of these days are in now; cheap enough to be asked each second."""
    rows = fetch(
        """SELECT day, sum(rolled_up_version) FROM ingest_touched WHERE day >= %(start)s AND day < %(end)s GROUP BY 1""",
        {"start": days.start, "end": days.end},
    )
    ((rules, rates),) = fetch(
        """SELECT (SELECT coalesce(max(id), 0) FROM attribution_rulesetversion WHERE is_current),
                  (SELECT coalesce(max(id), 0) FROM attribution_exchangerate)"""
    )
    return BooksVersion({day: int(version) for day, version in rows}, rules, rates)


def extent() -> Days | None:
    """The days the books hold, or None when they are empty."""
    first, last = fetch("SELECT min(day), max(day) FROM attribution_dailycost")[0]
    return None if first is None else Days(first, last + timedelta(days=1))


def last_final_day() -> date | None:
    """The last day for which every active bill is complete, or that is closed; None while there is no bill.

    A bill that ended more than a month and a half before the newest day is history: it holds nothing back.
    """
    (complete,) = fetch(
        """SELECT coalesce(min(day) FILTER (WHERE day > (SELECT max(day) FROM attribution_dailycost) - 45), max(day))
           FROM (SELECT (complete_through AT TIME ZONE 'UTC')::date AS day FROM ingest_source s
                 WHERE s.is_active AND s.complete_through IS NOT NULL
                   AND EXISTS (SELECT FROM ingest_delivery d WHERE d.source_id = s.id AND d.state = 'current')) bills"""
    )[0]
    ends = [end for end in (complete, periods.closed_until()) if end is not None]
    return max(ends) - timedelta(days=1) if ends else None


def currencies_of(*, days: Days) -> list[str]:
    """The currencies that the books have on these days, by name."""
    sql = "SELECT DISTINCT currency FROM attribution_dailycost WHERE day >= %(start)s AND day < %(end)s ORDER BY 1"
    return [row[0] for row in fetch(sql, {"start": days.start, "end": days.end})]


def currencies() -> list[str]:
    """The currencies in the books, the one with the most rows first."""
    return [
        row[0] for row in fetch("SELECT currency, count(*) FROM attribution_dailycost GROUP BY 1 ORDER BY 2 DESC, 1")
    ]
