"""costobs up: database, broker, web server, worker and clock in one terminal, from nothing."""

import argparse
import dataclasses
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from costobs.embedded import keys, locks, paths, postgres, valkey
from costobs.embedded.supervisor import Asked, Failed, OnExit, Program, Supervisor

# Threads, not forks: Polars and Arrow keep threads of their own, and a child forked beside them may wait for ever. The work
# is done in PostgreSQL and in their C code, which let other threads run. Six of them may wait for vendors (costobs.pipeline).
_POOL = ("--pool", "threads", "--concurrency", "8")
# Celery warns root, and numbers without a name, about pickled messages; ours are JSON.
_NO_PICKLE = "ignore:::celery.platforms,ignore:::celery.apps.worker"
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


class Refused(RuntimeError):
    """The stack cannot start here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line and the environment ask for."""

    data: Path
    port: int
    loads_sample: bool
    has_own_database: bool
    has_own_broker: bool

    @property
    def address(self) -> str:
        return os.environ.get("COSTOBS_URL", "").rstrip("/") or f"http://127.0.0.1:{self.port}"


def main(argv: Sequence[str]) -> int:
    """Runs the stack until it is told to stop. Returns the exit status."""
    options = _options(argv)
    lock = locks.FileLock(options.data / "locks" / "up")
    try:
        _claim(lock, options)
        with Supervisor() as supervisor, _database(options):
            return _run(supervisor, options)
    except (Refused, Failed, postgres.ServerFailed, valkey.ServerMissing) as problem:
        sys.stdout.flush()
        sys.stderr.write(f"costobs: {problem}\n")
        return 1
    except Asked:
        return 0
    finally:
        lock.close()


def running_address(data: Path) -> str | None:
    """Where the stack that runs on `data` answers, or None when none runs."""
    path = data / "locks" / "up"
    if not path.exists():
        return None
    lock = locks.FileLock(path)
    try:
        lock.acquire(shared=True, wait=False)
    except locks.Held as held:
        return _noted(held.note).get("address")
    finally:
        lock.close()
    return None


def _options(argv: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="costobs up", description="Run everything on this machine; Ctrl-C stops it.")
    parser.add_argument("--port", type=int, default=int(os.environ.get("COSTOBS_PORT") or "8080"))
    parser.add_argument("--no-sample", action="store_true", help="no sample organisation (COSTOBS_SAMPLE=0)")
    given = parser.parse_args(argv)
    return Options(
        data=paths.data_dir(),
        port=given.port,
        loads_sample=not given.no_sample and os.environ.get("COSTOBS_SAMPLE", "1") != "0",
        has_own_database=not os.environ.get("DATABASE_URL", "").strip(),
        has_own_broker=not os.environ.get("BROKER_URL", "").strip(),
    )


def _claim(lock: locks.FileLock, options: Options) -> None:
    try:
        _acquire(lock)
    except locks.Held as held:
        raise Refused(f"it runs already on {options.data}: {_describe(held.note)}. Stop that one first.") from held
    lock.write(json.dumps({"pid": os.getpid(), "address": options.address}))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", options.port))
        except OSError as problem:
            advice = "choose another with COSTOBS_PORT"
            raise Refused(
                f"port {options.port} of 127.0.0.1 cannot be used ({problem.strerror}); {advice}"
            ) from problem


def _acquire(lock: locks.FileLock) -> None:
    try:
        lock.acquire(wait=False)
    except locks.Held:
        time.sleep(0.2)  # a command that looked whether a stack runs has let go by now
        lock.acquire(wait=False)


def _describe(note: str) -> str:
    known = _noted(note)
    if not known:
        return "it is just starting or stopping"
    return f"{known['address']} (process {known['pid']})"


def _noted(note: str) -> dict[str, str]:
    try:
        return {str(key): str(value) for key, value in json.loads(note).items()}
    except (ValueError, AttributeError):
        return {}


def _database(options: Options) -> AbstractContextManager[None]:
    return postgres.owned(options.data) if options.has_own_database else nullcontext()


def _run(supervisor: Supervisor, options: Options) -> int:
    began = time.monotonic()
    environment = _environment(options)
    if options.has_own_database:
        supervisor.start(_postgres(options))
        postgres.create_database(options.data, "costobs")
    if options.has_own_broker:
        supervisor.start(_valkey(options))
    supervisor.say(f"database and broker are ready after {time.monotonic() - began:.1f} s")
    supervisor.run(_django("migrate", environment, "migrate", "--noinput", "--skip-checks", "--verbosity", "0"))
    web = _web(options, environment)
    supervisor.start(web, wait=False)
    supervisor.start(_celery("worker", environment, "worker", *_POOL, *_QUIET))
    supervisor.start(_celery("beat", environment, "beat", "--schedule", str(options.data / "beat"), "--pidfile="))
    link = _sign_in_link(supervisor, environment)
    supervisor.wait_until_ready(web)
    _greet(supervisor, options, link, time.monotonic() - began)
    # It waits for Slack apps: one that is set up later is heard without a new start.
    supervisor.start(_django("chat", environment, "chat", "--skip-checks", on_exit=OnExit.RESTART))
    if options.loads_sample:
        supervisor.start(_django("sample", environment, "sample", "--skip-checks", on_exit=OnExit.REPORT))
    return supervisor.watch()


def _environment(options: Options) -> dict[str, str]:
    (options.data / "static").mkdir(parents=True, exist_ok=True)
    (options.data / "files").mkdir(parents=True, exist_ok=True)  # what a source set up in the browser may read
    return {
        "COSTOBS_DATA": str(options.data),
        "COSTOBS_PORT": str(options.port),
        "COSTOBS_SECRET_KEY": keys.secret_key(),
        "COSTOBS_FERNET_KEY": keys.fernet_key(),
        "DATABASE_URL": paths.database_url(options.data),
        "BROKER_URL": paths.broker_url(options.data),
        "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", "costobs.settings"),
        "C_FORCE_ROOT": "1",
    }


def _postgres(options: Options) -> Program:
    return Program(
        name="postgres",
        argv=postgres.command(options.data),
        is_ready=lambda: postgres.is_ready(options.data),
        environment={"LC_ALL": "C.UTF-8"},
        cwd=Path("/"),
        stop_signal=signal.SIGINT,
        stop_seconds=30,
        wraps_itself=True,
        hides=(" LOG:  ", "the database system is starting up"),
    )


def _valkey(options: Options) -> Program:
    return Program(
        name="valkey",
        argv=valkey.command(options.data),
        is_ready=lambda: valkey.is_ready(options.data),
        wraps_itself=True,
        hides=("Memory overcommit must be enabled", "scheduling shutdown", "ready to exit"),
    )


def _django(name: str, environment: dict[str, str], *args: str, on_exit: OnExit = OnExit.STOP_ALL) -> Program:
    return Program(name=name, argv=[sys.executable, "-m", "django", *args], environment=environment, on_exit=on_exit)


def _celery(name: str, environment: dict[str, str], *args: str) -> Program:
    argv = [sys.executable, "-m", "celery", "--app", "costobs.celery", "--quiet", *args, "--loglevel", "WARNING"]
    quieter = {**environment, "PYTHONWARNINGS": _NO_PICKLE}
    return Program(name=name, argv=argv, environment=quieter, on_exit=OnExit.RESTART)


def _web(options: Options, environment: dict[str, str]) -> Program:
    argv = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(options.port)]
    argv += ["--workers", "2", "--blocking-threads", "2", "--no-ws", "--respawn-failed-workers"]
    argv += ["--log-level", "warning", "costobs.wsgi:application"]
    probe = f"http://127.0.0.1:{options.port}/readyz"
    return Program(name="web", argv=argv, environment=environment, is_ready=lambda: _answers(probe))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  (our own address)
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _sign_in_link(supervisor: Supervisor, environment: dict[str, str]) -> str:
    program = _django("sign-in", environment, "sign_in_link", "--format", "url", "--skip-checks")
    lines = supervisor.run(dataclasses.replace(program, is_shown=False))
    return next((line for line in reversed(lines) if line.startswith("http")), "")


def _greet(supervisor: Supervisor, options: Options, link: str, seconds: float) -> None:
    supervisor.say("")
    supervisor.say(f"costobs is ready after {seconds:.1f} s: {options.address}")
    supervisor.say(f"sign in once, within an hour: {link}" if link else "for a sign-in link run: costobs sign-in-link")
    supervisor.say("Ctrl-C stops everything")
    supervisor.say("")
