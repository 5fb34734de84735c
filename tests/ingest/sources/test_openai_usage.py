"""OpenAI's usage: kinds of tokens that do not overlap, batches, and what has no tokens."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db import connection

from attribution import queries as books
from attribution import verify
from costobs import pipeline
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from ingest import configure, load
from ingest.models import QuarantinedRow, Source
from ingest.sources import openai_usage
from ingest.sources.base import Window
from tests.servers import openai_account as account
from tests.servers.admin import Answer
from tests.servers.openai_account import NOW
from tests.servers.openai_admin import OpenAIAdmin

database = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[OpenAIAdmin]:
    with account.opened() as opened:
        yield opened


@database
def test_it_loads_usage_by_day_once_and_takes_corrections(server: OpenAIAdmin) -> None:
    source_id = account.make("openai_usage", server)
    expected = {"requests": 11, "input_uncached": 3_000_000_510, "cache_read": 400, "cache_write_5m": 100}
    expected |= {"cache_write_1h": 0, "output": 75}
    days = [f"OpenAI usage 2026-11-{number}" for number in (25, 26, 27, 28)]

    assert account.sync(source_id) == dict.fromkeys(days, "succeeded")
    assert account.used() == expected
    assert account.sync(source_id) == dict.fromkeys(days, "unchanged")
    server.usage["completions"][account.day(26, 9)][0] |= {"output_tokens": 71}
    assert account.sync(source_id) == dict.fromkeys(days, "unchanged") | {days[1]: "succeeded"}
    assert account.used() == expected | {"output": 76}
    assert Source.objects.get(pk=source_id).complete_through == datetime(2026, 11, 28, 15, tzinfo=UTC)


def test_t133_it_takes_cached_and_written_tokens_out_of_the_input(server: OpenAIAdmin) -> None:
    rows, rejected = account.rows_of(account.usage(server, endpoints=("completions",)), account.day(26))

    assert rejected == []
    assert {
        name: rows[0][name] for name in ("input_uncached", "cache_read", "cache_write_5m", "output", "requests")
    } == {
        "input_uncached": 500,
        "cache_read": 400,
        "cache_write_5m": 100,
        "output": 70,
        "requests": 3,
    }
    assert (rows[0]["starts_at"], rows[0]["interval_seconds"]) == (account.day(26, 9), 3600)
    assert (rows[0]["attr_account"], rows[0]["attr_project"], rows[0]["attr_key"]) == ("proj_a", "Search", "key_1")
    assert rows[0]["attr_tags"] == '{"api_key_name":"search-prod"}'


@database
def test_it_sets_aside_input_whose_parts_do_not_add_up(server: OpenAIAdmin) -> None:
    server.usage["completions"][account.day(26, 10)] = [
        account.calls(
            input_tokens=1000, input_uncached_tokens=500, input_cached_tokens=400, input_cache_write_tokens=90
        )
    ]
    source_id = account.make("openai_usage", server)

    results = {one.name: one for one in load.sync(source_id=source_id, now=NOW)}

    found = results["OpenAI usage 2026-11-26"]
    assert (found.rows_read, found.rows_loaded, found.rows_quarantined) == (3, 2, 1)
    row = QuarantinedRow.objects.get()
    assert (row.file, row.field) == ("OpenAI usage 2026-11-26", "input_tokens")
    assert row.reason == (
        "500 uncached + 400 cached + 90 written to the cache are 990, not the 1000 input tokens; the difference is 10"
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # As documented since input_uncached_tokens exists: audio is the uncached part.
        (
            {
                "input_uncached_tokens": 700,
                "input_cached_tokens": 300,
                "input_audio_tokens": 200,
                "input_cached_audio_tokens": 100,
            },
            (500, 300, 200),
        ),
        # Before: audio includes the cached audio.
        ({"input_cached_tokens": 300, "input_audio_tokens": 300, "input_cached_audio_tokens": 100}, (500, 300, 200)),
    ],
)
def test_t134_it_counts_cached_audio_once(counts: dict[str, int], expected: tuple[int, int, int]) -> None:
    found = openai_usage.tokens(
        {"input_tokens": 1000, "output_tokens": 40, "output_audio_tokens": 30, **counts}, "completions"
    )

    assert (found["input_uncached"], found["cache_read"], found["audio_input"]) == expected
    assert (found["output"], found["audio_output"]) == (10, 30)


def test_it_tells_long_cache_writes_from_short_ones() -> None:
    told = {"input_cache_write_30m_tokens": 60, "input_cache_write_12h_tokens": 40, "input_uncached_tokens": 0}

    found = openai_usage.tokens({"input_tokens": 100, "output_tokens": 0, **told}, "completions")

    assert (found["cache_write_5m"], found["cache_write_1h"], found["input_uncached"]) == (60, 40, 0)


def test_t135_it_takes_a_batch_for_a_tier(server: OpenAIAdmin) -> None:
    server.usage["completions"] = {
        account.day(26): [
            account.calls(batch=True, input_tokens=1),
            account.calls(input_tokens=2),
            account.calls(service_tier="flex", input_tokens=3),
        ]
    }

    rows, _ = account.rows_of(account.usage(server, endpoints=("completions",)), account.day(26))

    assert [(row["service_tier"], row["input_uncached"]) for row in rows] == [("batch", 1), ("default", 2), ("flex", 3)]


def test_t136_it_keeps_the_requests_of_endpoints_without_tokens(server: OpenAIAdmin) -> None:
    where = {"project_id": "proj_a", "api_key_id": "key_1"}
    server.usage = {
        "images": {account.day(26): [{**where, "model": "dall-e-3", "images": 4, "num_model_requests": 2}]},
        "audio_speeches": {account.day(26): [{**where, "model": "tts-1", "characters": 900, "num_model_requests": 3}]},
        "audio_transcriptions": {
            account.day(26): [{**where, "model": "whisper-1", "seconds": 60, "num_model_requests": 1}]
        },
    }

    rows, rejected = account.rows_of(account.usage(server), account.day(26))

    assert rejected == []
    assert [(row["response_model"], row["operation"], row["requests"], row["input_uncached"]) for row in rows] == [
        ("dall-e-3", "image_generation", 2, None),
        ("tts-1", "speech", 3, None),
        ("whisper-1", "transcription", 1, None),
    ]


@pytest.mark.parametrize("value", [-1, 1.5, True, "12", 2**63])
def test_it_rejects_what_is_no_count_by_its_field(server: OpenAIAdmin, value: Any) -> None:
    raw_bucket = {"start_time": int(account.day(26).timestamp()), "end_time": int(account.day(26, 1).timestamp())}
    told = {"input_tokens": value, "output_tokens": 1, "num_model_requests": 1, "model": "gpt-4o"}
    server.faults.append(Answer(200, {"data": [{**raw_bucket, "results": [told]}], "has_more": False}))

    rows, rejected = account.rows_of(
        account.usage(server, endpoints=("completions",), resolve_names=False), account.day(26)
    )

    assert rows == []
    assert [(each.file, each.row, each.field) for each in rejected] == [("OpenAI usage 2026-11-26", 1, "input_tokens")]


def test_t153_it_survives_names_that_no_table_can_hold(server: OpenAIAdmin) -> None:
    bucket = b'"start_time":%d,"end_time":%d' % (int(account.day(26).timestamp()), int(account.day(27).timestamp()))
    told = rb'"input_tokens":5,"output_tokens":1,"num_model_requests":1'
    results = rb'{"model":"gpt-\ud800",%s},{"model":"gpt\u00004o",%s}' % (told, told)
    server.faults.append(Answer(200, b'{"data":[{%s,"results":[%s]}],"has_more":false}' % (bucket, results)))

    rows, rejected = account.rows_of(
        account.usage(server, endpoints=("completions",), resolve_names=False), account.day(26)
    )

    assert [row["response_model"] for row in rows] == ["gpt-\ufffd"]
    assert [(each.row, each.field) for each in rejected] == [(2, "request_model")]


def test_it_asks_for_no_more_buckets_than_one_request_may_have(server: OpenAIAdmin) -> None:
    server.page_size = 168

    found = list(account.usage(server, endpoints=("completions",)).read({}, Window(account.day(1), NOW)))

    limits = [int(each.query["limit"][0]) for each in server.asked if "usage/completions" in each.path]
    assert limits == [168, 168, 168, 168]
    assert len(found) == 28
    assert [raw.span for raw in found][:2] == [
        Window(account.day(1), account.day(2)),
        Window(account.day(2), account.day(3)),
    ]


@database
def test_it_reads_days_where_hours_are_too_many(server: OpenAIAdmin) -> None:
    source_id = account.make("openai_usage", server, bucket_width="1d")

    account.sync(source_id)

    assert account.used()["requests"] == 11
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT hour FROM ingest_usagehour ORDER BY 1")
        assert [hour for (hour,) in cursor.fetchall()] == [account.day(26), account.day(27)]


@database
@pytest.mark.parametrize(
    ("attributes", "logged", "expected"),
    [
        ({}, "gpt-4o-2024-08-06", "0.0035"),
        ({"key": "key_1"}, "gpt-4o-2024-08-06", "0.0035"),
        ({"project": "answers-team"}, "gpt-4o-2024-08-06", "0.0035"),
        ({"project": "proj_a"}, "gpt-4o-2024-08-06", "0.0035"),
        ({"project": "Search"}, "gpt-4o-2024-08-06", "0.0035"),
        ({"project": "proj_a"}, "gpt-4.1", "0.0055"),
        ({}, "gpt-4.1", "0.0055"),
    ],
)
def test_t157_it_counts_a_call_once_that_a_log_tells_beside_the_vendors_sums(
    server: OpenAIAdmin, tmp_path: Path, attributes: dict[str, str], logged: str, expected: str
) -> None:
    where = {"project_id": "proj_a", "api_key_id": "key_1", "model": "text-embedding-3-small"}
    server.usage = {
        "completions": {account.day(26, 9): [account.calls(input_tokens=1000)]},  # 0.0025
        "embeddings": {account.day(26, 9): [{**where, "input_tokens": 50_000, "num_model_requests": 1}]},  # 0.0010
    }
    event = {"occurred_at": "2026-11-26T09:30:00Z", "gen_ai.provider.name": "openai", "gen_ai.request.model": logged}
    told = {**event, "gen_ai.usage.input_tokens": 1000, "attributes": attributes}
    (tmp_path / "log.ndjson").write_bytes(orjson.dumps(told) + b"\n")
    log = configure.create_source(kind="usage_log", name="log", now=NOW)
    account.sync(account.make("openai_usage", server))
    list(load.from_paths(source_id=log, paths=[str(tmp_path / "log.ndjson")], now=NOW))

    pipeline.settle(NOW)

    scope = SpendScope(Days(date(2026, 11, 1), date(2026, 11, 30)), teams=None)
    assert books.total(scope=scope).cost == Decimal(expected)
    assert verify.run().failures == ()


@database
def test_it_counts_an_organization_once_that_two_sources_read(server: OpenAIAdmin) -> None:
    credentials = {"admin_key": server.key}
    for name in ("first", "second"):
        config = {"base_url": server.base_url}
        source_id = configure.create_source(
            kind="openai_usage", name=name, config=config, credentials=credentials, now=NOW
        )
        account.sync(source_id)

    pipeline.settle(NOW)

    scope = SpendScope(Days(date(2026, 11, 27), date(2026, 11, 28)), teams=None)
    assert books.total(scope=scope).cost == Decimal("0.000075")
    assert verify.run().failures == ()
