"""Installs what the test of the billing export needs: bqemulator in a Python environment of its own, with DuckDB's extension."""

import os
from functools import partial
from pathlib import Path

from tests.servers import environments
from tests.servers.environments import NotAvailable as NotAvailable  # what the runner catches

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REQUIREMENTS = HERE / "requirements-bqemulator.txt"
# bqemulator loads the extension when it starts and would fetch it from the net; this puts the one from PyPI in its place.
EXTENSION = "from duckdb_extensions import import_extension; import_extension('spatial')"


def environment(home: Path) -> Path:
    """The program of the emulator, installed when it is missing. Raises NotAvailable."""
    (home / "home").mkdir(parents=True, exist_ok=True)
    return environments.made(REQUIREMENTS, home / "bqemulator", partial(_extend, home)) / "bqemulator"


def environ(home: Path) -> dict[str, str]:
    """What the emulator runs with: DuckDB keeps extensions in the home directory, which is one of the test."""
    return {**os.environ, "HOME": str(home / "home")}


def _extend(home: Path, python: Path) -> None:
    environments.run([python, "-c", EXTENSION], environ(home))
