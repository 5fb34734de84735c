"""The stack and the command line as a user meets them: processes, messages, exit statuses."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from costobs.embedded import locks, paths, up

_COSTOBS = [sys.executable, "-c", "from costobs import cli; cli.main()"]
# The stack of `up` without the product: the two servers, and a program whose child has a child.
_SERVERS = """
import sys
from pathlib import Path
from costobs.embedded import postgres, up
from costobs.embedded.supervisor import Program, Supervisor
options = up._options([])
with Supervisor() as supervisor, postgres.owned(options.data):
    supervisor.start(up._postgres(options))
    supervisor.start(up._valkey(options))
    supervisor.start(Program("web", ["/bin/sh", "-c", "exec sleep 60"]))
    supervisor.say("all are up")
    sys.exit(supervisor.watch())
"""


def _environment(data: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "BROKER_URL"}}
    return {**kept, "COSTOBS_DATA": str(data), **more}


def _costobs(data: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COSTOBS, *args], env=_environment(data, **more), capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A supervisor with the two servers, once they are up."""
    argv = [sys.executable, "-c", _SERVERS]
    with subprocess.Popen(argv, env=_environment(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "all are up" in line:
                break
        yield process, tmp_path
        if process.poll() is None:
            process.kill()


def test_it_leaves_no_orphan_when_the_supervisor_is_killed(servers: tuple[subprocess.Popen[str], Path]) -> None:
    process, data = servers
    before = _descendants(process.pid)

    process.kill()
    process.wait()

    assert len(before) >= 3
    assert _all_gone_within(before, 30), data


def test_it_stops_all_with_status_1_when_the_database_dies(servers: tuple[subprocess.Popen[str], Path]) -> None:
    process, data = servers
    with psycopg.connect(paths.embedded_database_url(data, name="postgres")):
        server = int((paths.postgres_dir(data) / "postmaster.pid").read_text().split()[0])

        os.kill(server, signal.SIGKILL)

    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert "postgres was killed by SIGKILL: stopping everything" in output
    assert output.index("stopping web") < output.index("stopping valkey")


def test_it_stops_all_with_status_0_on_sigterm(servers: tuple[subprocess.Popen[str], Path]) -> None:
    process, _data = servers
    before = _descendants(process.pid)

    process.terminate()

    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    assert output.index("stopping web") < output.index("stopping valkey") < output.index("stopping postgres")
    assert _all_gone_within(before, 30)


def test_it_says_where_the_other_one_runs(tmp_path: Path) -> None:
    lock = locks.FileLock(tmp_path / "locks" / "up")
    lock.acquire()
    lock.write(json.dumps({"pid": 4711, "address": "http://127.0.0.1:8080"}))

    done = _costobs(tmp_path, "up")
    lock.close()

    assert done.returncode == 1
    assert f"it runs already on {tmp_path}: http://127.0.0.1:8080 (process 4711)" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_leads_links_to_the_stack_that_runs_beside_the_command(tmp_path: Path) -> None:
    lock = locks.FileLock(tmp_path / "locks" / "up")
    lock.acquire()
    lock.write(json.dumps({"pid": 4711, "address": "http://127.0.0.1:8199"}))

    while_it_runs = up.running_address(tmp_path)
    lock.close()

    assert while_it_runs == "http://127.0.0.1:8199"
    assert up.running_address(tmp_path) is None


def test_it_says_that_the_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = _costobs(tmp_path, "up", COSTOBS_PORT=str(port))

    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in done.stderr
    assert "COSTOBS_PORT" in done.stderr


def test_it_names_the_command_that_was_meant(tmp_path: Path) -> None:
    done = _costobs(tmp_path, "verfy")

    assert done.returncode == 2
    assert done.stderr == "costobs: there is no command 'verfy'; did you mean 'verify'?\n"


def test_it_starts_no_database_for_a_wrong_command_line(tmp_path: Path) -> None:
    done = _costobs(tmp_path, "load")

    assert done.returncode == 2
    assert "the following arguments are required: kind, paths" in done.stderr
    assert not paths.postgres_dir(tmp_path).exists()


def test_it_lists_every_command_with_a_line_about_it(tmp_path: Path) -> None:
    done = _costobs(tmp_path, "--help")

    listed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  "))
    assert done.returncode == 0, done.stderr
    assert {"up", "load", "spend", "verify", "token", "sync", "sign-in-link"} <= set(listed)


def test_it_brings_database_and_schema_along_for_a_command(tmp_path: Path) -> None:
    made = _costobs(tmp_path, "token", "create", "laptop")
    listed = _costobs(tmp_path, "token", "list")

    assert (made.returncode, listed.returncode) == (0, 0), made.stderr + listed.stderr
    assert listed.stdout.startswith("laptop  ")
    assert not (paths.postgres_dir(tmp_path) / "postmaster.pid").exists()


def test_it_ends_with_1_and_a_sentence_for_an_expected_error(tmp_path: Path) -> None:
    done = _costobs(tmp_path, "load", "no_such_kind", "file")

    assert done.returncode == 1
    assert "no_such_kind" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_says_that_a_given_database_cannot_be_reached(tmp_path: Path) -> None:
    done = _costobs(tmp_path, "token", "list", DATABASE_URL="postgresql://127.0.0.1:9/costobs")

    assert done.returncode == 1
    assert done.stderr.startswith("costobs: the database cannot be reached: connection failed")
    assert "Traceback" not in done.stderr


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        children = Path(f"/proc/{waiting[0]}/task/{waiting.pop(0)}/children").read_text().split()
        found |= {int(child) for child in children}
        waiting += [int(child) for child in children]
    return found


def _all_gone_within(pids: set[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
