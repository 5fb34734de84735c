"""The supervisor, with tiny programs."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from costobs.embedded.supervisor import Asked, Failed, OnExit, Program, Supervisor

_SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def _shell(name: str, script: str, on_exit: OnExit = OnExit.STOP_ALL, stop_seconds: float = 10) -> Program:
    return Program(name=name, argv=["/bin/sh", "-c", script], on_exit=on_exit, stop_seconds=stop_seconds)


def _after(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    def wait() -> None:
        deadline = time.monotonic() + 30
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def _lines(out: io.StringIO, name: str = "costobs") -> list[str]:
    split = [line.split(" | ", 1) for line in out.getvalue().splitlines()]
    return [text for prefix, text in split if prefix.strip() == name]


def test_it_shows_lines_with_the_name_of_their_program() -> None:
    out = io.StringIO()

    with Supervisor(out=out) as supervisor:
        supervisor.run(_shell("greeter", "echo hello; echo world >&2"))

    assert sorted(_lines(out, "greeter")) == ["hello", "world"]


def test_it_waits_until_a_program_is_ready(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    program = Program("slow", ["/bin/sh", "-c", f"sleep 0.2; touch {flag}; exec sleep 60"], is_ready=flag.exists)

    with Supervisor(out=io.StringIO()) as supervisor:
        supervisor.start(program)

        assert flag.exists()


def test_it_says_so_when_a_program_is_not_ready_in_time() -> None:
    program = Program("never", _SLEEP, is_ready=lambda: False, ready_seconds=0.2)

    with Supervisor(out=io.StringIO()) as supervisor, pytest.raises(Failed, match="never was not ready within"):
        supervisor.start(program)


def test_it_fails_at_once_when_a_program_dies_while_it_starts() -> None:
    program = Program("broken", ["/bin/sh", "-c", "exit 3"], is_ready=lambda: False)

    with Supervisor(out=io.StringIO()) as supervisor, pytest.raises(Failed, match="broken ended with 3"):
        supervisor.start(program)


def test_it_restarts_a_worker_three_times_and_then_stops_everything(tmp_path: Path) -> None:
    out, starts = io.StringIO(), tmp_path / "starts"

    with Supervisor(out=out) as supervisor:
        supervisor.start(Program("web", _SLEEP))
        supervisor.start(_shell("worker", f"echo x >> {starts}; exit 7", OnExit.RESTART))
        status = supervisor.watch()

    assert status == 1
    assert starts.read_text().count("x") == 4
    assert "worker ended with 7 after 3 restarts within 60 s: stopping everything" in _lines(out)
    assert "stopping web" in _lines(out)


def test_it_forgets_restarts_that_are_a_minute_old(tmp_path: Path) -> None:
    out, starts, now = io.StringIO(), tmp_path / "starts", [0.0]

    def clock() -> float:
        now[0] += 61.0  # each look at the clock is a minute after the last
        return now[0]

    with Supervisor(out=out, clock=clock) as supervisor:
        supervisor.start(_shell("worker", f"echo x >> {starts}; exit 7", OnExit.RESTART))
        _after(
            lambda: starts.exists() and starts.read_text().count("x") >= 6, lambda: os.kill(os.getpid(), signal.SIGTERM)
        )
        status = supervisor.watch()

    assert status == 0
    assert "worker ended with 7: restarting it (1 of 3)" in _lines(out)


def test_it_stops_everything_when_one_that_must_live_dies() -> None:
    out = io.StringIO()

    with Supervisor(out=out) as supervisor:
        supervisor.start(Program("web", _SLEEP))
        supervisor.start(_shell("postgres", "kill -9 $$"))
        status = supervisor.watch()

    assert status == 1
    assert "postgres was killed by SIGKILL: stopping everything" in _lines(out)


def test_it_stops_in_reverse_order_when_told_to() -> None:
    out = io.StringIO()

    with Supervisor(out=out) as supervisor:
        for name in ("postgres", "valkey", "web", "worker", "beat"):
            supervisor.start(Program(name, _SLEEP))
        _after(lambda: True, lambda: os.kill(os.getpid(), signal.SIGINT))
        status = supervisor.watch()

    stopped = [line.removeprefix("stopping ") for line in _lines(out) if line.startswith("stopping ")]
    assert status == 0
    assert stopped == ["beat", "worker", "web", "valkey", "postgres"]
    assert "stopping: Ctrl-C" in _lines(out)


def test_it_reports_a_job_that_failed_and_goes_on() -> None:
    out = io.StringIO()

    with Supervisor(out=out) as supervisor:
        supervisor.start(Program("web", _SLEEP))
        supervisor.start(_shell("sample", "exit 2", OnExit.REPORT))
        _after(lambda: "sample ended" in out.getvalue(), lambda: os.kill(os.getpid(), signal.SIGTERM))
        status = supervisor.watch()

    assert status == 0
    assert [line for line in _lines(out) if line.startswith("sample")] == ["sample ended with 2; the rest goes on"]


def test_it_kills_what_does_not_stop_and_what_a_child_left_behind(tmp_path: Path) -> None:
    out, pid = io.StringIO(), tmp_path / "pid"
    script = f"trap '' TERM; sleep 60 & echo $! > {pid}.new; mv {pid}.new {pid}; while :; do sleep 0.1; done"

    with Supervisor(out=out) as supervisor:
        stubborn = Program("stubborn", ["/bin/sh", "-c", script], is_ready=pid.exists, stop_seconds=0.2)
        supervisor.start(stubborn)

    assert "stubborn does not stop: killing it" in _lines(out)
    assert _is_gone(int(pid.read_text()))


def test_it_gives_up_a_start_when_told_to_stop() -> None:
    with Supervisor(out=io.StringIO()) as supervisor, pytest.raises(Asked):
        _after(lambda: True, lambda: os.kill(os.getpid(), signal.SIGINT))
        supervisor.start(Program("never", _SLEEP, is_ready=lambda: False))


def test_it_gives_the_signals_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    with Supervisor(out=io.StringIO()):
        assert signal.getsignal(signal.SIGINT) != before

    assert signal.getsignal(signal.SIGINT) == before


def _is_gone(pid: int) -> bool:
    """Whether the process has ended, within a while: a signal is on its way before it acts."""
    deadline = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
