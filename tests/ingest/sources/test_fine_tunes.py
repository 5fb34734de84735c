"""Fine-tune runs as they are pushed."""

import gzip
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from ingest.rows import FINE_TUNE, Rejected
from ingest.sources import fine_tunes

RUN: dict[str, Any] = {
    "external_id": "run-17",
    "base_model": "meta-llama/Llama-3.1-8B",
    "method": "LoRA",
    "state": "succeeded",
    "started_at": "2026-11-20T08:00:00Z",
    "ended_at": "2026-11-20T11:30:00Z",
    "node": "gpu-7",
    "gpu_uuids": ["GPU-2", "GPU-1"],
    "useful_seconds": 12000,
    "trained_tokens": 8000000,
    "attributes": {"team": "search", "project": "answers"},
}


def read(content: bytes) -> tuple[list[dict[str, Any]], list[Rejected]]:
    source = fine_tunes.FineTunes(fine_tunes.FineTunesConfig())
    (found,) = source.normalize(source.open_bytes(name="runs", content=content))
    assert found.batch.schema.equals(FINE_TUNE)
    return found.batch.to_pylist(), list(found.rejected)


@pytest.mark.parametrize(
    "content",
    [orjson.dumps(RUN), orjson.dumps(RUN, option=orjson.OPT_INDENT_2), gzip.compress(orjson.dumps(RUN) + b"\n")],
)
def test_it_reads_a_run_however_it_is_laid_out(content: bytes) -> None:
    rows, rejected = read(content)

    assert rejected == []
    (row,) = rows
    assert (row["row_number"], row["external_id"], row["name"], row["provider"]) == (
        1,
        "run-17",
        "run-17",
        "self_hosted",
    )
    assert (row["method"], row["state"], row["gpu_uuids"]) == ("lora", "succeeded", "GPU-1,GPU-2")
    assert row["ended_at"] == datetime(2026, 11, 20, 11, 30, tzinfo=UTC)
    assert (row["useful_seconds"], row["trained_tokens"], row["attr_team"]) == (12000, 8000000, "search")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"external_id": ""}, "external_id"),
        ({"base_model": None}, "base_model"),
        ({"method": "magic"}, "method"),
        ({"state": "done"}, "state"),
        ({"started_at": "1970-01-01"}, "started_at"),
        ({"ended_at": "2026-11-20T07:00:00Z"}, "ended_at"),
        ({"ended_at": None}, "ended_at"),
        ({"useful_seconds": -1}, "useful_seconds"),
        ({"useful_seconds": 99999}, "useful_seconds"),
        ({"trained_tokens": "many"}, "trained_tokens"),
        ({"gpu_uuids": [1]}, "gpu_uuids"),
        ({"attributes": "x"}, "attributes"),
    ],
)
def test_it_names_the_field_that_is_wrong_and_takes_the_rest(change: dict[str, Any], field: str) -> None:
    rows, rejected = read(b"\n".join(orjson.dumps(run) for run in (RUN, RUN | change, RUN | {"external_id": "run-18"})))

    assert [row["external_id"] for row in rows] == ["run-17", "run-18"]
    assert [(each.row, each.field) for each in rejected] == [(2, field)]


def test_it_rejects_what_is_not_json() -> None:
    rows, rejected = read(b"{oops\n[1]\n")

    assert rows == []
    assert [each.row for each in rejected] == [1, 2]
