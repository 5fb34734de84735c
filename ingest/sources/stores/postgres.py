"""A customer's PostgreSQL, read and never written, and only where it may be reached."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from costobs.kernel import http
from ingest.sources.base import SourceUnavailable

SSL_MODES = ("disable", "prefer", "require", "verify-full")


@contextmanager
def reading(*, host: str, port: int, database: str, user: str, password: str, sslmode: str) -> Iterator[Any]:
    """A connection whose transactions are read-only. Raises SourceUnavailable where the address may not be called."""
    # This is the customer's database, never ours: a kind does not know where ours is.
    import psycopg

    try:
        host = http.check_host(host)
        # The address that was checked, whatever the name says a moment later; the name is for the certificate.
        found = None if host.startswith("/") else http.addresses(host)
    except http.BlockedAddress as problem:
        raise SourceUnavailable(str(problem)) from problem
    with psycopg.connect(
        host=",".join([host] * len(found)) if found else host,
        hostaddr=",".join(found) if found else None,
        port=port,
        dbname=database,
        user=user or None,
        password=password or None,
        sslmode=sslmode,
        # Ours is for our database only.
        passfile=os.devnull,
        connect_timeout=10,
        # A server that is gone without a word is noticed within a minute or two.
        keepalives_idle=30,
        tcp_user_timeout=60_000,
        application_name="costobs",
    ) as connection:
        connection.read_only = True
        yield connection


def said(problem: Exception) -> str:
    """The first line of what the server said; the rest quotes the statement."""
    return str(problem).strip().partition("\n")[0]
