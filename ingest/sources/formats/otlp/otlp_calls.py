"""Which spans are calls of a model, which of two spans of one call counts, and what a call's event holds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.rows import ATTRIBUTES
from ingest.sources.formats import classify
from ingest.sources.formats.otlp import otlp_spans
from ingest.sources.formats.usage.foreign_lines import USAGE, Event, LeftOut, text, whole
from ingest.sources.formats.usage.usage_bodies import Unreadable

SERVER = 2  # SpanKind
_FAILED = 2  # StatusCode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_NANO = 4_102_444_800 * 10**9  # 2100-01-01

# What the span of a call says it does -> gen_ai.operation.name. Traceloop says llm.request.type in older releases.
_CALLS = {
    "chat": "chat",
    "completion": "text_completion",
    "text_completion": "text_completion",
    "generate_content": "generate_content",
    "embedding": "embeddings",
    "embeddings": "embeddings",
    "response": "chat",
    "responses": "chat",
}
_OTHERS = frozenset(
    [
        "execute_tool",
        "invoke_agent",
        "create_agent",
        "invoke_workflow",
        "retrieval",
        "rerank",
        "plan",
        "memory",
        "tool",
        "agent",
        "chain",
        "task",
        "workflow",
        "retriever",
        "reranker",
        "guardrail",
        "evaluator",
        "prompt",
        "unknown",
    ]
)
_HOSTS = (
    (".openai.azure.com", "azure.ai.openai"),
    (".cognitiveservices.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("api.openai.com", "openai"),
    ("api.anthropic.com", "anthropic"),
)

NO_MODEL = "no call of a model: a span without its attributes"
HAS_CALLER = "a server's span with a caller, whose own span counts (setting server_spans)"
NOT_ASKED = "a server's span (setting server_spans)"
IGNORED = "of an instrumentation that is left out (setting ignored_scopes)"

# The first of these that a span holds is meant. Names of OpenTelemetry come first, then deprecated and other ones.
_INPUT = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
)
_COUNTS = {
    f"{USAGE}input_tokens": _INPUT,
    f"{USAGE}output_tokens": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "llm.usage.completion_tokens",
    ),
    f"{USAGE}cache_read.input_tokens": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.cached_tokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    f"{USAGE}cache_creation.input_tokens": (
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
    f"{USAGE}reasoning.output_tokens": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
    ),
    f"{USAGE}audio.input_tokens": ("gen_ai.usage.audio.input_tokens", "llm.token_count.prompt_details.audio"),
    f"{USAGE}image.input_tokens": ("gen_ai.usage.image.input_tokens",),
    f"{USAGE}audio.output_tokens": ("gen_ai.usage.audio.output_tokens", "llm.token_count.completion_details.audio"),
}
_TTFT = (
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.server.time_to_first_token",
    "gen_ai.latency.time_to_first_token",
)
_SERVICE_TIERS = (
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "openai.request.service_tier",
    "gen_ai.openai.request.service_tier",
)
_RESOURCE_NAMES = {
    "service_name": ("service.name",),
    "namespace": ("k8s.namespace.name", "service.namespace"),
    "environment": ("deployment.environment.name", "deployment.environment"),
    "user_agent": ("user_agent.original",),
    "tags": ("tag.tags",),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source says about the spans it takes."""

    server_spans: str = "without_parent"
    ignored_scopes: frozenset[str] = frozenset()
    exclusive_scopes: frozenset[str] = frozenset()
    server_models: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    attribute_map: Mapping[str, str] = field(default_factory=dict)


def operation(span: Mapping[str, Any]) -> str:
    """The operation of a span that is a call of a model, else LeftOut."""
    attributes = span.get("attributes")
    if not isinstance(attributes, dict):
        raise LeftOut(NO_MODEL)
    said = first(attributes, ("gen_ai.operation.name", "llm.request.type"))
    kind = text(attributes.get("openinference.span.kind")) or text(attributes.get("traceloop.span.kind"))
    named = (said or {"llm": "chat"}.get(kind.lower(), kind)).lower()
    if named in _CALLS:
        return _CALLS[named]
    if named:
        raise LeftOut(f"no call of a model: {named if named in _OTHERS else 'another operation'}")
    # vLLM and some SDKs name no operation; a model's usage or name on a span of no other kind is a call.
    if any(name in attributes for name in (*_INPUT, "gen_ai.request.model", "gen_ai.request.id")):
        return "chat"
    raise LeftOut(NO_MODEL)


def is_call(span: Mapping[str, Any]) -> bool:
    """Whether a span is a call of a model."""
    try:
        return bool(operation(span))
    except LeftOut:
        return False


def knows_usage(span: Mapping[str, Any]) -> bool:
    """Whether a call says what it used."""
    return any(name in span["attributes"] for name in (*_INPUT, *_COUNTS[f"{USAGE}output_tokens"]))


def event(span: Mapping[str, Any], reading: Reading) -> Event:
    """The event of one span. Raises LeftOut for what is no call or is counted elsewhere, Unreadable for what is broken."""
    named = operation(span)
    attributes, resource = span["attributes"], span.get("resource") or {}
    _check_counts_here(span, reading)
    start, end = _nano(span, "start"), _nano(span, "end")
    if not otlp_spans.is_identified(span):
        raise Unreadable("span_id", "expected a trace id of 16 bytes and a span id of 8 that are not all zero")
    counts = _counts(attributes, exclusive=span.get("scope") in reading.exclusive_scopes)
    request = first(attributes, ("gen_ai.request.model",))
    response = first(attributes, ("gen_ai.response.model", "llm.model_name", "embedding.model_name"))
    is_server = span.get("kind") == SERVER
    service = text(resource.get("service.name"))
    if is_server and not (request or response):
        request = reading.server_models.get(service, service)  # vLLM's spans name no model
    return {
        "event_id": f"{span['trace']}-{span['span']}",
        "occurred_at": (_EPOCH + timedelta(microseconds=start // 1000)).isoformat(),
        "gen_ai.provider.name": _provider(attributes, is_server=is_server, hosts=reading.hosts)
        or classify.maker(response or request),
        "gen_ai.request.model": request or response,
        "gen_ai.response.model": response or request,
        "gen_ai.operation.name": named,
        "deployment": service if is_server else "",
        "service_tier": first(attributes, _SERVICE_TIERS),
        "latency_ms": max(end - start, 0) // 1_000_000 if end else None,
        "ttft_ms": _ttft(attributes),
        "trace_id": span["trace"],
        "session_id": first(
            attributes, ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id")
        ),
        "usage_known": any(counts[name] is not None for name in (f"{USAGE}input_tokens", f"{USAGE}output_tokens")),
        "attributes": _owner(attributes, resource, reading.attribute_map),
        **_outcome(span, attributes),
        **counts,
        "extra": _told(span, attributes),
    }


def _check_counts_here(span: Mapping[str, Any], reading: Reading) -> None:
    if span.get("scope") in reading.ignored_scopes:
        raise LeftOut(IGNORED)
    if span.get("kind") != SERVER or reading.server_spans == "always":
        return
    if reading.server_spans == "never":
        raise LeftOut(NOT_ASKED)
    # The caller's span comes from another process and in another batch, so that no look at this one can find it. What
    # counts must not depend on what arrives together.
    if text(span.get("parent")):
        raise LeftOut(HAS_CALLER)


def _counts(attributes: Mapping[str, Any], *, exclusive: bool) -> dict[str, int | None]:
    found = {
        ours: next((whole(name, attributes[name]) for name in names if attributes.get(name) is not None), None)
        for ours, names in _COUNTS.items()
    }
    given = found[f"{USAGE}input_tokens"]
    if exclusive and given is not None:
        cached = (found[f"{USAGE}cache_read.input_tokens"], found[f"{USAGE}cache_creation.input_tokens"])
        found[f"{USAGE}input_tokens"] = given + sum(each or 0 for each in cached)
    return found


def _provider(attributes: Mapping[str, Any], *, is_server: bool, hosts: Mapping[str, str]) -> str:
    host = first(attributes, ("server.address", "gen_ai.openai.api_base")).lower()
    if host and (asked := hosts.get(host)):
        return asked
    said = first(attributes, ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"))
    # The same client library calls OpenAI and Azure, and names itself after the library.
    known = next((provider for ending, provider in _HOSTS if host.endswith(ending)), "")
    if not known and host.startswith("bedrock-runtime") and host.endswith(".amazonaws.com"):
        known = "aws.bedrock"
    return known or said or ("self_hosted" if is_server else "")


def _owner(attributes: Mapping[str, Any], resource: Mapping[str, Any], asked: Mapping[str, str]) -> dict[str, str]:
    """Our attributes: what the configuration asks for, what the call itself says, what its process says; in this order."""
    found = {}
    for name in ATTRIBUTES:
        names = (
            *((asked[name],) if name in asked else ()),
            f"costobs.{name}",
            f"traceloop.association.properties.{name}",
            f"metadata.{name}",
            name,
            *_RESOURCE_NAMES.get(name, ()),
        )
        if value := first(attributes, names) or first(resource, names):
            found[name] = value
    return found


def _outcome(span: Mapping[str, Any], attributes: Mapping[str, Any]) -> Event:
    code = first(attributes, ("http.response.status_code", "http.status_code", "error.type"))
    status = int(code) if code.isdecimal() and len(code) == 3 else None
    failed = span.get("status") == _FAILED or bool(attributes.get("error.type"))
    reasons = attributes.get("gen_ai.response.finish_reasons")
    refused = isinstance(reasons, list) and "content_filter" in reasons
    return {
        "outcome": "error" if failed else "refused" if refused else "ok",
        "http.response.status_code": status if status else None if failed else 200,
    }


def _told(span: Mapping[str, Any], attributes: Mapping[str, Any]) -> Event:
    """What is kept beside the columns."""
    found = {
        "instrumentation": text(span.get("scope")),
        "response_id": first(attributes, ("gen_ai.response.id", "gen_ai.request.id")),
        "agent": first(attributes, ("gen_ai.agent.name", "gen_ai.workflow.name")),
        "end_user": first(attributes, ("user.id", "enduser.id", "traceloop.association.properties.user_id")),
        "error_type": first(attributes, ("error.type",)),
    }
    return {name: value for name, value in found.items() if value}


def first(attributes: Mapping[str, Any], names: Iterable[str]) -> str:
    """The first of some attributes that says anything, as text."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, list) and value:
            return ", ".join(map(str, value))
        if found := text(value):
            return found
    return ""


def _nano(span: Mapping[str, Any], name: str) -> int:
    value = whole(f"{name}_time", span.get(name)) or 0
    if not 0 <= value < _LAST_NANO:
        raise Unreadable(f"{name}_time", f"{value} is no time in nanoseconds between 1970 and 2100")
    if name == "start" and not value:
        raise Unreadable("start_time", "the span has no start")
    return value


def _ttft(attributes: Mapping[str, Any]) -> int | None:
    found = next((attributes[name] for name in _TTFT if attributes.get(name) is not None), None)
    return round(found * 1000) if isinstance(found, int | float) and 0 <= found < 10**6 else None
