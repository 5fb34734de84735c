"""One day of the books, made in one transaction. The only place of this room that orders its steps."""

from datetime import date, datetime

from django.db import connection, transaction

from attribution import adjust, allocate, authority, known, own, periods, roll_up, staging, tie_out, usage_rollup


def rebuild(*, day: date, now: datetime) -> int:
    """Makes the books of `day` anew and returns the number of rows; readers see the old day or the new one.

    A day of a closed month stays as it is: what has changed since is booked on the first open day. Safe to repeat and to run
    twice at once: locks are taken first, and the versions it consumed are the ones it read first.
    """
    with transaction.atomic():
        versions = roll_up.lock(day=day)
        own.ensure_default_ruleset(now=now)  # before any lock of owners: who publishes rules takes theirs in this order
        open_from = periods.closed_until()
        is_closed = open_from is not None and day < open_from
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL jit = off")
        staging.fill(day=day)
        authority.run(day=day)
        if not is_closed:
            usage_rollup.run(day=day)
        allocate.jobs(day=day)
        tie_out.run(day=day, now=now)
        if allocate.reads_owners(day=day):
            own.run(now=now)  # for sets that have come since the caller asked
        allocate.run(day=day, now=now)
        own.run(now=now)  # the sets that splits have made
        roll_up.lay()
        if open_from is not None and is_closed:
            written = adjust.run(day=day, open_from=open_from)
        else:
            written = roll_up.run(day=day, now=now)
            allocate.figures(day=day)
        known.run(day=day, now=now)
        roll_up.consume(day=day, versions=versions)
        return written


def due() -> list[date]:
    """Open days to make anew though nothing of theirs changed: other days or owners that they are weighed by did."""
    return allocate.due(since=periods.closed_until())
