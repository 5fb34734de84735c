"""Objects of a Google Cloud Storage bucket through google-cloud-storage, as this machine or with a key."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from ingest.sources.stores import google_login
from ingest.sources.stores.base import Object, Options, Store, refused

_READ = "grant roles/storage.objectViewer (storage.objects.list, storage.objects.get) on the bucket"
_CHANGED = "the object changed while it was read, the next run reads the new one"
_HINTS = {"401": _READ, "403": _READ, "404": "check the bucket's name and the prefix", "412": _CHANGED}
_TIMEOUT = (10, 60)
_RETRY_SECONDS = 30


class Gcs(Store):
    """gs://bucket/prefix. An ETag is the generation and the MD5: real ones are opaque, the emulator's is the MD5 alone."""

    grants: ClassVar = ("roles/storage.objectViewer on the bucket",)

    def __init__(self, url: str, options: Options, credentials: Mapping[str, str]) -> None:
        super().__init__(url, options, credentials)
        # Not as an address: a key may hold a # or a ?, and its % means itself.
        self.name, _, prefix = url.partition("://")[2].partition("/")
        self.prefix = prefix.lstrip("/")
        self._made: Any = None  # google-cloud-storage ships no types

    def objects(self, prefix: str = "") -> list[Object]:
        with self._told("list"):
            listed = self._client().list_blobs(self.name, prefix=prefix or self.prefix, **self._patience())
            found = [
                Object(blob.name, f"{blob.generation}-{blob.md5_hash or ''}", blob.size or 0, blob.updated)
                for blob in listed
                if not blob.name.endswith("/")  # the console makes such an object for a folder
            ]
        return sorted(found, key=lambda each: each.key) if prefix else self.inside(found)

    def content(self, key: str) -> bytes:
        with self._told(f"read {key}"):
            body: bytes = self._client().bucket(self.name).blob(key).download_as_bytes(**self._patience())
        return body

    def copy(self, key: str, *, etag: str, into: int) -> None:
        generation, _, md5 = etag.partition("-")
        with self._told(f"read {key}"), os.fdopen(os.dup(into), "wb") as file:
            # Raw, because the server would unpack what is marked as gzip, and size and MD5 are those of the packed bytes.
            self._client().bucket(self.name).blob(key).download_to_file(
                file, raw_download=True, if_generation_match=int(generation), checksum=None, **self._patience()
            )
        if md5 and _md5(into) != md5:
            refused(f"{self.url}: {key} is not what was listed", _CHANGED)

    def _client(self) -> Any:
        if self._made is None:
            from google.cloud import storage  # type: ignore[attr-defined]  # it ships no types

            own = google_login.credentials(self.credentials, endpoint_url=self.options.endpoint_url)
            options = {"api_endpoint": self.options.endpoint_url} if self.options.endpoint_url else None
            # A project is asked for only where buckets are made.
            made = storage.Client(project="none", credentials=own, client_options=options)
            google_login.stay(made._http)
            # It would ask for the bucket's location in a thread of its own, for traces: a right that reading does not need.
            made._bucket_metadata_cache = None
            self._made = made
        return self._made

    def _patience(self) -> dict[str, Any]:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return {"retry": DEFAULT_RETRY.with_timeout(_RETRY_SECONDS), "timeout": _TIMEOUT}

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        from google.cloud.storage.exceptions import DataCorruption

        try:
            with google_login.told(f"{what} in bucket {self.name}", _HINTS):
                yield
        except DataCorruption as problem:
            refused(f"{self.url}: what arrived is not what was sent", problem)


def _md5(descriptor: int) -> str:
    import base64

    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(found.digest()).decode()
