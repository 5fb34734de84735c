"""A Google Cloud Storage server (gcp-storage-emulator, in memory) with the client a test prepares it with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests import servers


@dataclass(frozen=True, slots=True)
class Gcs:
    """Where the server is: `config` are the settings of a source that reads from it."""

    endpoint_url: str

    @property
    def config(self) -> dict[str, str]:
        return {"endpoint_url": self.endpoint_url}

    def bucket(self, name: str) -> Any:
        """A bucket, made if it is not there."""
        client = storage.Client(
            project="test", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.endpoint_url}
        )
        found = client.bucket(name)
        return found if found.exists() else client.create_bucket(name)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """An object, or a new generation of it."""
        self.bucket(bucket).blob(key).upload_from_string(content, content_type="application/octet-stream")


@contextmanager
def started() -> Iterator[Gcs]:
    """An emulator; its buckets are empty and gone afterwards."""
    port = servers.free_port()
    command = [servers.program("gcp-storage-emulator"), "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]
    with servers.running(command, port=port):
        yield Gcs(f"http://127.0.0.1:{port}")
