"""The contract of a destination: take a parcel of files, the same one as often as it comes. It reads no table."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from costobs.kernel import http

MOST_BYTES = 20 * 1024 * 1024


class BadConfig(ValueError):
    """The configuration is not right; `field` is the setting or credential it is about."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


class TemporaryFailure(Exception):
    """Worth another try. The message holds no secret."""


class PermanentFailure(Exception):
    """Another try would fail in the same way: somebody must change the destination. The message holds no secret."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a parcel."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Parcel:
    """The files of one month. `key` never changes, however often the parcel is sent."""

    key: str  # costobs-7-2026-10-v1
    folder: str  # 2026-10/v1
    subject: str
    text: str
    month: str
    kind: str  # showback, chargeback, test
    items: Sequence[Item]
    sent_at: datetime
    base_url: str


@dataclass(frozen=True, slots=True)
class Field:
    """One setting or credential as a form asks for it."""

    name: str
    label: str
    help: str = ""
    is_needed: bool = False
    is_long: bool = False


class Destination(ABC):
    """One kind of destination. Its class docstring says what it does and shows a configuration."""

    kind: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[Sequence[Field]]
    secrets: ClassVar[Sequence[Field]] = ()

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        """Raises BadConfig."""
        for given, known in ((config, self.settings), (credentials, self.secrets)):
            names = [one.name for one in known]
            unknown = sorted(set(given) - set(names))
            if unknown:
                raise BadConfig(unknown[0], f"{self.kind} has no such setting; known: {', '.join(names)}")
            for one in known:
                if one.is_needed and not given.get(one.name):
                    raise BadConfig(one.name, f"{self.title} needs it")

    @abstractmethod
    def send(self, parcel: Parcel, config: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        """Sends the parcel and returns what the destination said. Raises TemporaryFailure or PermanentFailure.

        Sent twice, the same parcel leaves what it left once, or carries the same key so that the receiver can tell.
        """


def checked(field: str, url: str) -> str:
    """A user-given address that may be called. Raises BadConfig."""
    try:
        return http.check(url)
    except http.BlockedAddress as problem:
        raise BadConfig(field, str(problem)) from problem


def endpoint(config: Mapping[str, Any]) -> str:
    """The user's own address of a store, checked anew before every use. Raises PermanentFailure."""
    url = str(config.get("endpoint_url") or "")
    if url:
        try:
            http.check(url)
        except http.BlockedAddress as problem:
            raise PermanentFailure(f"endpoint_url: {problem}") from None
    return url


def names(parcel: Parcel, prefix: str) -> list[tuple[str, Item]]:
    """Where each item lies in a store: prefix/2026-10/v1/statement-….pdf."""
    start = prefix.strip("/")
    return [
        (f"{start}/{parcel.folder}/{one.name}" if start else f"{parcel.folder}/{one.name}", one) for one in parcel.items
    ]
