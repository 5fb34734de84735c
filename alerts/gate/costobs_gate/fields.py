"""Strict reading of a policy's fields. What is absent and may be absent is None; what is there must be right."""

from collections.abc import Mapping
from datetime import datetime, timezone


class PolicyError(Exception):
    """The document is not a policy; the message says where."""


def items(document: Mapping[str, object], name: str) -> list[object]:
    """A list that must be there."""
    value = document.get(name)
    if not isinstance(value, list):
        raise PolicyError(f"{name} is not a list")
    return value


def text(item: Mapping[str, object], name: str, where: str, *, default: str | None = None) -> str:
    """A text; `default` when it is absent, which without one is an error."""
    value = item.get(name, default)
    if not isinstance(value, str):
        raise PolicyError(f"{where}: {name} is not a text")
    return value


def texts(item: Mapping[str, object], name: str, where: str) -> tuple[str, ...] | None:
    """A list of texts, or None."""
    value = item.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise PolicyError(f"{where}: {name} is neither null nor a list of texts")
    return tuple(value)


def number(item: Mapping[str, object], name: str, where: str) -> float | None:
    """A number of 0 or more, or None."""
    value = item.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise PolicyError(f"{where}: {name} is not a number of 0 or more")
    return value


def whole(item: Mapping[str, object], name: str, where: str) -> int | None:
    """A whole number of 0 or more, or None."""
    value = number(item, name, where)
    if value is not None and not isinstance(value, int):
        raise PolicyError(f"{where}: {name} is not a whole number")
    return value


def signed(item: Mapping[str, object], name: str, where: str) -> int | None:
    """A whole number of either sign, or None."""
    value = item.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise PolicyError(f"{where}: {name} is not a whole number")
    return value


def flag(item: Mapping[str, object], name: str, where: str) -> bool:
    """True or false; absent and null are false."""
    value = item.get(name)
    if value is not None and not isinstance(value, bool):
        raise PolicyError(f"{where}: {name} is neither true nor false")
    return bool(value)


def instant(item: Mapping[str, object], name: str, where: str) -> datetime | None:
    """An ISO 8601 instant with a zone, in UTC, or None."""
    value = item.get(name)
    if value is None:
        return None
    try:
        # Python 3.10 does not read the Z.
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError as error:
        raise PolicyError(f"{where}: {name} is not an ISO 8601 instant") from error
    if moment.tzinfo is None:
        raise PolicyError(f"{where}: {name} has no zone")
    return moment.astimezone(timezone.utc)
