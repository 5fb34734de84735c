"""Usage logs: our own events, vendors' responses, and everything that may be wrong with a line."""

import gzip
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from ingest.rows import USAGE, Rejected
from ingest.sources import gate, usage_log
from ingest.sources.base import BadDelivery, Window
from ingest.sources.formats import instants, lines

GOLDEN = Path(__file__).parents[2] / "golden"
ALWAYS = Window(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))

EVENT: dict[str, Any] = {
    "event_id": "e1",
    "occurred_at": "2026-11-21T10:00:00.123Z",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.response.model": "gpt-5-mini-2025-08-07",
    "gen_ai.operation.name": "chat",
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.cache_read.input_tokens": 800,
    "gen_ai.usage.cache_creation.input_tokens": 30,
    "gen_ai.usage.cache_creation_1h.input_tokens": 10,
    "gen_ai.usage.output_tokens": 90,
    "gen_ai.usage.reasoning.output_tokens": 40,
    "latency_ms": 900,
    "ttft_ms": 210,
    "http.response.status_code": 200,
    "outcome": "ok",
    "usage_known": True,
    "service_tier": "standard",
    "deployment": "",
    "trace_id": "t1",
    "session_id": "s1",
    "attributes": {"key": "key_1", "team": "search", "feature": "answers", "environment": "prod"},
}


def ndjson(*events: Any) -> bytes:
    return b"".join((each if isinstance(each, bytes) else orjson.dumps(each)) + b"\n" for each in events)


def read(content: bytes, **config: Any) -> tuple[list[dict[str, Any]], list[Rejected]]:
    source = usage_log.UsageLog(usage_log.UsageLogConfig(**config))
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    for each in source.normalize(source.open_bytes(name="log.ndjson", content=content)):
        assert each.batch.schema.equals(USAGE)
        rows += each.batch.to_pylist()
        rejected += each.rejected
    return rows, rejected


def test_it_reads_an_event_of_our_own_shape() -> None:
    rows, rejected = read(ndjson(EVENT))

    assert rejected == []
    row = rows[0]
    assert row["occurred_at"] == datetime(2026, 11, 21, 10, 0, 0, 123000, tzinfo=UTC)
    assert (row["row_number"], row["event_id"], row["provider"], row["response_model"]) == (
        1,
        "e1",
        "openai",
        "gpt-5-mini-2025-08-07",
    )
    assert (row["input_uncached"], row["cache_read"], row["cache_write_5m"], row["cache_write_1h"]) == (
        370,
        800,
        20,
        10,
    )
    assert (row["output"], row["reasoning"], row["usage_known"], row["outcome"], row["status"]) == (
        90,
        40,
        True,
        "ok",
        200,
    )
    assert (row["trace_id"], row["session_id"], row["attr_team"], row["attr_key"]) == ("t1", "s1", "search", "key_1")
    assert row["extra"] == "{}"


def test_it_keeps_what_it_has_no_column_for() -> None:
    rows, _ = read(
        ndjson(
            EVENT
            | {
                "when": "2026-01-01 00:00:00",
                "nested": {"a": None, "b": [1, 2]},
                "attributes": {"team": "x", "ticket": 7},
            }
        )
    )

    assert orjson.loads(rows[0]["extra"]) == {"when": "2026-01-01 00:00:00", "nested": {"b": [1, 2]}, "ticket": 7}


def test_it_reads_the_same_from_columns_and_line_by_line() -> None:
    columnar, _ = read(ndjson(EVENT, EVENT | {"event_id": "e2", "region": "eu"}))
    by_line, rejected = read(ndjson(EVENT, EVENT | {"event_id": "e2", "region": "eu"}, b"{broken"))

    assert by_line == columnar
    assert [(each.row, each.field) for each in rejected] == [(3, "line")]


def test_t26_it_keeps_extra_keys_whose_type_changes_from_line_to_line() -> None:
    rows, rejected = read(ndjson(EVENT | {"note": 1}, EVENT | {"event_id": "e2", "note": {"a": 1}}))

    assert rejected == []
    assert [orjson.loads(row["extra"]) for row in rows] == [{"note": 1}, {"note": {"a": 1}}]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"occurred_at": "1970-01-01T00:00:00Z"}, "occurred_at", "outside 2015"),
        ({"occurred_at": "yesterday"}, "occurred_at", "expected a moment"),
        ({"occurred_at": None}, "occurred_at", "expected a moment"),
        ({"occurred_at": "2101-01-01T00:00:00Z"}, "occurred_at", "outside 2015"),
        ({"gen_ai.provider.name": ""}, "gen_ai.provider.name", "no provider"),
        ({"gen_ai.usage.input_tokens": -1}, "gen_ai.usage.input_tokens", "is -1"),
        ({"gen_ai.usage.input_tokens": 2**31}, "gen_ai.usage.input_tokens", "expected 0 to"),
        ({"gen_ai.usage.input_tokens": 1e30}, "gen_ai.usage.input_tokens", "expected a whole number"),
        ({"gen_ai.usage.output_tokens": "many"}, "gen_ai.usage.output_tokens", "expected a whole number"),
        (
            {"gen_ai.usage.cache_read.input_tokens": 1201},
            "gen_ai.usage.input_tokens",
            "exceed the 1200 input tokens by",
        ),
        (
            {"gen_ai.usage.cache_creation_1h.input_tokens": 31},
            "gen_ai.usage.cache_creation_1h.input_tokens",
            "exceed all",
        ),
        ({"gen_ai.usage.reasoning.output_tokens": 91}, "gen_ai.usage.output_tokens", "exceed the 90"),
        ({"latency_ms": -4}, "latency_ms", "is -4"),
        ({"usage_known": "yes"}, "usage_known", "expected true or false"),
        ({"attributes": ["x"]}, "attributes", "expected an object"),
    ],
)
def test_it_rejects_a_wrong_line_by_field_and_loads_the_rest(change: dict[str, Any], field: str, reason: str) -> None:
    rows, rejected = read(ndjson(EVENT, EVENT | {"event_id": "bad"} | change, EVENT | {"event_id": "e3"}))

    assert [row["event_id"] for row in rows] == ["e1", "e3"]
    assert [row["row_number"] for row in rows] == [1, 3]
    assert [(each.file, each.row, each.field) for each in rejected] == [("log.ndjson", 2, field)]
    assert reason in rejected[0].reason
    assert '"bad"' in rejected[0].raw


def test_t23_it_rejects_a_huge_line_by_its_size_without_holding_it() -> None:
    huge = b'{"event_id":"' + b"x" * 50_000_000 + b'"}'

    rows, rejected = read(ndjson(EVENT, huge, EVENT | {"event_id": "e3"}))

    assert [row["row_number"] for row in rows] == [1, 3]
    assert [(each.row, each.field) for each in rejected] == [(2, "line")]
    assert "50,000,015 bytes" in rejected[0].reason
    assert len(rejected[0].raw) <= 2000


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_it_numbers_lines_as_an_editor_does(ending: bytes) -> None:
    content = b"\r\n\n" + orjson.dumps(EVENT) + b"\r\n\n   \n" + orjson.dumps(EVENT | {"event_id": "e2"}) + ending

    rows, rejected = read(content)

    assert [row["row_number"] for row in rows] == [3, 6]
    assert [each.row for each in rejected] in ([], [5])


def test_it_refuses_a_truncated_gzip_by_name() -> None:
    content = gzip.compress(ndjson(*(EVENT | {"event_id": str(number)} for number in range(5000))))

    with pytest.raises(BadDelivery, match=r"log\.ndjson.*truncated"):
        read(content[: len(content) // 2])


def test_it_reads_gzip_by_its_bytes_whatever_the_name() -> None:
    assert read(gzip.compress(ndjson(EVENT))) == read(ndjson(EVENT))


def test_it_derives_the_same_id_from_the_same_content() -> None:
    without = {name: value for name, value in EVENT.items() if name != "event_id"}
    shuffled = dict(reversed(without.items()))

    columnar = read(ndjson(without))[0][0]["event_id"]
    by_line = read(ndjson(shuffled, b"["))[0][0]["event_id"]

    assert columnar == by_line
    assert columnar.startswith("sha256:")
    assert read(ndjson(without | {"latency_ms": 1}))[0][0]["event_id"] != columnar


def test_t22_it_says_that_usage_is_unknown_rather_than_free() -> None:
    silent = {name: value for name, value in EVENT.items() if "usage" not in name}

    row = read(ndjson(silent))[0][0]

    assert row["usage_known"] is False
    assert row["input_uncached"] is None and row["output"] is None


def test_it_keeps_what_a_cut_stream_is_known_to_have_used() -> None:
    row = read(ndjson(EVENT | {"usage_known": False, "outcome": "cancelled", "gen_ai.usage.output_tokens": 50}))[0][0]

    assert row["usage_known"] is False
    assert (row["cache_read"], row["output"]) == (800, 50)


RESPONSES = [
    (
        {
            "timestamp": "2026-11-21T10:00:00Z",
            "provider": "openai",
            "response": {
                "id": "chatcmpl-1",
                "model": "gpt-4o-2024-08-06",
                "usage": {"prompt_tokens": 100, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 60}},
            },
            "attributes": {"team": "a"},
        },
        ("openai", "gpt-4o-2024-08-06", "chatcmpl-1", 40, 60, 0, 0, 9),
    ),
    (
        {
            "id": "chatcmpl-2",
            "object": "chat.completion",
            "created": 1795255200,
            "model": "gpt-4o",
            "usage": {"prompt_tokens": 5, "completion_tokens": 1},
        },
        ("openai", "gpt-4o", "chatcmpl-2", 5, 0, 0, 0, 1),
    ),
    (
        {
            "timestamp": "2026-11-21T10:00:00Z",
            "id": "msg_1",
            "type": "message",
            "model": "claude-sonnet-4-5-20250929",
            "usage": {
                "input_tokens": 10,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 100,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 100},
                "output_tokens": 7,
            },
        },
        ("anthropic", "claude-sonnet-4-5-20250929", "msg_1", 10, 1000, 0, 100, 7),
    ),
    (
        {
            "timestamp": "2026-11-21T10:00:00Z",
            "event_id": "b1",
            "provider": "bedrock",
            "model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "body": {
                "usage": {"inputTokens": 3, "cacheReadInputTokens": 7, "cacheWriteInputTokens": 20, "outputTokens": 2}
            },
        },
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "b1", 3, 7, 20, 0, 2),
    ),
    (
        {
            "timestamp": "2026-11-21T10:00:00Z",
            "provider": "gcp.vertex_ai",
            "response": {
                "responseId": "g1",
                "modelVersion": "gemini-2.5-flash",
                "usageMetadata": {
                    "promptTokenCount": 50,
                    "cachedContentTokenCount": 20,
                    "candidatesTokenCount": 5,
                    "thoughtsTokenCount": 6,
                },
            },
        },
        ("gcp.vertex_ai", "gemini-2.5-flash", "g1", 30, 20, 0, 0, 11),
    ),
]


@pytest.mark.parametrize(("line", "expected"), RESPONSES)
def test_it_reads_what_vendors_answer(line: dict[str, Any], expected: tuple[object, ...]) -> None:
    rows, rejected = read(ndjson(line))

    assert rejected == []
    names = (
        "provider",
        "response_model",
        "event_id",
        "input_uncached",
        "cache_read",
        "cache_write_5m",
        "cache_write_1h",
        "output",
    )
    assert tuple(rows[0][name] for name in names) == expected
    assert rows[0]["occurred_at"] == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert rows[0]["usage_known"] is True


def test_it_does_not_lose_a_call_that_failed() -> None:
    failed = {
        "timestamp": "2026-11-21T10:00:00Z",
        "provider": "openai",
        "status": 429,
        "response": {"error": {"code": "rate_limit"}},
    }

    rows, rejected = read(ndjson(failed))

    assert rejected == []
    assert (rows[0]["outcome"], rows[0]["status"], rows[0]["usage_known"]) == ("error", 429, False)


def test_it_loads_real_traces_with_the_sums_of_the_file() -> None:
    lines = (GOLDEN / "azure_traces" / "conv.csv").read_text().splitlines()[1:]
    requests = [line.split(",") for line in lines]
    events = [
        {
            "event_id": f"conv-{number}",
            "occurred_at": at,
            "gen_ai.provider.name": "azure.ai.openai",
            "gen_ai.request.model": "gpt-4",
            "gen_ai.usage.input_tokens": int(context),
            "gen_ai.usage.output_tokens": int(generated),
        }
        for number, (at, context, generated) in enumerate(requests)
    ]

    rows, rejected = read(ndjson(*events))

    assert rejected == []
    assert len(rows) == 500
    assert sum(row["input_uncached"] for row in rows) == sum(int(context) for _, context, _ in requests)
    assert rows[0]["occurred_at"] == datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC)


def test_it_reads_only_files_that_are_new(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(ndjson(EVENT))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(ndjson(EVENT)))
    source = usage_log.UsageLog(usage_log.UsageLogConfig(path=str(tmp_path)))

    first = list(source.read({}, ALWAYS))

    assert [raw.name for raw in first] == ["a.ndjson", "b.jsonl.gz"]
    assert list(source.read(first[-1].cursor, ALWAYS)) == []
    assert [raw.name for raw in source.read(first[0].cursor, ALWAYS)] == ["b.jsonl.gz"]


def test_it_takes_the_gate_for_our_own_gpus_unless_it_says_otherwise() -> None:
    source = gate.GateLog(gate.GateConfig(deployment="chat-small"))
    silent = {name: value for name, value in EVENT.items() if name not in {"gen_ai.provider.name", "deployment"}}

    found = next(source.normalize(source.open_bytes(name="push", content=gzip.compress(ndjson(silent, EVENT)))))

    rows = found.batch.to_pylist()
    assert [(row["provider"], row["deployment"]) for row in rows] == [
        ("self_hosted", "chat-small"),
        ("openai", "chat-small"),
    ]
    assert source.is_pushed


@pytest.mark.parametrize("bad", [b"\xff", b"\x00", b"\\u0000", b"\\ud800"])
def test_t41_it_rejects_text_that_no_database_can_hold(bad: bytes) -> None:
    line = orjson.dumps(EVENT | {"event_id": "@"}).replace(b"@", bad)

    rows, rejected = read(ndjson(EVENT, line, EVENT | {"event_id": "é"}))

    assert [row["event_id"] for row in rows] == ["e1", "é"]
    assert [(each.row, each.field) for each in rejected] == [(2, "line")]


PLAIN = {name: EVENT[name] for name in ("event_id", "occurred_at", "gen_ai.provider.name", "gen_ai.request.model")}


@pytest.mark.parametrize("block_bytes", [256, lines.BLOCK_BYTES])
def test_it_loses_no_key_that_only_later_lines_have(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "blocks", partial(lines.blocks, block_bytes=block_bytes))
    later: list[dict[str, Any]] = [
        {"latency_ms": 5, "session_id": "s"},
        {"attributes": {}},
        {"attributes": {"team": "search"}},
        {"attributes": {"feature": "answers", "ticket": 7}},
        {"reason": "test", "gen_ai.usage.output_tokens": 3},
    ]

    rows, rejected = read(ndjson(*[PLAIN] * 5, *(PLAIN | more for more in later), *[PLAIN] * 5))

    assert rejected == []
    assert [row["event_id"] for row in rows] == ["e1"] * 15
    assert (rows[5]["latency_ms"], rows[5]["session_id"]) == (5, "s")
    assert [row["attr_team"] for row in rows[6:9]] == ["", "search", ""]
    assert (rows[8]["attr_feature"], rows[8]["extra"]) == ("answers", '{"ticket":7}')
    assert (rows[9]["output"], rows[9]["extra"]) == (3, '{"reason":"test"}')
    assert {row["extra"] for row in rows[:8] + rows[10:]} == {"{}"}


@pytest.mark.parametrize("block_bytes", [256, lines.BLOCK_BYTES])
def test_it_rejects_wrong_types_wherever_they_appear(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "blocks", partial(lines.blocks, block_bytes=block_bytes))
    wrong: list[Any] = [PLAIN | {"session_id": True}, PLAIN | {"latency_ms": "soon"}, b'{"event_id":']

    rows, rejected = read(ndjson(*[PLAIN] * 5, *wrong, PLAIN | {"session_id": 5}, PLAIN))

    assert [(each.row, each.field) for each in rejected] == [(6, "session_id"), (7, "latency_ms"), (8, "line")]
    assert [row["session_id"] for row in rows] == [""] * 5 + ["5", ""]


def test_it_reads_lines_that_span_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "blocks", partial(lines.blocks, block_bytes=16))

    rows, rejected = read(ndjson(*(PLAIN | {"event_id": f"e{number}"} for number in range(20)))[:-1])

    assert rejected == []
    assert [(row["row_number"], row["event_id"]) for row in rows] == [(n + 1, f"e{n}") for n in range(20)]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T10:00:00Z",
        "2026-11-21T10:00:00.123456Z",
        "2026-11-21 12:00:00+02:00",
        "2026-11-21T12:30:00.5+0230",
        "2026-11-21T05:00:00-05",
        "2026-11-21T10:00:00.123456789Z",
        "2026-11-21T10:00:00.000 UTC",
        "2026-11-21T10:00:00.123",
    ],
)
def test_it_reads_a_moment_alike_in_a_uniform_column_and_among_others(text: str) -> None:
    expected = instants.one(text)

    assert expected is not None
    assert instants.parse(pl.Series([text, text])).to_list() == [expected, expected]
    assert instants.parse(pl.Series([text, "11/21/26", None])).to_list()[0] == expected


def test_it_finds_no_moment_where_there_is_none_in_a_uniform_column() -> None:
    assert instants.parse(pl.Series(["2026-02-30T10:00:00Z", "2026-11-21T25:00:00Z"])).to_list() == [None, None]


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_it_gives_a_short_batch_as_one_part(ending: bytes) -> None:
    source = usage_log.UsageLog(usage_log.UsageLogConfig())
    content = ndjson(PLAIN, PLAIN | {"event_id": "e2"})[:-1] + ending

    parts = list(source.normalize(source.open_bytes(name="pushed batch 1", content=content)))

    assert [part.batch.num_rows for part in parts] == [2]
