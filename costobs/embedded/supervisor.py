"""Starts programs in order, shows their lines, restarts what may be restarted and stops all in reverse order."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TextIO

from costobs.embedded import launch

RESTARTS = 3
RESTART_WINDOW_SECONDS = 60.0
_POLL_SECONDS = 0.05
_COLOURS = (36, 32, 33, 35, 34, 31)


class OnExit(StrEnum):
    """What the end of a program means for the others."""

    STOP_ALL = "stop_all"
    RESTART = "restart"
    REPORT = "report"


class Failed(RuntimeError):
    """A program ended or was not ready in time while the stack was starting."""


class Asked(RuntimeError):
    """Somebody asked the stack to stop while it was starting."""


@dataclass(frozen=True, slots=True)
class Program:
    """One child: how it is run, when it is ready and what its end means."""

    name: str
    argv: Sequence[str]
    on_exit: OnExit = OnExit.STOP_ALL
    is_ready: Callable[[], bool] | None = None
    ready_seconds: float = 60.0
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    wraps_itself: bool = False  # argv is a `launch.command` already
    is_shown: bool = True  # otherwise `run` returns its lines
    hides: tuple[str, ...] = ()  # lines with one of these are chatter


class _Child:
    def __init__(self, program: Program, number: int, process: subprocess.Popen[str]) -> None:
        self.program = program
        self.number = number
        self.process = process
        self.lines: list[str] = []
        self.reader: threading.Thread | None = None
        self.restarted_at: deque[float] = deque()
        self.is_reported = False


class Supervisor:
    """Use as a context manager: leaving the block stops everything that was started in it."""

    def __init__(self, *, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out or sys.stdout
        self._clock = clock
        self._children: list[_Child] = []
        self._printing = threading.Lock()
        self._asked = threading.Event()
        self._asked_by = ""
        self._is_stopping = False
        self._previous: dict[signal.Signals, object] = {}
        self._colour = self._out.isatty() and not os.environ.get("NO_COLOR")

    def __enter__(self) -> "Supervisor":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping = True
        self._asked.clear()  # from here on, being asked again means: at once
        try:
            self.stop()
        finally:
            for number, handler in self._previous.items():
                signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    def say(self, text: str, *, name: str = "costobs", number: int = -1) -> None:
        """Prints one prefixed line."""
        prefix = f"{name:>8} | "
        if self._colour and number >= 0:
            prefix = f"\033[{_COLOURS[number % len(_COLOURS)]}m{prefix}\033[0m"
        with self._printing:
            try:
                self._out.write(f"{prefix}{text}\n")
                self._out.flush()
            except (BrokenPipeError, ValueError):  # nobody reads any more; it still stops in good order
                if not self._is_stopping:
                    self._ask("its output was closed")

    def start(self, program: Program, *, wait: bool = True) -> None:
        """Starts `program` and waits until it is ready. Raises Failed, and Asked when told to stop meanwhile."""
        child = self._spawn(program, len(self._children))
        self._children.append(child)
        if wait:
            self.wait_until_ready(program)

    def wait_until_ready(self, program: Program) -> None:
        """Waits for the probe of a started program. Raises Failed and Asked."""
        deadline = self._clock() + program.ready_seconds
        while program.is_ready is not None and not program.is_ready():
            self._check_while_starting()
            if self._clock() > deadline:
                raise Failed(f"{program.name} was not ready within {program.ready_seconds:.0f} s")
            time.sleep(_POLL_SECONDS)

    def run(self, program: Program) -> list[str]:
        """Runs `program` to its end while the others are watched; its lines. Raises Failed and Asked."""
        child = self._spawn(program, len(self._children))
        self._children.append(child)
        while child.process.poll() is None:
            self._check_while_starting(apart_from=child)
            time.sleep(_POLL_SECONDS)
        self._children.remove(child)
        if child.reader is not None:
            child.reader.join(5)
        if child.process.returncode != 0:
            shown = "" if program.is_shown else "\n" + "\n".join(child.lines[-20:])
            raise Failed(f"{program.name} ended with {child.process.returncode}{shown}")
        return child.lines

    def watch(self) -> int:
        """Watches until told to stop (0) or until something that must live has died (1)."""
        while not self._asked.wait(_POLL_SECONDS):
            for child in list(self._children):
                if child.process.poll() is not None and not self._goes_on_after(child):
                    return 1
        self.say(f"stopping: {self._asked_by}")
        return 0

    def stop(self) -> None:
        """Stops everything in reverse order; a second request to stop meanwhile kills what is left."""
        for child in reversed(self._children):
            self._stop_one(child)
        self._children.clear()

    def _goes_on_after(self, child: _Child) -> bool:
        program, code = child.program, child.process.returncode
        match program.on_exit:
            case OnExit.REPORT:
                if not child.is_reported:
                    child.is_reported = True
                    self.say(
                        f"{program.name} is done" if code == 0 else f"{program.name} {_ended(code)}; the rest goes on"
                    )
                return True
            case OnExit.RESTART:
                return self._restart(child)
            case _:
                self.say(f"{program.name} {_ended(code)}: stopping everything")
                return False

    def _restart(self, child: _Child) -> bool:
        now, program = self._clock(), child.program
        while child.restarted_at and now - child.restarted_at[0] > RESTART_WINDOW_SECONDS:
            child.restarted_at.popleft()
        why = f"{program.name} {_ended(child.process.returncode)}"
        if len(child.restarted_at) >= RESTARTS:
            window = f"{RESTART_WINDOW_SECONDS:.0f} s"
            self.say(f"{why} after {RESTARTS} restarts within {window}: stopping everything")
            return False
        child.restarted_at.append(now)
        self.say(f"{why}: restarting it ({len(child.restarted_at)} of {RESTARTS})")
        _kill_group(child.process)
        fresh = self._spawn(program, child.number)
        fresh.restarted_at = child.restarted_at
        self._children[self._children.index(child)] = fresh
        return True

    def _spawn(self, program: Program, number: int) -> _Child:
        # From the main thread only: the kernel ties a child's death signal to the thread that started it.
        argv = list(program.argv)
        process = subprocess.Popen(
            argv if program.wraps_itself else launch.command(argv, die_with=program.stop_signal),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **program.environment, "PYTHONUNBUFFERED": "1"},
            cwd=program.cwd,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        child = _Child(program, number, process)
        child.reader = threading.Thread(target=self._show, args=[child], daemon=True)
        child.reader.start()
        return child

    def _show(self, child: _Child) -> None:
        assert child.process.stdout is not None
        for line in child.process.stdout:
            if not child.program.is_shown:
                child.lines.append(line.rstrip())
            elif line.strip() and not any(chatter in line for chatter in child.program.hides):
                self.say(line.rstrip(), name=child.program.name, number=child.number)

    def _check_while_starting(self, apart_from: _Child | None = None) -> None:
        if self._asked.is_set():
            raise Asked(self._asked_by)
        for child in list(self._children):
            if child is not apart_from and child.process.poll() is not None and not self._goes_on_after(child):
                raise Failed(f"{child.program.name} {_ended(child.process.returncode)} during the start")

    def _stop_one(self, child: _Child) -> None:
        process, program = child.process, child.program
        if process.poll() is None:
            self.say(f"stopping {program.name}")
            process.send_signal(program.stop_signal)
            deadline = self._clock() + program.stop_seconds
            while process.poll() is None and self._clock() < deadline and not self._asked.is_set():
                time.sleep(0.02)
            if process.poll() is None:
                self.say(f"{program.name} does not stop: killing it")
        _kill_group(process)
        process.wait()
        if child.reader is not None:
            child.reader.join(2)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._ask("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    def _ask(self, why: str) -> None:
        self._asked_by = self._asked_by or why
        self._asked.set()


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Ends what a child left behind: it led a session of its own, so the group holds only its descendants."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # nobody is left; macOS says "not permitted" for a group of zombies
        return


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    return f"was killed by {signal.Signals(-code).name}"
