"""Processes that a storm of calls needs, each of which may be killed and started again, and the storm itself."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.gate.costobs_server import wait_until
from tests.gate.served_log import MAX_TOKENS
from tests.servers import loops

ROOT = Path(__file__).resolve().parents[2]
_WORKER = """
import django; django.setup()
import sys, time
from datetime import UTC, datetime, timedelta
from alerts import leases
from costobs import pipeline
if sys.argv[1:]:
    leases.GRACE = timedelta(seconds=int(sys.argv[1]))
while True:
    try:
        pipeline.run_once(datetime.now(UTC))
    except Exception as problem:
        print("worker:", problem, flush=True)
    time.sleep(0.2)
"""


@dataclass
class Program:
    """A process in a group of its own, on a port of its own."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.argv, cwd=ROOT, env=dict(self.environment), start_new_session=True, stdout=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """SIGKILL for it and its children."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def wait_for(self, path: str) -> None:
        wait_until(lambda: self.answers(path), seconds=120)

    def answers(self, path: str) -> bool:
        try:
            return httpx.get(self.url + path, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


def web(environment: Mapping[str, str]) -> Program:
    """costobs' own web server."""
    port = free_port()
    argv = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--workers", "1", "--blocking-threads", "2", "--no-ws", "--log-level", "error", "costobs.wsgi:application"]
    return Program(argv, environment, port)


def worker(environment: Mapping[str, str], *, grace_seconds: int | None = None) -> Program:
    """The steps of the pipeline, again and again; with a grace of so many seconds, where a test cannot wait ten minutes."""
    return Program(
        [sys.executable, "-c", _WORKER, *([] if grace_seconds is None else [str(grace_seconds)])], environment
    )


def gate(factory: str, environment: Mapping[str, str]) -> Program:
    """A gate under uvicorn: `leased` or `naive` of tests.gate.served_log."""
    port = free_port()
    argv = [sys.executable, "-m", "uvicorn", f"tests.gate.served_log:{factory}", "--factory", "--port", str(port)]
    return Program([*argv, "--lifespan", "on", "--log-level", "critical", "--backlog", "2048"], environment, port)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(*programs: Program) -> Iterator[None]:
    """These programs, killed at the end."""
    try:
        for program in programs:
            program.start()
        yield
    finally:
        for program in programs:
            program.kill()


@dataclass
class Storm:
    """Clients that all call at once and, as clients do, again where a gate broke or said that it makes sense soon."""

    urls: Sequence[str]
    key: str
    model: str
    calls: int
    tries: int = 60
    answered: list[int] = field(default_factory=list)  # the last status each client saw; 0: none

    def blow(self) -> None:
        loops.run(self._blow())

    async def _blow(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            await asyncio.gather(*(self._call(client, number) for number in range(self.calls)))

    async def _call(self, client: httpx.AsyncClient, number: int) -> None:
        status = 0
        for attempt in range(self.tries):
            with contextlib.suppress(httpx.HTTPError):
                answer = await call(client, self.urls[(number + attempt) % len(self.urls)], self.key, self.model)
                status = answer.status_code
                if status != 503 and int(answer.headers.get("retry-after", "60")) > 5:
                    break  # served, or refused until the period ends
            await asyncio.sleep(0.3)
        self.answered.append(status)


async def call(client: httpx.AsyncClient, url: str, key: str, model: str) -> httpx.Response:
    """One completion."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": "How much is left of our budget?"}],
    }
    return await client.post(f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})
