"""Others at work on the database of the test: a process that a test kills, a session that holds locks."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from django.db import connection
from django.db.backends.utils import CursorWrapper

from costobs.embedded import paths

_SECONDS = 60


def environment() -> dict[str, str]:
    """The environment of a process that uses the test's database."""
    address = urlsplit(paths.database_url())._replace(path=f"/{connection.settings_dict['NAME']}")
    return {**os.environ, "DATABASE_URL": address.geturl(), "DJANGO_SETTINGS_MODULE": "costobs.settings"}


def killed(program: str, *arguments: str) -> None:
    """Runs a program that ends by SIGKILL, and waits until PostgreSQL has noticed: its locks live as long as its sessions."""
    name = f"child {uuid.uuid4()}"
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, env={**environment(), "PGAPPNAME": name}, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode("utf-8", "replace")[-2000:]
    deadline = time.monotonic() + _SECONDS
    while _sessions(name):
        assert time.monotonic() < deadline, f"a session of the killed process is there after {_SECONDS} s"
        time.sleep(0.02)


@contextmanager
def session() -> Iterator[CursorWrapper]:
    """A second session. Its locks are given back before it closes: PostgreSQL notices a close only some time later."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            yield cursor
            cursor.execute("SELECT pg_advisory_unlock_all()")
    finally:
        other.close()


def _sessions(name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name])
        count: int = cursor.fetchone()[0]
        return count
