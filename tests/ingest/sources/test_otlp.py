"""OpenTelemetry traces: what real instrumentations send, counted once, without a word of what people wrote."""

from collections import Counter
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.rows import USAGE, Rejected
from ingest.sources import otlp
from ingest.sources.base import Window
from ingest.sources.formats.otlp import otlp_spans
from tests.servers import instrumented, models
from tests.servers import otlp as applications

START = 1_795_860_000_000_000_000  # 2026-11-28T10:00:00Z
PROTOBUF, JSON = "application/x-protobuf", "application/json"
CALL: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 90,
}


@cache
def exported(instrumentations: str) -> tuple[bytes, ...]:
    """The requests of an application with these instrumentations; it runs once for all tests."""
    return tuple(applications.recorded(instrumentations).bodies)


def span(number: int = 1, *, parent: int = 0, trace: int = 7, kind: int = 3, **more: Any) -> dict[str, Any]:
    """A span in OTLP's JSON; `more` are its other fields."""
    attributes = more.pop("attributes", CALL)
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "kind": kind,
        "startTimeUnixNano": str(START + number * 1_000_000),
        "endTimeUnixNano": str(START + 900_000_000 - number * 1_000_000),
        "attributes": [{"key": key, "value": value_of(value)} for key, value in attributes.items()],
        **more,
    }


def value_of(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [value_of(each) for each in value]}}
    name = {str: "stringValue", int: "intValue", float: "doubleValue", bool: "boolValue"}[type(value)]
    return {name: str(value) if name == "intValue" else value}


def request(*spans: Any, scope: str = "app", resource: dict[str, Any] | None = None) -> bytes:
    attributes = [{"key": key, "value": value_of(value)} for key, value in (resource or {}).items()]
    scopes = [{"scope": {"name": each.pop("scope", scope)}, "spans": [each]} for each in map(dict, spans)]
    return orjson.dumps({"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": scopes}]})


def read(
    *bodies: bytes, media_type: str = JSON, **config: Any
) -> tuple[list[dict[str, Any]], list[Rejected], Counter[str]]:
    kind = otlp.Otlp(otlp.OtlpConfig(**config))
    lines = [line for body in bodies for line in kind.take(body, media_type=media_type).lines]
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    skipped: Counter[str] = Counter()
    for each in kind.normalize(kind.open_bytes(name="pushed", content=b"\n".join(lines))):
        assert each.batch.schema.equals(USAGE)
        rows += each.batch.to_pylist()
        rejected += each.rejected
        skipped.update(each.skipped)
    assert len(rows) + len(rejected) + skipped.total() == len(lines)
    return rows, rejected, skipped


def tokens(row: dict[str, Any]) -> tuple[int | None, ...]:
    return (row["input_uncached"], row["cache_read"], row["cache_write_5m"], row["output"], row["reasoning"])


@pytest.mark.parametrize(
    ("instrumentation", "reasoning_streamed"), [("official", 40), ("traceloop", 0), ("openinference", 40)]
)
def test_it_reads_what_each_instrumentation_of_openai_sends(instrumentation: str, reasoning_streamed: int) -> None:
    rows, rejected, skipped = read(*exported(instrumentation), media_type=PROTOBUF)

    plain, silent, streamed, embedded, failed, response = rows
    assert rejected == []
    assert tokens(plain) == tokens(response) == (400, 800, 0, 90, 40)
    assert tokens(streamed) == (400, 800, 0, 90, reasoning_streamed)
    assert (tokens(silent), silent["usage_known"], silent["outcome"]) == ((None,) * 5, False, "ok")
    assert (embedded["operation"], embedded["response_model"], embedded["input_uncached"]) == (
        "embeddings",
        "text-embedding-3-small",
        12,
    )
    assert (failed["outcome"], failed["usage_known"]) == ("error", False)
    assert {row["provider"] for row in rows} == {"openai"}
    assert {row["response_model"] for row in (plain, silent, streamed, response)} == {"gpt-4o-2024-08-06"}
    assert skipped == {"no call of a model: invoke_agent": 1}


def test_it_reads_what_instrumentations_of_anthropic_send() -> None:
    rows, rejected, _ = read(*exported("anthropic"), media_type=PROTOBUF)
    native, none, _ = read(*exported("anthropic-sdk"), media_type=PROTOBUF)

    assert rejected == none == []
    assert [tokens(row) for row in native[:2]] == [(10, 1000, 100, 50, 0)] * 2
    # Traceloop adds the one token of the first event of a stream to the 50 of the last.
    assert [tokens(row) for row in rows[:2]] == [(10, 1000, 100, 50, 0), (10, 1000, 100, 51, 0)]
    assert [(row["status"], row["outcome"]) for row in (rows[2], native[2])] == [(0, "error"), (429, "error")]


@pytest.mark.parametrize("instrumentation", ["official", "traceloop", "openinference"])
def test_t187_it_takes_a_stream_that_told_no_usage_for_unknown_and_not_for_free(instrumentation: str) -> None:
    rows, _, _ = read(*exported(instrumentation), media_type=PROTOBUF)

    silent = [row for row in rows if row["outcome"] == "ok" and not row["usage_known"]]
    assert [tokens(row) for row in silent] == [(None,) * 5]


def test_t188_it_counts_cache_writes_whose_life_no_span_tells_as_the_short_ones() -> None:
    written = {**CALL, "gen_ai.usage.cache_write.input_tokens": 300, "gen_ai.usage.cached_tokens": 200}

    rows, _, _ = read(request(span(attributes=written)))

    row = rows[0]
    assert (row["input_uncached"], row["cache_read"], row["cache_write_5m"], row["cache_write_1h"]) == (
        700,
        200,
        300,
        0,
    )


def test_it_says_who_called() -> None:
    rows, _, _ = read(*exported("official"), media_type=PROTOBUF)

    owner = {name: rows[0][f"attr_{name}"] for name in ("team", "environment", "service_name", "namespace")}
    assert owner == {
        "team": "search",
        "environment": "prod",
        "service_name": "answers-api",
        "namespace": "search-prod",
    }
    assert rows[2]["ttft_ms"] is not None
    assert all(row["latency_ms"] >= (row["ttft_ms"] or 0) for row in rows)


@pytest.mark.parametrize(
    "instrumentations",
    ["traceloop,openinference", "openinference,traceloop", "official,openinference", "anthropic,anthropic-sdk"],
)
def test_t158_it_counts_a_call_once_that_two_instrumentations_report(instrumentations: str) -> None:
    single = "anthropic-sdk" if "anthropic" in instrumentations else "openinference"
    alone, _, _ = read(*exported(single), media_type=PROTOBUF)

    rows, rejected, skipped = read(*exported(instrumentations), media_type=PROTOBUF)

    assert rejected == []
    assert [tokens(row) for row in rows] == [tokens(row) for row in alone]
    assert skipped["the same call is reported by another span"] == len(alone)


def test_t158_it_learns_from_the_span_that_does_not_count() -> None:
    outer = span(1, attributes={**CALL, "server.address": "x.openai.azure.com"}, scope="a")
    inner = span(2, parent=1, attributes={"openinference.span.kind": "LLM", "llm.token_count.prompt": 5}, scope="b")

    rows, _, _ = read(request(outer, inner))

    assert [(row["provider"], row["request_model"], row["input_uncached"]) for row in rows] == [
        ("azure.ai.openai", "gpt-4o", 5)
    ]


def test_t158_it_counts_the_outer_span_where_it_alone_knows_the_usage() -> None:
    silent = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}

    rows, _, _ = read(request(span(1), span(2, parent=1, attributes={}), span(3, parent=2, attributes=silent)))

    assert [row["event_id"][-1] for row in rows] == ["1"]
    assert rows[0]["input_uncached"] == 1200


def test_t158_it_counts_each_call_below_a_span_that_sums_them() -> None:
    sums = {**CALL, "gen_ai.usage.input_tokens": 2400}

    rows, _, _ = read(request(span(1, attributes=sums), span(2, parent=1), span(3, parent=1)))

    assert [row["input_uncached"] for row in rows] == [1200, 1200]


def test_t158_it_keeps_calls_of_one_instrumentation_that_run_at_once() -> None:
    rows, _, skipped = read(request(span(1, parent=9), span(2, parent=9), span(3, parent=9)))

    assert (len(rows), skipped) == (3, {})


@settings(deadline=None, max_examples=60)
@given(
    parents=st.lists(st.integers(0, 8), min_size=9, max_size=9),
    scopes=st.lists(st.sampled_from("abc"), min_size=9, max_size=9),
    silent=st.sets(st.integers(1, 9)),
    order=st.permutations(range(12)),
)
def test_t158_it_counts_the_same_in_whatever_order_spans_arrive_and_however_often(
    parents: list[int], scopes: list[str], silent: set[int], order: list[int]
) -> None:
    known = {**CALL, "gen_ai.response.id": "r"}
    spans = [
        span(
            at,
            parent=parents[at - 1] if parents[at - 1] != at else 0,
            scope=scopes[at - 1],
            attributes={"llm.request.type": "chat", "gen_ai.system": "openai"} if at in silent else known,
        )
        for at in range(1, 10)
    ]
    again = [*spans, *spans[:3]]

    rows, _, _ = read(request(*spans))
    shuffled, rejected, _ = read(request(*(again[at] for at in order)))

    assert rejected == []
    assert {row["event_id"] for row in shuffled} == {row["event_id"] for row in rows}
    assert rows


def test_t159_it_counts_no_agent_tool_or_chain() -> None:
    kinds = [{"openinference.span.kind": kind, "llm.token_count.prompt": 5} for kind in ("AGENT", "CHAIN", "TOOL")]
    others = [
        {"gen_ai.operation.name": "execute_tool"},
        {"traceloop.span.kind": "workflow", "gen_ai.usage.input_tokens": 9},
        {"gen_ai.operation.name": "x" * 300},
        {"http.request.method": "GET"},
    ]

    rows, rejected, skipped = read(request(*(span(at, attributes=each) for at, each in enumerate(kinds + others, 1))))

    assert (rows, rejected) == ([], [])
    assert skipped == {
        "no call of a model: agent": 1,
        "no call of a model: chain": 1,
        "no call of a model: tool": 1,
        "no call of a model: execute_tool": 1,
        "no call of a model: workflow": 1,
        "no call of a model: another operation": 1,
        "no call of a model: a span without its attributes": 1,
    }


def test_t160_it_stores_no_word_of_what_people_wrote() -> None:
    found = b"".join(
        line
        for name in ("official", "traceloop", "openinference", "anthropic", "anthropic-sdk")
        for body in exported(name)
        for line in otlp_spans.take(body, media_type=PROTOBUF).lines
    )
    sent = b"".join(exported("openinference"))

    assert models.ANSWER.encode() in sent
    assert models.ANSWER.encode() not in found
    assert instrumented.QUESTION.encode() not in found


def test_t160_it_keeps_of_metadata_what_is_asked_for() -> None:
    metadata = orjson.dumps({"team": "search", "squad": "blue", "note": "secret", "feature": {"a": "secret"}}).decode()
    body = request(span(attributes={**CALL, "metadata": metadata, "app.note": "secret", "app.cost": "4410"}))
    asked = {"feature": "metadata.squad", "cost_centre": "app.cost"}

    kept = otlp_spans.take(body, media_type=JSON, further=asked.values()).lines
    rows, _, _ = read(body, attribute_map=asked)

    assert b"secret" not in b"".join(kept)
    assert {name: rows[0][f"attr_{name}"] for name in ("team", "feature", "cost_centre")} == {
        "team": "search",
        "feature": "blue",
        "cost_centre": "4410",
    }


def test_t161_it_understands_deprecated_and_other_names() -> None:
    traceloop = {
        "llm.request.type": "completion",
        "gen_ai.system": "az.ai.openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.prompt_tokens": 10,
        "gen_ai.usage.completion_tokens": 3.0,
        "gen_ai.usage.cache_read_input_tokens": "4",
        "gen_ai.usage.cache_creation_input_tokens": 5,
        "gen_ai.usage.reasoning_tokens": 2,
        "traceloop.association.properties.team": "growth",
        "traceloop.association.properties.session_id": "s-1",
        "traceloop.association.properties.user_id": "u-1",
    }

    rows, rejected, _ = read(request(span(attributes=traceloop)))

    assert rejected == []
    row = rows[0]
    assert (row["provider"], row["operation"], tokens(row)) == ("azure.ai.openai", "text_completion", (1, 4, 5, 3, 2))
    assert (row["attr_team"], row["session_id"]) == ("growth", "s-1")
    assert orjson.loads(row["extra"])["end_user"] == "u-1"


def test_t162_it_tells_providers_of_one_client_library_apart() -> None:
    hosts = [
        "api.openai.com",
        "my.openai.azure.com",
        "bedrock-runtime.eu-central-1.amazonaws.com",
        "eu-aiplatform.googleapis.com",
        "LLM.internal",
        "127.0.0.1",
    ]
    spans = [span(at, attributes={**CALL, "server.address": host}) for at, host in enumerate(hosts, 1)]
    base = {**CALL, "gen_ai.openai.api_base": "https://user:secret@llm.internal:8000/v1/"}

    rows, _, _ = read(request(*spans, span(9, attributes=base)), hosts={"llm.internal": "self_hosted"})

    assert [row["provider"] for row in rows] == [
        "openai",
        "azure.ai.openai",
        "aws.bedrock",
        "gcp.vertex_ai",
        "self_hosted",
        "openai",
        "self_hosted",
    ]
    assert b"secret" not in b"".join(otlp_spans.take(request(span(9, attributes=base)), media_type=JSON).lines)


def vllm(number: int = 1, **more: Any) -> dict[str, Any]:
    """A span as vLLM 0.33 makes it (vllm/tracing, SpanAttributes); recorded from its documentation and source."""
    attributes = {
        "gen_ai.request.id": f"chatcmpl-r{number}",
        "gen_ai.request.max_tokens": 16,
        "gen_ai.request.temperature": 0.7,
        "gen_ai.request.n": 1,
        "gen_ai.usage.prompt_tokens": 305,
        "gen_ai.usage.completion_tokens": 16,
        "gen_ai.latency.time_in_queue": 0.00004,
        "gen_ai.latency.time_to_first_token": 0.0336,
        "gen_ai.latency.e2e": 0.0784,
    }
    return span(number, kind=2, attributes=attributes, scope="vllm.llm_engine", **more)


def test_t163_it_counts_a_span_of_a_model_server_that_no_caller_reports() -> None:
    resource = {"service.name": "vllm-chat"}

    rows, _, skipped = read(
        request(vllm(1), vllm(2, parent=5), resource=resource), server_models={"vllm-chat": "llama-3.1-8b"}
    )

    row = rows[0]
    assert (row["provider"], row["request_model"], row["deployment"]) == ("self_hosted", "llama-3.1-8b", "vllm-chat")
    assert (row["input_uncached"], row["output"], row["ttft_ms"]) == (305, 16, 34)
    assert skipped == {"a server's span with a caller, whose own span counts (setting server_spans)": 1}


def test_t163_it_counts_client_and_server_once_in_whatever_batches_they_arrive() -> None:
    client, server = request(span(5)), request(vllm(2, parent=5))

    together, _, _ = read(client, server)
    apart = [read(body)[0] for body in (client, server)]

    assert [row["event_id"] for row in together] == [row["event_id"] for rows in apart for row in rows]
    assert [row["provider"] for row in together] == ["openai"]


@pytest.mark.parametrize(("server_spans", "expected"), [("always", 2), ("never", 0)])
def test_t163_it_counts_spans_of_servers_as_it_is_told(server_spans: str, expected: int) -> None:
    rows, _, skipped = read(request(vllm(1), vllm(2, parent=9)), server_spans=server_spans)

    assert (len(rows), skipped.total()) == (expected, 2 - expected)


def test_t164_it_refuses_counts_that_contradict_each_other_and_says_how_to_read_them() -> None:
    exclusive = {**CALL, "gen_ai.usage.input_tokens": 10, "gen_ai.usage.cache_read.input_tokens": 1000}
    body = request(span(attributes=exclusive), scope="own.instrumentation")

    rows, rejected, _ = read(body)
    told, _, _ = read(body, exclusive_scopes=["own.instrumentation"])

    assert rows == []
    assert [(each.row, each.field) for each in rejected] == [(1, "gen_ai.usage.input_tokens")]
    assert tokens(told[0])[:2] == (10, 1000)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"attributes": {**CALL, "gen_ai.usage.input_tokens": -5}}, "gen_ai.usage.input_tokens"),
        ({"attributes": {**CALL, "gen_ai.usage.input_tokens": 2**40}}, "gen_ai.usage.input_tokens"),
        ({"attributes": {**CALL, "gen_ai.usage.output_tokens": 1.5}}, "gen_ai.usage.output_tokens"),
        ({"attributes": {**CALL, "gen_ai.usage.output_tokens": "many"}}, "gen_ai.usage.output_tokens"),
        ({"attributes": {**CALL, "gen_ai.request.model": "gpt\x004"}}, "line"),
        ({"startTimeUnixNano": "0"}, "start_time"),
        ({"startTimeUnixNano": "18446744073709551615"}, "start_time"),
        ({"startTimeUnixNano": "1000"}, "occurred_at"),
        ({"spanId": "0" * 16}, "span_id"),
        ({"traceId": ""}, "span_id"),
    ],
)
def test_t165_it_rejects_a_broken_span_and_takes_its_neighbours(changed: dict[str, Any], field: str) -> None:
    rows, rejected, _ = read(request(span(1, trace=1), {**span(2), **changed_attributes(changed)}, span(3, trace=3)))

    assert [row["row_number"] for row in rows] == [1, 3]
    assert [(each.row, each.field) for each in rejected] == [(2, field)]


def changed_attributes(changed: dict[str, Any]) -> dict[str, Any]:
    return {
        key: span(attributes=value)["attributes"] if key == "attributes" else value for key, value in changed.items()
    }


def test_t162_it_knows_the_maker_of_a_model_where_no_provider_is_named() -> None:
    unnamed = {"gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 5}
    nothing = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "own-model"}

    rows, rejected, _ = read(request(span(1, attributes=unnamed), span(2, attributes=nothing)))
    told, _, _ = read(request(span(2, attributes=nothing)), provider="self_hosted")

    assert [row["provider"] for row in rows + told] == ["anthropic", "self_hosted"]
    assert [each.field for each in rejected] == ["gen_ai.provider.name"]


def test_t165_it_is_not_led_into_a_ring_or_an_endless_chain() -> None:
    ring = [span(1, parent=2), span(2, parent=1)]
    chain = [span(at, parent=at - 1, trace=8, attributes={}) for at in range(2, 3000)]

    rows, _, _ = read(request(*ring, *chain, span(3000, parent=2999, trace=8), span(1, trace=8)))

    assert [row["event_id"][-5:] for row in rows] == ["00002", "00bb8", "00001"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"resourceSpans": 5}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": ["x"]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "AAAA"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": {}}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "1e999"}]}]}]}',
        b"[" * 100_000,
    ],
)
def test_it_refuses_json_that_is_no_request(body: bytes) -> None:
    with pytest.raises(otlp_spans.BadRequest, match="ExportTraceServiceRequest"):
        otlp_spans.take(body, media_type=JSON)


def test_it_refuses_protobuf_that_is_no_request() -> None:
    with pytest.raises(otlp_spans.BadRequest, match="ExportTraceServiceRequest"):
        otlp_spans.take(b"\xff" * 100, media_type=PROTOBUF)


def test_it_leaves_out_an_instrumentation_that_is_ignored() -> None:
    rows, _, skipped = read(request(span(1, scope="outer"), span(2, parent=1, scope="inner")), ignored_scopes=["inner"])

    assert [row["event_id"][-1] for row in rows] == ["1"]
    assert skipped == {"of an instrumentation that is left out (setting ignored_scopes)": 1}


def test_it_knows_a_refusal_and_an_error() -> None:
    filtered = {**CALL, "gen_ai.response.finish_reasons": ["content_filter"]}
    failed = {**CALL, "error.type": "429"}

    rows, _, _ = read(request(span(1, attributes=filtered), span(2, attributes=failed), span(3, status={"code": 2})))

    assert [(row["outcome"], row["status"]) for row in rows] == [("refused", 200), ("error", 429), ("error", 0)]


def test_it_waits_for_pushed_traces() -> None:
    kind = otlp.Otlp(otlp.OtlpConfig())

    findings = list(kind.probe(Window(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC))))

    assert [each.state for each in findings] == ["ok"]
