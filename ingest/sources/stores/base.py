"""The contract of a store: list objects, read a small one, hold a large one as a file. Failures carry the remedy."""

import hashlib
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, NoReturn

from costobs.kernel import http
from ingest.sources.base import Finding, SourceUnavailable


@dataclass(frozen=True, slots=True)
class Object:
    """One object of a store as its listing shows it; `etag` changes whenever the content does."""

    key: str
    etag: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Options:
    """What a store is reached by besides its address; each store reads what concerns it."""

    endpoint_url: str = ""
    region: str = ""
    role_arn: str = ""
    external_id: str = ""


class Store(ABC):
    """Objects below a prefix. Every failure is SourceUnavailable with what to do about it, and without a secret."""

    # What a person must grant, in the vendor's own words.
    grants: ClassVar[Sequence[str]] = ()

    def __init__(self, url: str, options: Options, credentials: Mapping[str, str]) -> None:
        self.url, self.options, self.credentials = url, options, credentials
        self.prefix = ""
        if options.endpoint_url:
            checked(options.endpoint_url)

    @abstractmethod
    def objects(self, prefix: str = "") -> list[Object]:
        """All objects below the store's prefix, or below a longer one, by key."""

    def inside(self, found: list[Object]) -> list[Object]:
        """Of a listing below the store's own prefix, by key: what lies in the folder of that name, if there is one.

        s3://bills/focus means the folder focus/, not focus-old/ beside it, whose charges would be counted too. Where there is no
        such folder it is the beginning of names.
        """
        if self.prefix and not self.prefix.endswith("/"):
            own = [each for each in found if each.key == self.prefix or each.key.startswith(f"{self.prefix}/")]
            found = own or found
        return sorted(found, key=lambda each: each.key)

    def folders(self, prefix: str) -> list[str]:
        """The folders right below a prefix that ends in a slash, each with its slash; a store may do it without a listing."""
        below = (each.key[len(prefix) :].partition("/") for each in self.objects(prefix))
        return sorted({f"{prefix}{name}/" for name, slash, _ in below if slash})

    @abstractmethod
    def content(self, key: str) -> bytes:
        """A small object (a manifest) in memory."""

    @abstractmethod
    def copy(self, key: str, *, etag: str, into: int) -> None:
        """Writes an object into the open file descriptor, refusing one that is no longer what was listed."""

    @contextmanager
    def file(self, key: str, *, etag: str) -> Iterator[str]:
        """The path of a temporary copy, gone afterwards."""
        handle, path = tempfile.mkstemp(suffix=Path(key).name[-40:])
        try:
            try:
                self.copy(key, etag=etag, into=handle)
            finally:
                os.close(handle)
            yield path
        finally:
            Path(path).unlink()

    def probe(self) -> Iterator[Finding]:
        """Whether objects can be listed and one of them read."""
        try:
            found = self.objects()
        except SourceUnavailable as problem:
            yield Finding(f"List {self.url}", "missing", str(problem), "; ".join(self.grants))
            return
        if not found:
            yield Finding(f"List {self.url}", "note", "It may be listed and holds nothing below this prefix.")
            return
        size = sum(each.size for each in found)
        yield Finding(f"List {self.url}", "ok", f"{len(found):,} objects, {size:,} bytes")
        smallest = min(found, key=lambda each: each.size)
        try:
            self.content(smallest.key)
        except SourceUnavailable as problem:
            yield Finding(f"Read {smallest.key}", "missing", str(problem), "; ".join(self.grants))
        else:
            yield Finding(f"Read {smallest.key}", "ok", f"{smallest.size:,} bytes")


def checked(url: str) -> str:
    """A user-given address that may be called, else SourceUnavailable with the reason."""
    try:
        return http.check(url)
    except http.BlockedAddress as problem:
        raise SourceUnavailable(str(problem)) from problem


def refused(what: str, problem: Exception | str, hint: str = "") -> NoReturn:
    """Raises SourceUnavailable."""
    text = f"{what}: {problem}{'; ' if hint else ''}{hint}"
    raise SourceUnavailable(text) from (problem if isinstance(problem, Exception) else None)


def write(into: int, block: bytes) -> None:
    """All of a block into a file descriptor, which may take less than was given."""
    left = memoryview(block)
    while left:
        left = left[os.write(into, left) :]


def listing_hash(objects: Sequence[Object]) -> str:
    """A hash that changes when any content does. ETags stand for the bytes: multi-part uploads have no MD5."""
    lines = "\n".join(f"{each.etag} {each.size}" for each in objects)
    return hashlib.sha256(lines.encode()).hexdigest()
