"""Streams: forwarded as they come, metered to their end or to where the client left."""

import itertools
import json
from collections.abc import Iterator

import pytest
from costobs_gate.metering import StreamMeter
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.conftest import Served
from tests.gate.costobs_server import ALPHA, CostobsServer

STREAM = {"model": "small", "messages": [], "stream": True}
KNOWN = {"Authorization": f"Bearer {ALPHA}"}


@pytest.fixture(autouse=True)
def _release(gate: Served) -> Iterator[None]:
    yield
    gate.upstream.release.set()


def test_it_meters_a_stream_and_hides_the_usage_that_nobody_asked_for(gate: Served, costobs: CostobsServer) -> None:
    answer = gate.post(json=STREAM)

    assert '"usage"' not in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    assert answer.text.count("data: ") == 6
    forwarded = json.loads(gate.upstream.seen[0]["body"])
    assert forwarded["stream_options"] == {"include_usage": True}
    event = costobs.event(outcome="ok", stream=True)
    assert {name: value for name, value in event.items() if name.startswith("gen_ai")} == {
        "gen_ai.provider.name": "self_hosted",
        "gen_ai.request.model": "small",
        "gen_ai.response.model": "small",
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 305,
        "gen_ai.usage.cache_read.input_tokens": 256,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 0,
    }
    assert event["usage_known"] is True
    assert 0 < event["ttft_ms"] <= event["latency_ms"]


def test_it_leaves_the_usage_to_a_client_that_asked_for_it(gate: Served, costobs: CostobsServer) -> None:
    answer = gate.post(json={**STREAM, "stream_options": {"include_usage": True}})

    assert '"prompt_tokens":305' in answer.text
    assert costobs.event(outcome="ok")["gen_ai.usage.output_tokens"] == 4


def test_it_keeps_the_clients_other_stream_options(gate: Served) -> None:
    gate.post(json={**STREAM, "stream_options": {"include_usage": False, "continuous_usage_stats": True}})

    options = json.loads(gate.upstream.seen[0]["body"])["stream_options"]
    assert options == {"include_usage": True, "continuous_usage_stats": True}


def test_it_reads_events_that_come_in_pieces(gate: Served, costobs: CostobsServer) -> None:
    answer = gate.post(json={**STREAM, "metadata": {"split": True}})

    assert '"usage"' not in answer.text
    assert answer.text.count("data: ") == 6
    assert costobs.event(outcome="ok")["gen_ai.usage.input_tokens"] == 305


def test_it_does_not_hold_a_stream_back(gate: Served) -> None:
    body = {**STREAM, "metadata": {"hold": True}}
    with gate.client.stream("POST", "/v1/chat/completions", json=body, headers=KNOWN) as answer:
        pieces = answer.iter_text()
        # The model server waits after the second word until this test has seen it.
        received = ""
        while '"two"' not in received:
            received += next(pieces)
        gate.upstream.release.set()
        received += "".join(pieces)

    assert '"four"' in received


def test_it_counts_what_a_client_saw_before_it_left(gate: Served, costobs: CostobsServer) -> None:
    _leave_in_the_middle(gate, {**STREAM, "metadata": {"hold": True}})

    event = costobs.event(outcome="cancelled")
    assert (event["gen_ai.usage.output_tokens"], event["usage_known"]) == (2, False)
    assert gate.upstream.cancelled.wait(30)


def test_it_knows_the_usage_of_a_cancelled_stream_that_reports_it_all_along(
    gate: Served, costobs: CostobsServer
) -> None:
    _leave_in_the_middle(gate, {**STREAM, "metadata": {"hold": True, "continuous": True}})

    event = costobs.event(outcome="cancelled")
    assert (event["gen_ai.usage.input_tokens"], event["gen_ai.usage.output_tokens"]) == (305, 2)
    assert event["usage_known"] is True


def test_it_adds_up_an_anthropic_stream(gate: Served, costobs: CostobsServer) -> None:
    answer = gate.post("/v1/messages", json={**STREAM, "max_tokens": 9})

    assert "stream_options" not in json.loads(gate.upstream.seen[0]["body"])
    assert answer.text.count("event: ") == 4
    event = costobs.event(outcome="ok")
    counts = [event[f"gen_ai.usage.{name}"] for name in ("input_tokens", "cache_read.input_tokens", "output_tokens")]
    assert counts == [100, 90, 7]


SHAPES = [
    ("/v1/chat/completions", "chat", (305, 256, 4, 0)),
    ("/v1/completions", "text_completion", (305, 256, 4, 0)),
    ("/v1/responses", "chat", (20, 0, 8, 5)),
    ("/v1/messages", "chat", (100, 90, 7, 0)),
    ("/v1/embeddings", "embeddings", (9, 0, 0, 0)),
]


def test_it_meters_every_shape_of_answer(gate: Served, costobs: CostobsServer) -> None:
    names = ("input_tokens", "cache_read.input_tokens", "output_tokens", "reasoning.output_tokens")
    for path, operation, counts in SHAPES:
        event = costobs.event(event_id=gate.post(path).headers["x-request-id"])

        assert tuple(event[f"gen_ai.usage.{name}"] for name in names) == counts
        assert (event["gen_ai.operation.name"], event["usage_known"], event["ttft_ms"]) == (operation, True, None)
        assert (event["deployment"], event["http.response.status_code"]) == ("vllm-eu-1", 200)


def test_it_meters_vectors_of_any_size(gate: Served, costobs: CostobsServer) -> None:
    gate.post("/v1/embeddings", json={"model": "embedder", "input": "x", "metadata": {"width": 300_000}})

    assert costobs.event(outcome="ok")["gen_ai.usage.input_tokens"] == 9


def test_it_marks_usage_that_it_cannot_read(gate: Served, costobs: CostobsServer) -> None:
    gate.post("/score")  # this model server answers it without usage

    assert costobs.event(**{"gen_ai.operation.name": "score"})["usage_known"] is False


PIECES = [
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"say \\"usage\\":{} and \\"choices\\":[]"}}]}\n\n',
    b": ping\r\n\r\n",
    b'data: {"choices":[{"delta":{"content":"usage"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"x"}}],"usage":null}\r\n\r\n',
]
USAGE_EVENT = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
DONE = b"data: [DONE]\n\n"


@given(cuts=st.lists(st.integers(1, 390), max_size=12))
def test_it_reads_the_same_however_a_stream_is_cut(cuts: list[int]) -> None:
    whole = b"".join([*PIECES, USAGE_EVENT, DONE])
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    meter = StreamMeter(strips_usage=True, waits_for_delta=False)

    passed = b"".join(meter.feed(whole[a:b], last=b == len(whole)) for a, b in itertools.pairwise(edges))

    assert passed == b"".join([*PIECES, DONE])
    reading = meter.reading()
    assert (reading.input_tokens, reading.output_tokens, reading.known) == (7, 2, True)


def test_it_counts_pieces_with_content_only() -> None:
    meter = StreamMeter(strips_usage=True, waits_for_delta=False)
    for piece in PIECES:
        meter.feed(piece, last=False)

    assert (meter.reading().output_tokens, meter.reading().known) == (3, False)


def test_it_sees_an_error_inside_a_stream() -> None:
    meter = StreamMeter(strips_usage=True, waits_for_delta=False)
    meter.feed(PIECES[0], last=False)
    before = meter.failed
    meter.feed(b'data: {"error":{"message":"out of memory"}}\n\n', last=False)

    assert (before, meter.failed) == (False, True)


def _leave_in_the_middle(gate: Served, body: dict[str, object]) -> None:
    with gate.client.stream("POST", "/v1/chat/completions", json=body, headers=KNOWN) as answer:
        received = ""
        for piece in answer.iter_text():
            received += piece
            if '"two"' in received:
                break
