"""Which months are closed: what every step that would change a day asks first."""

from datetime import date

from django.db import connection

from attribution.models import PeriodBook
from costobs.kernel.period import add_months

_LOCK = "hashtext('costobs close')"


def closed_until() -> date | None:
    """The first day that is still open, None while nothing is closed. Months close in order, so all before it is closed."""
    found = PeriodBook.objects.filter(state="closed").order_by("-month").values_list("month", flat=True).first()
    return add_months(found, 1) if found is not None else None


def is_closed(day: date) -> bool:
    """Whether the books of `day` are closed."""
    until = closed_until()
    return until is not None and day < until


def ruleset_of(day: date) -> int | None:
    """The rules that were pinned when the month of a closed day closed, None for an open day.

    A month without rows has no book of its own: it closed with the next one.
    """
    books = PeriodBook.objects.filter(state="closed", month__gte=day.replace(day=1)).order_by("month")
    return books.values_list("ruleset_id", flat=True).first()


def pinned_rulesets() -> list[int]:
    """Every ruleset that a closed month was closed with, oldest first."""
    return sorted({pk for pk in PeriodBook.objects.filter(state="closed").values_list("ruleset_id", flat=True) if pk})


def keep_open() -> None:
    """Keeps months from closing or reopening until the transaction ends; taken before any lock of a day."""
    _take("pg_advisory_xact_lock_shared")


def hold() -> None:
    """Keeps days from being rebuilt until the transaction ends, so that a month may close or reopen."""
    _take("pg_advisory_xact_lock")


def _take(function: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}({_LOCK})")
