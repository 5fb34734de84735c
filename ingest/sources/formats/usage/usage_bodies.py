"""One line of a usage log as a flat event of our own shape, whichever vendor's response it holds."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from ingest.rows import ATTRIBUTES
from ingest.sources.formats import classify
from ingest.sources.formats.usage import token_usage

PREFIX = "gen_ai.usage."
COUNTS = {
    f"{PREFIX}input_tokens": "input_tokens",
    f"{PREFIX}output_tokens": "output_tokens",
    f"{PREFIX}cache_read.input_tokens": "cache_read_tokens",
    f"{PREFIX}cache_creation.input_tokens": "cache_write_tokens",
    f"{PREFIX}cache_creation_1h.input_tokens": "cache_write_1h_tokens",
    f"{PREFIX}reasoning.output_tokens": "output_reasoning_tokens",
    f"{PREFIX}audio.input_tokens": "input_audio_tokens",
    f"{PREFIX}image.input_tokens": "input_image_tokens",
    f"{PREFIX}audio.output_tokens": "output_audio_tokens",
}
TEXTS = (
    "event_id",
    "occurred_at",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.operation.name",
    "outcome",
    "service_tier",
    "deployment",
    "trace_id",
    "session_id",
)
NUMBERS = ("latency_ms", "ttft_ms", "http.response.status_code")

# Other names under which the same thing arrives (deprecated OpenTelemetry names, instrumentations, plain words).
ALIASES = {
    "timestamp": "occurred_at",
    "time": "occurred_at",
    "provider": "gen_ai.provider.name",
    "gen_ai.system": "gen_ai.provider.name",
    "model": "gen_ai.request.model",
    "request_model": "gen_ai.request.model",
    "response_model": "gen_ai.response.model",
    "operation": "gen_ai.operation.name",
    "gen_ai.conversation.id": "session_id",
    "openai.response.service_tier": "service_tier",
    "status": "http.response.status_code",
    "status_code": "http.response.status_code",
    f"{PREFIX}prompt_tokens": f"{PREFIX}input_tokens",
    f"{PREFIX}completion_tokens": f"{PREFIX}output_tokens",
    f"{PREFIX}cache_read_input_tokens": f"{PREFIX}cache_read.input_tokens",
    f"{PREFIX}cache_creation_input_tokens": f"{PREFIX}cache_creation.input_tokens",
    f"{PREFIX}cache_write.input_tokens": f"{PREFIX}cache_creation.input_tokens",
    f"{PREFIX}reasoning_tokens": f"{PREFIX}reasoning.output_tokens",
}
ATTRIBUTE_ALIASES = {
    "cost_center": "cost_centre",
    "costcenter": "cost_centre",
    "env": "environment",
    "service": "service_name",
    "service.name": "service_name",
    "deployment.environment.name": "environment",
    "deployment.environment": "environment",
    "user_agent.original": "user_agent",
}
# A top-level key that makes a line a vendor's response rather than an event of our own shape.
BODY_KEYS = frozenset({"response", "body", "usage", "usageMetadata", "meta", "amazon-bedrock-invocationMetrics"})
_BARE_TIMES = ("created", "created_at", "createTime", "create_time")
_FLAVORS = {"chat", "responses", "anthropic", "default", "embeddings", "realtime", "tokens"}


_TEXTS = frozenset(TEXTS)
_WHOLES = frozenset((*COUNTS, *NUMBERS))
_EXACT = 2**62


class Unreadable(ValueError):
    """A line that cannot become an event; `field` says which part of it."""

    def __init__(self, found: str, reason: str) -> None:
        self.field = found
        super().__init__(reason)


def event(line: bytes) -> dict[str, Any]:
    """The flat event of one line. Raises Unreadable."""
    try:
        parsed = orjson.loads(line)
    except orjson.JSONDecodeError as problem:
        raise Unreadable("line", f"not valid JSON: {problem}") from problem
    if b"\\u0000" in line and _holds_nul(parsed):
        raise Unreadable("line", "holds a NUL character, which no text can keep")
    if not isinstance(parsed, dict):
        raise Unreadable("line", f"expected a JSON object, found {type(parsed).__name__}")
    flat = _from_body(parsed) if is_body(parsed) else _renamed(parsed)
    if not flat.get("event_id"):
        flat["event_id"] = content_id(parsed)
    return _typed(flat)


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\x00" in value


def is_body(parsed: Mapping[str, Any]) -> bool:
    """Whether a line holds a vendor's response, wrapped or bare."""
    if BODY_KEYS.isdisjoint(parsed):
        return "inputTextTokenCount" in parsed or "prompt_token_count" in parsed
    return any(isinstance(parsed.get(key), dict) for key in BODY_KEYS)


def content_id(parsed: Any) -> str:
    """An id made of the content alone, so that reading the same event again is the same event."""
    return "sha256:" + hashlib.sha256(orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS)).hexdigest()[:40]


def _renamed(parsed: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in parsed.items():
        name = ALIASES.get(key, key)
        if name not in flat or name == key:
            flat[name] = value
    return flat


def _from_body(parsed: dict[str, Any]) -> dict[str, Any]:
    wrapped = next((key for key in ("response", "body") if isinstance(parsed.get(key), dict)), "")
    body: dict[str, Any] = parsed[wrapped] if wrapped else parsed
    outer = {key: value for key, value in parsed.items() if key != wrapped} if wrapped else _around(parsed)
    flat = _renamed(outer)
    provider = str(flat.get("gen_ai.provider.name") or _guessed_provider(body))
    flavor = str(flat.pop("api_flavor", "") or "")
    usage = _usage(provider, flavor if flavor in _FLAVORS else "", body)
    flat["gen_ai.provider.name"] = provider
    if usage is None:
        flat["usage_known"] = False
    else:
        inclusive = usage.inclusive()
        flat |= {name: inclusive[key] for name, key in COUNTS.items()}
        # Cached audio and image tokens are cache reads already; as our own fields they would be counted twice.
        flat[f"{PREFIX}audio.input_tokens"] = usage.audio_input
        flat[f"{PREFIX}image.input_tokens"] = usage.image_input
        flat["usage_known"] = True
        if usage.other:
            flat["reported_tokens"] = dict(usage.other)
    _fill(flat, body)
    return flat


def _usage(provider: str, flavor: str, body: Mapping[str, Any]) -> token_usage.TokenUsage | None:
    if BODY_KEYS.isdisjoint(body) and "inputTextTokenCount" not in body and "prompt_token_count" not in body:
        return None
    try:
        return token_usage.decompose(provider, flavor, body)
    except token_usage.Contradiction as problem:
        raise Unreadable(problem.field, str(problem)) from problem
    except (ValueError, LookupError) as problem:
        raise Unreadable("usage", str(problem)) from problem


def _around(parsed: dict[str, Any]) -> dict[str, Any]:
    """What a bare response says besides its answer: our own keys, which callers may have added to it."""
    ours = {*TEXTS, *NUMBERS, *ALIASES, "attributes", "usage_known", "api_flavor"} - {"model", "status"}
    return {key: value for key, value in parsed.items() if key in ours}


def _fill(flat: dict[str, Any], body: Mapping[str, Any]) -> None:
    model = body.get("model") or body.get("modelVersion") or body.get("modelId") or ""
    flat.setdefault("gen_ai.response.model", model)
    flat.setdefault("gen_ai.request.model", model)
    if not flat.get("occurred_at"):
        flat["occurred_at"] = next((body[key] for key in _BARE_TIMES if body.get(key)), None)
    if not flat.get("service_tier"):
        usage = body.get("usage")
        tier = body.get("service_tier") or (usage.get("service_tier") if isinstance(usage, dict) else "")
        flat["service_tier"] = tier if isinstance(tier, str) else ""
    response_id = body.get("id") or body.get("responseId")
    if not flat.get("event_id") and isinstance(response_id, str) and response_id:
        flat["event_id"] = response_id
    if not flat.get("outcome"):
        flat["outcome"] = "error" if body.get("error") else "ok"


def _guessed_provider(body: Mapping[str, Any]) -> str:
    by_shape = {"gemini": "gcp.gemini", "converse": "aws.bedrock", "anthropic": "anthropic", "cohere": "cohere"}
    found = token_usage.shape(body)
    return by_shape.get(found) or classify.maker(str(body.get("model") or ""))


def _typed(flat: dict[str, Any]) -> dict[str, Any]:
    """The event with every known field of the type the columns have, or Unreadable naming the one that has not."""
    for name, value in flat.items():
        if name in _TEXTS:
            if type(value) is not str and value is not None:
                flat[name] = _text(name, value)
        elif name in _WHOLES and value is not None and not (type(value) is int and -_EXACT < value < _EXACT):
            flat[name] = _whole(name, value, round_up=name in NUMBERS)
    if (known := flat.get("usage_known")) is not None and not isinstance(known, bool):
        raise Unreadable("usage_known", f"expected true or false, found {known!r}")
    flat["attributes"] = _attributes(flat.get("attributes"))
    return flat


def _attributes(found: Any) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Unreadable("attributes", f"expected an object, found {type(found).__name__}")
    named: dict[str, Any] = {ATTRIBUTE_ALIASES.get(str(key).lower(), str(key)): value for key, value in found.items()}
    for name in ATTRIBUTES:
        if (value := named.get(name)) is not None and not isinstance(value, str):
            named[name] = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return named


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool | dict | list):
        raise Unreadable(name, f"expected text, found {type(value).__name__}")
    if name == "occurred_at" and isinstance(value, float):
        return format(value, ".6f")
    return str(value)


def _whole(name: str, value: Any, *, round_up: bool) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) < _EXACT:
            return value
        raise Unreadable(name, f"expected a whole number below 2^31, found {value}")
    if isinstance(value, float) and (value.is_integer() or round_up) and abs(value) < _EXACT:
        return round(value)
    if isinstance(value, str) and value.strip().isdigit() and len(value) < 18:
        return int(value)
    raise Unreadable(name, f"expected a whole number, found {value!r}")
