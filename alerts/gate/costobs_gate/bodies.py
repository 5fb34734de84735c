"""Request bodies: what the gate reads in them, and the few fields that it changes."""

import json
import math
import sys
from collections.abc import Mapping
from typing import NamedTuple

from costobs_gate.compact import encode as _encode

COMPLETIONS_DEFAULT = 16  # max_tokens of /v1/completions when none is named (OpenAI's reference, and vLLM)
STREAM_OPTIONS_PATHS = frozenset({"/v1/chat/completions", "/v1/completions"})
GENERATING_PATHS = STREAM_OPTIONS_PATHS | {"/v1/responses", "/v1/messages"}
BYTES_PER_TOKEN = 4  # of English text; an estimate is corrected as soon as the real usage is known
USUAL_OUTPUT = 256  # output tokens of a request that names no limit
# Names by which some server takes a limit of output tokens, whatever the path: who lowers one lowers all.
LIMIT_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "n_predict")
# Servers in Python read these words as true (pydantic); who reads only `true` there refuses them.
_YES = frozenset({"1", "t", "true", "y", "yes", "on"})


class Rewritten(NamedTuple):
    """A body ready to be forwarded, and whether the client must not see the usage chunk that the gate asked for."""

    raw: bytes
    strips_usage: bool


class Ambiguous(dict[str, object]):
    """A body that another reader may understand otherwise: a name stands in it twice, or it is not UTF-8. It is never
    forwarded as it came, so that the server reads what was admitted."""


class _Twice(ValueError):
    """A name stands twice in one object."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


_DECODE = json.JSONDecoder(object_pairs_hook=_once).decode


def read(raw: bytes) -> dict[str, object] | None:
    """The JSON object of a request; None when it is not one (multipart, malformed): only the model server can tell."""
    try:
        document = _DECODE(raw.decode())
    except (_Twice, UnicodeDecodeError, json.JSONDecodeError):
        return _as_python_reads(raw)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _as_python_reads(raw: bytes) -> dict[str, object] | None:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return Ambiguous(document) if isinstance(document, dict) else None


def model_of(document: Mapping[str, object] | None) -> str | None:
    """The model that a request names; None when it names none or cannot be read."""
    model = document.get("model") if document is not None else None
    return model if isinstance(model, str) and model else None


def is_stream(document: Mapping[str, object] | None) -> bool:
    """Whether the client asked for a stream."""
    return document is not None and _is_yes(document.get("stream"))


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
    if changed == document and not isinstance(document, Ambiguous):
        return Rewritten(raw, strips)
    return Rewritten(_encode(changed).encode(), strips)


def estimate(size: int, document: Mapping[str, object] | None, most: int | None) -> int:
    """Tokens that a request will probably use: a quarter of its bytes, and what it may write (at most `most`)."""
    if document is None:
        return size // BYTES_PER_TOKEN
    named = [_number(document[name]) for name in LIMIT_NAMES if document.get(name) is not None]
    output = min((value for value in named if value is not None and value >= 0), default=USUAL_OUTPUT)
    times = max(1, _number(document.get("n")) or 1)
    return size // BYTES_PER_TOKEN + (output if most is None else min(output, most)) * times


def _ask_for_usage(document: dict[str, object]) -> bool:
    """Add stream_options.include_usage; True when the client had not asked for it."""
    options = document.get("stream_options")
    if isinstance(options, dict) and _is_yes(options.get("include_usage")):
        return False
    if options is None or isinstance(options, dict):
        document["stream_options"] = {**(options or {}), "include_usage": True}
    return True


def _is_yes(value: object) -> bool:
    """Whether a server may read a value as true."""
    return value == 1 or (isinstance(value, str) and value.lower() in _YES)


def _cap(document: dict[str, object], path: str, limit: int, cap_field: str) -> None:
    if path not in GENERATING_PATHS:
        return
    # A completion of no token is a way to ask for the probabilities of the prompt; elsewhere servers read 0 as no limit.
    least = 0 if path == "/v1/completions" else 1
    for name in LIMIT_NAMES:
        if document.get(name) is not None:
            document[name] = _lower(document[name], limit, least)
    names = {"/v1/chat/completions": ("max_tokens", "max_completion_tokens"), "/v1/responses": ("max_output_tokens",)}
    if all(document.get(name) is None for name in names.get(path, ("max_tokens",))):
        is_silent = path == "/v1/completions" and "max_tokens" not in document
        field = cap_field if path == "/v1/chat/completions" else names.get(path, ("max_tokens",))[0]
        document[field] = min(COMPLETIONS_DEFAULT, limit) if is_silent else limit
    if document.get("min_tokens") is not None:
        document["min_tokens"] = _lower(document["min_tokens"], limit, 0)


def _lower(asked: object, limit: int, least: int) -> object:
    """The smaller of the two; what is below `least` is no limit. What is not a number is left for the model server to
    refuse."""
    number = _number(asked)
    if number is None:
        return asked
    return asked if least <= number <= limit else limit


def _number(value: object) -> int | None:
    """A whole number as servers read it, from a text or a fraction too (rounded up); None when it is none."""
    try:
        if isinstance(value, str):
            whole, _, rest = value.strip().partition(".")
            return None if rest.strip("0") else int(whole)
        return math.ceil(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    except OverflowError:
        return sys.maxsize
    except ValueError:
        return None
