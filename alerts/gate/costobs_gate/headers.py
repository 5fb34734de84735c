"""Request headers: the few that the gate reads, and those that it replaces."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from costobs_gate.asgi_types import RawHeaders

CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key"})
_READ = CREDENTIALS | {
    b"content-encoding",
    b"content-length",
    b"forwarded",
    b"origin",
    b"traceparent",
    b"user-agent",
    b"via",
    b"x-costobs-feature",
    b"x-forwarded-for",
    b"x-real-ip",
    b"x-request-id",
    b"x-session-id",
}
_FORWARDS = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})  # a proxy adds one of them, or none
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
LONGEST_NOTE = 256  # ids and names of clients are notes on an event, not a place to store data


class Headers(NamedTuple):
    """What the gate reads of a request. A header sent twice counts only where that is harmless."""

    credentials: tuple[str, ...] = ()
    feature: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    trace_id: str | None = None
    user_agent: str | None = None
    content_length: int = 0
    is_encoded: bool = False  # compressed: nobody here can read the body
    forwarded: bool = False
    from_page: bool = False

    @property
    def credential(self) -> str | None:
        """The one key that the client shows; None when it shows none or two different ones."""
        different = set(self.credentials)
        return next(iter(different)) if len(different) == 1 else None


def read(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Read the raw headers of a scope (names in lower case, as ASGI gives them)."""
    values: dict[bytes, str] = {}
    credentials: list[str] = []
    is_encoded = False
    for name, value in raw:
        if name not in _READ:
            continue
        text = value.decode("latin-1").strip()
        if name in CREDENTIALS:
            scheme, _, rest = text.partition(" ")
            credentials.append(rest.strip() if name == b"authorization" and scheme.lower() == "bearer" else text)
        elif name == b"content-encoding":
            is_encoded = is_encoded or text.lower() not in ("", "identity")
        else:
            values[name] = text
    length = values.get(b"content-length", "")
    return Headers(
        credentials=tuple(credentials),
        feature=values.get(b"x-costobs-feature"),
        request_id=_note(values.get(b"x-request-id")),
        session_id=_note(values.get(b"x-session-id")),
        trace_id=_trace_id(values.get(b"traceparent", "")),
        user_agent=_note((values.get(b"user-agent") or "").partition(" ")[0]),
        content_length=int(length) if length.isdecimal() else 0,
        is_encoded=is_encoded,
        forwarded=not _FORWARDS.isdisjoint(values),
        from_page=b"origin" in values,
    )


def for_upstream(
    raw: Iterable[tuple[bytes, bytes]], *, upstream_key: str, request_id: str | None = None, length: int | None = None
) -> RawHeaders:
    """The headers to forward: the upstream's key in place of the client's, our request id, the length of a new body,
    and no compression of what has to be metered."""
    dropped = set(CREDENTIALS) if upstream_key else set()
    if request_id is not None:
        dropped |= {b"x-request-id", b"accept-encoding"}
    if length is not None:
        dropped |= {b"content-length", b"transfer-encoding"}
    kept = [(name, value) for name, value in raw if name not in dropped]
    if upstream_key:
        kept.append((b"authorization", b"Bearer " + upstream_key.encode()))
    if request_id is not None:
        kept.append((b"x-request-id", request_id.encode()))
    if length is not None:
        kept.append((b"content-length", str(length).encode()))
    return kept


def _note(text: str | None) -> str | None:
    if not text:
        return None
    return "".join(character for character in text[:LONGEST_NOTE] if character.isprintable()) or None


def _trace_id(traceparent: str) -> str | None:
    match = TRACEPARENT.fullmatch(traceparent.strip().lower())
    return match[1] if match and match[1].strip("0") else None
