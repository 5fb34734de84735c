"""One real PostgreSQL for a test run: started before Django reads its settings, shared by workers, gone at the end.

DATABASE_URL, when it is set, is used instead. Everything the run keeps lies in one temporary data directory.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from costobs.embedded import postgres


class _Server:
    """The server of this run and its data directory, while they exist."""

    process: subprocess.Popen[bytes] | None = None
    data: Path | None = None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    try:
        if not os.environ.get("PYTEST_XDIST_WORKER"):
            _begin()
        return (yield)
    except BaseException:
        _end()
        raise


def pytest_unconfigure(config: pytest.Config) -> None:
    _end()


def _begin() -> None:
    _Server.data = Path(tempfile.mkdtemp(prefix="costobs-test-"))
    os.environ["COSTOBS_DATA"] = str(_Server.data)
    os.environ["COSTOBS_SECRET_KEY"] = "a key for tests only, of no use anywhere else"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "costobs.settings")
    # Playwright's sync interface keeps an event loop in the main thread, where Django would refuse its ORM.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    if os.environ.get("DATABASE_URL"):
        return
    _Server.process = postgres.start(_Server.data, durable=False)
    postgres.wait_until_ready(_Server.data, _Server.process)
    postgres.create_database(_Server.data, "costobs")


def _end() -> None:
    process, data = _Server.process, _Server.data
    _Server.process = _Server.data = None
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if data is not None:
        shutil.rmtree(data, ignore_errors=True)
