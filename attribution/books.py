"""One day of the books, made in one transaction. The only place of this room that orders its steps."""

from datetime import date, datetime

from django.db import connection, transaction

from attribution import allocate, authority, known, own, roll_up, staging, tie_out, usage_rollup


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
        allocate.run(day=day, now=now)
        own.run(now=now)  # the sets that splits have made
        written = roll_up.run(day=day, versions=versions, now=now)
        known.run(day=day, now=now)
        return written
