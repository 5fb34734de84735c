"""What an event says of a call, by what the server answered and what the client wrote."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from costobs_gate import events, metering
from costobs_gate.config import Config
from costobs_gate.events import Ending, Served
from costobs_gate.headers import Headers
from costobs_gate.metering import Reading
from costobs_gate.policy import Key, parse

from ingest.sources.formats.usage import usage_bodies
from tests.gate.costobs_server import policy

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEY = Key("0" * 64, "key_a", "alpha", (), None)
WRITTEN = "gen_ai.usage.cache_creation.input_tokens"
FOR_AN_HOUR = "gen_ai.usage.cache_creation_1h.input_tokens"


def event(reading: Reading, *, model: str = "small", provider: str = "anthropic") -> dict[str, Any]:
    admitted = events.admitted(
        event_id="costobs-alpha-1",
        config=Config("https://costobs.example.com", "t", Path("/nowhere")),
        policy=parse({**policy(), "version": "v"}),
        key=KEY,
        feature=None,
        headers=Headers(),
        operation="chat",
        model=model,
        stream=False,
        now=NOW,
        served=Served(provider=provider),
    )
    return events.settled(admitted, Ending("ok", 200, reading, 1.0))


def read(answer: dict[str, Any], path: str = "/v1/messages") -> Reading:
    meter = metering.meter(content_type="application/json", operation="chat", path=path, strips_usage=False)
    meter.feed(json.dumps(answer).encode(), last=True)
    return meter.reading()


def test_it_tells_what_a_provider_bills_apart() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 90,
        "cache_creation_input_tokens": 400,
        "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 100},
        "output_tokens": 7,
        "service_tier": "priority",
    }

    found = event(read({"type": "message", "model": "claude", "usage": usage}))

    assert (found["gen_ai.usage.input_tokens"], found[WRITTEN], found[FOR_AN_HOUR]) == (500, 400, 100)
    assert found["service_tier"] == "priority"


def test_it_tells_the_tier_that_stands_beside_the_usage() -> None:
    answer = {"model": "gpt", "service_tier": "flex", "usage": {"prompt_tokens": 5, "completion_tokens": 1}}

    assert event(read(answer, "/v1/chat/completions"), provider="openai")["service_tier"] == "flex"


def test_it_tells_none_of_it_for_own_servers_which_bill_nothing_apart() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"created_cache_tokens": 8}}

    found = event(read({"service_tier": "flex", "usage": usage}, "/v1/chat/completions"), provider="self_hosted")

    assert found["gen_ai.usage.input_tokens"] == 9
    assert found.keys().isdisjoint({WRITTEN, FOR_AN_HOUR, "service_tier"})


def test_it_reads_both_from_a_stream() -> None:
    meter = metering.meter(content_type="text/event-stream", operation="chat", path="/v1/messages", strips_usage=False)
    begun = {"usage": {"input_tokens": 1, "cache_creation_input_tokens": 4, "service_tier": "priority"}}
    pieces = [
        {"type": "message_start", "message": begun},
        {"type": "message_delta", "usage": {"output_tokens": 3}},
    ]
    for piece in pieces:
        meter.feed(b"data: " + json.dumps(piece).encode() + b"\n\n", last=False)

    found = meter.reading()

    assert (found.input_tokens, found.cache_write_tokens, found.output_tokens) == (5, 4, 3)
    assert (found.service_tier, found.known) == ("priority", True)


def test_it_keeps_parts_within_their_whole_because_costobs_refuses_an_event_that_contradicts_itself() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }

    found = read({"usage": usage}, "/v1/chat/completions")

    assert (found.input_tokens, found.cache_read_tokens, found.cache_write_tokens) == (10, 10, 0)
    assert (found.output_tokens, found.reasoning_tokens) == (2, 2)


@pytest.mark.parametrize("model", ["small\x00", "small\ud800", "m" * 10_000_000, "small\n\x1b[31m"])
def test_it_names_a_model_so_that_costobs_takes_the_event_whatever_the_client_wrote(model: str) -> None:
    found = event(Reading(known=True), model=model)

    line = json.dumps(found).encode()
    assert len(line) < 3000
    assert usage_bodies.event(line)["gen_ai.request.model"].startswith(model[:5])


def test_it_names_a_model_that_the_server_answers_with_in_the_same_way() -> None:
    assert event(Reading(known=True, model="x" * 5000))["gen_ai.response.model"] == "x" * 256
