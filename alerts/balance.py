"""Keep for each day that budgets count whether its books add up, so that no ladder acts on a day that does not."""

from datetime import date, datetime, timedelta

from django.db.models import Min

from alerts.models import BooksCheck, BudgetState
from attribution import queries as spend_queries
from attribution import verify
from attribution.queries import BooksVersion
from costobs.kernel import money
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from ingest import queries as ingest_queries

_DAY = timedelta(days=1)
_MOST_FINDINGS = 5
_MOST_DAYS = 400


def run(*, now: datetime, limit: int = 10) -> list[date]:
    """The days that were compared with what was delivered: those changed since, at most `limit`, the newest first.

    A day that waits to be rolled up is left for later, and a day that changed while it was compared keeps what was known of
    it. Safe to repeat and to run twice at once.
    """
    counted = _counted(now)
    BooksCheck.objects.filter(day__lt=counted.start).delete()
    version = spend_queries.books_version(days=counted)
    waiting = set(ingest_queries.open_days())
    known = dict(BooksCheck.objects.values_list("day", "books_version"))
    due = [
        day
        for day in reversed(list(counted))
        if day not in waiting and (day in version.by_day or day in known) and known.get(day) != _of(version, day)
    ]
    return [day for day in due[:limit] if _check(day, _of(version, day), now)]


def _counted(now: datetime) -> Days:
    """The days from the earliest begin of a period that is open to today."""
    tomorrow = periods.day_of(now) + _DAY
    first = BudgetState.objects.filter(starts_at__isnull=False, ends_at__gt=now).aggregate(first=Min("starts_at"))[
        "first"
    ]
    start = tomorrow if first is None else periods.day_of(first)
    return Days(min(tomorrow, max(start, tomorrow - timedelta(days=_MOST_DAYS))), tomorrow)


def _check(day: date, version: str, now: datetime) -> bool:
    days = Days(day, day + _DAY)
    found = verify.run(days=days)
    if day in set(ingest_queries.open_days()) or _of(spend_queries.books_version(days=days), day) != version:
        return False
    told = [
        f"{one.check}: expected {money.text(one.expected)}, found {money.text(one.found)}"
        for one in found.failures[:_MOST_FINDINGS]
    ]
    values = {
        "books_version": version,
        "is_balanced": found.is_balanced,
        "findings": told,
        "checked_at": now,
    }
    BooksCheck.objects.update_or_create(day=day, defaults=values)
    return True


def _of(version: BooksVersion, day: date) -> str:
    return str(version.by_day.get(day, 0))
