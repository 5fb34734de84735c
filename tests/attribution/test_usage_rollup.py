"""Days of usage from real loads: tokens, latency, agent runs; each call once."""

from datetime import UTC, date, datetime
from pathlib import Path

import orjson
import pytest

from attribution import queries, verify
from attribution.models import PeriodBook, RulesetVersion
from costobs.kernel.period import Days, day_of
from ingest import configure, load
from tests.attribution import world

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


def _events(count: int = 4, **columns: object) -> list[dict[str, object]]:
    return [
        {
            "event_id": f"e{number}",
            "occurred_at": f"2026-03-10T23:5{number}:00Z",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 100 * (number + 1),
            "gen_ai.usage.output_tokens": 10,
            "latency_ms": 100 * (number + 1),
            "outcome": "ok",
            "trace_id": "run-1",
            "attributes": {"team": "search"},
            **columns,
        }
        for number in range(count)
    ]


def _load(tmp_path: Path, rows: list[dict[str, object]], *, kind: str = "usage_log", name: str = "log") -> None:
    file = tmp_path / f"{name}-{len(rows)}.ndjson"
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    source_id = configure.create_source(kind=kind, name=name, now=NOW)
    (result,) = load.from_paths(source_id=source_id, paths=[str(file)], now=NOW)
    assert (result.state, result.rows_quarantined) == ("succeeded", 0), result


def test_it_counts_requests_tokens_latency_and_runs_of_what_was_loaded(tmp_path: Path) -> None:
    _load(tmp_path, _events())

    world.settle()

    (cost,) = queries.unit_costs(scope=world.scope(), group_by=["team"])
    assert (cost.keys, cost.requests, cost.input_uncached, cost.output) == (("search",), 4, 1000, 40)
    assert cost.p50_ms == pytest.approx(200, rel=0.05)
    assert cost.p99_ms == pytest.approx(400, rel=0.05)
    (run,) = queries.agent_runs(scope=world.scope())
    assert (run.run_id, run.requests, run.tokens, run.team) == ("run-1", 4, 1040, "search")
    assert run.list_cost == cost.cost
    assert cost.cost_per_agent_run == run.list_cost
    assert verify.run().failures == ()


def test_it_keeps_a_run_over_midnight_whole_on_its_first_day(tmp_path: Path) -> None:
    rows = _events(2)
    rows[1]["occurred_at"] = "2026-03-11T00:05:00Z"
    _load(tmp_path, rows)

    world.settle(newest_first=True)

    (run,) = queries.agent_runs(scope=world.scope())
    assert (run.requests, day_of(run.started_at)) == (2, world.DAY)
    second = world.scope(days=Days(run.ended_at.date(), run.ended_at.date().replace(day=12)))
    assert queries.agent_runs(scope=second) == []


def test_it_leaves_a_run_that_began_in_a_closed_month_as_it_was(tmp_path: Path) -> None:
    rows = _events(4)
    for row, at in zip(rows, ("02-28T23:58", "02-28T23:59", "03-01T00:05", "02-28T23:50"), strict=True):
        row["occurred_at"] = f"2026-{at}:00Z"
    _load(tmp_path, rows[:2])
    world.settle()
    PeriodBook.objects.create(
        month=date(2026, 2, 1), state="closed", ruleset=RulesetVersion.objects.get(is_current=True), closed_at=NOW
    )
    before = world.fetch("SELECT * FROM ingest_agentrun")

    _load(tmp_path, rows)
    world.settle(newest_first=True)

    assert [row for row in world.fetch("SELECT * FROM ingest_agentrun") if row in before] == before
    usage = world.fetch("SELECT day, requests FROM ingest_usageday WHERE is_current ORDER BY day")
    assert usage == [(date(2026, 2, 28), 2), (date(2026, 3, 1), 1)]


def test_it_does_not_call_a_single_call_a_run(tmp_path: Path) -> None:
    _load(tmp_path, _events(1))

    world.settle()

    assert queries.agent_runs(scope=world.scope()) == []


def test_it_counts_events_that_two_logs_share_once(tmp_path: Path) -> None:
    _load(tmp_path, _events())
    _load(tmp_path, _events(), name="copy")

    world.settle()

    (cost,) = queries.unit_costs(scope=world.scope(), group_by=["team"])
    assert cost.requests == 4
    assert len(queries.agent_runs(scope=world.scope())) == 1
    assert verify.run().failures == ()
