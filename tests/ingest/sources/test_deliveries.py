"""Deliveries of bills in folders and stores: whose they are, of which month, how complete, and what an empty one means."""

import gzip
import http.server
import io
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from django.db import connection

from ingest import configure, load
from ingest.models import Delivery
from ingest.sources import KINDS
from ingest.sources.base import BadDelivery, Raw, SourceUnavailable, Window
from ingest.sources.stores import Options, open_store
from tests.ingest.sources import aws_bills as bills
from tests.ingest.sources.aws_bills import line
from tests.servers.s3 import CREDENTIALS, S3

NOW = bills.now()
ALWAYS = Window(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
HEADER = "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd"


@pytest.fixture
def bucket(s3: S3, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket of the test's own, emptied after it."""
    name = "given-" + request.node.name.split("[")[0].replace("_", "-").lower()[-50:].strip("-")
    client = s3.client()
    client.create_bucket(Bucket=name)
    yield name
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for entry in page.get("Contents", ()):
            client.delete_object(Bucket=name, Key=entry["Key"])
    client.delete_bucket(Bucket=name)


def focus(*costs: str, day: str = "2026-10-03", **columns: str) -> bytes:
    """A FOCUS file with a charge on a day for each cost."""
    titles = ",".join((HEADER, *columns))
    rows = [",".join((cost, "USD", f"{day}T00:00:00Z", f"{day}T01:00:00Z", *columns.values())) for cost in costs]
    return "\n".join([titles, *rows]).encode() + b"\n"


def deliver(
    root: Path,
    content: bytes | None,
    *,
    days: tuple[str, str],
    run: str = "r1",
    scope: str = "",
    export: str = "daily",
    kind: str = "FocusCost",
    **run_info: str,
) -> Path:
    """A run of an Azure FOCUS export: its folder."""
    place = root / export / scope.replace("/", "-") / f"{days[0]}-{days[1]}".replace("-", "") / run
    place.mkdir(parents=True, exist_ok=True)
    if content is not None:
        (place / "part_0_0001.csv").write_bytes(content)
    manifest = {
        "exportConfig": {"exportName": export, "type": kind, **({"resourceId": scope} if scope else {})},
        "runInfo": {"runId": run, "startDate": days[0], "endDate": days[1], **run_info},
        "blobs": [] if content is None else [{"blobName": "part_0_0001.csv"}],
    }
    (place / "manifest.json").write_bytes(orjson.dumps(manifest))
    return place


def units(root: Path) -> list[Raw]:
    return list(made(url=str(root)).read({}, ALWAYS))


def made(kind: str = "focus_export", **config: Any) -> Any:  # a source of that kind
    return KINDS[kind](KINDS[kind].Config(**config), CREDENTIALS)


def costs(found: Any, raw: Raw) -> list[str]:
    return [row["billed_cost"] for each in found.normalize(raw) for row in each.batch.to_pylist()]


def loaded(root: Path, kind: str = "focus_export", **config: Any) -> int:
    return configure.create_source(
        kind=kind, name=str(root)[-40:], config={"url": str(root), **config}, credentials=CREDENTIALS, now=NOW
    )


def sync(source_id: int, days: int = 0) -> list[tuple[str, int]]:
    return [
        (each.state, each.rows_loaded)
        for each in load.sync(source_id=source_id, window=ALWAYS, now=NOW + timedelta(days=days))
    ]


def booked() -> dict[str, str]:
    """What is billed in each billing period."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_period_start::text, trim_scale(sum(billed_cost))::text FROM ingest_charge GROUP BY 1 ORDER BY 1"
        )
        return dict(cursor.fetchall())


# Whose a delivery is


@pytest.mark.parametrize("kind", ["aws_cur", "focus_export"])
@pytest.mark.django_db
def test_t237_it_loads_exports_of_one_name_of_several_accounts(kind: str, s3: S3, bucket: str) -> None:
    client = s3.client()
    for account, cost in (("111111111111", "10"), ("222222222222", "7")):
        content = bills.csv_gz([line(cost)]) if kind == "aws_cur" else focus(cost)
        key = f"bills/{account}/cur/data/BILLING_PERIOD=2026-10/cur-00001.csv.gz"
        client.put_object(Bucket=bucket, Key=key, Body=content)
        arn = f"arn:aws:bcm-data-exports:us-east-1:{account}:export/cur"
        manifest = {"exportName": "cur", "exportArn": arn, "dataFiles": [f"s3://{bucket}/{key}"]}
        place = f"bills/{account}/cur/metadata/BILLING_PERIOD=2026-10/cur-Manifest.json"
        client.put_object(Bucket=bucket, Key=place, Body=orjson.dumps(manifest))
    source_id = configure.create_source(
        kind=kind, name=kind, config={"url": f"s3://{bucket}/bills", **s3.config}, credentials=CREDENTIALS, now=NOW
    )

    first, again = sync(source_id), sync(source_id)

    assert (first, again) == ([("succeeded", 1), ("succeeded", 1)], [])
    assert booked() == {"2026-10-01": "17"}
    assert set(Delivery.objects.values_list("export", flat=True)) == {"111111111111/cur", "222222222222/cur"}


@pytest.mark.django_db
def test_it_loads_exports_of_one_name_of_several_scopes(tmp_path: Path) -> None:
    for scope, cost in (("subscriptions/A", "10"), ("subscriptions/B", "7")):
        deliver(tmp_path, focus(cost), days=("2026-10-01", "2026-10-31"), scope=scope)

    sync(loaded(tmp_path))

    assert booked() == {"2026-10-01": "17"}


@pytest.mark.django_db
def test_t251_it_counts_a_scope_once_whatever_exports_of_it_there_are(tmp_path: Path) -> None:
    october = {"days": ("2026-10-01", "2026-10-31"), "scope": "subscriptions/A"}
    deliver(tmp_path, focus("10"), **october, export="daily", submittedTime="2026-10-31T00:00:00Z")
    deliver(tmp_path, focus("11"), **october, export="monthly", submittedTime="2026-11-05T00:00:00Z")
    actual = b"Date,CostInBillingCurrency,BillingCurrency\n2026-10-03,12,USD\n"
    for kind in ("ActualCost", "AmortizedCost"):
        deliver(tmp_path, actual, **october, export=kind, kind=kind, submittedTime="2026-11-06T00:00:00Z")

    found = sync(loaded(tmp_path))

    assert (found, booked()) == ([("succeeded", 1)], {"2026-10-01": "11"})


def test_it_says_which_kind_reads_what_is_not_focus(tmp_path: Path) -> None:
    deliver(tmp_path, focus("10"), days=("2026-10-01", "2026-10-31"), kind="ActualCost")

    with pytest.raises(
        SourceUnavailable, match=r"no FOCUS export below .* but ActualCost; the kinds aws_cur and azure_costs"
    ):
        units(tmp_path)


def test_it_will_not_count_two_focus_exports_of_one_account(s3: S3, bucket: str) -> None:
    for export in ("focus-1-0", "focus-1-2", "cur"):
        arn = f"arn:aws:bcm-data-exports:us-east-1:999900001111:export/{export}"
        columns = [{"name": "line_item_unblended_cost" if export == "cur" else "BilledCost"}]
        bills.deliver(s3, bucket, focus("1"), export=export, exportArn=arn, columns=columns)

    with pytest.raises(
        SourceUnavailable, match=r"999900001111 .* hold the same charges: .*focus-1-0, .*focus-1-2; set"
    ):
        list(made(url=f"s3://{bucket}/cur2", **s3.config).read({}, ALWAYS))
    (one,) = made(url=f"s3://{bucket}/cur2/focus-1-2", **s3.config).read({}, ALWAYS)
    assert one.export == "999900001111/focus-1-2"


@pytest.mark.django_db
def test_it_replaces_what_an_earlier_version_called_by_the_name_of_the_export_alone(tmp_path: Path) -> None:
    deliver(tmp_path, focus("10"), days=("2026-10-01", "2026-10-31"), scope="subscriptions/A")
    source_id = loaded(tmp_path)
    sync(source_id)
    Delivery.objects.update(export="daily")

    deliver(tmp_path, focus("11"), days=("2026-10-01", "2026-10-31"), scope="subscriptions/A")
    sync(source_id)

    assert booked() == {"2026-10-01": "11"}


def test_t238_it_does_not_take_the_neighbour_of_a_folder_for_a_part_of_it(s3: S3, bucket: str) -> None:
    for key in ("focus/a.csv", "focus-old/a.csv", "focus2.csv"):
        s3.client().put_object(Bucket=bucket, Key=key, Body=focus("1"))

    (folder,) = made(url=f"s3://{bucket}/focus", **s3.config).read({}, ALWAYS)
    (file,) = made(url=f"s3://{bucket}/focus2.csv", **s3.config).read({}, ALWAYS)
    (names,) = made(url=f"s3://{bucket}/foc", **s3.config).read({}, ALWAYS)

    assert (folder.files, file.files) == (("focus/a.csv",), ("focus2.csv",))
    assert names.files == ("focus-old/a.csv", "focus/a.csv", "focus2.csv")


@pytest.mark.parametrize(
    ("folder", "neighbour"),
    [("team #1", "team #2"), ("50% off?", "50% off"), ("büro + co", "buro"), ("a%20b", "a b"), ("a?x=1#2", "a")],
)
def test_t239_it_reads_keys_of_any_letters(s3: S3, bucket: str, folder: str, neighbour: str) -> None:
    for key, cost in ((f"{folder}/bill 1%2.csv", "1"), (f"{neighbour}/other.csv", "5")):
        s3.client().put_object(Bucket=bucket, Key=key, Body=focus(cost))
    found = made(url=f"s3://{bucket}/{folder}", **s3.config)

    (raw,) = found.read({}, ALWAYS)

    assert (raw.files, costs(found, raw)) == ((f"{folder}/bill 1%2.csv",), ["1"])


def test_it_will_not_guess_whose_two_exports_of_one_name_are(s3: S3, bucket: str) -> None:
    for account in ("a", "b"):
        key = f"bills/{account}/cur/data/BILLING_PERIOD=2026-10/cur-00001.csv.gz"
        s3.client().put_object(Bucket=bucket, Key=key, Body=bills.csv_gz([line("1")]))
        manifest = orjson.dumps({"exportName": "cur", "dataFiles": [f"s3://{bucket}/{key}"]})
        place = f"bills/{account}/cur/metadata/BILLING_PERIOD=2026-10/run/cur-Manifest.json"
        s3.client().put_object(Bucket=bucket, Key=place, Body=manifest)

    with pytest.raises(SourceUnavailable, match="called cur lie in bills/a/cur/metadata/ and bills/b/cur/metadata/"):
        list(made("aws_cur", url=f"s3://{bucket}/bills", **s3.config).read({}, ALWAYS))
    (one,) = made("aws_cur", url=f"s3://{bucket}/bills/a", **s3.config).read({}, ALWAYS)
    assert one.export == "cur"


def test_it_will_not_count_two_reports_of_which_one_names_its_account(s3: S3, bucket: str) -> None:
    bills.deliver(s3, bucket, bills.parquet([line("1")]), export="hourly")
    arn = "arn:aws:bcm-data-exports:us-east-1:999900001111:export/daily"
    bills.deliver(s3, bucket, bills.parquet([line("1")]), export="daily", exportArn=arn)

    with pytest.raises(SourceUnavailable, match=r"account 999900001111 .*hold the same charges: daily, hourly"):
        list(made("aws_cur", url=f"s3://{bucket}/cur2", **s3.config).read({}, ALWAYS))


def test_t248_it_will_not_count_one_bill_in_two_forms(tmp_path: Path) -> None:
    (tmp_path / "bill.csv").write_bytes(focus("1"))
    (tmp_path / "bill.csv.gz").write_bytes(gzip.compress(focus("1")))

    with pytest.raises(BadDelivery, match=r"same bill as bill\.csv; keep one"):
        units(tmp_path)


@pytest.mark.parametrize("kind", ["focus_export", "azure_costs"])
def test_t249_it_counts_a_file_once_that_is_listed_twice(tmp_path: Path, kind: str) -> None:
    place = deliver(tmp_path, focus("1"), days=("2026-10-01", "2026-10-31"))
    manifest = orjson.loads((place / "manifest.json").read_bytes())
    (place / "manifest.json").write_bytes(orjson.dumps(manifest | {"blobs": manifest["blobs"] * 2}))
    found = made(kind, url=str(tmp_path))

    (raw,) = found.read({}, ALWAYS)

    assert costs(found, raw) == ["1"]


@pytest.mark.django_db
def test_it_reads_a_delivery_of_very_many_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    names = [f"data/part-{number:05}.csv" for number in range(5_000)]
    for name in names:
        (tmp_path / name).write_bytes(focus())
    (tmp_path / names[4_321]).write_bytes(focus("1", "2"))
    period = {"periodStart": "2026-10-01", "periodEnd": "2026-11-01"}
    (tmp_path / "manifest.json").write_bytes(orjson.dumps({"export": "wide", "files": names, **period}))

    found = sync(loaded(tmp_path))

    assert (found, booked()) == ([("succeeded", 2)], {"2026-10-01": "3"})


@pytest.mark.django_db
def test_it_comes_to_the_newer_delivery_when_an_older_one_ends_after_it(tmp_path: Path) -> None:
    """Two workers: one has read the older run and loads it when the other has loaded the newer one."""
    october = ("2026-10-01", "2026-10-31")
    deliver(tmp_path, focus("10"), days=october, submittedTime="2026-11-01T00:00:00Z")
    source_id = loaded(tmp_path)
    (older,) = load.connect(source_id).read({}, ALWAYS)
    deliver(tmp_path, focus("11"), days=october, run="r2", submittedTime="2026-11-02T00:00:00Z")

    newer = sync(source_id)
    late = load.run_unit(source_id=source_id, raw=older, now=NOW)
    behind = booked()
    again = (sync(source_id), sync(source_id))

    assert (newer, late.state, behind) == ([("succeeded", 1)], "succeeded", {"2026-10-01": "10"})
    assert (again, booked()) == (([("succeeded", 1)], []), {"2026-10-01": "11"})


# Of which month


@pytest.mark.parametrize("empty", [None, focus()])
@pytest.mark.django_db
def test_t240_it_takes_a_month_back_that_is_delivered_empty(tmp_path: Path, empty: bytes | None) -> None:
    october, november = ("2026-10-01", "2026-10-31"), ("2026-11-01", "2026-11-30")
    deliver(tmp_path, focus("10"), days=october)
    deliver(tmp_path, focus("7", day="2026-11-03"), days=november)
    source_id = loaded(tmp_path)
    said = [(sync(source_id), booked())]

    for run, october_costs in enumerate((empty, focus("10"), empty, focus("10")), 2):
        deliver(tmp_path, october_costs, days=october, run=f"r{run}", submittedTime=f"2026-11-{run:02}T00:00:00Z")
        said.append((sync(source_id, run), booked()))
    deliver(tmp_path, empty, days=october, run="r9", submittedTime="2026-11-29T00:00:00Z")
    deliver(tmp_path, empty, days=november, run="r9", submittedTime="2026-11-29T00:00:00Z")
    said.append((sync(source_id, 9), booked()))

    both, november_only = {"2026-10-01": "10", "2026-11-01": "7"}, {"2026-11-01": "7"}
    assert said == [
        ([("succeeded", 1), ("succeeded", 1)], both),
        ([("succeeded", 0)], november_only),
        ([("succeeded", 1)], both),
        ([("succeeded", 0)], november_only),
        ([("succeeded", 1)], both),
        ([("succeeded", 0), ("succeeded", 0)], {}),
    ]


@pytest.mark.parametrize("settings", [{}, {"split_cost_allocation": "children"}])
@pytest.mark.django_db
def test_it_takes_an_aws_month_back_whose_files_hold_no_line(s3: S3, bucket: str, settings: dict[str, str]) -> None:
    bills.deliver(s3, bucket, bills.parquet([line("10")]))
    config = {"url": f"s3://{bucket}/cur2", **s3.config, **settings}
    source_id = configure.create_source(kind="aws_cur", name="emptied", config=config, credentials=CREDENTIALS, now=NOW)
    first = (sync(source_id), booked())

    bills.deliver(s3, bucket, empty_parquet())
    emptied = (sync(source_id, 1), booked())
    bills.deliver(s3, bucket, bills.parquet([line("10")]))
    again = (sync(source_id, 2), booked())
    bills.deliver(s3, bucket)
    listed_none = (sync(source_id, 3), booked())

    assert first == again == ([("succeeded", 1)], {"2026-10-01": "10"})
    assert emptied == listed_none == ([("succeeded", 0)], {})


def empty_parquet() -> bytes:
    """A report's columns and not a line."""
    buffer = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(bills.parquet([line("1")]))).slice(0, 0), buffer)
    return buffer.getvalue()


@pytest.mark.django_db
def test_it_takes_back_no_other_export_and_no_other_month(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_bytes(focus("3"))
    deliver(tmp_path / "runs", focus("10"), days=("2026-10-01", "2026-10-31"))
    deliver(tmp_path / "runs", focus("2", day="2026-09-03"), days=("2026-09-01", "2026-09-30"))
    source_id = loaded(tmp_path / "runs")
    sync(source_id)
    assert [each.state for each in load.from_paths(source_id=source_id, paths=[str(other)], now=NOW)] == ["succeeded"]

    deliver(tmp_path / "runs", None, days=("2026-10-01", "2026-10-31"), run="r2", submittedTime="2026-11-02T00:00:00Z")
    sync(source_id, 1)

    assert booked() == {"2026-09-01": "2", "2026-10-01": "3"}


@pytest.mark.django_db
def test_t241_it_takes_no_run_over_a_part_of_a_month_for_all_of_it(tmp_path: Path) -> None:
    whole, part = ("2026-10-01", "2026-10-31"), ("2026-10-01", "2026-10-15")
    deliver(tmp_path, focus("10", "20"), days=whole, submittedTime="2026-11-01T00:00:00Z")
    source_id = loaded(tmp_path)
    first = sync(source_id)

    deliver(tmp_path, focus("10"), days=part, run="later", submittedTime="2026-11-09T00:00:00Z")
    second = sync(source_id, 1)

    assert (first, second, booked()) == ([("succeeded", 2)], [], {"2026-10-01": "30"})


@pytest.mark.django_db
def test_t242_it_keeps_months_apart_whose_invoice_begins_in_the_middle(tmp_path: Path) -> None:
    """Both runs have charges of the invoice from 15 October on: the second must not take those of the first."""
    own = {"BillingPeriodStart": "2026-10-15T00:00:00Z", "BillingPeriodEnd": "2026-11-15T00:00:00Z"}
    deliver(tmp_path, focus("10", day="2026-10-20", **own), days=("2026-10-01", "2026-10-31"))
    deliver(tmp_path, focus("7", day="2026-11-03", **own), days=("2026-11-01", "2026-11-30"))

    sync(loaded(tmp_path))

    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT extra->>'BillingPeriodStart' FROM ingest_charge")
        kept = cursor.fetchall()
    assert booked() == {"2026-10-01": "10", "2026-11-01": "7"}
    assert kept == [("2026-10-15",)]


@pytest.mark.django_db
def test_it_books_a_refund_of_an_earlier_month_with_its_own_bill(s3: S3, bucket: str) -> None:
    """Where the export leaves the billing period out, the usage date of a refund is no billing period."""
    without = ("bill_billing_period_start_date", "bill_billing_period_end_date")
    september = {
        "line_item_usage_start_date": "2026-09-03T00:00:00Z",
        "line_item_usage_end_date": "2026-09-03T01:00:00Z",
    }
    bills.deliver(s3, bucket, bills.parquet([line("10", **september)], without=without), month="2026-09")
    refund = line("-1", line_item_line_item_type="Refund", **september)
    bills.deliver(s3, bucket, bills.parquet([line("5"), refund], without=without), month="2026-10")
    config = {"url": f"s3://{bucket}/cur2", **s3.config}
    source_id = configure.create_source(kind="aws_cur", name="refund", config=config, credentials=CREDENTIALS, now=NOW)

    sync(source_id)

    assert booked() == {"2026-09-01": "10", "2026-10-01": "4"}


# How complete

SECTORS = [
    {
        "TimeSectorStart": "2026-10-02T00:00:00Z",
        "TimeSectorEnd": "2026-10-03T00:00:00Z",
        "TimeSectorLastUpdated": "2026-10-04T00:00:00Z",
        "TimeSectorComplete": True,
    },
    {"TimeSectorStart": "2026-10-01T00:00:00Z", "TimeSectorEnd": "2026-10-02T00:00:00Z", "TimeSectorComplete": True},
    {"TimeSectorStart": "2026-10-03T00:00:00Z", "TimeSectorEnd": "2026-10-04T00:00:00Z", "TimeSectorComplete": False},
]


def recency(*sectors: dict[str, Any], **told: Any) -> bytes:
    return orjson.dumps({"Recency": {"DatasetInstanceComplete": False, "TimeSectors": list(sectors), **told}})


@pytest.mark.parametrize(
    ("document", "through"),
    [
        (recency(*SECTORS), datetime(2026, 10, 3, tzinfo=UTC)),
        (recency(SECTORS[2], SECTORS[0]), datetime(2026, 10, 3, tzinfo=UTC)),
        (recency(SECTORS[1], SECTORS[2]), datetime(2026, 10, 2, tzinfo=UTC)),  # a day between is not told of
        (recency(SECTORS[2]), datetime(2026, 10, 3, tzinfo=UTC)),
        (
            recency({"TimeSectorStart": "2026-10-01T00:00:00Z", "End": "2026-10-02T00:00:00Z", "Complete": True}),
            datetime(2026, 10, 2, tzinfo=UTC),
        ),
        (
            recency(DatasetInstanceComplete=True, DatasetInstanceLastUpdated="2026-11-05T00:00:00Z"),
            datetime(2026, 11, 5, tzinfo=UTC),
        ),
        (recency(DatasetInstanceLastUpdated="2026-11-05T00:00:00Z"), None),
        (b"[" + recency(*SECTORS) + b"," + recency(SECTORS[1]) + b"]", datetime(2026, 10, 2, tzinfo=UTC)),
        (b'{"Schema": {}}', None),
        (b"not JSON", None),
        (b'{"Recency": {"TimeSectors": [7, {"TimeSectorStart": 7}]}}', None),
    ],
)
def test_t243_it_reads_how_far_a_bill_is_complete_from_metadata_beside_it(
    tmp_path: Path, document: bytes, through: datetime | None
) -> None:
    (tmp_path / "bill.csv").write_bytes(focus("1"))
    (tmp_path / "focus_metadata.json").write_bytes(document)

    (raw,) = units(tmp_path)

    assert (raw.complete_through, raw.files) == (through, ("bill.csv",))


@pytest.mark.django_db
def test_it_loads_a_bill_again_that_has_only_become_more_complete(s3: S3, bucket: str) -> None:
    client = s3.client()
    client.put_object(Bucket=bucket, Key="focus/2026/bill.csv", Body=focus("1"))
    client.put_object(Bucket=bucket, Key="focus/recency.json", Body=recency(SECTORS[1]))
    source_id = configure.create_source(
        kind="focus_export",
        name="recency",
        config={"url": f"s3://{bucket}/focus", **s3.config},
        credentials=CREDENTIALS,
        now=NOW,
    )
    marks = []

    for document in (recency(SECTORS[1]), recency(SECTORS[1]), recency(*SECTORS)):
        client.put_object(Bucket=bucket, Key="focus/recency.json", Body=document)
        found = sync(source_id, len(marks))
        marks.append((found, Delivery.objects.get(state="current").complete_through))

    assert marks == [
        ([("succeeded", 1)], datetime(2026, 10, 2, tzinfo=UTC)),
        ([], datetime(2026, 10, 2, tzinfo=UTC)),
        ([("succeeded", 1)], datetime(2026, 10, 3, tzinfo=UTC)),
    ]


def test_it_takes_the_metadata_nearest_to_a_delivery(tmp_path: Path) -> None:
    october = deliver(tmp_path, focus("1"), days=("2026-10-01", "2026-10-31"))
    deliver(tmp_path, focus("1", day="2026-11-03"), days=("2026-11-01", "2026-11-30"))
    (tmp_path / "metadata.json").write_bytes(recency(SECTORS[1]))
    (october / "metadata.json").write_bytes(recency(*SECTORS))

    found = [raw.complete_through for raw in units(tmp_path)]

    assert found == [datetime(2026, 10, 3, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC)]


# Stores that are large, or slow down


def test_t244_it_reads_beyond_the_first_thousand_objects(s3: S3, bucket: str) -> None:
    client = s3.client()
    for number in range(1_100):
        client.put_object(Bucket=bucket, Key=f"focus/part-{number:05}.csv", Body=focus("1"))
    found = made(url=f"s3://{bucket}/focus", **s3.config)

    (raw,) = found.read({}, ALWAYS)

    assert (len(raw.files), raw.files[0], raw.files[-1]) == (1_100, "focus/part-00000.csv", "focus/part-01099.csv")


class _Throttle(http.server.BaseHTTPRequestHandler):
    """Answers 503 SlowDown so many times, then with an empty listing."""

    left = 0
    asked = 0

    def do_GET(self) -> None:  # the library's own name
        type(self).asked += 1
        is_slow = type(self).left > 0
        type(self).left -= 1
        listing = (
            "<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
        )
        body = b"<Error><Code>SlowDown</Code><Message>slow</Message></Error>" if is_slow else listing.encode()
        self.send_response(503 if is_slow else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def throttled() -> Iterator[tuple[str, type[_Throttle]]]:
    handler = type("Throttle", (_Throttle,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_t245_it_comes_again_when_s3_throttles_and_says_so_when_it_goes_on(
    throttled: tuple[str, type[_Throttle]],
) -> None:
    address, handler = throttled
    store = open_store("s3://b/focus", Options(address, "us-east-1"), CREDENTIALS)

    handler.left = 1
    once = (store.objects(), handler.asked)
    handler.left = 1_000

    assert once == ([], 2)
    with pytest.raises(SourceUnavailable, match="SlowDown; S3 throttles this bucket"):
        store.objects()


def test_t246_it_loads_the_other_months_of_azure_where_a_manifest_is_damaged(tmp_path: Path) -> None:
    deliver(tmp_path, focus("1"), days=("2026-10-01", "2026-10-31"))
    damaged = deliver(tmp_path, focus("1"), days=("2026-09-01", "2026-09-30"))
    (damaged / "manifest.json").write_bytes(b'{"exportConfig"')
    found = made("azure_costs", url=str(tmp_path)).read({}, ALWAYS)

    first = next(found)

    assert first.span is not None
    assert first.span.start.date() == date(2026, 10, 1)
    with pytest.raises(BadDelivery, match="not valid JSON"):
        next(found)
