"""What one worker does at a time: a claim is a lock of the database session, so it ends with the process that holds it."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def claimed(name: str) -> Iterator[bool]:
    """Whether nobody else holds the claim of this name; it is held until the end."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name])
        is_mine = bool(cursor.fetchone()[0])
    try:
        yield is_mine
    finally:
        if is_mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])
