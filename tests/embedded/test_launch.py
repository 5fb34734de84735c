"""Children that die with their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from costobs.embedded import launch

_PARENT = """
import signal, subprocess, sys, time
from costobs.embedded import launch
child = subprocess.Popen(launch.command(["/bin/sleep", "60"], die_with=signal.SIGTERM), start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_it_ends_the_child_when_the_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        _wait_for_command(child, "sleep")

        parent.send_signal(signal.SIGKILL)

    assert _is_gone_within(child, 30)


def test_it_says_which_program_cannot_be_run() -> None:
    argv = launch.command(["/no/such/program"], die_with=signal.SIGTERM)

    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "cannot run /no/such/program: No such file" in done.stderr


@pytest.mark.parametrize("user", ["namespace", "nobody"] if os.geteuid() == 0 else ["same"])
def test_it_shows_a_server_another_user_than_root(user: str) -> None:
    argv = launch.command(["/usr/bin/id", "-u"], die_with=signal.SIGTERM, user=user)

    found = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    assert found != "0"


def _wait_for_command(pid: int, name: str) -> None:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/comm").read_text().strip() != name and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
