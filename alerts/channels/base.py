"""The contract of a channel: give a notice its form and send it. It reads no table and lets no secret out."""

import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from alerts.rows import Button, Fact, Notice, Offer, Section


class BadConfig(ValueError):
    """The configuration of a channel is not right; the message names the setting."""


class TemporaryFailure(Exception):
    """Worth another try, at the earliest after `retry_after_seconds` if it is given. The message holds no secret."""

    def __init__(self, message: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PermanentFailure(Exception):
    """Another try would fail in the same way: the address or the message is wrong. The message holds no secret."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the first message of a thread stands: its ts, Message-ID or dedup_key, and the channel inside Slack."""

    ref: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """One alert as a channel gets it."""

    id: int
    thread: str  # alerts of one open item share it
    is_first: bool  # of its thread on this channel
    raised_at: datetime
    base_url: str
    notice: Notice
    kind: str = "budget_threshold"
    topic: str = "budget"
    severity: str = "warning"
    is_closing: bool = False
    is_answer: bool = False
    is_news: bool = True  # false: the channel has said the same; it may correct its message and says nothing new
    owner_email: str = ""
    position: Position | None = None
    offers: tuple[Offer, ...] = ()
    sent_at: datetime | None = None

    @property
    def why_url(self) -> str:
        """The page that says why somebody got this, and where it is muted."""
        return f"{self.base_url}/alerts/{self.id}/"


@dataclass(frozen=True, slots=True)
class Field:
    """One setting or secret as a form asks for it."""

    name: str
    label: str
    help: str
    is_needed: bool = False
    is_list: bool = False
    is_flag: bool = False


class Channel(ABC):
    """One kind of channel. Its class docstring says what it does and shows a configuration."""

    kind: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[tuple[Field, ...]] = ()
    secrets: ClassVar[tuple[Field, ...]] = ()
    can_edit: ClassVar[bool] = False  # corrects its first message; others stay silent where nothing changed
    hears_answers: ClassVar[bool] = False  # is told that somebody took an item

    @abstractmethod
    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> None:
        """Raises BadConfig."""

    @abstractmethod
    def send(self, letter: Letter, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> Position | None:
        """Sends one alert; where its thread stands, if it began one. Raises TemporaryFailure or PermanentFailure."""

    def place(self, config: Mapping[str, Any]) -> str:
        """Where it goes, for people, without a secret."""
        return ""


def known(config: Mapping[str, Any], kind: str, names: tuple[str, ...]) -> None:
    """Raises BadConfig for a setting that the kind does not have."""
    unknown = sorted(set(config) - set(names))
    if unknown:
        raise BadConfig(f"{kind} has no setting {unknown[0]!r}; known: {', '.join(names) or 'none'}")


def notice_from(payload: Mapping[str, Any]) -> Notice:
    """The notice out of its stored form."""
    return Notice(
        **{
            **payload,
            "facts": tuple(Fact(**fact) for fact in payload["facts"]),
            "steps": tuple(payload["steps"]),
            "buttons": tuple(Button(**button) for button in payload["buttons"]),
            "sections": tuple(_section(one) for one in payload.get("sections", ())),
            "offers": tuple(_offer(one) for one in payload.get("offers", ())),
        }
    )


def _section(stored: Mapping[str, Any]) -> Section:
    rows = tuple(tuple(row) for row in stored["rows"])
    return Section(**{**stored, "columns": tuple(stored["columns"]), "rows": rows})


def _offer(stored: Mapping[str, Any]) -> Offer:
    asks = stored.get("asks")
    return Offer(**{**stored, "asks": (asks[0], asks[1], asks[2]) if asks else None})


def row_words(section: Section, row: Sequence[str]) -> str:
    """One row of a section as a line: its name, then each figure after the word of its column."""
    first, *others = row
    figures = [
        f"{name} {value}" if name else value for name, value in zip(section.columns[1:], others, strict=False) if value
    ]
    return f"{first}: {' · '.join(figures)}" if figures else first


def truncated(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where it was cut; never in the middle of a word if that can be."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > limit // 2 else cut).rstrip(" ,;·") + "…"


def signature(body: bytes, secret: str, seconds: int) -> str:
    """`t=…,v1=…`: the HMAC-SHA256 of the seconds in t, a dot and the body, which proves who sent it and when."""
    made = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={made}"


def judge(name: str, status: int, headers: Mapping[str, str]) -> None:
    """What an HTTP answer means. Raises TemporaryFailure or PermanentFailure."""
    if 200 <= status < 300:
        return
    if status == 429:
        after = headers.get("Retry-After", "")
        raise TemporaryFailure(f"{name} answered 429: too many messages", int(after) if after.isdigit() else None)
    if status >= 500 or status in {408, 425}:
        raise TemporaryFailure(f"{name} answered {status}")
    raise PermanentFailure(f"{name} answered {status}: it refuses the message or is gone")
