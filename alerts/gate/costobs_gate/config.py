"""Configuration of the gate, from the environment: a model server builds its middleware without arguments."""

import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FSYNC_MODES = ("always", "second", "never")
MEBIBYTE = 1024 * 1024


class ConfigError(Exception):
    """A setting is missing or cannot be used; the message names it and never holds a secret."""


@dataclass(frozen=True, slots=True)
class Config:
    """What one gate process needs to know before it has a policy."""

    url: str
    token: str = field(repr=False)
    directory: Path
    deployment: str = ""
    environment: str = ""
    upstream_key: str = field(default="", repr=False)
    metrics_token: str = field(default="", repr=False)
    allowed_paths: tuple[str, ...] = ()
    max_body_bytes: int = 64 * MEBIBYTE
    fsync: str = "second"
    timeout_seconds: float = 5.0


def from_environment(environ: Mapping[str, str] = os.environ) -> Config:
    """Read the `COSTOBS_…` variables; raises ConfigError with the name of the variable that is wrong."""
    return Config(
        url=_url(environ),
        token=secret(environ, "COSTOBS_GATE_TOKEN", required=True),
        directory=Path(environ.get("COSTOBS_GATE_DIR") or Path.home() / ".local" / "state" / "costobs-gate"),
        deployment=environ.get("COSTOBS_DEPLOYMENT", ""),
        environment=environ.get("COSTOBS_ENVIRONMENT", ""),
        upstream_key=secret(environ, "COSTOBS_UPSTREAM_KEY"),
        metrics_token=secret(environ, "COSTOBS_GATE_METRICS_TOKEN"),
        allowed_paths=tuple(p.strip() for p in environ.get("COSTOBS_GATE_ALLOW_PATHS", "").split(",") if p.strip()),
        max_body_bytes=_whole_number(environ, "COSTOBS_GATE_MAX_BODY_BYTES", 64 * MEBIBYTE),
        fsync=_fsync(environ),
    )


def _url(environ: Mapping[str, str]) -> str:
    url = environ.get("COSTOBS_URL", "").rstrip("/")
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ConfigError(
            "COSTOBS_URL must be an http(s) address without user and password, like https://costobs.example.com"
        )
    return url


def secret(environ: Mapping[str, str], name: str, *, required: bool = False) -> str:
    """A secret from a variable or from the file that `<name>_FILE` names. Raises ConfigError, without the secret."""
    value = environ.get(name, "").strip()
    file = environ.get(f"{name}_FILE", "")
    if not value and file:
        try:
            value = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{name}_FILE cannot be read: {error.strerror}") from error
    if required and not value:
        raise ConfigError(
            f"{name} (or {name}_FILE) must hold the token that `costobs gate create --name NAME --deployment NAME` printed"
        )
    # A key that cannot be a header value would fail on every request instead of here.
    if not value.isascii() or any(character.isspace() for character in value):
        raise ConfigError(f"{name} must be printable ASCII without spaces")
    return value


def _whole_number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdigit() or int(text) == 0:
        raise ConfigError(f"{name} must be a whole number above 0")
    return int(text)


def _fsync(environ: Mapping[str, str]) -> str:
    mode = environ.get("COSTOBS_GATE_FSYNC", "second")
    if mode not in FSYNC_MODES:
        raise ConfigError(f"COSTOBS_GATE_FSYNC must be one of {', '.join(FSYNC_MODES)}")
    return mode
