"""Traps of formats that several kinds share, one test for each; those of one kind are beside that kind's tests."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest.rows import Rejected
from ingest.sources import focus_export, usage_log
from ingest.sources.formats.usage import token_usage

HEADER = "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd"
ROW = "1.5,USD,2026-10-01T00:00:00Z,2026-10-01T01:00:00Z"


def bill(content: bytes, name: str = "bill.csv") -> tuple[list[dict[str, Any]], list[Rejected]]:
    source = focus_export.FocusExport(focus_export.FocusExportConfig())
    return _read(source, source.open_bytes(name=name, content=content))


def log(*events: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Rejected]]:
    source = usage_log.UsageLog(usage_log.UsageLogConfig())
    return _read(source, source.open_bytes(name="log", content=b"\n".join(map(orjson.dumps, events))))


def _read(source: Any, raw: Any) -> tuple[list[dict[str, Any]], list[Rejected]]:
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    for each in source.normalize(raw):
        rows += each.batch.to_pylist()
        rejected += each.rejected
    return rows, rejected


def event(**changes: Any) -> dict[str, Any]:
    return {"event_id": "e", "occurred_at": "2026-11-21T10:00:00Z", "gen_ai.provider.name": "openai", **changes}


@pytest.mark.parametrize("nothing", ["NULL", '"NULL"', "null", ""])
def test_t01_it_reads_the_word_null_as_nothing(nothing: str) -> None:
    rows, rejected = bill(f"{HEADER},ResourceId,PricingQuantity\n{ROW},{nothing},{nothing}\n".encode())

    assert rejected == []
    assert (rows[0]["resource_id"], rows[0]["pricing_quantity"]) == ("", "")


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_t02_it_finds_the_first_column_behind_a_byte_order_mark(mark: bytes) -> None:
    rows, _ = bill(mark + f"{HEADER}\n{ROW}\n".encode())

    assert (rows[0]["billed_cost"], rows[0]["extra"]) == ("1.5", "{}")


@pytest.mark.parametrize(
    "header",
    [
        "billed_cost,billing currency,CHARGEPERIODSTART,Charge-Period-End",
        "Billed Cost,billingCurrency,charge.period.start,ChargePeriodEnd",
    ],
)
def test_t05_it_compares_headers_without_case_and_separators(header: str) -> None:
    rows, _ = bill(f"{header}\n{ROW}\n".encode())

    assert (rows[0]["billed_cost"], rows[0]["charge_period_end"]) == ("1.5", datetime(2026, 10, 1, 1, tzinfo=UTC))


def test_t14_it_does_not_read_stale_files_that_no_manifest_lists(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{ROW}\n")
    (tmp_path / "stale.csv").write_text(f"{HEADER}\n{ROW.replace('1.5', '99')}\n")
    (tmp_path / "manifest.json").write_bytes(orjson.dumps({"export": "e", "run_id": "r", "files": ["a.csv"]}))
    source = focus_export.FocusExport(focus_export.FocusExportConfig())

    (raw,) = source.open_paths([str(tmp_path)])

    assert [row["billed_cost"] for row in _read(source, raw)[0]] == ["1.5"]


def test_t16_it_refuses_an_hour_that_no_day_has_by_its_row() -> None:
    _, rejected = bill(f"{HEADER}\n{ROW}\n{ROW.replace('T01:00:00Z', 'T30:00:00Z')}\n".encode())

    assert [(one.row, one.field) for one in rejected] == [(2, "ChargePeriodEnd")]


def kinds(provider: str, usage: dict[str, Any], **body: Any) -> dict[str, int]:
    found = token_usage.decompose(provider, "", {"model": "m", "usage": usage, **body})
    return {
        name: getattr(found, name)
        for name in ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    }


def test_t17_it_takes_cached_tokens_out_of_inputs_that_include_them_only() -> None:
    openai = kinds(
        "openai", {"prompt_tokens": 1000, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 400}}
    )
    anthropic = kinds("anthropic", {"input_tokens": 600, "output_tokens": 5, "cache_read_input_tokens": 400})

    assert openai == anthropic
    assert (openai["input_uncached"], openai["cache_read"]) == (600, 400)


def test_t18_it_keeps_cache_writes_for_five_minutes_and_for_an_hour_apart() -> None:
    split = {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70}
    usage = {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 100}

    told = kinds("anthropic", {**usage, "cache_creation": split})
    untold = kinds("anthropic", usage)

    assert (told["cache_write_5m"], told["cache_write_1h"]) == (30, 70)
    assert (untold["cache_write_5m"], untold["cache_write_1h"]) == (100, 0)


def test_t19_it_counts_cached_audio_once() -> None:
    reported = {"input_tokens": 100, "cache_read_tokens": 60, "input_audio_tokens": 50, "cache_audio_read_tokens": 20}

    found = token_usage.disjoint(reported)

    assert (found.input_uncached, found.cache_read, found.audio_input) == (10, 60, 30)


def test_t20_it_adds_thoughts_and_tool_prompts_beside_the_counts_of_gemini() -> None:
    usage = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 40,
        "toolUsePromptTokenCount": 7,
    }

    found = token_usage.decompose("google", "", {"modelVersion": "gemini-2.5-flash", "usageMetadata": usage})

    assert (found.input_uncached, found.output, found.reasoning) == (107, 50, 40)


def test_t24_it_rejects_calls_dated_1970() -> None:
    rows, rejected = log(event(occurred_at="1970-01-01T00:00:00Z"), event())

    assert [(one.row, one.field) for one in rejected] == [(1, "occurred_at")]
    assert len(rows) == 1


def test_t25_it_leaves_text_that_looks_like_a_date_as_text() -> None:
    rows, _ = log(event(release="2026-11-21"), event(event_id="f", release="v2"))

    assert [orjson.loads(row["extra"])["release"] for row in rows] == ["2026-11-21", "v2"]


def test_t39_it_takes_what_cohere_bills_and_not_its_tokens() -> None:
    usage = {
        "billed_units": {"input_tokens": 10, "output_tokens": 5},
        "tokens": {"input_tokens": 700, "output_tokens": 9},
    }

    found = kinds("cohere", usage)

    assert (found["input_uncached"], found["output"]) == (10, 5)


def test_t40_it_reads_the_cache_hits_of_deepseek() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "prompt_cache_hit_tokens": 64,
        "prompt_cache_miss_tokens": 36,
    }

    found = kinds("deepseek", usage)

    assert (found["input_uncached"], found["cache_read"]) == (36, 64)
