"""Objects of an S3 bucket through boto3, as this machine, with keys, or in a role of the customer's account."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ingest.sources.base import SourceUnavailable
from ingest.sources.stores.base import Object, Options, Store, write

_BLOCK = 1 << 20
_READ = "grant s3:ListBucket on the bucket and s3:GetObject on the prefix"
_ROLE = (
    "the role must trust this installation's identity (sts:AssumeRole) and, if it asks for one, have this external id"
)
_HINTS = {
    "AccessDenied": f"; {_READ}",
    "403": f"; {_READ}",
    "NoSuchBucket": "; check the bucket's name and region",
    "SlowDown": "; S3 throttles this bucket, the next run goes on",
    "503": "; S3 throttles this bucket, the next run goes on",
    "PreconditionFailed": "; the object changed while it was read, the next run reads the new one",
    "412": "; the object changed while it was read, the next run reads the new one",
}


class S3(Store):
    """s3://bucket/prefix. With `role_arn` the bucket is read in that role, under `external_id` if the role asks for one."""

    grants: ClassVar = ("s3:ListBucket on the bucket", "s3:GetObject on the prefix")

    def __init__(self, url: str, options: Options, credentials: Mapping[str, str]) -> None:
        super().__init__(url, options, credentials)
        # Not as an address: a key may hold a # or a ?, and its % means itself.
        self.name, _, prefix = url.partition("://")[2].partition("/")
        self.prefix = prefix.lstrip("/")
        self._made: Any = None  # boto3 makes its classes at run time

    def objects(self, prefix: str = "") -> list[Object]:
        with self._told("list"):
            pages = self._client().get_paginator("list_objects_v2")
            found = [
                Object(entry["Key"], entry["ETag"].strip('"'), entry["Size"], entry["LastModified"])
                for page in pages.paginate(Bucket=self.name, Prefix=prefix or self.prefix)
                for entry in page.get("Contents", ())
            ]
        return sorted(found, key=lambda each: each.key) if prefix else self.inside(found)

    def folders(self, prefix: str) -> list[str]:
        with self._told("list"):
            pages = (
                self._client().get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix, Delimiter="/")
            )
            return sorted(entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ()))

    def content(self, key: str) -> bytes:
        with self._told(f"read {key}"):
            body: bytes = self._client().get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def copy(self, key: str, *, etag: str, into: int) -> None:
        with self._told(f"read {key}"):
            body = self._client().get_object(Bucket=self.name, Key=key, IfMatch=etag)["Body"]
            for block in body.iter_chunks(_BLOCK):
                write(into, block)

    def _client(self) -> Any:
        if self._made is None:
            self._made = boto3.client("s3", **self._common(), **self._keys())
        return self._made

    def _common(self) -> dict[str, Any]:
        return {
            "region_name": self.options.region or None,
            "endpoint_url": self.options.endpoint_url or None,
            "config": Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"}),
        }

    def _keys(self) -> dict[str, str | None]:
        own = {
            "aws_access_key_id": self.credentials.get("access_key_id") or None,
            "aws_secret_access_key": self.credentials.get("secret_access_key") or None,
            "aws_session_token": self.credentials.get("session_token") or None,
        }
        if not self.options.role_arn:
            return own
        asked = {"RoleArn": self.options.role_arn, "RoleSessionName": "costobs"}
        if self.options.external_id:
            asked["ExternalId"] = self.options.external_id
        try:
            found = boto3.client("sts", **self._common(), **own).assume_role(**asked)["Credentials"]
        except (ClientError, BotoCoreError) as problem:
            raise SourceUnavailable(
                f"the role {self.options.role_arn} cannot be taken: {problem}; {_ROLE}"
            ) from problem
        return {
            "aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["SessionToken"],
        }

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
