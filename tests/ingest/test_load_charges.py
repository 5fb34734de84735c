"""Bills: taken whole, replaced whole, refused whole."""

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from django.db import connection

from ingest import configure, load, queries

SAMPLE = Path(__file__).parent.parent / "golden" / "focus" / "focus_sample.csv"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HEADER = (
    "BillingAccountId,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,"
    "BilledCost,EffectiveCost,ListCost,ContractedCost,ProviderName,InvoiceIssuerName,ServiceName,ResourceId,Tags"
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def source_id() -> int:
    return configure.create_source(kind="focus_export", name="bill", now=NOW)


def row(cost: str, *, day: int = 3, month: str = "2026-10", after: str = "2026-11") -> str:
    return (
        f"acct,USD,{month}-01T00:00:00Z,{after}-01T00:00:00Z,{month}-{day:02}T00:00:00Z,{month}-{day + 1:02}T00:00:00Z,Usage,"
        f'{cost},{cost},{cost},{cost},AWS,AWS,Amazon EC2,i-1,"{{""team"":""search""}}"'
    )


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def run(source_id: int, path: Path, now: datetime = NOW) -> load.LoadResult:
    (result,) = load.from_paths(source_id=source_id, paths=[str(path)], now=now)
    return result


def billed() -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT service_provider_name, sum(billed_cost)::text FROM ingest_charge GROUP BY 1 ORDER BY 1")
        return dict(cursor.fetchall())


def test_it_holds_every_digit_of_the_focus_sample_however_often_it_is_loaded(source_id: int) -> None:
    for expected in ("succeeded", "unchanged"):
        result = run(source_id, SAMPLE)

        assert result.state == expected
        assert billed() == {"AWS": "18.00663861840", "Microsoft": "1.97651418586", "Oracle": "0.53707392473"}


def test_it_replaces_the_whole_period_when_it_is_delivered_again(source_id: int, tmp_path: Path) -> None:
    run(source_id, write(tmp_path / "bill.csv", row("10.00"), row("5.00", day=4)))

    result = run(source_id, write(tmp_path / "bill.csv", row("11.50")))

    assert result.rows_loaded == 1
    assert billed() == {"AWS": "11.50"}
    assert [str(day) for day in queries.open_days()] == ["2026-10-03", "2026-10-04"]


def test_it_takes_an_earlier_delivery_again_after_a_later_one(source_id: int, tmp_path: Path) -> None:
    first = write(tmp_path / "bill.csv", row("10.00")).read_text()
    run(source_id, tmp_path / "bill.csv")
    run(source_id, write(tmp_path / "bill.csv", row("11.50")))

    (tmp_path / "bill.csv").write_text(first)
    result = run(source_id, tmp_path / "bill.csv")

    assert result.state == "succeeded"
    assert billed() == {"AWS": "10.00"}


def test_it_leaves_other_periods_and_other_exports_alone(source_id: int, tmp_path: Path) -> None:
    run(source_id, write(tmp_path / "bill.csv", row("10.00"), row("2.00", month="2026-09", after="2026-10")))
    run(source_id, write(tmp_path / "other.csv", row("7.00")))

    run(source_id, write(tmp_path / "bill.csv", row("11.00")))

    assert billed() == {"AWS": "20.00"}


@pytest.mark.parametrize(
    ("rows", "header", "expected"),
    [
        ([row("10.00"), row("NaN")], HEADER, ("bill.csv", "row 2", "BilledCost", "NaN")),
        ([row("10.00"), row("ten")], HEADER, ("bill.csv", "row 2", "BilledCost", "ten")),
        ([row("10.00")], HEADER.replace("BilledCost", "BiledCost"), ("bill.csv", "BilledCost", "BiledCost")),
    ],
)
def test_it_refuses_a_bad_bill_whole_and_keeps_the_one_before(
    source_id: int, tmp_path: Path, rows: list[str], header: str, expected: tuple[str, ...]
) -> None:
    run(source_id, write(tmp_path / "bill.csv", row("9.00")))

    result = run(source_id, write(tmp_path / "bill.csv", *rows, header=header))

    assert result.state == "refused"
    assert all(part.lower() in result.error.lower() for part in expected), result.error
    assert billed() == {"AWS": "9.00"}
    (line,) = queries.sources(now=NOW)
    assert line.status == "failed"
    assert "bill.csv" in line.last_error


def test_it_says_through_when_the_bill_is_complete(source_id: int, tmp_path: Path) -> None:
    run(source_id, write(tmp_path / "bill.csv", row("1", day=3), row("1", day=5)))

    (line,) = queries.sources(now=NOW)

    assert line.complete_through == datetime(2026, 10, 6, tzinfo=UTC)


def days_touched(source_id: int, path: Path) -> list[str]:
    """The days that one more delivery touches."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ingest_touched SET rolled_up_version = version")
    run(source_id, path)
    return [str(day) for day in queries.open_days()]


def test_it_touches_only_the_days_that_a_new_delivery_changed(source_id: int, tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    rows = [row("1", day=3), row("2", day=4), row("3", day=5), row("4", day=5)]
    run(source_id, write(path, *rows))

    moved = days_touched(source_id, write(path, rows[3], *rows[:3], header=f"{HEADER} "))
    corrected = days_touched(source_id, write(path, row("1.5", day=3), *rows[1:]))
    taken_away = days_touched(source_id, write(path, row("1.5", day=3), rows[2], rows[3]))
    split = days_touched(source_id, write(path, row("1.5", day=3), row("3.5", day=5), row("3.5", day=5)))

    assert (moved, corrected, taken_away, split) == ([], ["2026-10-03"], ["2026-10-04"], ["2026-10-05"])
    assert billed() == {"AWS": "8.5"}


def test_it_touches_the_days_that_became_complete(source_id: int, tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    run(source_id, write(path, row("1", day=3), row("2", day=4)))

    grown = days_touched(source_id, write(path, row("1", day=3), row("2", day=4), row("3", day=6)))

    # The bill was complete through the 4th; now it is through the 6th.
    assert grown == ["2026-10-06"]


def test_it_sums_what_was_delivered_by_currency(source_id: int, tmp_path: Path) -> None:
    run(source_id, write(tmp_path / "bill.csv", row("1.10"), row("2.20").replace("USD", "EUR")))

    with connection.cursor() as cursor:
        cursor.execute("SELECT billed_cost FROM ingest_delivery WHERE state = 'current'")
        (found,) = cursor.fetchone()

    assert orjson.loads(found) == {"USD": "1.10", "EUR": "2.20"}


def synced(source_id: int, now: datetime = NOW) -> dict[str, str]:
    """What each file of the source's directory came to."""
    return {result.name: result.state for result in load.sync(source_id=source_id, now=now)}


def test_it_offers_a_refused_bill_again_although_others_load(tmp_path: Path) -> None:
    bills = tmp_path / "bills"
    bills.mkdir()
    for name, cost in (("a", "ten"), ("b", "5.00")):
        (bills / name).mkdir()
        write(bills / name / "bill.csv", row(cost))
        manifest = {"export": name, "run_id": "r1", "files": [{"path": "bill.csv", "rows": 1}]}
        (bills / name / "manifest.json").write_bytes(orjson.dumps(manifest))
    source_id = configure.create_source(kind="focus_export", name="dir", config={"url": str(bills)}, now=NOW)

    first = synced(source_id)
    again = synced(source_id)

    assert first == {"a/manifest.json": "refused", "b/manifest.json": "succeeded"}
    assert again == {"a/manifest.json": "refused", "b/manifest.json": "unchanged"}
    (line,) = queries.sources(now=NOW)
    assert (line.status, "BilledCost" in line.last_error) == ("failed", True)
    # The same refusal is not read and kept again within the day.
    assert [one.state for one in queries.loads()].count("refused") == 1

    write(bills / "a" / "bill.csv", row("10.00"))
    mended = synced(source_id)

    assert mended == {"a/manifest.json": "succeeded", "b/manifest.json": "unchanged"}
    assert billed() == {"AWS": "15.00"}
    (line,) = queries.sources(now=NOW)
    assert (line.status, line.last_error) == ("late", "")


def test_it_tries_a_refused_bill_again_when_its_settings_change(tmp_path: Path) -> None:
    (tmp_path / "bill.csv").write_text("Datum;Betrag;Währung\n21.10.2026;1,50;EUR\n")
    config = {"url": str(tmp_path / "bill.csv")}
    source_id = configure.create_source(kind="focus_export", name="german", config=config, now=NOW)
    refused = synced(source_id)

    configure.update_source(
        source_id=source_id, config={**config, "decimal_comma": True}, credentials={}, by="ada", now=NOW
    )

    assert (refused, synced(source_id)) == ({"bill.csv": "refused"}, {"bill.csv": "succeeded"})


def test_it_forgets_an_error_once_everything_was_read(tmp_path: Path) -> None:
    bill = write(tmp_path / "bill.csv", row("1"))
    source_id = configure.create_source(kind="focus_export", name="dir", config={"url": str(bill)}, now=NOW)
    synced(source_id)
    text = bill.read_text()
    bill.unlink()
    gone = synced(source_id)
    bill.write_text(text)

    back = synced(source_id)

    assert (gone, back) == ({"focus_export/dir": "failed"}, {})
    (line,) = queries.sources(now=NOW)
    assert line.last_error == ""
