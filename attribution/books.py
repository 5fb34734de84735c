"""One day of the books, made in one transaction. The only place of this room that orders its steps."""

from datetime import date, datetime

from django.db import connection, transaction

from attribution import allocate, authority, own, periods, roll_up, staging, tie_out, usage_rollup


def rebuild(*, day: date, now: datetime) -> int:
    """Makes the books of `day` anew and returns the number of rows; readers see the old day or the new one.

    Safe to repeat and to run twice at once: a lock is taken first, and the versions it consumed are the ones it read first.
    """
    with transaction.atomic():
        versions = roll_up.lock(day=day)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL jit = off")
        staging.fill(day=day)
        authority.run(day=day)
        usage_rollup.run(day=day)
        allocate.jobs(day=day)
        tie_out.run(day=day, now=now)
        if allocate.reads_owners(day=day):
            own.run(now=now)  # for sets that have come since the caller asked
        allocate.run(day=day, now=now)
        own.run(now=now)  # the sets that splits have made
        written = roll_up.run(day=day, versions=versions, now=now)
        allocate.figures(day=day)
        return written


def due() -> list[date]:
    """Open days to make anew though nothing of theirs changed: other days or owners that they are weighed by did."""
    return allocate.due(since=periods.closed_until())
