"""OTLP trace requests, protobuf or JSON, as lines of JSON that hold what a call of a model is known by and no word of it.

One line is one span. Prompts, answers, tool arguments and every attribute that is not listed here are left behind before
anything is written to disk. A span without an attribute of a model keeps its ids only: it may stand between a call and
the call that it repeats.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from ingest.rows import ATTRIBUTES

# Prefixes that make a span one of a model.
MARKS = ("gen_ai.", "llm.", "openinference.", "traceloop.", "embedding.")
_LONGEST = 1_000  # characters of one value; what is longer is no name
# Prefixes of what is counted and timed.
COUNTS = (
    "gen_ai.usage.",
    "gen_ai.latency.",
    "llm.token_count.",
    "llm.usage.",
)
_OWN = tuple(
    [f"costobs.{name}" for name in ATTRIBUTES]
    + [f"traceloop.association.properties.{name}" for name in (*ATTRIBUTES, "session_id", "user_id")]
    + list(ATTRIBUTES)
)
_SPAN = frozenset(
    (
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.system",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.response.id",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.time_to_first_chunk",
        "gen_ai.server.time_to_first_token",
        "gen_ai.conversation.id",
        "gen_ai.agent.name",
        "gen_ai.workflow.name",
        "gen_ai.request.id",
        "gen_ai.openai.api_base",
        "openai.response.service_tier",
        "gen_ai.openai.response.service_tier",
        "openai.request.service_tier",
        "gen_ai.openai.request.service_tier",
        "error.type",
        "http.response.status_code",
        "http.status_code",
        "server.address",
        "llm.request.type",
        "llm.provider",
        "llm.system",
        "llm.model_name",
        "embedding.model_name",
        "openinference.span.kind",
        "traceloop.span.kind",
        "session.id",
        "user.id",
        "enduser.id",
        "tag.tags",
        "user_agent.original",
        *_OWN,
    )
)
_RESOURCE = frozenset(
    (
        "service.name",
        "service.namespace",
        "deployment.environment",
        "deployment.environment.name",
        "k8s.namespace.name",
        "k8s.deployment.name",
        *_OWN,
    )
)
_KINDS = {"SPAN_KIND_INTERNAL": 1, "SPAN_KIND_SERVER": 2, "SPAN_KIND_CLIENT": 3, "SPAN_KIND_PRODUCER": 4}
_ERROR = {"STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}


class BadRequest(ValueError):
    """A body that is no ExportTraceServiceRequest."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A request as lines, and how many of its spans can never be told apart because their ids are wrong."""

    lines: list[bytes]
    unidentified: int


def take(content: bytes, *, media_type: str, further: Iterable[str] = ()) -> Taken:
    """The lines of a request; `further` are attributes to keep besides ours. Raises BadRequest."""
    asked = frozenset(further)
    found = _json(content) if media_type == "application/json" else _protobuf(content)
    lines, unidentified = [], 0
    for resource, scope, span in found:
        lines.append(orjson.dumps(_line(span, resource, scope, asked)))
        unidentified += not is_identified(span)
    return Taken(lines, unidentified)


def is_identified(span: Mapping[str, Any]) -> bool:
    """Whether a span has a trace id and a span id as the protocol wants them."""
    trace, own = str(span.get("trace") or ""), str(span.get("span") or "")
    return len(trace) == 32 and len(own) == 16 and bool(trace.strip("0")) and bool(own.strip("0"))


def _line(
    span: Mapping[str, Any], resource: Mapping[str, Any], scope: str, further: frozenset[str]
) -> Mapping[str, Any]:
    ids = {"trace": span["trace"], "span": span["span"], "parent": span["parent"]}
    attributes = span["attributes"]
    if not any(key.startswith(MARKS) for key in attributes):
        return ids
    kept = {
        key: value
        for key, value in attributes.items()
        if key in _SPAN or key in further or key.startswith(COUNTS)
        if _is_name(value)
    }
    if "gen_ai.openai.api_base" in kept:
        kept["gen_ai.openai.api_base"] = urlsplit(str(kept["gen_ai.openai.api_base"])).hostname or ""
    kept |= _metadata(attributes.get("metadata"), further)
    about = {key: value for key, value in resource.items() if (key in _RESOURCE or key in further) and _is_name(value)}
    rest = {name: span[name] for name in ("kind", "start", "end", "status")}
    return {**ids, **rest, "scope": scope[:_LONGEST], "attributes": kept, "resource": about}


def _is_name(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST
    return isinstance(value, bool | int | float) or (
        isinstance(value, list)
        and len(value) <= 100
        and all(isinstance(each, str) and len(each) <= 200 for each in value)
    )


def _metadata(value: object, further: frozenset[str]) -> dict[str, Any]:
    """OpenInference's `metadata`: a JSON object as text, of which attributes of ours and asked ones are kept."""
    if not isinstance(value, str):
        return {}
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        f"metadata.{key}": inner
        for key, inner in found.items()
        if (key in ATTRIBUTES or f"metadata.{key}" in further) and isinstance(inner, str) and len(inner) <= _LONGEST
    }


def _protobuf(content: bytes) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    try:
        request = ExportTraceServiceRequest.FromString(content)
    except DecodeError as problem:
        raise BadRequest(f"expected an ExportTraceServiceRequest as protobuf: {problem}") from problem
    return (
        (resource, group.scope.name, _message(span))
        for each in request.resource_spans
        for resource in ({pair.key: _value(pair.value) for pair in each.resource.attributes},)
        for group in each.scope_spans
        for span in group.spans
    )


def _message(span: Any) -> dict[str, Any]:  # protobuf makes its classes at run time
    return {
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "kind": span.kind,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "status": span.status.code,
        "attributes": {pair.key: _value(pair.value) for pair in span.attributes},
    }


def _value(value: Any) -> Any:  # an AnyValue: text, number, list; a map or bytes is no name and becomes None
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind in {None, "kvlist_value", "bytes_value"} else getattr(value, kind)


def _json(content: bytes) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    try:
        request = orjson.loads(content)
    except orjson.JSONDecodeError as problem:
        raise BadRequest(f"expected an ExportTraceServiceRequest as JSON: {problem}") from problem
    found = []
    try:
        for each in _list(_object(request), "resourceSpans"):
            resource = _pairs(_object(each.get("resource") or {}))
            for group in _list(each, "scopeSpans"):
                scope = str(_object(group.get("scope") or {}).get("name") or "")
                found += [(resource, scope, _json_span(span)) for span in _list(group, "spans")]
    except (TypeError, ValueError, OverflowError) as problem:
        raise BadRequest(f"expected an ExportTraceServiceRequest as JSON: {problem}") from problem
    return iter(found)


def _json_span(span: Mapping[str, Any]) -> dict[str, Any]:
    """OTLP's JSON is not protobuf's: ids are hexadecimal, not base64, and enumerations are numbers."""
    status = _object(span.get("status") or {}).get("code", 0)
    kind = span.get("kind", 0)
    return {
        "trace": _id(span, "traceId", 32),
        "span": _id(span, "spanId", 16),
        "parent": _id(span, "parentSpanId", 16),
        "kind": _KINDS.get(kind, 0) if isinstance(kind, str) else _whole(kind),
        "start": _whole(_field(span, "startTimeUnixNano") or 0),
        "end": _whole(_field(span, "endTimeUnixNano") or 0),
        "status": _ERROR.get(status, 0) if isinstance(status, str) else _whole(status),
        "attributes": _pairs(span),
    }


def _id(span: Mapping[str, Any], name: str, digits: int) -> str:
    found = str(_field(span, name) or "").lower()
    if found and (len(found) != digits or not set(found) <= set("0123456789abcdef")):
        raise ValueError(f"{name} is {found[:40]!r}, not {digits} hexadecimal digits")
    return found


def _pairs(owner: Mapping[str, Any]) -> dict[str, Any]:
    return {str(pair.get("key")): _json_value(pair.get("value")) for pair in _list(owner, "attributes")}


def _json_value(value: object) -> Any:
    if not isinstance(value, dict):
        return None
    for name in ("stringValue", "boolValue", "doubleValue"):
        if (found := _field(value, name)) is not None:
            return found
    if (number := _field(value, "intValue")) is not None:
        return _whole(number)
    listed = _field(value, "arrayValue")
    return [_json_value(each) for each in listed.get("values") or ()] if isinstance(listed, dict) else None


def _whole(value: Any) -> int:  # of 64 bits; JSON writes them as numbers or as text
    found = int(value)
    if not -(2**63) <= found < 2**64:
        raise ValueError(f"{found} has more than 64 bits")
    return found


def _field(owner: Mapping[str, Any], name: str) -> Any:
    """A field by its JSON name, or by its name in the protocol, as some senders write it."""
    if name in owner:
        return owner[name]
    return owner.get("".join(f"_{each.lower()}" if each.isupper() else each for each in name))


def _list(owner: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = _field(owner, name) or []
    if not isinstance(found, list):
        raise TypeError(f"{name} is no list")
    return [_object(each) for each in found]


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"found {type(value).__name__} where an object belongs")
    return value
