"""The contract of a channel: give a notice its form and send it. It reads no table and lets no secret out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from alerts.rows import Button, Fact, Notice


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
class Letter:
    """One alert as a channel gets it."""

    id: int
    thread: str  # alerts of one open item share it
    is_first: bool  # of its thread on this channel
    raised_at: datetime
    base_url: str
    notice: Notice


class Channel(ABC):
    """One kind of channel. Its class docstring says what it does and shows a configuration."""

    kind: ClassVar[str]

    @abstractmethod
    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> None:
        """Raises BadConfig."""

    @abstractmethod
    def send(self, letter: Letter, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> None:
        """Sends one alert. Raises TemporaryFailure or PermanentFailure."""


def notice_from(payload: Mapping[str, Any]) -> Notice:
    """The notice out of its stored form."""
    return Notice(
        **{
            **payload,
            "facts": tuple(Fact(**fact) for fact in payload["facts"]),
            "steps": tuple(payload["steps"]),
            "buttons": tuple(Button(**button) for button in payload["buttons"]),
        }
    )


def truncated(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where it was cut; never in the middle of a word if that can be."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > limit // 2 else cut).rstrip(" ,;·") + "…"
