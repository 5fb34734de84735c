"""Loading once, exactly: repeats, contradictions, bad rows, and a worker killed in the middle."""

import csv
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db import connection

from ingest import configure, load, queries
from ingest.sources.formats import lines
from tests.servers import child

GOLDEN = Path(__file__).parent.parent / "golden" / "azure-llm-inference-2023"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


def event(event_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "occurred_at": "2026-11-20T10:00:00.000Z",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.output_tokens": 10,
        "latency_ms": 800,
        "http.response.status_code": 200,
        "outcome": "ok",
        "attributes": {"team": "search"},
        **changes,
    }


def write(path: Path, events: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in events))
    return path


def traces() -> Iterator[dict[str, Any]]:
    for service in ("code", "conv"):
        with gzip.open(GOLDEN / f"{service}.csv.gz", "rt") as lines:
            for number, row in enumerate(csv.DictReader(lines), 1):
                yield event(
                    f"{service}-{number}",
                    occurred_at=f"{row['TIMESTAMP'].replace(' ', 'T')[:26]}Z",
                    attributes={"team": "search", "feature": service},
                    **{
                        "gen_ai.usage.input_tokens": int(row["ContextTokens"]),
                        "gen_ai.usage.cache_read.input_tokens": 0,
                        "gen_ai.usage.output_tokens": int(row["GeneratedTokens"]),
                    },
                )


@pytest.fixture
def source_id() -> int:
    return configure.create_source(kind="usage_log", name="files", now=NOW)


def run(source_id: int, path: Path, now: datetime = NOW) -> load.LoadResult:
    (result,) = load.from_paths(source_id=source_id, paths=[str(path)], now=now)
    return result


def sums() -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(sum(requests), 0), coalesce(sum(input_uncached), 0), coalesce(sum(cache_read), 0),
                      coalesce(sum(output), 0), (SELECT count(*) FROM ingest_usageevent) FROM ingest_usagehour"""
        )
        return tuple(int(value) for value in cursor.fetchone())


def test_it_holds_the_sums_of_the_published_traces(source_id: int, tmp_path: Path) -> None:
    path = write(tmp_path / "traces.ndjson", list(traces()))

    result = run(source_id, path)

    assert (result.state, result.rows_loaded) == ("succeeded", 28_185)
    assert sums() == (28_185, 18_059_974 + 22_361_870, 0, 245_896 + 4_088_665, 28_185)


def test_it_changes_nothing_when_the_same_file_comes_twice(source_id: int, tmp_path: Path) -> None:
    path = write(tmp_path / "log.ndjson", [event(f"e{number}") for number in range(50)])
    run(source_id, path)
    before = sums()

    result = run(source_id, path)

    assert result.state == "unchanged"
    assert sums() == before


def test_it_counts_known_rows_of_an_overlapping_file_once(source_id: int, tmp_path: Path) -> None:
    run(source_id, write(tmp_path / "a.ndjson", [event(f"e{number}") for number in range(50)]))

    result = run(source_id, write(tmp_path / "b.ndjson", [event(f"e{number}") for number in range(30, 80)]))

    assert (result.rows_read, result.rows_loaded, result.rows_duplicate) == (50, 30, 20)
    assert sums() == (80, 80 * 60, 80 * 40, 80 * 10, 80)


def test_it_folds_the_same_sums_in_any_order_of_files(tmp_path: Path) -> None:
    files = [
        write(tmp_path / f"{name}.ndjson", [event(f"{name}{number}") for number in range(20)] + [event("same")])
        for name in "abc"
    ]
    found = []
    for order in (files, files[::-1]):
        source = configure.create_source(kind="usage_log", name=order[0].name, now=NOW)
        for path in order:
            run(source, path)
        with connection.cursor() as cursor:
            cursor.execute("SELECT sum(requests), sum(output) FROM ingest_usagehour WHERE source_id = %s", [source])
            found.append(cursor.fetchone())

    assert found[0] == found[1] == (61, 610)


def test_it_keeps_the_first_of_two_contradicting_events_and_quarantines_the_other(
    source_id: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "log.ndjson", [event("e1"), event("e1", **{"gen_ai.usage.output_tokens": 11}), event("e2")])

    result = run(source_id, path)

    assert (result.rows_loaded, result.rows_quarantined) == (2, 1)
    assert sums() == (2, 120, 80, 20, 2)
    (row,) = queries.quarantined(source_id=source_id)
    assert (row.row_number, row.field) == (2, "event_id")
    assert "output: kept 10, found 11" in row.reason


def test_it_quarantines_a_bad_row_and_loads_the_rest(source_id: int, tmp_path: Path) -> None:
    path = tmp_path / "log.ndjson"
    lines = [orjson.dumps(event("e1")), b"{not json", orjson.dumps(event("old", occurred_at="1970-01-01T00:00:00Z"))]
    lines.append(orjson.dumps(event("soon", occurred_at=(NOW + timedelta(days=3)).isoformat())))
    path.write_bytes(b"\n".join([*lines, orjson.dumps(event("e2"))]) + b"\n")

    result = run(source_id, path)

    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (5, 2, 3)
    fields = {row.row_number: row.field for row in queries.quarantined(source_id=source_id)}
    assert fields[3] == fields[4] == "occurred_at"
    assert 2 in fields


def test_it_refuses_a_truncated_file_by_name_and_loads_the_others(source_id: int, tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(orjson.dumps(event(f"t{number}")) + b"\n" for number in range(2000)))
    (tmp_path / "broken.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "good.ndjson", [event("e1")])

    results = {one.name: one for one in load.from_paths(source_id=source_id, paths=[str(tmp_path)], now=NOW)}

    assert results["broken.ndjson.gz"].state == "refused"
    assert "broken.ndjson.gz" in results["broken.ndjson.gz"].error
    assert results["good.ndjson"].rows_loaded == 1
    assert sums()[0] == 1


def test_it_counts_a_call_without_usage_as_unknown_not_as_zero_cost(source_id: int, tmp_path: Path) -> None:
    silent = {name: value for name, value in event("e1").items() if not name.startswith("gen_ai.usage")}

    result = run(source_id, write(tmp_path / "log.ndjson", [silent, event("e2")]))

    assert result.rows_loaded == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(requests), sum(unknown_usage) FROM ingest_usagehour")
        assert cursor.fetchone() == (2, 1)


def test_it_touches_the_days_that_changed(source_id: int, tmp_path: Path) -> None:
    days = ["2026-11-18", "2026-11-20"]

    run(source_id, write(tmp_path / "log.ndjson", [event(day, occurred_at=f"{day}T23:59:59Z") for day in days]))

    assert [str(day) for day in queries.open_days()] == days


def test_it_loses_and_doubles_nothing_when_the_worker_is_killed(source_id: int, tmp_path: Path) -> None:
    path = write(tmp_path / "log.ndjson", [event(f"e{number}") for number in range(3000)])
    for point in ("staged", "placed"):
        child.killed(_DIES, point, str(source_id), str(path))
        assert sums()[0] == 0

    result = run(source_id, path)

    assert (result.state, result.rows_loaded) == ("succeeded", 3000)
    assert sums() == (3000, 180_000, 120_000, 30_000, 3000)
    assert [line.state for line in queries.loads(source_id=source_id)] == ["succeeded", "failed", "failed"]


def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every unit a long one, so that rows are copied while later ones are still being read."""
    monkeypatch.setattr(lines, "blocks", partial(lines.blocks, block_bytes=4096))


def test_it_copies_a_long_file_over_many_days_while_reading_it(
    source_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_small_blocks(monkeypatch)
    events = [event(f"e{number}", occurred_at=f"2026-10-{number // 20 + 1:02}T10:00:00Z") for number in range(500)]

    result = run(source_id, write(tmp_path / "long.ndjson", events))

    assert (result.state, result.rows_read, result.rows_loaded) == ("succeeded", 500, 500)
    assert sums() == (500, 500 * 60, 500 * 40, 500 * 10, 500)


def test_it_keeps_nothing_of_a_long_file_that_turns_out_damaged(
    source_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_small_blocks(monkeypatch)
    whole = write(tmp_path / "whole.ndjson", [event(f"e{number}") for number in range(2000)]).read_bytes()
    damaged = tmp_path / "damaged.ndjson.gz"
    damaged.write_bytes(gzip.compress(whole, 0)[:-400_000])

    result = run(source_id, damaged)

    assert (result.state, sums()[4]) == ("refused", 0)
    assert "truncated" in result.error


def test_it_takes_the_careful_way_when_a_long_file_holds_a_known_event_near_its_end(
    source_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_small_blocks(monkeypatch)
    run(source_id, write(tmp_path / "a.ndjson", [event("e450"), event("e460", **{"gen_ai.usage.output_tokens": 11})]))

    result = run(source_id, write(tmp_path / "b.ndjson", [event(f"e{number}") for number in range(500)]))

    assert (result.rows_loaded, result.rows_duplicate, result.rows_quarantined) == (498, 1, 1)
    assert sums() == (500, 500 * 60, 500 * 40, 500 * 10 + 1, 500)


def test_it_leaves_nothing_when_the_worker_is_killed_while_rows_are_copied(source_id: int, tmp_path: Path) -> None:
    path = write(
        tmp_path / "log.ndjson",
        [event(f"e{number}", occurred_at=f"2026-10-{number // 100 + 1:02}T10:00:00Z") for number in range(3000)],
    )

    child.killed(_DIES, "copied", str(source_id), str(path))
    assert sums() == (0, 0, 0, 0, 0)
    result = run(source_id, path)
    assert (result.state, result.rows_loaded, sums()[0]) == ("succeeded", 3000, 3000)


# Dies by SIGKILL after all rows are staged, inside the closing transaction after they are placed, or while it copies.
_DIES = """
import os, signal, sys
from datetime import UTC, datetime
import django
django.setup()
from ingest import load
from functools import partial
from ingest.sinks.usage import UsageSink
from ingest.sources.formats import lines

point, source_id, path = sys.argv[1:]
place, copy_staged = UsageSink.place, UsageSink.copy_staged
copies = []

def dying(self):
    placed = place(self) if point == "placed" else None
    os.kill(os.getpid(), signal.SIGKILL)
    return placed

def dying_late(self):
    copy_staged(self)
    copies.append(self._copied)
    if len(copies) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

if point == "copied":
    lines.blocks = partial(lines.blocks, block_bytes=65536)
    UsageSink.copy_staged = dying_late
UsageSink.place = dying
list(load.from_paths(source_id=int(source_id), paths=[path], now=datetime(2026, 11, 21, 12, 0, tzinfo=UTC)))
"""
