"""Python environments of their own for servers that bring what the product does not need; made once for a checkout."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Beside .venv, so that every run and every worker of a checkout shares it.
HOME = ROOT / ".costobs" / "servers"


class NotAvailable(Exception):
    """Something that a test needs cannot be had on this machine; the message says what to do."""


def made(requirements: Path, path: Path, finish: Callable[[Path], None] | None = None) -> Path:
    """The directory of the programs of an environment with these requirements, made when it is missing or outdated.

    `finish` is given its Python once all is installed. Workers that try at once wait for each other. Raises NotAvailable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete, mark = path / ".complete", hashlib.sha256(requirements.read_bytes()).hexdigest()
        if not (complete.exists() and complete.read_text() == mark):
            sys.stderr.write(f"installing {requirements.name} into {path.relative_to(ROOT)} …\n")
            shutil.rmtree(path, ignore_errors=True)
            _install(requirements, path)
            if finish is not None:
                finish(path / "bin" / "python")
            complete.write_text(mark)
    return path / "bin"


def run(command: Sequence[str | Path], environ: Mapping[str, str] | None = None) -> None:
    """Runs a step of an installation. Raises NotAvailable with the end of what it printed."""
    done = subprocess.run(list(command), capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise NotAvailable(f"{' '.join(str(word) for word in command[:6])} … failed:\n{tail}")


def _install(requirements: Path, path: Path) -> None:
    """With uv where it is, because a Debian Python has no pip to give to a new environment."""
    python = path / "bin" / "python"
    own = ROOT / ".costobs" / "tools" / "bin" / "uv"
    if uv := os.environ.get("UV") or shutil.which("uv") or (str(own) if own.exists() else ""):
        run([uv, "venv", "--quiet", "--python", sys.executable, path])
        run([uv, "pip", "install", "--quiet", "--python", python, "-r", requirements])
    else:
        run([sys.executable, "-m", "venv", path])
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements])
