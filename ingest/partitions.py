"""Partitions, made before a row needs them."""

from collections.abc import Iterable
from datetime import date, timedelta

from django.db import connection

from costobs.kernel import period


def ensure_days(days: Iterable[date]) -> None:
    """One partition of usage events for each day."""
    for day in sorted(set(days)):
        _ensure("ingest_usageevent", f"{day:%Y%m%d}", day, day + timedelta(days=1))


def ensure_months(days: Iterable[date]) -> None:
    """One partition of charges for each month that holds one of `days`."""
    for month in sorted({period.month(day) for day in days}):
        _ensure("ingest_charge", f"{month.start:%Y%m}", month.start, month.end)


def _ensure(table: str, suffix: str, start: date, end: date) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [f"{table}_{suffix}"])
        if cursor.fetchone()[0] is None:
            cursor.execute("SELECT pg_advisory_lock(hashtext('costobs partitions'))")
            try:
                cursor.execute(
                    f"CREATE TABLE IF NOT EXISTS {table}_{suffix} PARTITION OF {table} "
                    f"FOR VALUES FROM ('{start} 00:00:00+00') TO ('{end} 00:00:00+00')"
                )
            finally:
                cursor.execute("SELECT pg_advisory_unlock(hashtext('costobs partitions'))")
