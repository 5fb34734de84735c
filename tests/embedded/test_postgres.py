"""The embedded PostgreSQL, really started."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from costobs.embedded import launch, paths, postgres

_COUNT_ONE = """
import sys
from pathlib import Path
import psycopg
from costobs.embedded import postgres
with postgres.running(Path(sys.argv[1])) as url, psycopg.connect(url) as connection:
    connection.execute("SELECT pg_advisory_xact_lock(1)")  # IF NOT EXISTS alone is not safe when several ask at once
    connection.execute("CREATE TABLE IF NOT EXISTS seen (pid int)")
    connection.execute("INSERT INTO seen SELECT pg_backend_pid()")
    connection.commit()
    connection.execute("SELECT pg_sleep(0.3)")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory that holds a cluster already."""
    directory = tmp_path_factory.mktemp("books")
    postgres.prepare(directory)
    yield directory
    postgres.stop(directory)


def _rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM seen").fetchone()
    assert found is not None
    return int(found[0])


def test_it_runs_for_the_block_and_keeps_what_was_written(data: Path) -> None:
    with postgres.running(data, name="kept") as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE seen AS SELECT 1 AS pid")
    between = postgres.running_pid(data)
    with postgres.running(data, name="kept") as url:
        rows = _rows(url)

    assert between is None
    assert rows == 1


def test_it_leaves_a_server_that_runs_already_alone(data: Path) -> None:
    with postgres.running(data):
        first = postgres.running_pid(data)
        with postgres.running(data):
            second = postgres.running_pid(data)
        third = postgres.running_pid(data)

    assert first is not None
    assert first == second == third


def test_it_serves_commands_that_begin_at_once_and_stops_after_the_last(data: Path) -> None:
    argv = [sys.executable, "-c", _COUNT_ONE, str(data)]
    both = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(3)]

    ends = [process.communicate(timeout=60)[1] for process in both]

    assert [process.returncode for process in both] == [0, 0, 0], ends
    assert postgres.running_pid(data) is None
    with postgres.running(data) as url:
        assert _rows(url) == 3


def test_it_starts_over_what_a_crash_left_behind(data: Path) -> None:
    stale = paths.postgres_dir(data) / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{paths.postgres_dir(data)}\n")  # the number belongs to somebody else by now

    with postgres.running(data) as url:
        psycopg.connect(url).close()
        assert postgres.running_pid(data) not in {None, os.getpid()}


def test_it_survives_being_killed_with_every_acknowledged_row(data: Path) -> None:
    with postgres.running(data, name="durable") as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE seen AS SELECT generate_series(1, 1000) AS pid")
        server = postgres.running_pid(data)
        assert server is not None
        os.kill(server, signal.SIGKILL)
    with postgres.running(data, name="durable") as url:
        assert _rows(url) == 1000


def test_it_dies_with_the_command_that_started_it(data: Path) -> None:
    script = _COUNT_ONE.replace("pg_sleep(0.3)", "pg_sleep(60)").replace(
        "connection.commit()", "connection.commit(); print(1, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(data)], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        command.stdout.readline()
        server = postgres.running_pid(data)
        command.kill()

    assert server is not None
    with postgres.running(data):
        assert postgres.running_pid(data) != server


@pytest.mark.parametrize("user", ["namespace", "nobody"] if os.geteuid() == 0 else ["same"])
def test_it_runs_for_each_way_not_to_be_root(user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "user_for_servers_that_refuse_root", lambda: user)

    with postgres.running(tmp_path) as url, psycopg.connect(url) as connection:
        found = connection.execute("SHOW server_encoding").fetchone()

    assert found == ("UTF8",)


def test_it_shows_the_end_of_the_log_when_the_server_does_not_start(tmp_path: Path) -> None:
    postgres.prepare(tmp_path)
    (paths.postgres_dir(tmp_path) / "postgresql.conf").write_text("no_such_setting = 1\n")

    with pytest.raises(postgres.ServerFailed, match="no_such_setting"), postgres.running(tmp_path):
        raise AssertionError("unreachable")
