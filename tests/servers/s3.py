"""An S3 server (moto) with the two things a test does to it: make a client, put a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3

from tests import servers

CREDENTIALS = {"access_key_id": "test", "secret_access_key": "test"}


@dataclass(frozen=True, slots=True)
class S3:
    """Where the server is: `config` are the settings of a source that reads from it."""

    endpoint_url: str
    region: str = "us-east-1"

    @property
    def config(self) -> dict[str, str]:
        return {"endpoint_url": self.endpoint_url, "region": self.region}

    def client(self, service: str = "s3") -> Any:
        """A boto3 client, for what a test prepares."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@contextmanager
def started() -> Iterator[S3]:
    """A moto server; its buckets are empty and gone afterwards."""
    port = servers.free_port()
    command = [servers.program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with servers.running(command, port=port):
        yield S3(f"http://127.0.0.1:{port}")
