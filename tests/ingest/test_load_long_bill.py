"""Bills of many parts: copied while the rest is read, and still taken whole or not at all."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from django.db import connection

from ingest import configure, load, queries
from ingest.models import Charge, Delivery
from ingest.sources.formats.focus import focus_tables
from tests.servers import child

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HEADER = (
    "BillingAccountId,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,"
    "BilledCost,EffectiveCost,ListCost,ContractedCost,ProviderName,InvoiceIssuerName,ServiceName,ResourceId,Tags"
)
ROWS = 2_000

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def source_id() -> int:
    return configure.create_source(kind="focus_export", name="bill", now=NOW)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(focus_tables, "_BLOCK_BYTES", 32_768)
    monkeypatch.setattr(focus_tables, "_TABLE_ROWS", 100)


def row(number: int, cost: str) -> str:
    day = number // 200 + 25  # crosses into the next month, whose partition is not there yet
    starts = date.fromordinal(date(2019, 9, 1).toordinal() + day - 1)
    ends = date.fromordinal(starts.toordinal() + 1)
    period, after = ("2019-09", "2019-10") if starts.month == 9 else ("2019-10", "2019-11")
    return (
        f"acct,USD,{period}-01,{after}-01,{starts}T00:00:00Z,{ends}T00:00:00Z,Usage,{cost},{cost},{cost},{cost},AWS,AWS,"
        f'Amazon EC2,i-{number},"{{""team"":""team-{number % 7}""}}"'
    )


def write(path: Path, **others: str) -> Path:
    rows = [row(number, others.get(f"row_{number}", "0.0100000001")) for number in range(ROWS)]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def run(source_id: int, path: Path) -> load.LoadResult:
    (result,) = load.from_paths(source_id=source_id, paths=[str(path)], now=NOW)
    return result


def billed() -> list[tuple[str, int, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT v.billing_period_start::text, count(*), sum(c.billed_cost)::text FROM ingest_charge c
               JOIN ingest_delivery v ON v.id = c.delivery_id AND v.state = 'current' AND c.source_id = v.source_id
               WHERE c.book_month = date_trunc('month', c.charge_period_start AT TIME ZONE 'UTC') GROUP BY 1 ORDER BY 1"""
        )
        return list(cursor.fetchall())


WHOLE = [("2019-09-01", 1200, "12.0000001200"), ("2019-10-01", 800, "8.0000000800")]


@pytest.mark.usefixtures("small_parts")
def test_it_takes_a_bill_of_many_parts_whole(source_id: int, tmp_path: Path) -> None:
    result = run(source_id, write(tmp_path / "bill.csv"))

    assert (result.state, result.rows_read, result.rows_loaded) == ("succeeded", ROWS, ROWS)
    assert billed() == WHOLE
    told = Delivery.objects.order_by("billing_period_start").values_list("rows", "billed_cost", "complete_through")
    assert list(told) == [
        (1200, {"USD": "12.0000001200"}, datetime(2019, 10, 1, tzinfo=UTC)),
        (800, {"USD": "8.0000000800"}, datetime(2019, 10, 5, tzinfo=UTC)),
    ]
    assert len(queries.open_days()) == 10


@pytest.mark.usefixtures("small_parts")
def test_it_replaces_a_bill_of_many_parts(source_id: int, tmp_path: Path) -> None:
    run(source_id, write(tmp_path / "bill.csv"))

    result = run(source_id, write(tmp_path / "bill.csv", row_1900="5.0100000001"))

    assert result.rows_loaded == ROWS
    assert billed() == [WHOLE[0], ("2019-10-01", 800, "13.0000000800")]
    assert Charge.objects.count() == ROWS


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("bad", [0, 1_000, 1_999])
def test_it_keeps_nothing_of_a_bill_with_a_bad_row_wherever_that_is(source_id: int, tmp_path: Path, bad: int) -> None:
    result = run(source_id, write(tmp_path / "bill.csv", **{f"row_{bad}": "lots"}))

    assert (result.state, result.rows_read, result.rows_loaded, result.rows_quarantined) == ("refused", ROWS, 0, 1)
    assert f"row {bad + 1}, BilledCost" in result.error
    assert (Charge.objects.count(), Delivery.objects.count(), queries.open_days()) == (0, 0, [])


def test_it_keeps_nothing_of_a_bill_that_was_killed_while_it_was_copied(source_id: int, tmp_path: Path) -> None:
    path = write(tmp_path / "bill.csv")

    child.killed(_DIES, str(source_id), str(path))

    assert Charge.objects.count() == 0

    result = run(source_id, path)

    assert result.state == "succeeded"
    assert billed() == WHOLE


# Dies by SIGKILL inside the closing transaction, after the fifth part was copied.
_DIES = """
import os, signal, sys
from datetime import UTC, datetime
import django
django.setup()
from ingest import load
from ingest.sinks.charges import ChargeSink
from ingest.sources.formats.focus import focus_tables
from tests.servers import child

source_id, path = sys.argv[1:]
focus_tables._BLOCK_BYTES, focus_tables._TABLE_ROWS = 32_768, 100
copy_staged, copies = ChargeSink.copy_staged, []

def dying(self):
    copy_staged(self)
    copies.append(1)
    if len(copies) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

ChargeSink.copy_staged = dying
list(load.from_paths(source_id=int(source_id), paths=[path], now=datetime(2026, 11, 21, 12, 0, tzinfo=UTC)))
"""
