"""Where an installation keeps its data, and the addresses of its embedded servers."""

import hashlib
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

_SOCKET_PATH_BYTES = 100  # sun_path holds 108 on Linux and 104 on macOS, with the closing zero
_LONGEST_SOCKET_NAME = "/.s.PGSQL.5432.lock"


def data_dir() -> Path:
    """COSTOBS_DATA, else `.costobs` in the checkout (or in the working directory of an installed package)."""
    given = os.environ.get("COSTOBS_DATA", "").strip()
    if given:
        return Path(given).expanduser().resolve()
    checkout = Path(__file__).resolve().parents[2]
    home = checkout if (checkout / "manage.py").is_file() else Path.cwd()
    return home / ".costobs"


def run_dir(data: Path | None = None) -> Path:
    """The directory of the sockets: inside `data`, or a short one named by its hash where that path is too long."""
    data = data or data_dir()
    inside = data / "run"
    if len(os.fsencode(f"{inside}{_LONGEST_SOCKET_NAME}")) <= _SOCKET_PATH_BYTES:
        return inside
    name = hashlib.sha256(f"{os.getuid()}:{data}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"costobs-{name}"


def postgres_dir(data: Path | None = None) -> Path:
    """The data directory of the embedded PostgreSQL."""
    return (data or data_dir()) / "postgres"


def database_url(data: Path | None = None) -> str:
    """DATABASE_URL, else the embedded server's socket."""
    given = os.environ.get("DATABASE_URL", "").strip()
    return given or embedded_database_url(data)


def embedded_database_url(data: Path | None = None, *, name: str = "costobs") -> str:
    """The address of a database of the embedded server of `data`, whatever DATABASE_URL says."""
    # The socket is a query value because readers of URLs put the host part into lower case.
    return f"postgresql://postgres@/{name}?host={quote(str(run_dir(data)), safe='/')}"


def broker_url(data: Path | None = None) -> str:
    """BROKER_URL, else the embedded broker's socket."""
    given = os.environ.get("BROKER_URL", "").strip()
    return given or f"redis+socket://{quote(str(run_dir(data) / 'valkey.sock'), safe='/')}?virtual_host=0"
