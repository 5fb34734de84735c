"""Reading the past: piece by piece, killed and continued, cancelled, failed and retried, by one worker at a time."""

import itertools
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from costobs import pipeline
from costobs.audit.models import AuditEntry
from ingest import backfill, configure, load, queries, source_detail
from ingest.models import Backfill, Source
from tests.servers import child
from tests.servers import s3 as s3_server

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MONTHS = ("2026-07", "2026-08", "2026-09", "2026-10")
HEADER = (
    "BillingAccountId,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,"
    "BilledCost,EffectiveCost,ListCost,ContractedCost,ProviderName,InvoiceIssuerName,ServiceName,ResourceId,Tags"
)
# 1.10 and 0.01 in July, 2.20 and 0.01 in August, …
COSTS = {month: (Decimal(f"{number}.{number}0"), Decimal("0.01")) for number, month in enumerate(MONTHS, 1)}
_NUMBERS = itertools.count(1)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def s3() -> Iterator[s3_server.S3]:
    with s3_server.started() as server:
        yield server


@pytest.fixture
def bucket(s3: s3_server.S3, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of its own with a FOCUS export of four months, each with its manifest."""
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1,localhost")
    name = f"bills-{next(_NUMBERS)}"
    s3.client().create_bucket(Bucket=name)
    for month in MONTHS:
        deliver(s3, name, month)
    return name


@pytest.fixture
def source_id(s3: s3_server.S3, bucket: str) -> int:
    return configure.create_source(
        kind="focus_export",
        name="bill",
        config={"url": f"s3://{bucket}/focus", **s3.config},
        credentials=s3_server.CREDENTIALS,
        now=NOW,
    )


def deliver(s3: s3_server.S3, bucket: str, month: str, *, run_id: str = "r1", broken: bool = False) -> None:
    after = f"{month[:5]}{int(month[5:]) + 1:02}"
    lines = [
        f"acct,USD,{month}-01T00:00:00Z,{after}-01T00:00:00Z,{month}-{day:02}T00:00:00Z,{month}-{day + 1:02}T00:00:00Z,Usage,"
        f'{cost},{cost},{cost},{cost},AWS,AWS,Amazon EC2,i-1,"{{}}"'
        for day, cost in enumerate(("NaN" if broken else COSTS[month][0], COSTS[month][1]), 3)
    ]
    manifest = {
        "export": "focus",
        "run_id": run_id,
        "billing_period_start": f"{month}-01",
        "billing_period_end": f"{datetime.fromisoformat(f'{after}-01') - timedelta(days=1):%Y-%m-%d}",
        "files": [{"path": f"focus/{month}/bill.csv", "rows": 2}],
    }
    client = s3.client()
    client.put_object(Bucket=bucket, Key=f"focus/{month}/bill.csv", Body="\n".join([HEADER, *lines, ""]).encode())
    client.put_object(Bucket=bucket, Key=f"focus/{month}/manifest.json", Body=orjson.dumps(manifest))


def asked(source_id: int, first: str = "2026-07-15", last: str = "2026-10-10") -> int:
    start, end = datetime.fromisoformat(f"{first}T00:00:00Z"), datetime.fromisoformat(f"{last}T00:00:00Z")
    return backfill.request(source_id=source_id, start=start, end=end, by="ada@example.com", now=NOW)


def newest(source_id: int) -> source_detail.BackfillLine:
    return source_detail.backfills(source_id=source_id)[0]


def billed(month: str = "2026") -> Decimal:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(billed_cost), 0) FROM ingest_charge WHERE billing_period_start::text LIKE %s",
            [f"{month}%"],
        )
        return Decimal(cursor.fetchone()[0])


def worked_off(source_id: int) -> list[backfill.Piece]:
    """Every piece until the backfill is not open any more."""
    done: list[backfill.Piece] = []
    while (piece := backfill.run(now=NOW, source_id=source_id)) is not None:
        done.append(piece)
        assert len(done) < 50
    return done


def test_it_reads_whole_months_from_the_newest_to_the_oldest_and_leaves_the_cursor(source_id: int) -> None:
    before = queries.cursor(source_id=source_id)
    asked(source_id)

    pieces = worked_off(source_id)

    assert [f"{piece.start:%Y-%m-%d}/{piece.end:%Y-%m-%d}" for piece in pieces] == [
        "2026-10-01/2026-11-01",
        "2026-09-01/2026-10-01",
        "2026-08-01/2026-09-01",
        "2026-07-01/2026-08-01",
    ]
    assert [(piece.units, piece.rows_loaded) for piece in pieces] == [(1, 2)] * 4
    assert billed() == sum((cost for costs in COSTS.values() for cost in costs), Decimal(0)) == Decimal("11.04")
    assert queries.cursor(source_id=source_id) == before == {}
    found = newest(source_id)
    assert (found.state, found.share, found.units, found.rows_loaded) == ("succeeded", Decimal(1), 4, 8)


def test_it_shows_how_far_it_is_between_pieces(source_id: int) -> None:
    asked(source_id)

    backfill.run(now=NOW)

    found = newest(source_id)
    assert (found.state, found.remaining_end.date().isoformat()) == ("running", "2026-10-01")
    assert found.share == Decimal(31) / Decimal(123)
    assert source_detail.open_backfills()[source_id].id == found.id
    assert (found.units, found.rows_loaded, found.heartbeat_at) == (1, 2, NOW)


def test_it_takes_what_is_in_the_books_once_and_what_was_restated_anew(
    source_id: int, s3: s3_server.S3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(source_id)
    worked_off(source_id)
    monkeypatch.setitem(COSTS, "2026-08", (Decimal("9.99"), Decimal("0.01")))
    deliver(s3, bucket, "2026-08", run_id="r2")

    asked(source_id)
    worked_off(source_id)

    assert (billed("2026-08"), billed("2026-07"), billed()) == (Decimal("10.00"), Decimal("1.11"), Decimal("18.83"))
    assert (newest(source_id).units, newest(source_id).rows_loaded) == (1, 2)


def test_it_goes_on_where_it_was_after_a_kill_between_units(source_id: int) -> None:
    asked(source_id)

    for _ in range(2):  # each dies after its unit is committed and before the piece is
        child.killed(_DIES, str(source_id))
    assert newest(source_id).remaining_end.date().isoformat() == "2026-11-01"
    assert billed() == Decimal("4.41")
    pieces = worked_off(source_id)

    assert [piece.units for piece in pieces] == [0, 1, 1, 1]
    assert billed() == Decimal("11.04")
    assert (newest(source_id).state, newest(source_id).units, newest(source_id).rows_loaded) == ("succeeded", 4, 8)


def test_it_lets_one_worker_at_a_time_have_a_backfill(source_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(source_id)
    is_in, may_go = threading.Event(), threading.Event()
    run_unit = load.run_unit
    found: list[backfill.Piece | None] = []

    def slowly(**told: Any) -> load.LoadResult:
        is_in.set()
        assert may_go.wait(30)
        return run_unit(**told)

    def work() -> None:
        try:
            found.append(backfill.run(now=NOW))
        finally:
            connection.close()

    monkeypatch.setattr(load, "run_unit", slowly)
    first = threading.Thread(target=work)
    first.start()
    assert is_in.wait(30)
    second = backfill.run(now=NOW)
    may_go.set()
    first.join(30)

    assert second is not None and second.state == "busy"
    assert found[0] is not None and (found[0].state, found[0].rows_loaded) == ("running", 2)
    assert (newest(source_id).units, billed()) == (1, Decimal("4.41"))


def test_it_is_cancelled_between_units_and_keeps_what_it_loaded(
    source_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(source_id)
    run_unit = load.run_unit

    def and_then_cancel(**told: Any) -> load.LoadResult:
        result = run_unit(**told)
        assert backfill.cancel(source_id=source_id, by="ada@example.com", now=NOW) == "cancelling"
        return result

    monkeypatch.setattr(load, "run_unit", and_then_cancel)
    piece = backfill.run(now=NOW)

    assert piece is not None and (piece.state, piece.rows_loaded) == ("cancelled", 2)
    assert (newest(source_id).state, billed()) == ("cancelled", Decimal("4.41"))
    assert backfill.run(now=NOW) is None


def test_it_is_cancelled_at_once_while_it_waits(source_id: int) -> None:
    asked(source_id)

    assert backfill.cancel(source_id=source_id, by="ada@example.com", now=NOW) == "cancelled"

    assert backfill.run(now=NOW) is None
    assert billed() == 0
    with pytest.raises(backfill.Refused, match="no backfill"):
        backfill.cancel(source_id=source_id, by="ada@example.com", now=NOW)


def test_it_ends_a_cancelled_backfill_whose_worker_was_killed(source_id: int) -> None:
    asked(source_id)
    Backfill.objects.update(state="cancelling")

    piece = backfill.run(now=NOW)

    assert piece is not None and piece.state == "cancelled"
    assert (newest(source_id).state, billed()) == ("cancelled", Decimal(0))


def test_it_fails_with_the_remedy_and_goes_on_where_it_was_once_retried(
    source_id: int, s3: s3_server.S3, bucket: str
) -> None:
    asked(source_id)
    backfill.run(now=NOW)
    Source.objects.update(config={"url": f"s3://{bucket}-gone/focus", **s3.config})
    piece = backfill.run(now=NOW)

    assert piece is not None and piece.state == "failed"
    failed = newest(source_id)
    assert failed.state == "failed" and "check the bucket's name" in failed.error and "read and list" in failed.error
    assert backfill.run(now=NOW) is None
    Source.objects.update(config={"url": f"s3://{bucket}/focus", **s3.config})
    backfill.retry(source_id=source_id, by="ada@example.com", now=NOW)
    assert [piece.end.date().isoformat() for piece in worked_off(source_id)] == [
        "2026-10-01",
        "2026-09-01",
        "2026-08-01",
    ]
    assert (newest(source_id).state, newest(source_id).error, billed()) == ("succeeded", "", Decimal("11.04"))


def test_it_keeps_the_error_of_a_bug_and_raises_it(source_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(source_id)
    monkeypatch.setattr(load, "run_unit", lambda **_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        backfill.run(now=NOW)

    assert newest(source_id).state == "failed"
    assert "ZeroDivisionError" in newest(source_id).error


def test_it_goes_on_after_a_refused_bill_and_says_so(source_id: int, s3: s3_server.S3, bucket: str) -> None:
    deliver(s3, bucket, "2026-09", run_id="r2", broken=True)
    asked(source_id)

    worked_off(source_id)

    found = newest(source_id)
    assert (found.state, found.units, found.rows_quarantined) == ("succeeded", 3, 1)
    assert "was refused" in found.error and "NaN" in found.error
    assert billed() == Decimal("11.04") - Decimal("3.31")


def test_it_reads_a_piece_again_whose_unit_another_worker_has_in_hand(
    source_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(source_id)
    monkeypatch.setattr(load, "run_unit", lambda **told: load.LoadResult(told["raw"].name, "busy"))
    backfill.run(now=NOW)
    monkeypatch.undo()

    assert newest(source_id).share == 0
    os.environ["COSTOBS_PRIVATE_HOSTS"] = "127.0.0.1"
    try:
        worked_off(source_id)
    finally:
        del os.environ["COSTOBS_PRIVATE_HOSTS"]
    assert (newest(source_id).state, billed()) == ("succeeded", Decimal("11.04"))


def test_it_is_worked_off_by_the_task_of_the_workers(source_id: int) -> None:
    asked(source_id)

    for _ in range(4):
        pipeline.read_past()

    assert (newest(source_id).state, billed()) == ("succeeded", Decimal("11.04"))
    pipeline.read_past()


def test_it_leaves_the_workers_to_other_tasks_while_two_pasts_are_read(source_id: int) -> None:
    asked(source_id)
    with child.session() as held:
        for slot in range(2):
            held.execute("SELECT pg_advisory_lock(hashtext('costobs read_past'), %s)", [slot])
        pipeline.read_past()
        assert (newest(source_id).state, billed()) == ("waiting", Decimal(0))

    pipeline.read_past()
    assert billed() == Decimal("4.41")


def test_it_waits_while_the_source_is_paused(source_id: int) -> None:
    asked(source_id)
    configure.pause(source_id=source_id, is_active=False)

    assert backfill.run(now=NOW) is None

    configure.pause(source_id=source_id, is_active=True)
    assert backfill.run(now=NOW) is not None


def test_it_reads_days_of_other_kinds_by_their_own_step(tmp_path: Path) -> None:
    """A log is read by its files whatever the window is; the span is worked off all the same."""
    line = {"event_id": "e", "occurred_at": "2026-03-03T10:00:00Z", "gen_ai.provider.name": "openai"}
    told = {"gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 1}
    (tmp_path / "march.ndjson").write_bytes(orjson.dumps({**line, **told}))
    source_id = configure.create_source(kind="usage_log", name="log", config={"path": str(tmp_path)}, now=NOW)
    asked(source_id, "2026-03-01", "2026-05-01")

    pieces = worked_off(source_id)

    assert [f"{piece.start:%m-%d}/{piece.end:%m-%d}" for piece in pieces] == ["03-31/05-01", "03-01/03-31"]
    assert sum(piece.rows_loaded for piece in pieces) == newest(source_id).rows_loaded == 1


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("2026-10-10", "2026-10-10", "before the last"),
        ("2026-10-10", "2026-10-01", "before the last"),
        ("2027-01-01", "2027-02-01", "in the past"),
        ("2010-01-01", "2026-10-01", "at most"),
    ],
)
def test_it_refuses_a_span_that_is_none(source_id: int, first: str, last: str, words: str) -> None:
    with pytest.raises(backfill.Refused, match=words):
        asked(source_id, first, last)


def test_it_refuses_what_cannot_be_read_back(source_id: int) -> None:
    asked(source_id)
    pushed = configure.create_source(kind="fine_tunes", name="runs", now=NOW)
    paused = configure.create_source(kind="usage_log", name="paused", now=NOW)
    sample = configure.create_source(kind="usage_log", name="sample", is_sample=True, now=NOW)
    configure.pause(source_id=paused, is_active=False)

    for other, words in (
        (source_id, "not done"),
        (pushed, "pushed"),
        (paused, "paused"),
        (sample, "sample"),
        (0, "no source"),
    ):
        with pytest.raises(backfill.Refused, match=words):
            asked(other)


def test_it_clips_the_span_at_the_present(source_id: int) -> None:
    asked(source_id, "2026-11-01", "2026-12-25")

    found = newest(source_id)

    assert (found.start, found.end) == (datetime(2026, 11, 1, tzinfo=UTC), NOW)


def test_it_writes_who_asked_cancelled_and_retried_into_the_audit_log(source_id: int) -> None:
    asked(source_id)
    backfill.cancel(source_id=source_id, by="ben@example.com", now=NOW)
    backfill.retry(source_id=source_id, by="ada@example.com", now=NOW + timedelta(minutes=1))

    found = AuditEntry.objects.order_by("pk").values_list("act", "actor", "subject")

    assert list(found) == [
        ("source.backfill_asked", "ada@example.com", "source:focus_export/bill"),
        ("source.backfill_cancelled", "ben@example.com", "source:focus_export/bill"),
        ("source.backfill_retried", "ada@example.com", "source:focus_export/bill"),
    ]


def test_it_reads_the_past_on_the_command_line(source_id: int, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("source", "backfill", "focus_export", "bill", "--from", "2026-07-01", "--to", "2026-10-31")

    assert "succeeded" in capsys.readouterr().out
    assert billed() == Decimal("11.04")
    call_command("source", "backfill", "focus_export", "bill", "--from", "2026-07-01", "--to", "2026-10-31", "--queue")
    call_command("source", "list")
    assert "backfill 0% done" in capsys.readouterr().out
    call_command("source", "cancel-backfill", "focus_export", "bill")
    with pytest.raises(CommandError, match="no backfill"):
        call_command("source", "cancel-backfill", "focus_export", "bill")


# Dies by SIGKILL once the first unit of the piece is committed and counted.
_DIES = """
import os, signal, sys
from datetime import UTC, datetime
import django
django.setup()
from ingest import backfill

add = backfill._Piece.add

def dying(self, result):
    add(self, result)
    os.kill(os.getpid(), signal.SIGKILL)

backfill._Piece.add = dying
backfill.run(now=datetime(2026, 11, 21, 12, 0, tzinfo=UTC), source_id=int(sys.argv[1]))
"""
