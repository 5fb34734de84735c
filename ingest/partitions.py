"""Partitions, made before a row needs them."""

from collections.abc import Iterable
from datetime import date, timedelta

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from costobs.kernel import period


def ensure_days(days: Iterable[date]) -> None:
    """One partition of usage events for each day."""
    for day in sorted(set(days)):
        _ensure("ingest_usageevent", f"{day:%Y%m%d}", day, day + timedelta(days=1))


def see_days(days: Iterable[date]) -> None:
    """Makes a transaction that has used usage events before see the partitions of `days`, which others made meanwhile.

    PostgreSQL looks for news of a table's partitions only when it takes a lock that it does not hold yet.
    """
    _see("ingest_usageevent", (f"{day:%Y%m%d}" for day in sorted(set(days))))


def see_months(days: Iterable[date]) -> None:
    """The same for charges and the months of `days`."""
    _see("ingest_charge", sorted({f"{day:%Y%m}" for day in days}))


def ensure_months(days: Iterable[date]) -> None:
    """One partition of charges for each month that holds one of `days`."""
    for month in sorted({period.month(day) for day in days}):
        _ensure("ingest_charge", f"{month.start:%Y%m}", month.start, month.end)


def _see(table: str, suffixes: Iterable[str]) -> None:
    with connection.cursor() as cursor:
        for suffix in suffixes:
            cursor.execute(f"LOCK TABLE {table}_{suffix} IN ROW EXCLUSIVE MODE")


def _ensure(table: str, suffix: str, start: date, end: date) -> None:
    name = f"{table}_{suffix}"
    with connection.cursor() as cursor:
        if _exists(cursor, name):
            return
        with transaction.atomic():
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs partitions'))")
            if _exists(cursor, name):
                return
            # Made beside the table and attached: PARTITION OF would wait for everybody who reads or writes the table.
            cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
            cursor.execute(
                f"ALTER TABLE {table} ATTACH PARTITION {name} "
                f"FOR VALUES FROM ('{start} 00:00:00+00') TO ('{end} 00:00:00+00')"
            )


def _exists(cursor: CursorWrapper, name: str) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
    found: bool = cursor.fetchone()[0]
    return found
