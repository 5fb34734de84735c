"""Reading objects of an S3 bucket through boto3."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ingest.sources.base import SourceUnavailable

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Object:
    """One object of a bucket as its listing shows it."""

    key: str
    etag: str
    size: int
    modified: datetime


class Bucket:
    """A bucket and prefix, from an address like s3://bucket/prefix. Failures are SourceUnavailable, without secrets."""

    def __init__(self, url: str, *, region: str, endpoint_url: str, credentials: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self.name, self.prefix = parts.netloc, parts.path.lstrip("/")
        self._client: Any = boto3.client(  # boto3 makes its classes at run time
            "s3",
            region_name=region or None,
            endpoint_url=endpoint_url or None,
            aws_access_key_id=credentials.get("access_key_id") or None,
            aws_secret_access_key=credentials.get("secret_access_key") or None,
            aws_session_token=credentials.get("session_token") or None,
            config=Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"}),
        )

    def objects(self) -> list[Object]:
        """All objects below the prefix, by key."""
        with self._told("list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix)
            found = [
                Object(entry["Key"], entry["ETag"].strip('"'), entry["Size"], entry["LastModified"])
                for page in pages
                for entry in page.get("Contents", ())
            ]
        return sorted(found, key=lambda each: each.key)

    def content(self, key: str) -> bytes:
        """A small object (a manifest) in memory."""
        with self._told(f"read {key}"):
            body: bytes = self._client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    @contextmanager
    def file(self, key: str, *, etag: str) -> Iterator[str]:
        """The path of a temporary copy, gone afterwards. Refused when the object is not the one that was listed."""
        handle, path = tempfile.mkstemp(suffix=Path(key).name[-40:])
        try:
            with self._told(f"read {key}"), os.fdopen(handle, "wb") as copy:
                body = self._client.get_object(Bucket=self.name, Key=key, IfMatch=etag)["Body"]
                for block in body.iter_chunks(_BLOCK):
                    copy.write(block)
            yield path
        finally:
            Path(path).unlink()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as problem:
            code = problem.response.get("Error", {}).get("Code", "")
            hint = _HINTS.get(code, "")
            raise SourceUnavailable(f"S3 refused to {what} in bucket {self.name}: {code}{hint}") from problem
        except BotoCoreError as problem:
            raise SourceUnavailable(f"S3 bucket {self.name} cannot be reached to {what}: {problem}") from problem


_HINTS = {
    "AccessDenied": "; grant s3:ListBucket on the bucket and s3:GetObject on the prefix",
    "403": "; grant s3:ListBucket on the bucket and s3:GetObject on the prefix",
    "NoSuchBucket": "; check the bucket's name and region",
    "PreconditionFailed": "; the object changed while it was read, the next run reads the new one",
    "412": "; the object changed while it was read, the next run reads the new one",
}


def listing_hash(objects: list[Object]) -> str:
    """A hash that changes when any content does. ETags stand for the bytes: multi-part uploads have no MD5."""
    lines = "\n".join(f"{each.etag} {each.size}" for each in objects)
    return hashlib.sha256(lines.encode()).hexdigest()
