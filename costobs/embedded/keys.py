"""The two keys of an installation: from the environment, else made once and kept in the data directory."""

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from costobs.embedded import paths


def secret_key() -> str:
    """The key that signs sessions and sign-in links (COSTOBS_SECRET_KEY)."""
    return _key("COSTOBS_SECRET_KEY", "secret.key", lambda: secrets.token_urlsafe(48))


def fernet_key() -> str:
    """The key that encrypts stored credentials (COSTOBS_FERNET_KEY): 32 bytes in URL-safe base64."""
    return _key("COSTOBS_FERNET_KEY", "fernet.key", lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())


def _key(variable: str, name: str, make: Callable[[], str]) -> str:
    given = os.environ.get(variable, "").strip()
    return given or _kept(paths.data_dir() / "keys" / name, make)


def _kept(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(make())
        try:
            os.link(fresh, path)  # of two processes that make the key at once, one wins and both read the winner's
        except FileExistsError:
            return path.read_text().strip()
        finally:
            fresh.unlink()
    return path.read_text().strip()
