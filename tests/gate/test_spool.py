"""The spool: what was admitted is delivered once, whatever dies in between."""

import gzip
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from costobs_gate.spool import Spool

from tests.gate.conftest import Served, Spawned
from tests.gate.costobs_server import ALPHA, BETA, CostobsServer, wait_until

KNOWN = {"Authorization": f"Bearer {ALPHA}"}
BODY = {"model": "small", "messages": []}


def test_it_delivers_every_request_once(gate: Served, costobs: CostobsServer) -> None:
    ids = [gate.post().headers["x-request-id"] for _ in range(30)]

    costobs.wait_for(lambda: len(costobs.events) >= 30)
    assert sorted(event["event_id"] for event in costobs.events) == sorted(ids)
    wait_until(lambda: not list(gate.directory.rglob("batch-*")))


def test_it_keeps_a_batch_and_repeats_it_under_the_same_id(gate: Served, costobs: CostobsServer) -> None:
    for status in (401, 403, 408, 429, 500, 503, 200, 307):
        costobs.posts.clear()
        costobs.usage_status = status
        sent = gate.post().headers["x-request-id"]
        costobs.wait_for(lambda: bool(costobs.posts))

        costobs.usage_status = 202

        assert costobs.event(event_id=sent)["outcome"] == "ok"
        assert len({batch_id for batch_id, _ in costobs.posts}) == 1
        assert {status, 202} == {answered for _, answered in costobs.posts}


def test_it_repeats_a_batch_whose_answer_was_lost(gate: Served, costobs: CostobsServer) -> None:
    costobs.acknowledges = False
    gate.post()
    costobs.wait_for(lambda: bool(costobs.posts))

    costobs.acknowledges = True
    wait_until(lambda: 'result="acknowledged"' in gate.metrics())

    assert len({batch_id for batch_id, _ in costobs.posts}) == 1
    assert len(costobs.events) == 1


def test_it_puts_a_refused_batch_aside_and_goes_on(gate: Served, costobs: CostobsServer) -> None:
    rejected = gate.directory / "rejected"
    for number, status in enumerate((400, 404, 413, 422), start=1):
        costobs.usage_status = status
        sent = gate.post().headers["x-request-id"]
        wait_until(lambda number=number: f'batches_total{{result="rejected"}} {number}' in gate.metrics())

        assert sent in "".join(gzip.decompress(kept.read_bytes()).decode() for kept in rejected.iterdir())
    costobs.usage_status = 202
    later = gate.post().headers["x-request-id"]

    assert costobs.event(event_id=later)["outcome"] == "ok"


def test_it_delivers_what_was_left_at_shutdown(
    serve: Callable[[], Served], costobs: CostobsServer, gate_env: pytest.MonkeyPatch
) -> None:
    gate_env.setattr("costobs_gate.uplink.SEND_SECONDS", 60)
    gate = serve()
    gate.wait_for_policy("v1")
    sent = gate.post().headers["x-request-id"]
    assert costobs.events == []

    gate.stop()

    assert costobs.event(event_id=sent)["outcome"] == "ok"


def test_it_survives_the_kill_of_its_process(
    spawn: Callable[[], Spawned], costobs: CostobsServer, tmp_path: Path
) -> None:
    costobs.usage_status = 503
    first = spawn()
    settled = [
        first.client.post("/v1/chat/completions", json=BODY, headers=KNOWN).headers["x-request-id"] for _ in range(5)
    ]
    held = threading.Thread(target=_ask_and_lose, args=(first,))
    held.start()
    wait_until(lambda: "costobs_gate_inflight 1" in first.client.get("/costobs/gate/metrics").text)

    first.process.kill()
    held.join(30)
    costobs.usage_status = 202
    spawn()

    costobs.wait_for(lambda: len(costobs.events) >= 6, seconds=60)
    by_id = {event["event_id"]: event for event in costobs.events}
    assert len(costobs.events) == len(by_id) == 6
    assert [by_id[id_]["outcome"] for id_ in settled] == ["ok"] * 5
    (lost,) = (event for id_, event in by_id.items() if id_ not in settled)
    assert (lost["outcome"], lost["usage_known"], lost["attributes"]["team"]) == ("unknown", False, "alpha")
    wait_until(lambda: len(list((tmp_path / "gate" / "spool").iterdir())) == 1)


def test_it_keeps_the_spools_of_living_processes_apart(
    spawn: Callable[[], Spawned], costobs: CostobsServer, tmp_path: Path
) -> None:
    gates = [spawn(), spawn()]

    ids = [
        gate.client.post("/v1/chat/completions", json=BODY, headers=KNOWN).headers["x-request-id"]
        for _ in range(10)
        for gate in gates
    ]

    costobs.wait_for(lambda: len(costobs.events) >= 20)
    assert sorted(event["event_id"] for event in costobs.events) == sorted(ids)
    assert len(list((tmp_path / "gate" / "spool").iterdir())) == 2
    assert {event["outcome"] for event in costobs.events} == {"ok"}
    # costobs counts a rule as in force when every process has shown that it holds it.
    assert costobs.instances == {home.name for home in (tmp_path / "gate" / "spool").iterdir()}


def _event(id_: str, **more: object) -> dict[str, object]:
    return {"event_id": id_, "outcome": "unknown", "usage_known": False, **more}


def _batched(spool: Spool) -> dict[str, list[str]]:
    return {
        batch.id: [json.loads(line)["event_id"] for line in gzip.decompress(batch.path.read_bytes()).splitlines()]
        for batch in spool.batches()
    }


def test_it_carries_what_is_in_flight_from_segment_to_segment(tmp_path: Path) -> None:
    spool = Spool(tmp_path, fsync="never")
    spool.admit(_event("long"))
    spool.admit(_event("short"))
    spool.settle(_event("short", outcome="ok"))
    assert spool.is_due(backlog=False)

    spool.rotate()

    assert not spool.is_due(backlog=False)
    assert list(_batched(spool).values()) == [["short"]]
    (segment,) = spool.home.glob("segment-*")
    assert [json.loads(line) for line in segment.read_text().splitlines()] == [{"admitted": _event("long")}]


def test_it_waits_for_a_large_segment_while_batches_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costobs_gate.spool.SEGMENT_BYTES", 500)
    spool = Spool(tmp_path, fsync="never")
    spool.settle(_event("one"))
    small = spool.is_due(backlog=True)

    for index in range(10):
        spool.settle(_event(f"more-{index}"))

    assert (small, spool.is_due(backlog=True)) == (False, True)


def test_it_does_not_touch_the_spool_of_a_living_process(tmp_path: Path) -> None:
    first, second = Spool(tmp_path, fsync="never"), Spool(tmp_path, fsync="never")
    first.settle(_event("mine"))

    assert (first.orphans(), second.orphans()) == ([], [])


def test_it_adopts_under_the_same_batch_ids_wherever_a_process_died(tmp_path: Path) -> None:
    dead = Spool(tmp_path, fsync="never")
    dead.settle(_event("first", outcome="ok"))
    dead.admit(_event("open"))
    before = (dead.home / "segment-1.ndjson").read_bytes()
    dead.rotate()
    dead.settle(_event("second", outcome="ok"))
    # As if it had died between writing batch-1 and removing segment-1.
    (dead.home / "segment-1.ndjson").write_bytes(before + b'{"settled": {"event_id": "torn')
    sent = dict(_batched(dead))
    os.close(dead._lock_file)

    living = Spool(tmp_path, fsync="never")
    (orphan,) = living.orphans()
    with orphan:
        once = {batch.id: gzip.decompress(batch.path.read_bytes()) for batch in orphan.batches()}
        twice = {batch.id: gzip.decompress(batch.path.read_bytes()) for batch in orphan.batches()}

    assert once == twice
    assert set(sent) < set(once)
    events = [json.loads(line) for lines in once.values() for line in lines.splitlines()]
    assert [(event["event_id"], event["outcome"]) for event in events] == [
        ("first", "ok"),
        ("second", "ok"),
        ("open", "unknown"),
    ]


def test_it_forgets_a_spool_that_was_delivered(tmp_path: Path) -> None:
    dead = Spool(tmp_path, fsync="always")
    dead.settle(_event("one", outcome="ok"))
    os.close(dead._lock_file)
    living = Spool(tmp_path, fsync="second")

    for orphan in living.orphans():
        with orphan:
            for batch in orphan.batches():
                batch.path.unlink()

    assert [home.name for home in (tmp_path / "spool").iterdir()] == [living.id]


def test_it_holds_only_so_many_refusals_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, full = os.write, threading.Event()
    monkeypatch.setattr("costobs_gate.spool.WAITING", 3)
    monkeypatch.setattr(
        "costobs_gate.spool.os.write", lambda handle, data: write(handle, b"" if full.is_set() else data)
    )
    spool = Spool(tmp_path, fsync="never")
    full.set()

    for index in range(9):
        spool.settle(_event(f"refused-{index}", outcome="refused"))
    spool.settle(_event("served", outcome="ok"))
    full.clear()
    spool.rotate()
    spool.rotate()

    assert list(_batched(spool).values()) == [["refused-0", "refused-1", "refused-2", "served"]]


def test_it_refuses_requests_that_it_cannot_record_and_loses_no_settlement(
    gate: Served, costobs: CostobsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = os.write, threading.Event()

    def refuse_when_full(handle: int, data: bytes) -> int:
        if full.is_set() and (b'"admitted"' in data or b'"settled"' in data):
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr("costobs_gate.spool.os.write", refuse_when_full)
    held = threading.Thread(target=gate.post, kwargs={"key": BETA, "json": {**BODY, "metadata": {"hold": True}}})
    held.start()
    wait_until(lambda: bool(gate.upstream.seen))

    full.set()
    refused = gate.post()
    gate.upstream.release.set()
    held.join(30)
    full.clear()

    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "gate_cannot_record"
    assert costobs.event(outcome="ok")["attributes"]["team"] == "beta"


def _ask_and_lose(gate: Spawned) -> None:
    try:
        gate.client.post("/v1/chat/completions", json={**BODY, "metadata": {"hold": True}}, headers=KNOWN)
    except Exception as error:
        assert "disconnected" in str(error) or "reset" in str(error)
