"""A gate under a real uvicorn on loopback, a model server behind it and a costobs beside it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from costobs_gate import Gate, uplink

from tests.gate.costobs_server import ALPHA, TOKEN, CostobsServer, policy, wait_until
from tests.gate.upstream import Upstream

ROOT = Path(__file__).resolve().parents[2]


class Served:
    """A running gate: its address, the model server behind it, its directory."""

    def __init__(self, url: str, upstream: Upstream, directory: Path, stop: Callable[[], None]) -> None:
        self.url, self.upstream, self.directory, self.stop = url, upstream, directory, stop
        self.client = httpx.Client(base_url=url, timeout=30)

    def post(
        self, path: str = "/v1/chat/completions", *, key: str | None = ALPHA, json: object = None, **more: object
    ) -> httpx.Response:
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **more.pop("headers", {})}  # type: ignore[dict-item]
        body = {"model": "small", "messages": []} if json is None else json
        return self.client.post(path, headers=headers, **({"json": body} if "content" not in more else {}), **more)  # type: ignore[arg-type]

    def metrics(self) -> str:
        return self.client.get("/costobs/gate/metrics").text

    def wait_for_policy(self, version: str) -> None:
        wait_until(lambda: f'version="{version}"' in self.metrics())


@pytest.fixture
def costobs() -> Iterator[CostobsServer]:
    server = CostobsServer()
    server.publish(policy())
    yield server
    server.close()


@pytest.fixture
def gate_env(costobs: CostobsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("COSTOBS_URL", costobs.url)
    monkeypatch.setenv("COSTOBS_GATE_TOKEN", TOKEN)
    monkeypatch.setenv("COSTOBS_GATE_DIR", str(tmp_path / "gate"))
    monkeypatch.setenv("COSTOBS_ENVIRONMENT", "test")
    monkeypatch.delenv("COSTOBS_DEPLOYMENT", raising=False)
    monkeypatch.setattr(uplink, "SEND_SECONDS", 0.02)
    monkeypatch.setattr(uplink, "FIRST_BACKOFF_SECONDS", 0.05)
    return monkeypatch


@pytest.fixture
def serve(gate_env: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], Served]]:
    """Start a gate in a thread of this process; the environment may still be changed before."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(_served(tmp_path / "gate"))


@pytest.fixture
def gate(serve: Callable[[], Served]) -> Served:
    """A gate with the standard policy in force."""
    served = serve()
    served.wait_for_policy("v1")
    return served


@contextlib.contextmanager
def _served(directory: Path) -> Iterator[Served]:
    upstream, listener = Upstream(), _listener()
    config = uvicorn.Config(Gate(upstream), log_level="error", lifespan="on", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    wait_until(lambda: server.started)

    def stop() -> None:
        upstream.release.set()
        server.should_exit = True
        thread.join(60)

    served = Served(f"http://127.0.0.1:{listener.getsockname()[1]}", upstream, directory, stop)
    try:
        yield served
    finally:
        served.client.close()
        stop()


@pytest.fixture
def spawn(gate_env: pytest.MonkeyPatch) -> Iterator[Callable[[], "Spawned"]]:
    """Start a gate as a process of its own."""
    running: list[Spawned] = []

    def start() -> Spawned:
        running.append(Spawned())
        return running[-1]

    yield start
    for process in running:
        process.kill()


class Spawned:
    """A gate in its own process."""

    def __init__(self) -> None:
        listener = _listener()
        port = listener.getsockname()[1]
        listener.close()
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "tests.gate.process_app:app",
            "--port",
            str(port),
            "--lifespan",
            "on",
            "--log-level",
            "error",
        ]
        self.process = subprocess.Popen(command, cwd=ROOT, env={**os.environ})
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        wait_until(self._is_ready, seconds=60)

    def kill(self) -> None:
        self.client.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def _is_ready(self) -> bool:
        try:
            return 'version="' in self.client.get("/costobs/gate/metrics").text
        except httpx.HTTPError:
            return False


def _listener() -> socket.socket:
    # With the protocol named, asyncio sets TCP_NODELAY on what it accepts; without it each answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    return listener
