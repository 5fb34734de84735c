"""Real servers and emulators for tests: each starts on a free loopback port and stops with the test."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str) -> str:
    """The path of a program of this Python environment."""
    return str(Path(sys.executable).with_name(name))


@contextmanager
def running(
    command: Sequence[str], *, port: int, seconds: float = 90, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process from when its port answers until the block ends. What it printed is shown when it does not start.

    It prints into a file: a pipe that nobody reads is full after some hundred requests, and then the server waits forever.
    """
    with tempfile.TemporaryFile() as printed:
        server = subprocess.Popen(list(command), stdout=printed, stderr=subprocess.STDOUT, env=env)
        try:
            deadline = time.monotonic() + seconds
            while not is_open(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    printed.seek(0)
                    said = printed.read().decode("utf-8", "replace")[-2000:]
                    raise RuntimeError(f"{command[0]} did not answer on port {port}:\n{said}")
                time.sleep(0.05)
            yield server
        finally:
            server.terminate()
            try:
                server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
