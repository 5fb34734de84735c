"""Usage events: one for each metered request, named after the OpenTelemetry GenAI conventions."""

import functools
import os
from datetime import datetime, timezone
from typing import NamedTuple

from costobs_gate.config import Config
from costobs_gate.headers import Headers
from costobs_gate.metering import Reading
from costobs_gate.policy import Key, Policy

UNKNOWN_MODEL = "unknown"
LONGEST_NAME = 256  # characters of a model's name, which a client writes
_USUAL_TIERS = frozenset({"auto", "default", "standard"})
_OWN = "self_hosted"

Event = dict[str, object]


class Ending(NamedTuple):
    """How a request ended."""

    outcome: str  # ok, error, refused, cancelled
    status: int
    reading: Reading
    latency_ms: float
    ttft_ms: float | None = None


class Served(NamedTuple):
    """Who serves a request. Empty: the server that the gate stands in, the model that was asked for."""

    provider: str = ""
    deployment: str | None = None
    upstream: str = ""
    model: str | None = None
    because: str = ""  # the rules that rerouted it, or overflow


def new_id(team: str) -> str:
    """A request id that says whose it is: costobs-<team>-<uuid>. It is also the id of the event."""
    return f"costobs-{_slug(team)}-{os.urandom(16).hex()}"


@functools.lru_cache(maxsize=10_000)
def _slug(team: str) -> str:
    slug = "".join(character if character.isascii() and character.isalnum() else "-" for character in team.lower())
    return slug[:40].strip("-") or "team"


def admitted(
    *,
    event_id: str,
    config: Config,
    policy: Policy,
    key: Key,
    feature: str | None,
    headers: Headers,
    operation: str,
    model: str | None,
    stream: bool,
    now: datetime,
    served: "Served",
) -> Event:
    """The event as it stands at admission: nothing used yet, usage not known."""
    attributes: Event = {"key": key.key_id, "team": key.team}
    if feature is not None:
        attributes["feature"] = feature
    if config.environment:
        attributes["environment"] = config.environment
    if headers.user_agent is not None:
        attributes["user_agent"] = headers.user_agent
    event: Event = {
        "event_id": event_id,
        "occurred_at": now.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "gen_ai.provider.name": served.provider or policy.provider,
        "gen_ai.request.model": _name(model),
        "gen_ai.response.model": _name(served.model or model),
        "gen_ai.operation.name": operation,
        "gen_ai.usage.input_tokens": 0,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.output_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "outcome": "unknown",
        "usage_known": False,
        "stream": stream,
        "deployment": served.deployment if served.deployment is not None else config.deployment or policy.deployment,
        "attributes": attributes,
    }
    notes = {
        "trace_id": headers.trace_id,
        "session_id": headers.session_id,
        "client_request_id": headers.request_id,
        "served_by": served.upstream or None,
        "rerouted_by": served.because or None,
    }
    event.update({name: value for name, value in notes.items() if value is not None})
    return event


def settled(event: Event, ending: Ending, *, refused_by: str | None = None) -> Event:
    """The event with what the request came to."""
    reading = ending.reading
    asked = event["gen_ai.request.model"]
    answered = _name(reading.model) if reading.model else event["gen_ai.response.model"]
    final = {
        **event,
        "gen_ai.request.model": answered if asked == UNKNOWN_MODEL else asked,
        "gen_ai.response.model": answered,
        "gen_ai.usage.input_tokens": reading.input_tokens,
        "gen_ai.usage.cache_read.input_tokens": reading.cache_read_tokens,
        "gen_ai.usage.output_tokens": reading.output_tokens,
        "gen_ai.usage.reasoning.output_tokens": reading.reasoning_tokens,
        "latency_ms": round(ending.latency_ms, 3),
        "ttft_ms": None if ending.ttft_ms is None else round(ending.ttft_ms, 3),
        "http.response.status_code": ending.status,
        "outcome": ending.outcome,
        "usage_known": reading.known,
    }
    if event["gen_ai.provider.name"] != _OWN:
        final.update(_billed_apart(reading))
    if refused_by is not None:
        final["refused_by"] = refused_by
    return final


def _billed_apart(reading: Reading) -> Event:
    """What providers have prices of its own for: tokens written to their cache, and tiers of service."""
    found: Event = {}
    if reading.cache_write_tokens:
        found["gen_ai.usage.cache_creation.input_tokens"] = reading.cache_write_tokens
    if reading.cache_write_1h_tokens:
        found["gen_ai.usage.cache_creation_1h.input_tokens"] = reading.cache_write_1h_tokens
    if reading.service_tier and reading.service_tier not in _USUAL_TIERS:
        found["service_tier"] = _name(reading.service_tier)
    return found


def _name(text: str | None) -> str:
    """A name as costobs can keep it: an event that it refuses for a character or its length would not be metered."""
    if not text:
        return UNKNOWN_MODEL
    if len(text) <= LONGEST_NAME and text.isprintable():
        return text
    return "".join(each if each.isprintable() else "\ufffd" for each in text[:LONGEST_NAME])
