"""LiteLLM's spend logs, over its API and from its database: its tokens, never its prices."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db import connection

from attribution import queries
from costobs import pipeline
from costobs.kernel.period import parse_month
from costobs.kernel.scope import SpendScope
from ingest import configure, load
from ingest import queries as ingest_queries
from ingest.models import UsageEvent, UsageHour
from ingest.rows import USAGE, Rejected
from ingest.sources import litellm
from ingest.sources.base import SourceUnavailable, Window
from tests.servers import litellm as litellm_server

GOLDEN = Path(__file__).parents[2] / "golden" / "litellm"
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
WINDOW = Window(datetime(2026, 11, 28, tzinfo=UTC), NOW)
RECORDED: list[dict[str, Any]] = json.loads((GOLDEN / "spend_logs.json").read_text())


def row(request_id: str = "r1", **changed: Any) -> dict[str, Any]:
    """The first recorded row, with other values."""
    return {**RECORDED[0], "request_id": request_id, "startTime": "2026-11-28 10:00:00+00:00", **changed}


def metadata(**changed: Any) -> str:
    return json.dumps({**json.loads(RECORDED[0]["metadata"]), **changed})


def read(*rows: Any, **config: Any) -> tuple[list[dict[str, Any]], list[Rejected], Counter[str]]:
    kind = litellm.LiteLlm(litellm.LiteLlmConfig(**config))
    content = b"\n".join(each if isinstance(each, bytes) else orjson.dumps(each) for each in rows)
    found: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    skipped: Counter[str] = Counter()
    for each in kind.normalize(kind.open_bytes(name="rows", content=content)):
        assert each.batch.schema.equals(USAGE)
        found += each.batch.to_pylist()
        rejected += each.rejected
        skipped.update(each.skipped)
    assert len(found) + len(rejected) + skipped.total() == len(rows)
    return found, rejected, skipped


def tokens(event: dict[str, Any]) -> tuple[int | None, ...]:
    return (event["input_uncached"], event["cache_read"], event["cache_write_5m"], event["output"], event["reasoning"])


def extra(event: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(event["extra"])
    return found


@pytest.fixture
def proxy() -> Iterator[litellm_server.Proxy]:
    with litellm_server.started() as server:
        yield server


def source(proxy: litellm_server.Proxy, **config: Any) -> litellm.LiteLlm:
    return litellm.LiteLlm(litellm.LiteLlmConfig(url=proxy.url, **config), {"api_key": litellm_server.KEY})


def test_it_reads_rows_that_litellm_made() -> None:
    rows, rejected, skipped = read(*RECORDED)

    assert (rejected, skipped) == ([], {})
    assert [(each["provider"], each["request_model"], tokens(each)) for each in rows] == [
        ("openai", "gpt-4o", (400, 800, 0, 90, 40)),
        ("openai", "gpt-4o", (400, 800, 0, 90, 40)),
        ("anthropic", "claude-sonnet-4-5", (10, 1000, 100, 50, 0)),
        ("anthropic", "claude-sonnet-4-5", (10, 1000, 100, 50, 0)),
        ("azure.ai.openai", "my-gpt4o", (400, 800, 0, 90, 40)),
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", (10, 0, 0, 20, 0)),
        ("gcp.vertex_ai", "gemini-2.5-flash", (10, 0, 0, 20, 0)),
        ("self_hosted", "llama-3.1-8b", (400, 800, 0, 90, 40)),
        ("openai", "broken", (None, None, None, None, None)),
        ("openai", "text-embedding-3-small", (12, 0, 0, 0, 0)),
        ("openai", "gpt-4o", (400, 800, 0, 90, 40)),
        ("openai", "gpt-4o", (400, 800, 0, 90, 40)),
        ("openai", "gpt-4o", (0, 0, 0, 0, 0)),
    ]
    assert [each["operation"] for each in rows[8:11]] == ["chat", "embeddings", "chat"]
    assert rows[7]["deployment"] == "llama"
    assert (rows[8]["outcome"], rows[8]["status"], rows[8]["usage_known"]) == ("error", 429, False)


def test_it_says_who_called() -> None:
    rows, _, _ = read(RECORDED[0], row("r2", request_tags='["feature:reports", "blue"]', metadata=metadata()))
    by_id, _, _ = read(RECORDED[0], team_by="id")

    owner = {name: rows[0][f"attr_{name}"] for name in ("team", "feature", "environment", "account", "user_agent")}
    assert owner == {
        "team": "search",
        "feature": "answers",
        "environment": "prod",
        "account": "org-1",
        "user_agent": "openai-python",
    }
    assert rows[0]["attr_key"] == RECORDED[0]["api_key"]
    assert (rows[0]["attr_tags"], rows[1]["attr_tags"]) == ("environment:prod", "feature:reports, blue")
    assert (by_id[0]["attr_team"], extra(by_id[0])["team_id"]) == ("team-1", "team-1")


def test_t168_it_finds_cached_tokens_in_metadata_packed_into_text_once_or_twice() -> None:
    unpacked = json.loads(RECORDED[0]["metadata"])

    rows, _, _ = read(
        row("a", metadata=unpacked),
        row("b", metadata=json.dumps(unpacked)),
        row("c", metadata=json.dumps(json.dumps(unpacked))),
        row("d", metadata="not json"),
        row("e", metadata=None),
    )

    assert [tokens(each)[:2] for each in rows] == [(400, 800)] * 3 + [(1200, 0)] * 2


def test_t168_it_tells_cache_writes_for_an_hour() -> None:
    details = {"cached_tokens": 0, "cache_creation_tokens": 100}
    details["cache_creation_token_details"] = {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60}

    rows, _, _ = read(row(metadata=metadata(usage_object={"prompt_tokens_details": details})))

    assert (rows[0]["cache_write_5m"], rows[0]["cache_write_1h"], rows[0]["input_uncached"]) == (40, 60, 1100)


def test_t169_it_keeps_margins_and_discounts_apart_and_takes_no_price() -> None:
    rows, _, _ = read(RECORDED[0], RECORDED[2])

    assert {name: value for name, value in extra(rows[0]).items() if name.startswith("litellm")} == {
        "litellm_spend": "0.0031899999999999997",
        "litellm_margin": "0.00029",
        "litellm_discount": "0.0",
        "litellm_list_cost": "0.0029",
        "litellm_provider_cost": "0.0028999999999999997",
    }
    assert extra(rows[1])["litellm_discount"] == "0.00007275"


def test_t170_it_counts_an_answer_out_of_litellms_cache_without_tokens() -> None:
    rows, _, _ = read(RECORDED[-1])

    assert (tokens(rows[0]), rows[0]["usage_known"], rows[0]["outcome"]) == ((0, 0, 0, 0, 0), True, "ok")
    saved = extra(rows[0])["saved_tokens"]
    assert (saved["gen_ai.usage.input_tokens"], saved["gen_ai.usage.output_tokens"]) == (1200, 90)


def test_t171_it_knows_a_first_token_only_of_streams() -> None:
    plain, streamed = read(RECORDED[0], RECORDED[1])[0]

    assert (plain["ttft_ms"], streamed["ttft_ms"]) == (None, 264)
    assert (plain["latency_ms"], streamed["latency_ms"]) == (80, 305)


def test_t172_it_leaves_out_what_is_no_call_and_keeps_what_costs() -> None:
    nothing = {"total_tokens": 0, "prompt_tokens": 0, "completion_tokens": 0, "spend": 0}

    rows, rejected, skipped = read(
        row("a", call_type="call_mcp_tool"),
        row("b", mcp_namespaced_tool_name="github-search"),
        row("c", call_type="acreate_file", **nothing),
        row("d", call_type="aretrieve_batch"),
    )

    assert rejected == []
    assert [(each["event_id"], each["operation"]) for each in rows] == [("d", "aretrieve_batch")]
    assert skipped == {
        "no call of a model: a tool or an agent behind the proxy": 2,
        "no call of a model: another operation of the proxy": 1,
    }


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"prompt_tokens": -1}, "gen_ai.usage.input_tokens"),
        ({"prompt_tokens": 100}, "gen_ai.usage.input_tokens"),
        ({"completion_tokens": 2**31}, "gen_ai.usage.output_tokens"),
        ({"completion_tokens": "many"}, "completion_tokens"),
        ({"startTime": "yesterday"}, "occurred_at"),
        ({"request_id": ""}, "request_id"),
        ({"model": "gpt\x004"}, "line"),
    ],
)
def test_t173_it_rejects_a_broken_row_and_takes_its_neighbours(changed: dict[str, Any], field: str) -> None:
    rows, rejected, _ = read(row("a"), row(**{"request_id": "b", **changed}), row("c"))

    assert [each["event_id"] for each in rows] == ["a", "c"]
    assert [(each.row, each.field) for each in rejected] == [(2, field)]


def test_t173_it_rejects_a_line_of_a_megabyte_and_keeps_nothing_of_it() -> None:
    _, rejected, _ = read(row("a", model="secret " * 200_000))

    assert [(each.row, each.field, each.raw) for each in rejected] == [(1, "line", "")]


def test_t173_it_keeps_no_message_of_a_row(proxy: litellm_server.Proxy) -> None:
    texts = {
        "messages": {"content": "secret"},
        "response": {"content": "secret"},
        "proxy_server_request": {"b": "secret"},
    }
    proxy.rows = [row("a", **texts, metadata=metadata(guardrail_information={"text": "secret"}))]

    (unit,) = source(proxy).read({}, WINDOW)

    assert b"secret" not in unit.payload.content


def many(count: int, *, start: datetime, step: timedelta) -> list[dict[str, Any]]:
    small = {**row(), "metadata": "{}"}
    return [{**small, "request_id": f"r{at:06}", "startTime": (start + step * at).isoformat()} for at in range(count)]


def ids(units: list[Any]) -> list[str]:
    return [orjson.loads(line)["request_id"] for unit in units for line in unit.payload.content.splitlines()]


@pytest.mark.parametrize(
    ("count", "step"),
    [(2500, timedelta(seconds=7)), (12_345, timedelta(seconds=1)), (2300, timedelta(microseconds=300))],
    ids=["a busy day", "more than the total tells", "all in one second"],
)
def test_t174_it_gets_every_row_once_where_pages_overlap(
    proxy: litellm_server.Proxy, count: int, step: timedelta
) -> None:
    proxy.rows = many(count, start=datetime(2026, 11, 28, 1, tzinfo=UTC), step=step)

    units = list(source(proxy).read({}, WINDOW))

    found = ids(units)
    assert (len(found), len(set(found))) == (count, count)
    assert found == sorted(found)
    assert all(int(asked["page_size"]) == 1000 and asked["sort_order"] == "asc" for asked in proxy.asked)


def test_t174_it_counts_a_row_once_that_lies_on_the_edge_of_two_spans(proxy: litellm_server.Proxy) -> None:
    proxy.rows = [
        row("a", startTime="2026-11-28T09:59:59.999+00:00"),
        row("b", startTime="2026-11-28T10:00:00+00:00"),
        row("c", startTime=NOW.isoformat()),
    ]

    units = list(source(proxy).read({}, WINDOW))

    assert ids(units) == ["a", "b"]
    assert [unit.name for unit in units] == ["spend logs 2026-11-28 09:50", "spend logs 2026-11-28 10:00"]


def test_t175_it_asks_for_less_where_litellm_says_that_it_cut_its_answer(proxy: litellm_server.Proxy) -> None:
    proxy.rows = many(500, start=datetime(2026, 11, 28, 1, tzinfo=UTC), step=timedelta(seconds=5))
    proxy.truncates_above = 100

    units = list(source(proxy).read({}, WINDOW))

    assert len(set(ids(units))) == 500


def test_t175_it_refuses_to_load_a_second_that_stays_cut(proxy: litellm_server.Proxy) -> None:
    proxy.rows = many(200, start=datetime(2026, 11, 28, 1, tzinfo=UTC), step=timedelta(0))
    proxy.truncates_above = 100

    with pytest.raises(SourceUnavailable, match="read its database"):
        list(source(proxy).read({}, WINDOW))


@pytest.mark.parametrize(
    ("status", "message"), [(401, "proxy_admin_viewer"), (404, "update it"), (429, "tries again"), (500, "tries again")]
)
def test_it_says_what_to_do_when_the_proxy_refuses(proxy: litellm_server.Proxy, status: int, message: str) -> None:
    proxy.fails_with = status

    findings = list(source(proxy).probe(WINDOW))

    assert [each.state for each in findings] == ["missing"]
    assert message in findings[0].detail + findings[0].remedy
    assert litellm_server.KEY not in repr(findings)


def test_it_tests_the_connection(proxy: litellm_server.Proxy) -> None:
    wrong = litellm.LiteLlm(litellm.LiteLlmConfig(url=proxy.url), {"api_key": "sk-wrong"})

    empty = list(source(proxy).probe(WINDOW))
    proxy.rows = [row("a")]
    good = list(source(proxy).probe(WINDOW))
    proxy.rows = [row("a", metadata="{}")]
    old = list(source(proxy).probe(WINDOW))

    assert [[each.state for each in found] for found in (empty, good, old)] == [["note"], ["ok"], ["ok", "note"]]
    assert [each.state for each in wrong.probe(WINDOW)] == ["missing"]


@pytest.mark.parametrize("url", ["http://169.254.169.254", "http://10.0.0.1", "file:///etc/passwd", ""])
def test_it_calls_no_address_inside_the_network(url: str) -> None:
    kind = litellm.LiteLlm(litellm.LiteLlmConfig(url=url))

    assert [each.state for each in kind.probe(WINDOW)] == ["missing"]


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "/var/run/postgresql", "0.0.0.0"])
def test_it_connects_to_no_database_inside_the_network(host: str) -> None:
    kind = litellm.LiteLlm(litellm.LiteLlmConfig(mode="database", host=host))

    (finding,) = kind.probe(WINDOW)

    assert (finding.state, host in finding.detail) == ("missing", True)


@pytest.mark.django_db
def test_it_loads_reads_again_and_takes_late_rows(proxy: litellm_server.Proxy) -> None:
    proxy.rows = list(RECORDED)
    source_id = configure.create_source(
        kind="litellm",
        name="proxy",
        config={"url": proxy.url},
        credentials={"api_key": litellm_server.KEY},
        now=NOW,
    )

    first = list(load.sync(source_id=source_id, now=NOW))
    again = list(load.sync(source_id=source_id, now=NOW + timedelta(minutes=1)))
    proxy.rows.append(row("late", startTime="2026-11-28 00:15:30+00:00"))
    late = list(load.sync(source_id=source_id, now=NOW + timedelta(minutes=2)))

    assert [(each.state, each.rows_loaded) for each in first] == [("succeeded", 13)]
    assert {each.state for each in again} == {"unchanged"}
    assert [(each.state, each.rows_loaded, each.rows_duplicate) for each in late] == [("succeeded", 1, 13)]
    sums = list(UsageHour.objects.values_list("requests", "errors", "unknown_usage", "input_uncached", "cache_read"))
    assert [sum(each) for each in zip(*sums, strict=True)] == [14, 1, 1, 7 * 400 + 4 * 10 + 12, 7 * 800 + 2000]


@pytest.mark.django_db
def test_it_prices_a_row_by_our_list_and_not_by_litellms_margin(proxy: litellm_server.Proxy) -> None:
    proxy.rows = [RECORDED[0], RECORDED[-1]]
    source_id = configure.create_source(
        kind="litellm", name="p", config={"url": proxy.url}, credentials={"api_key": litellm_server.KEY}, now=NOW
    )

    list(load.sync(source_id=source_id, now=NOW))

    pipeline.run_once(NOW)

    (found,) = queries.spend(scope=SpendScope(parse_month("2026-11"), (), "effective", "USD", None), group_by=["model"])
    # One call of 400 uncached, 800 cached and 90 output tokens; LiteLLM says 0.00319 with its margin.
    assert (found.keys[0], found.cost) == ("gpt-4o", Decimal("0.0029"))


DDL = """
CREATE SCHEMA litellm;
CREATE TABLE litellm."LiteLLM_SpendLogs" (
    request_id text PRIMARY KEY, call_type text NOT NULL, api_key text NOT NULL DEFAULT '',
    spend double precision NOT NULL DEFAULT 0, total_tokens integer NOT NULL DEFAULT 0,
    prompt_tokens integer NOT NULL DEFAULT 0, completion_tokens integer NOT NULL DEFAULT 0,
    "startTime" timestamp(3) NOT NULL, "endTime" timestamp(3) NOT NULL, request_duration_ms integer,
    "completionStartTime" timestamp(3), model text NOT NULL DEFAULT '', model_id text DEFAULT '',
    model_group text DEFAULT '', custom_llm_provider text DEFAULT '', api_base text DEFAULT '', "user" text DEFAULT '',
    metadata jsonb DEFAULT '{}', cache_hit text DEFAULT '', cache_key text DEFAULT '', request_tags jsonb DEFAULT '[]',
    team_id text, organization_id text, end_user text, requester_ip_address text, messages jsonb DEFAULT '{}',
    response jsonb DEFAULT '{}', session_id text, status text, mcp_namespaced_tool_name text, agent_id text,
    proxy_server_request jsonb DEFAULT '{}', litellm_call_id text
);
CREATE INDEX ON litellm."LiteLLM_SpendLogs" ("startTime", request_id);
CREATE ROLE litellm_reader LOGIN; GRANT USAGE ON SCHEMA litellm TO litellm_reader;
"""


@pytest.fixture
def database(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """LiteLLM's table, made after its schema.prisma, and the settings of a source that reads it."""
    with connection.cursor() as cursor:
        cursor.execute(DDL)
    settings = connection.get_connection_params()
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", f"127.0.0.1,{settings['host']}")
    try:
        yield {
            "mode": "database",
            "host": settings["host"],
            "port": int(settings.get("port") or 5432),
            "database": settings["dbname"],
            "user": settings["user"],
            "schema": "litellm",
        }
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA litellm CASCADE; DROP OWNED BY litellm_reader; DROP ROLE litellm_reader")


def write(*rows: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        for each in rows:
            # Prisma leaves out what is None, so that the column's default stands.
            names = [name for name in each if name != "billing_agent_id" and each[name] is not None]
            values = [json.dumps(each[name]) if isinstance(each[name], dict) else each[name] for name in names]
            quoted = ", ".join(f'"{name}"' for name in names)
            places = ", ".join(["%s"] * len(names))
            cursor.execute(f'INSERT INTO litellm."LiteLLM_SpendLogs" ({quoted}) VALUES ({places})', values)


def test_t176_it_reads_from_the_database_what_it_reads_from_the_api(
    database: dict[str, Any], proxy: litellm_server.Proxy
) -> None:
    write(*RECORDED, row("b", metadata=json.dumps(metadata())), row("c", metadata={"k": "v"}))
    proxy.rows = [
        *({**each, "spend": each["spend"] or 0} for each in RECORDED),
        row("b", metadata=metadata()),
        row("c", metadata={"k": "v"}),
    ]
    kind = litellm.LiteLlm(litellm.LiteLlmConfig(**database))

    units = list(kind.read({}, WINDOW))
    events = [each for unit in units for part in kind.normalize(unit) for each in part.batch.to_pylist()]

    api = source(proxy)
    expected = [
        each for unit in api.read({}, WINDOW) for part in api.normalize(unit) for each in part.batch.to_pylist()
    ]
    assert [unit.name for unit in units] == ["spend logs 2026-11-28 00:10", "spend logs 2026-11-28 10:00"]
    assert len(events) == 15
    for ours, theirs in zip(events, expected, strict=True):
        # The column keeps milliseconds.
        assert abs((ours.pop("occurred_at") - theirs.pop("occurred_at")).total_seconds()) < 0.001
        assert abs((ours.pop("ttft_ms") or 0) - (theirs.pop("ttft_ms") or 0)) <= 1
        assert ours == theirs


def test_t176_it_loads_the_database_twice_and_counts_once(database: dict[str, Any]) -> None:
    write(*RECORDED)
    source_id = configure.create_source(kind="litellm", name="db", config=database, now=NOW)

    first = list(load.sync(source_id=source_id, now=NOW))
    write(row("new", startTime="2026-11-28 00:20:10+00:00"))
    again = list(load.sync(source_id=source_id, now=NOW + timedelta(minutes=2)))

    assert [(each.state, each.rows_loaded) for each in first] == [("succeeded", 13)]
    assert [(each.state, each.rows_loaded) for each in again] == [("unchanged", 0), ("succeeded", 1)]
    assert UsageEvent.objects.count() == 14
    assert ingest_queries.quarantined_count() == 0


def test_t177_it_writes_nothing_and_says_which_right_is_missing(database: dict[str, Any]) -> None:
    kind = litellm.LiteLlm(litellm.LiteLlmConfig(**{**database, "user": "litellm_reader"}))
    refused = list(kind.probe(WINDOW))

    with connection.cursor() as cursor:
        cursor.execute('GRANT SELECT ON litellm."LiteLLM_SpendLogs" TO litellm_reader')
    write(*RECORDED)
    granted = list(kind.probe(WINDOW))
    with kind._connection() as reading:
        statement = 'DELETE FROM litellm."LiteLLM_SpendLogs"'
        with pytest.raises(Exception, match="read-only"):
            reading.execute(statement)

    assert [each.state for each in refused] == ["missing"]
    assert "GRANT SELECT" in refused[0].detail
    assert [each.state for each in granted] == ["ok"]


def test_t177_it_says_that_the_table_or_the_server_is_not_there(database: dict[str, Any]) -> None:
    other = litellm.LiteLlm(litellm.LiteLlmConfig(**{**database, "schema": "public"}))
    nowhere = litellm.LiteLlm(litellm.LiteLlmConfig(mode="database", host="127.0.0.1", port=1))

    findings = [*other.probe(WINDOW), *nowhere.probe(WINDOW)]

    assert [each.state for each in findings] == ["missing", "missing"]
    assert "LiteLLM_SpendLogs" in findings[0].detail
