"""The gate as a proxy: beside the model itself, and beside a bare pass-through under uvicorn with aiohttp.

Five processes: a model that does nothing, before it the gate, the pass-through, the same pass-through with the gate's own
client and way to write, and the client here. Rounds of each come in random order, so what else the machine does meets
all alike.
"""

import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 2000}]}).encode()
KEY, BLOCKED = "sk-bench", "sk-bench-blocked"
ROUND = 50
AT_ONCE = 16
SECONDS = 3.0
ROUNDS = 4
GATE = "gate as a proxy"
CORKED = "costobs_gate.proxy.corked:CorkedProtocol"
TICKS = os.sysconf("SC_CLK_TCK")


def measure(costobs: str, requests: int) -> None:
    """Measure and print."""
    with ExitStack() as stack:
        model = stack.enter_context(_uvicorn("bench.gate_proxy:model", {}))
        upstream = f"http://127.0.0.1:{model.port}"
        bare = stack.enter_context(_uvicorn("bench.gate_proxy:bare", {"BENCH_UPSTREAM": upstream}))
        lean = stack.enter_context(_uvicorn("bench.gate_proxy:lean", {"BENCH_UPSTREAM": upstream}, http=CORKED))
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        gate = stack.enter_context(_gate(costobs, directory, upstream))
        servers = {"model itself": model, "bare pass-through": bare, "bare, the gate's client": lean, GATE: gate}
        asyncio.run(_run(servers, requests))


class Running:
    """A server process."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def cpu_seconds(self) -> float:
        """What it has used of the processor."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / TICKS


async def _run(servers: dict[str, Running], requests: int) -> None:
    for server in servers.values():
        await _ready(server.port)
    times: dict[str, list[float]] = {name: [] for name in servers}
    refused: list[float] = []
    for _ in range(max(1, requests // ROUND)):
        for name in random.sample(list(servers), len(servers)):
            times[name] += await _latencies(servers[name].port, KEY, 200)
        refused += await _latencies(servers[GATE].port, BLOCKED, 429)
    base = times["model itself"]
    print(f"\n{'as a proxy':<24}{'requests':>9}{'p50/p99 ms':>18}{'added p50/p99 ms':>22}")
    for name, found in times.items():
        added = f"{_at(found, 50) - _at(base, 50):+.3f} / {_at(found, 99) - _at(base, 99):+.3f}"
        print(f"{name:<24}{len(found):>9}{_at(found, 50):>10.3f} / {_at(found, 99):.3f}{added:>22}")
    print(f"{'429 end to end':<24}{len(refused):>9}{_at(refused, 50):>10.3f} / {_at(refused, 99):.3f}")
    await _throughput({name: server for name, server in servers.items() if name != "model itself"})


async def _throughput(servers: dict[str, Running]) -> None:
    rates: dict[str, list[float]] = {name: [] for name in servers}
    costs: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name in random.sample(list(servers), len(servers)):
            used, begun = servers[name].cpu_seconds(), time.perf_counter()
            done = sum(await asyncio.gather(*(_hammer(servers[name].port, begun + SECONDS) for _ in range(AT_ONCE))))
            rates[name].append(done / (time.perf_counter() - begun))
            costs[name].append((servers[name].cpu_seconds() - used) / done * 1e6)
    print(f"\n{AT_ONCE} at once: requests/s, and processor time of the one process for a request")
    for name in servers:
        print(f"{name:<24}{statistics.median(rates[name]):>9.0f} /s{statistics.median(costs[name]):>9.0f} us")
    gate = statistics.median(rates.pop(GATE))
    for name, found in rates.items():
        print(f"gate : {name} = {gate / statistics.median(found):.2f}")


async def _latencies(port: int, key: str, status: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for _ in range(ROUND):
        begun = time.perf_counter()
        got = await _ask(reader, writer, key)
        found.append((time.perf_counter() - begun) * 1000)
        if got != status:
            raise SystemExit(f"port {port} answered {got}, expected {status}")
    writer.close()
    return found[5:]  # the first ones open connections further on


async def _hammer(port: int, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    done = 0
    while time.perf_counter() < until:
        if await _ask(reader, writer, KEY) != 200:
            raise SystemExit("a request failed under load")
        done += 1
    writer.close()
    return done


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> int:
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        + f"authorization: Bearer {key}\r\ncontent-length: {len(BODY)}\r\n\r\n".encode()
        + BODY
    )
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    size = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    await reader.readexactly(size)
    return int(head.split(b" ", 2)[1])


async def _ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if await _ask(reader, writer, KEY) == 200:
                writer.close()
                return
        except (OSError, asyncio.IncompleteReadError):
            pass
        await asyncio.sleep(0.1)
    raise SystemExit(f"no server on port {port} within 60 s")


def _at(times: list[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


@contextmanager
def _uvicorn(app: str, more: dict[str, str], *, http: str = "httptools") -> Iterator[Running]:
    options = ["--loop", "uvloop", "--http", http, "--log-level", "error", "--no-access-log", "--ws", "none"]
    with _started(["-m", "uvicorn", app, *options], more) as running:
        yield running


@contextmanager
def _gate(costobs: str, directory: str, upstream: str) -> Iterator[Running]:
    more = {"COSTOBS_URL": costobs, "COSTOBS_GATE_TOKEN": "bench", "COSTOBS_GATE_DIR": directory}
    arguments = ["-m", "costobs_gate", "serve", "--upstream", f"own={upstream}", "--models", "own=m"]
    with _started([*arguments, "--grace-seconds", "0"], more) as running:
        yield running


@contextmanager
def _started(arguments: list[str], more: dict[str, str]) -> Iterator[Running]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *arguments, "--port", str(port)], env={**os.environ, **more}, stderr=subprocess.DEVNULL
    )
    try:
        yield Running(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def _body(receive: Any) -> bytes:
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def model(scope: Any, receive: Any, send: Any) -> None:
    """A model that does nothing."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await _body(receive)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


ANSWER = json.dumps(
    {
        "model": "m",
        "choices": [{"message": {"content": "y" * 500}}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 100},
    }
).encode()
_SESSION: list[Any] = []


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """A pass-through that does nothing else: the same server as the gate's, and a client library that many use."""
    import aiohttp

    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    body = await _body(receive)
    if not _SESSION:
        connector = aiohttp.TCPConnector(limit=0)
        _SESSION.append(
            aiohttp.ClientSession(connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        )
    hop = (b"host", b"content-length", b"connection")
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"] if name not in hop]
    async with _SESSION[0].post(os.environ["BENCH_UPSTREAM"] + scope["path"], data=body, headers=headers) as answer:
        content = await answer.read()
        kept = [(name.lower(), value) for name, value in answer.raw_headers if name.lower() not in (b"connection",)]
    await send({"type": "http.response.start", "status": answer.status, "headers": kept})
    await send({"type": "http.response.body", "body": content})


async def lean(scope: Any, receive: Any, send: Any) -> None:
    """The same with the gate's client: what is left of the gate's cost is what it does for the request."""
    from costobs_gate.proxy import client

    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    body = await _body(receive)
    if not _SESSION:
        _SESSION.append(client.Client(connect_seconds=5, idle_seconds=600))
        _SESSION.append(client.origin(os.environ["BENCH_UPSTREAM"]))
    kept = [name + b": " + value + b"\r\n" for name, value in scope["headers"] if name != b"connection"]
    answer = await _SESSION[0].ask(
        _SESSION[1], b"POST %b HTTP/1.1\r\n%b\r\n" % (scope["raw_path"], b"".join(kept)), body
    )
    content = await answer.read()
    headers = [pair for pair in answer.headers if pair[0] != b"connection"]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
