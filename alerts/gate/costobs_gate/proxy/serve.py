"""`costobs-gate serve`: the proxy under uvicorn, its workers, and how it stops without losing a request."""

import argparse
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn

from costobs_gate.asgi import Gate
from costobs_gate.config import ConfigError, from_environment
from costobs_gate.proxy import upstreams
from costobs_gate.proxy.app import Proxy
from costobs_gate.proxy.corked import CorkedProtocol
from costobs_gate.proxy.upstreams import Options, Upstream

log = logging.getLogger("costobs_gate")

EPILOG = """\
The keys of upstreams come from COSTOBS_UPSTREAM_KEY_<NAME> or COSTOBS_UPSTREAM_KEY_<NAME>_FILE, and COSTOBS_URL and
COSTOBS_GATE_TOKEN say where costobs is. SIGTERM drains: new requests get 429 with Retry-After, running ones finish.
"""
COLLECTS = 20_000, 20, 20  # objects between two searches for garbage; requests leave next to none
YOUNG_SECONDS = 5.0  # a worker that dies younger is not started again at once


def parser(name: str) -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog=name, description="The gate as a reverse proxy in front of model servers and providers.", epilog=EPILOG
    )
    add = made.add_argument
    add("--upstream", action="append", default=[], metavar="NAME=URL", help="a server; the first is the default")
    add(
        "--kind",
        action="append",
        default=[],
        metavar="NAME=KIND",
        help=f"{', '.join(upstreams.KINDS)}; else by the URL",
    )
    add(
        "--models", action="append", default=[], metavar="NAME=A,B", help="what it serves; else its /v1/models is asked"
    )
    add("--provider", action="append", default=[], metavar="NAME=TEXT", help="its provider in costobs' books")
    add("--deployment", action="append", default=[], metavar="NAME=TEXT", help="its deployment in costobs' books")
    add(
        "--overflow",
        action="append",
        default=[],
        metavar="NAME=OTHER[:MODEL]",
        help="where requests go when it is full",
    )
    add(
        "--overflow-at",
        action="append",
        default=[],
        metavar="NAME=N",
        help="full: N requests at once (else only 429, 503)",
    )
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8080)
    add("--workers", type=int, default=1, help="processes; limits are shared by them")
    add("--connect-seconds", type=float, default=5.0, help="to reach an upstream")
    add("--idle-seconds", type=float, default=600.0, help="without a byte from an upstream")
    add("--drain-seconds", type=float, default=30.0, help="that running requests may take after SIGTERM")
    add(
        "--grace-seconds",
        type=float,
        default=2.0,
        help="to go on answering after SIGTERM, until balancers have noticed",
    )
    add("--certfile", help="serve HTTPS with this certificate")
    add("--keyfile")
    return made


def main(argv: Sequence[str], name: str = "costobs-gate serve") -> int:
    """Serve until told to stop. 0: stopped in good order, 1: could not start, 2: the command line is wrong."""
    asked = parser(name).parse_args(list(argv))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = Options(**{key: getattr(asked, key) for key in Options.__slots__})
    try:
        found = upstreams.read(options)
        from_environment()
        if asked.workers < 1:
            raise ConfigError("--workers must be 1 or more")
        listener = _listener(asked.host, asked.port)
    except (ConfigError, OSError) as problem:
        sys.stderr.write(f"{name}: {problem}\n")
        return 2 if isinstance(problem, ConfigError) else 1
    log.info("serving on %s:%d before %s", *listener.getsockname()[:2], ", ".join(one.name for one in found))
    if asked.workers == 1:
        return _work(asked, found, listener)
    return _Workers(lambda: _work(asked, found, listener)).run(asked.workers)


def build(found: Sequence[Upstream], *, connect_seconds: float = 5.0, idle_seconds: float = 600.0) -> Gate:
    """The gate with a proxy behind it, as an ASGI application."""
    most = from_environment().max_body_bytes
    proxy = Proxy(found, connect_seconds=connect_seconds, idle_seconds=idle_seconds, max_body_bytes=most)
    gate = Gate(proxy, proxy.ways)
    proxy.count = lambda upstream, reason: gate.started().metrics.add(
        "costobs_gate_upstream_errors_total", upstream=upstream, reason=reason
    )
    return gate


class Server(uvicorn.Server):
    """Stops in order: first nothing new, then what runs to its end, then the spool to costobs, then the process."""

    def __init__(self, config: uvicorn.Config, gate: Gate, *, drain_seconds: float, grace_seconds: float) -> None:
        super().__init__(config)
        self._gate = gate
        self._drain_seconds, self._grace_seconds = drain_seconds, grace_seconds
        self._told_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains; more of the same change nothing, but for a second Ctrl-C."""
        if self._told_at is None:
            self._told_at = time.monotonic()
        elif sig == signal.SIGINT:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second by uvicorn."""
        if self._told_at is not None:
            runtime = self._gate.started()
            runtime.drain.begin_here()
            past = time.monotonic() - self._told_at
            is_empty = past >= self._grace_seconds and not runtime.admission.inflight
            self.should_exit = self.should_exit or is_empty or past >= self._drain_seconds
        return await super().on_tick(counter)


def _work(asked: argparse.Namespace, found: Sequence[Upstream], listener: socket.socket) -> int:
    # The threads that talk to costobs give way to the event loop at once, not after five milliseconds.
    sys.setswitchinterval(0.0005)
    gate = build(found, connect_seconds=asked.connect_seconds, idle_seconds=asked.idle_seconds)
    config = uvicorn.Config(
        gate,
        loop="uvloop",
        http=CorkedProtocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
        ssl_certfile=asked.certfile,
        ssl_keyfile=asked.keyfile,
        proxy_headers=False,
    )
    # What is loaded by now stays; looking through it again and again takes a twentieth of the processor.
    gc.freeze()
    gc.set_threshold(*COLLECTS)
    server = Server(config, gate, drain_seconds=asked.drain_seconds, grace_seconds=asked.grace_seconds)
    server.run(sockets=[listener])
    return 0 if server.started else 1


class _Workers:
    """Keeps workers running until told to stop. One that cannot start ends all of them."""

    def __init__(self, work: Callable[[], int]) -> None:
        self._work = work
        self._born: dict[int, float] = {}
        self._stopping = False
        self._failed = False

    def run(self, count: int) -> int:
        """0 when they stopped in good order."""
        signal.signal(signal.SIGTERM, self._told)
        signal.signal(signal.SIGINT, self._told)
        for _ in range(count):
            self._spawn()
        while self._born:
            pid, status = os.wait()
            born = self._born.pop(pid, 0.0)
            if not self._stopping:
                self._replace(pid, os.waitstatus_to_exitcode(status), born)
        return 1 if self._failed else 0

    def _replace(self, pid: int, status: int, born: float) -> None:
        if status in (1, uvicorn.config.STARTUP_FAILURE):
            self._failed = True
            self._stop()
            return
        log.error("worker %d ended with status %d and is started again", pid, status)
        if time.monotonic() - born < YOUNG_SECONDS:
            time.sleep(1)
        if not self._stopping:
            self._spawn()

    def _spawn(self) -> None:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent passes it on
                status = self._work()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            finally:
                os._exit(status)
        self._born[pid] = time.monotonic()

    def _told(self, _signal: int, _frame: FrameType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        for pid in self._born:
            os.kill(pid, signal.SIGTERM)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on what it accepts.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener
