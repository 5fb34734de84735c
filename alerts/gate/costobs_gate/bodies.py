"""Request bodies: what the gate reads in them, and the few fields that it changes."""

from collections.abc import Mapping
from typing import NamedTuple

from costobs_gate.compact import decode as _decode
from costobs_gate.compact import encode as _encode

COMPLETIONS_DEFAULT = 16  # max_tokens of /v1/completions when none is named (OpenAI's reference, and vLLM)
STREAM_OPTIONS_PATHS = frozenset({"/v1/chat/completions", "/v1/completions"})
GENERATING_PATHS = STREAM_OPTIONS_PATHS | {"/v1/responses", "/v1/messages"}
BYTES_PER_TOKEN = 4  # of English text; an estimate is corrected as soon as the real usage is known
USUAL_OUTPUT = 256  # output tokens of a request that names no limit


class Rewritten(NamedTuple):
    """A body ready to be forwarded, and whether the client must not see the usage chunk that the gate asked for."""

    raw: bytes
    strips_usage: bool


def read(raw: bytes) -> dict[str, object] | None:
    """The JSON object of a request; None when it is not one (multipart, malformed): only the model server can tell."""
    try:
        document = _decode(raw)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def model_of(document: Mapping[str, object] | None) -> str | None:
    """The model that a request names; None when it names none or cannot be read."""
    model = document.get("model") if document is not None else None
    return model if isinstance(model, str) and model else None


def is_stream(document: Mapping[str, object] | None) -> bool:
    """Whether the client asked for a stream."""
    return document is not None and document.get("stream") is True


def runs_in_background(document: Mapping[str, object] | None) -> bool:
    """Whether the answer would come later, on another request that carries no usage for this one."""
    return document is not None and bool(document.get("background"))


class Changes(NamedTuple):
    """What the policy changes in a body. None leaves it as the client sent it, but for `priority`, which is taken out."""

    max_tokens: int | None = None
    priority: int | None = None
    model: str | None = None
    cap_field: str = "max_tokens"  # of a chat whose client named no limit


def rewrite(raw: bytes, document: dict[str, object] | None, path: str, changes: Changes) -> Rewritten:
    """The body to forward: the policy's changes made, usage asked for. The same bytes when nothing changes."""
    if document is None:
        return Rewritten(raw, False)
    changed = dict(document)
    # vLLM lets any client name its own scheduling priority.
    changed.pop("priority", None)
    if changes.priority is not None and path in GENERATING_PATHS:
        changed["priority"] = changes.priority
    if changes.model is not None:
        changed["model"] = changes.model
    if changes.max_tokens is not None:
        _cap(changed, path, changes.max_tokens, changes.cap_field)
    strips = path in STREAM_OPTIONS_PATHS and is_stream(document) and _ask_for_usage(changed)
    if changed == document:
        return Rewritten(raw, strips)
    return Rewritten(_encode(changed).encode(), strips)


def estimate(size: int, document: Mapping[str, object] | None, most: int | None) -> int:
    """Tokens that a request will probably use: a quarter of its bytes, and what it may write (at most `most`)."""
    if document is None:
        return size // BYTES_PER_TOKEN
    named = [document.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    asked = [value for value in named if isinstance(value, int) and not isinstance(value, bool) and value >= 0]
    output = min(asked, default=USUAL_OUTPUT)
    answers = document.get("n")
    times = answers if isinstance(answers, int) and not isinstance(answers, bool) and answers > 0 else 1
    return size // BYTES_PER_TOKEN + (output if most is None else min(output, most)) * times


def _ask_for_usage(document: dict[str, object]) -> bool:
    """Add stream_options.include_usage; True when the client had not asked for it."""
    options = document.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        return False
    if options is None or isinstance(options, dict):
        document["stream_options"] = {**(options or {}), "include_usage": True}
    return True


def _cap(document: dict[str, object], path: str, limit: int, cap_field: str) -> None:
    if path == "/v1/chat/completions":
        named = [name for name in ("max_tokens", "max_completion_tokens") if document.get(name) is not None]
        for name in named or [cap_field]:
            document[name] = _lower(document.get(name), limit)
    elif path == "/v1/completions":
        document["max_tokens"] = _lower(document.get("max_tokens", COMPLETIONS_DEFAULT), limit)
    elif path == "/v1/responses":
        document["max_output_tokens"] = _lower(document.get("max_output_tokens"), limit)
    elif path == "/v1/messages":
        document["max_tokens"] = _lower(document.get("max_tokens"), limit)
    if document.get("min_tokens") is not None:
        document["min_tokens"] = _lower(document["min_tokens"], limit)


def _lower(asked: object, limit: int) -> object:
    """The smaller of the two, null being no limit; what is not a number is left for the model server to refuse."""
    if asked is None:
        return limit
    if isinstance(asked, bool) or not isinstance(asked, (int, float)):
        return asked
    return min(asked, limit)
