"""Metering: what a response says it used, read as it passes; a lower bound when it does not come to its end."""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from costobs_gate import compact

SEPARATOR = re.compile(rb"\r?\n\r?\n")
HELD_BYTES = 8 * 1024 * 1024  # an event without an end: stop reading, keep forwarding
KEPT_BYTES = 32 * 1024 * 1024  # a larger answer is forwarded, and metered from its tail or not at all
TAIL_BYTES = 8 * 1024
VECTOR_BYTES = 1024 * 1024  # vectors above this are metered from the tail: parsing them would hold the event loop
VECTORS = frozenset({"embeddings", "score", "rerank", "classify"})
EMPTY_PIECE = re.compile(rb'"(?:content|text)": ?""|"choices": ?\[\]')
DELTA_EVENTS = (
    b"event: content_block_delta",
    b"event: response.output_text.delta",
    b"event: response.reasoning_text.delta",
    b"event: response.function_call_arguments.delta",
)


NOTHING: Mapping[str, object] = {}


class Reading(NamedTuple):
    """Tokens of one request. Input includes what was read from a cache and written to one (for an hour: a part of what
    was written); output includes reasoning tokens."""

    input_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    known: bool = False
    model: str | None = None
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    service_tier: str | None = None  # that the provider says it served at, and will bill


class Meter(Protocol):
    """Reads a response as it passes."""

    failed: bool  # the response itself says that it failed, although its status is 200

    def feed(self, chunk: bytes, *, last: bool) -> bytes:
        """Take a piece of the body; gives back what the client shall see of it now."""

    def reading(self) -> Reading:
        """What was used, as far as it was seen."""


class BodyMeter:
    """Meters an answer that comes as one JSON document."""

    def __init__(self, operation: str) -> None:
        self.failed = False
        self._vectors = operation in VECTORS
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes, *, last: bool) -> bytes:
        self._size += len(chunk)
        self._chunks.append(chunk)
        if self._size > KEPT_BYTES:
            self._chunks = [b"".join(self._chunks)[-TAIL_BYTES:]]
        return chunk

    def reading(self) -> Reading:
        body = b"".join(self._chunks)
        # Only vectors stand before the usage of these, no object that a client could have shaped.
        from_tail = self._vectors and self._size > VECTOR_BYTES
        document = _tail_usage(body[-TAIL_BYTES:]) if from_tail else _object(body)
        counts = _counts(document)
        return _reading(counts, known="input" in counts, model=_named(document, "model"), tier=_tier(document))


class StreamMeter:
    """Meters server-sent events. An event is passed on as soon as it is whole; only the usage chunk that the client
    did not ask for is held back."""

    def __init__(self, *, strips_usage: bool, waits_for_delta: bool) -> None:
        self.failed = False
        self._strips = strips_usage
        self._waits_for_delta = waits_for_delta  # Anthropic: message_start has the input only, message_delta the rest
        self._pending = b""
        self._counts: dict[str, int] = {}
        self._pieces = 0
        self._known = False
        self._model: str | None = None
        self._tier: str | None = None
        self._blind = False

    def feed(self, chunk: bytes, *, last: bool) -> bytes:
        if self._blind:
            return chunk
        if not self._pending and chunk.endswith(b"\n\n") and chunk.find(b"\n\n") == len(chunk) - 2:
            return chunk if self._keeps(chunk) or not self._strips else b""
        passed = self._split(chunk)
        if last or len(self._pending) > HELD_BYTES:
            passed, self._pending, self._blind = [*passed, self._pending], b"", True
        return b"".join(passed) if self._strips else chunk

    def reading(self) -> Reading:
        counts = dict(self._counts)
        counts["output"] = max(counts.get("output", 0), 0 if self._known else self._pieces)
        return _reading(counts, known=self._known, model=self._model, tier=self._tier)

    def _merge(self, counts: Mapping[str, int]) -> None:
        """Counts of a stream only grow; a later event that leaves a part out takes nothing back."""
        for name, value in counts.items():
            self._counts[name] = max(value, self._counts.get(name, 0))

    def _split(self, chunk: bytes) -> list[bytes]:
        held = self._pending + chunk
        passed, start = [], 0
        for end in SEPARATOR.finditer(held):
            event = held[start : end.end()]
            if self._keeps(event):
                passed.append(event)
            start = end.end()
        self._pending = held[start:]
        return passed

    def _keeps(self, event: bytes) -> bool:
        """Read one whole event; False when it is nothing but the usage."""
        # In JSON text the quotes inside a string are escaped, so no text of a model looks like `"content":""`. It may be
        # the one word `usage`, though: this is only a reason to parse.
        if b'"usage"' in event or b'"error"' in event:
            document = _object(_data(event))
            self.failed = self.failed or bool(document.get("error"))
            self._model = _named(document, "model") or self._model
            self._tier = _tier(document) or self._tier
            counts = _counts(document)
            if counts:
                self._merge(counts)
                self._known = "output" in counts and (
                    not self._waits_for_delta or document.get("type") == "message_delta"
                )
                if document.get("choices") == []:
                    return False
        if b'"choices"' in event:
            # The plain searches are many times faster than the pattern, and nearly always enough.
            is_empty = (b'""' in event or b"[]" in event) and EMPTY_PIECE.search(event)
            self._pieces += not is_empty
        elif event.startswith(DELTA_EVENTS):
            self._pieces += 1
        return True


def meter(*, content_type: str, operation: str, path: str, strips_usage: bool) -> Meter:
    """The meter that fits a response."""
    if content_type.startswith("text/event-stream"):
        return StreamMeter(strips_usage=strips_usage, waits_for_delta=path == "/v1/messages")
    return BodyMeter(operation)


def _reading(counts: Mapping[str, int], *, known: bool, model: str | None, tier: str | None) -> Reading:
    """No part above its whole: costobs would refuse an event that contradicts itself."""
    inputs, outputs = counts.get("input", 0), counts.get("output", 0)
    read = min(counts.get("cache_read", 0), inputs)
    written = min(counts.get("cache_creation", 0), inputs - read)
    return Reading(
        input_tokens=inputs,
        cache_read_tokens=read,
        output_tokens=outputs,
        reasoning_tokens=min(counts.get("reasoning", 0), outputs),
        known=known,
        model=model,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(counts.get("cache_creation_1h", 0), written),
        service_tier=tier,
    )


def _object(raw: bytes) -> Mapping[str, object]:
    try:
        document = compact.decode(raw)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _data(event: bytes) -> bytes:
    return b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))


def _tail_usage(tail: bytes) -> Mapping[str, object]:
    at = tail.rfind(b'"usage":')
    if at < 0:
        return {}
    try:
        usage, _ = json.JSONDecoder().raw_decode(tail[at + len(b'"usage":') :].decode("utf-8", "replace").lstrip())
    except ValueError:
        return {}
    return {"usage": usage}


def _child(document: object, name: str) -> Mapping[str, object]:
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, dict) else NOTHING


def _holders(document: Mapping[str, object]) -> tuple[Mapping[str, object], ...]:
    """Where the shapes of answers keep what is said about the whole."""
    return document, _child(document, "response"), _child(document, "message")


def _named(document: Mapping[str, object], name: str) -> str | None:
    for holder in _holders(document):
        value = holder.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def _tier(document: Mapping[str, object]) -> str | None:
    """The service tier: OpenAI's stands beside the usage, Anthropic's in it."""
    own = (_child(holder, "usage").get("service_tier") for holder in _holders(document))
    return _named(document, "service_tier") or next((tier for tier in own if isinstance(tier, str) and tier), None)


def _counts(document: Mapping[str, object]) -> dict[str, int]:
    """Counts by our own names from any of the shapes: OpenAI chat and completions, Responses, Anthropic, Cohere."""
    for holder in _holders(document):
        usage = _child(holder, "usage")
        if usage:
            return _anthropic(usage) if _is_anthropic(usage, document) else _openai(usage)
    billed = _child(_child(document, "meta"), "billed_units")
    return _picked({"input": billed.get("input_tokens"), "output": billed.get("output_tokens", 0)}) if billed else {}


def _is_anthropic(usage: Mapping[str, object], document: Mapping[str, object]) -> bool:
    types = ("message", "message_start", "message_delta")
    return document.get("type") in types or "cache_read_input_tokens" in usage


def _openai(usage: Mapping[str, object]) -> dict[str, int]:
    inputs = _child(usage, "prompt_tokens_details") or _child(usage, "input_tokens_details")
    outputs = _child(usage, "completion_tokens_details") or _child(usage, "output_tokens_details")
    counts = _picked(
        {
            "input": usage.get("prompt_tokens", usage.get("input_tokens")),
            "output": usage.get("completion_tokens", usage.get("output_tokens")),
            "cache_read": inputs.get("cached_tokens"),
            "cache_creation": inputs.get("created_cache_tokens", inputs.get("cache_write_tokens")),
            "reasoning": outputs.get("reasoning_tokens"),
        }
    )
    total = _picked({"total": usage.get("total_tokens")}).get("total")
    if "input" not in counts and total is not None:
        counts["input"] = total - counts.get("output", 0)
    if "input" in counts:
        counts.setdefault("output", 0)
    return counts


def _anthropic(usage: Mapping[str, object]) -> dict[str, int]:
    """Anthropic counts cached tokens beside the input, not in it; ours includes them."""
    counts = _picked(
        {
            "input": usage.get("input_tokens"),
            "output": usage.get("output_tokens"),
            "cache_read": usage.get("cache_read_input_tokens"),
            "cache_creation": usage.get("cache_creation_input_tokens"),
            "cache_creation_1h": _child(usage, "cache_creation").get("ephemeral_1h_input_tokens"),
        }
    )
    if "input" in counts:
        counts["input"] += counts.get("cache_read", 0) + counts.get("cache_creation", 0)
    return counts


def _picked(values: Mapping[str, object]) -> dict[str, int]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0
    }
