"""Servers that several sources read from, and leave to call them: they listen on loopback, which the guard refuses."""

from collections.abc import Iterator

import pytest

from tests.servers import azurite as azurite_server
from tests.servers import gcs as gcs_server
from tests.servers import s3 as s3_server


@pytest.fixture(autouse=True)
def private_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's leave to call servers on this machine."""
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1,localhost")


@pytest.fixture(scope="session")
def s3() -> Iterator[s3_server.S3]:
    """One S3 server for each worker."""
    with s3_server.started() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[gcs_server.Gcs]:
    """One Google Cloud Storage emulator for each worker."""
    with gcs_server.started() as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[azurite_server.Azurite]:
    """One Azure Blob server for each worker."""
    with azurite_server.started() as server:
        yield server
