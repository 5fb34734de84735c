"""AWS bills: every layout and column set, amortised to the last digit, replaced by period, and never one thing twice."""

import gzip
import io
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import configure, load, queries
from ingest.rows import CHARGE, COSTS, Rejected
from ingest.sources import aws_cur
from ingest.sources.base import BadDelivery, Finding, SourceUnavailable, Window
from tests.ingest.sources import aws_bills as bills
from tests.ingest.sources.aws_bills import line
from tests.servers.s3 import CREDENTIALS, S3

NOW = bills.now()
ALWAYS = Window(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
CHILDREN = {"split_cost_allocation": "children"}


# As AWS writes them: doubles of at most 17 digits.
_COSTS = st.decimals(min_value=0, max_value=10**6, places=11, allow_nan=False, allow_infinity=False)


@pytest.fixture
def bucket(s3: S3, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket of the test's own, emptied after it."""
    name = "bills-" + request.node.name.split("[")[0].replace("_", "-").lower()[-50:].strip("-")
    client = s3.client()
    client.create_bucket(Bucket=name)
    yield name
    for entry in client.list_objects_v2(Bucket=name).get("Contents", ()):
        client.delete_object(Bucket=name, Key=entry["Key"])
    client.delete_bucket(Bucket=name)


def source(**config: Any) -> aws_cur.AwsCur:
    return aws_cur.AwsCur(aws_cur.AwsCurConfig(**config), CREDENTIALS)


def rows_of(found: aws_cur.AwsCur, raw: Any) -> tuple[list[dict[str, Any]], list[Rejected], dict[str, int]]:
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    skipped: dict[str, int] = defaultdict(int)
    for each in found.normalize(raw):
        assert each.batch.schema.equals(CHARGE)
        rows += each.batch.to_pylist()
        rejected += each.rejected
        for reason, count in each.skipped.items():
            skipped[reason] += count
    return rows, rejected, dict(skipped)


def read(*lines: bills.Line, **config: Any) -> list[dict[str, Any]]:
    """The charges of one Parquet file, none of them refused."""
    found = source(**config)
    rows, rejected, _ = rows_of(found, found.open_bytes(name="cur.parquet", content=bills.parquet(lines)))
    assert rejected == []
    return rows


def totals(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {name: format(sum(Decimal(row[name]) for row in rows).normalize(), "f") for name in COSTS}


def create(s3: S3, bucket: str, prefix: str = "cur2", **config: Any) -> int:
    settings = {"url": f"s3://{bucket}/{prefix}", **s3.config, **config}
    return configure.create_source(kind="aws_cur", name=bucket, config=settings, credentials=CREDENTIALS, now=NOW)


def sync(source_id: int, now: datetime = NOW) -> list[load.LoadResult]:
    return list(load.sync(source_id=source_id, now=now))


def booked(column: str = "billed_cost", by: str = "'all'") -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {by}, trim_scale(sum({column}))::text FROM ingest_charge GROUP BY 1 ORDER BY 1")
        return dict(cursor.fetchall())


# Deliveries


@pytest.mark.django_db
def test_t42_it_replaces_the_whole_period_when_it_is_delivered_again(s3: S3, bucket: str) -> None:
    bills.deliver(
        s3, bucket, bills.parquet([line("0.1"), line("0.2")]), bills.csv_gz([line("3.000000000000000000001")])
    )
    bills.deliver(
        s3, bucket, bills.parquet([line("7", bill_billing_period_start_date="2026-11-01T00:00:00Z")]), month="2026-11"
    )
    source_id = create(s3, bucket)

    first = sync(source_id)
    again = sync(source_id)
    before = booked(by="billing_period_start::text")
    bills.deliver(s3, bucket, bills.parquet([line("0.1"), line("0.25")]))
    replaced = sync(source_id)

    assert [(each.state, each.rows_loaded) for each in first] == [("succeeded", 3), ("succeeded", 1)]
    assert again == []
    assert before == {"2026-10-01": "3.300000000000000000001", "2026-11-01": "7"}
    assert [(each.state, each.rows_loaded) for each in replaced] == [("succeeded", 2)]
    assert booked(by="billing_period_start::text") == {"2026-10-01": "0.35", "2026-11-01": "7"}


@pytest.mark.django_db
def test_t43_it_takes_the_newest_of_the_executions_that_stay_around(s3: S3, bucket: str) -> None:
    bills.deliver(s3, bucket, bills.parquet([line("5")]), run="2026-10-04T00:00:00.000Z-aaaa")
    source_id = create(s3, bucket)
    sync(source_id)
    later = bills.deliver(s3, bucket, bills.parquet([line("6")]), run="2026-10-05T00:00:00.000Z-bbbb")

    (result,) = sync(source_id)

    assert (result.name, result.state) == (later, "succeeded")
    assert booked() == {"all": "6"}


@pytest.mark.django_db
def test_t44_it_reads_a_legacy_report_with_manifests_of_month_and_assembly_once(s3: S3, bucket: str) -> None:
    lines = [line("0.0123456789", resource_tags={"user_team": "search"}), line("1e-7")]
    bills.deliver_legacy(s3, bucket, bills.legacy_gz(lines[:1]), bills.legacy_gz(lines[1:]), assembly="aaaa")
    source_id = create(s3, bucket, "legacy")

    first = sync(source_id)
    bills.deliver_legacy(s3, bucket, bills.legacy_gz([line("2")]), assembly="bbbb")
    second = sync(source_id)

    assert [(each.state, each.rows_loaded) for each in first] == [("succeeded", 2)]
    assert [(each.state, each.rows_loaded) for each in second] == [("succeeded", 1)]
    assert booked(by="billing_period_start::text") == {"2026-10-01": "2"}


def test_t45_it_reads_the_period_of_a_legacy_manifest_and_of_the_folder_of_a_newer_one(s3: S3, bucket: str) -> None:
    bills.deliver_legacy(s3, bucket, bills.legacy_gz([line()]), assembly="aaaa")
    bills.deliver(s3, bucket, bills.parquet([line()]), month="2026-12")

    units = [
        raw.payload.period
        for prefix in ("legacy", "cur2")
        for raw in source(url=f"s3://{bucket}/{prefix}", **s3.config).read({}, ALWAYS)
    ]

    assert units == ["2026-10-01/2026-11-01", "2026-12-01/2027-01-01"]


def test_t46_it_leaves_files_alone_that_no_manifest_lists(s3: S3, bucket: str) -> None:
    bills.deliver(s3, bucket, bills.parquet([line("1")]))
    s3.client().put_object(
        Bucket=bucket, Key="cur2/cur/data/BILLING_PERIOD=2026-10/cur-00002.snappy.parquet", Body=b"left"
    )
    found = source(url=f"s3://{bucket}/cur2", **s3.config)

    (raw,) = found.read({}, ALWAYS)

    assert totals(rows_of(found, raw)[0])["billed_cost"] == "1"


def test_t47_it_does_not_take_the_file_of_an_earlier_run_for_one_that_is_missing(s3: S3, bucket: str) -> None:
    bills.deliver(s3, bucket, bills.parquet([line("1")]), run="20261004-aaaa")
    bills.deliver(s3, bucket, bills.parquet([line("9")]), run="20261005-bbbb")
    bills.deliver(
        s3, bucket, bills.parquet([line("3", bill_billing_period_start_date="2026-11-01T00:00:00Z")]), month="2026-11"
    )
    missing = "cur2/cur/data/BILLING_PERIOD=2026-10/20261005-bbbb/cur-00001.snappy.parquet"
    s3.client().delete_object(Bucket=bucket, Key=missing)
    found = source(url=f"s3://{bucket}/cur2", **s3.config)
    units = found.read({}, ALWAYS)

    good = next(units)

    assert good.payload.period == "2026-11-01/2026-12-01"
    with pytest.raises(BadDelivery, match=f"{missing}.*was not delivered"):
        next(units)


def test_t48_it_waits_for_an_overwrite_to_end(s3: S3, bucket: str) -> None:
    client = s3.client()
    manifest = bills.deliver(s3, bucket, bills.parquet([line("1")]))
    written = client.head_object(Bucket=bucket, Key=manifest)["LastModified"]
    key = "cur2/cur/data/BILLING_PERIOD=2026-10/cur-00001.snappy.parquet"
    # The server's times are whole seconds: the file is written until it is newer than its manifest.
    for _ in range(200):
        client.put_object(Bucket=bucket, Key=key, Body=bills.parquet([line("2")]))
        modified = client.head_object(Bucket=bucket, Key=key)["LastModified"]
        if modified > written:
            break
        time.sleep(0.02)
    found = source(url=f"s3://{bucket}/cur2", **s3.config)

    at_once = list(found.read({}, Window(ALWAYS.start, modified + timedelta(minutes=5))))
    hours_later = list(found.read({}, Window(ALWAYS.start, modified + timedelta(hours=7))))

    assert (len(at_once), len(hours_later)) == (0, 1)


def test_t49_it_reads_the_window_first_and_later_whatever_the_vendor_delivers_again(s3: S3, bucket: str) -> None:
    for month in ("2026-05", "2026-09", "2026-10"):
        start = f"{month}-01T00:00:00Z"
        content = bills.parquet([line("1", bill_billing_period_start_date=start, line_item_usage_start_date=start)])
        bills.deliver(s3, bucket, content, month=month)
    found = source(url=f"s3://{bucket}/cur2", **s3.config)
    # The server's clock is the real one: the first read is after what was delivered so far.
    asked = datetime.now(UTC) + timedelta(seconds=1)
    window = Window(datetime(2026, 9, 21, tzinfo=UTC), asked)

    first = list(found.read({}, window))
    nothing = list(found.read(first[-1].cursor, window))
    backfilled = list(found.read({}, Window(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))))
    earlier = first[-1].cursor | {"begun": [window.start.isoformat(), "2026-06-15T00:00:00+00:00"]}
    refunded = list(found.read(earlier, window))

    assert [raw.payload.period[:7] for raw in first] == ["2026-09", "2026-10"]
    assert nothing == []
    assert [raw.payload.period[:7] for raw in backfilled] == ["2026-05"]
    assert [raw.payload.period[:7] for raw in refunded] == ["2026-05"]


@pytest.mark.django_db
def test_t50_it_books_a_refund_of_a_closed_month_with_that_months_new_delivery(s3: S3, bucket: str) -> None:
    usage = line("10")
    refund = line(
        "-4",
        bill_bill_type="Refund",
        line_item_line_item_type="Refund",
        line_item_resource_id="",
        line_item_usage_type="",
    )
    bills.deliver(s3, bucket, bills.parquet([usage]))
    source_id = create(s3, bucket)
    sync(source_id)
    bills.deliver(s3, bucket, bills.parquet([usage, refund]))

    (result,) = sync(source_id, NOW + timedelta(days=60))

    assert result.state == "succeeded"
    assert booked(by="charge_category || ' ' || charge_class") == {"Adjustment Correction": "-4", "Usage ": "10"}
    assert [str(day) for day in queries.open_days()] == ["2026-10-03"]


@pytest.mark.parametrize("write", [bills.parquet, bills.csv_gz, bills.legacy_gz])
def test_t51_it_reads_the_same_charges_from_every_format(write: Any) -> None:
    lines = [
        line("0.1", resource_tags={"user_team": "search", "user_cost-centre": "42"}, cost_category={"Tier": "gold"}),
        *bills.covered("0.3", "0.2"),
        line(
            "0",
            line_item_line_item_type="DiscountedUsage",
            reservation_effective_cost="0.05",
            reservation_reservation_a_r_n="r",
            reservation_unused_recurring_fee="",
            reservation_unused_amortized_upfront_fee_for_billing_period="",
        ),
    ]
    lines[1] |= {"savings_plan_total_commitment_to_date": "", "savings_plan_used_commitment": ""}
    found = source()

    rows, rejected, _ = rows_of(found, found.open_bytes(name="cur", content=write(lines)))

    assert rejected == []
    assert totals(rows) == {
        "billed_cost": "0.1",
        "effective_cost": "0.35",
        "list_cost": "0.4",
        "contracted_cost": "0.4",
    }
    assert [row["commitment_discount_id"] for row in rows] == ["", bills.PLAN, bills.PLAN, "r"]
    first = rows[0]
    assert (first["service_name"], first["region_id"], first["sub_account_id"], first["sub_account_name"]) == (
        "Amazon Elastic Compute Cloud",
        "us-east-1",
        "111122223333",
        "search prod",
    )
    assert (first["attr_team"], orjson.loads(first["tags"])) == (
        "search",
        {"Tier": "gold", "cost-centre": "42", "team": "search"},
    )
    assert (first["charge_period_start"], str(first["billing_period_start"])) == (
        datetime(2026, 10, 3, tzinfo=UTC),
        "2026-10-01",
    )
    assert (first["billing_account_id"], first["invoice_id"], first["pricing_unit"]) == ("999900001111", "777", "Hrs")
    assert orjson.loads(first["extra"])["line_item_operation"] == "RunInstances"


def test_t52_it_reads_reports_zipped_by_hand_of_the_vendor() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report-1.csv", gzip.decompress(bills.legacy_gz([line("1.5")])))
    found = source()

    rows, _, _ = rows_of(found, found.open_bytes(name="report-1.csv.zip", content=packed.getvalue()))

    assert totals(rows)["billed_cost"] == "1.5"
    with pytest.raises(BadDelivery, match="damaged"):
        rows_of(found, found.open_bytes(name="report-1.csv.zip", content=packed.getvalue()[:-30]))


def test_t53_it_will_not_count_two_exports_of_one_account(s3: S3, bucket: str) -> None:
    arn = "arn:aws:bcm-data-exports:us-east-1:999900001111:export/"
    for export in ("daily", "hourly"):
        bills.deliver(s3, bucket, bills.parquet([line("1")]), export=export, exportArn=arn + export)
    settings = {"url": f"s3://{bucket}/cur2", **s3.config}

    (raw,) = source(export="hourly", **settings).read({}, ALWAYS)

    assert raw.export == "999900001111/hourly"
    with pytest.raises(SourceUnavailable, match=r"999900001111.*daily, hourly; set the export's name"):
        list(source(**settings).read({}, ALWAYS))


def test_t78_it_reads_the_rest_where_one_manifest_is_damaged(s3: S3, bucket: str) -> None:
    bills.deliver(s3, bucket, bills.parquet([line("1")]))
    s3.client().put_object(Bucket=bucket, Key="cur2/other/manifest.json", Body=b"{")
    units = source(url=f"s3://{bucket}/cur2", **s3.config).read({}, ALWAYS)

    good = next(units)

    assert good.export == "cur"
    with pytest.raises(BadDelivery, match=r"cur2/other/manifest\.json.*not valid JSON"):
        next(units)


def test_t54_it_passes_over_exports_that_are_no_report(s3: S3, bucket: str) -> None:
    bills.deliver(s3, bucket, bills.parquet([line("1")]))
    bills.deliver(s3, bucket, b"PAR1", export="focus", columns=[{"name": "BilledCost", "type": "double"}])

    units = list(source(url=f"s3://{bucket}/cur2", **s3.config).read({}, ALWAYS))

    assert [raw.export for raw in units] == ["cur"]


# Costs


def test_t55_it_amortises_a_month_of_a_savings_plan_to_the_last_digit() -> None:
    # Three hours of a plan of 0.60 an hour: 0.60, 0.45 and 0 of it are used; a fourth hour is on demand.
    lines = [
        *bills.covered("1.00", "0.60"),
        bills.plan_fee("0.60", used="0.60"),
        *bills.covered("0.75", "0.45"),
        bills.plan_fee("0.60", used="0.45"),
        bills.plan_fee("0.60", used="0"),
        line("1.00"),
        line("300", line_item_line_item_type="SavingsPlanUpfrontFee", savings_plan_savings_plan_a_r_n=bills.PLAN),
    ]

    rows = read(*lines)

    # Invoiced: three fees, the on-demand hour and the upfront payment. Amortised: what was used, what was not (0.75), on demand.
    assert totals(rows) == {
        "billed_cost": "302.8",
        "effective_cost": "2.8",
        "list_cost": "2.75",
        "contracted_cost": "2.75",
    }
    fees = [row for row in rows if row["charge_frequency"] == "Recurring"]
    assert [(row["effective_cost"], row["commitment_discount_status"]) for row in fees] == [
        ("0.0", ""),
        ("0.15", "Unused"),
        ("0.6", "Unused"),
    ]
    assert {row["purchase_option"] for row in rows if row["commitment_discount_id"]} == {"savings_plan"}
    assert rows[0]["commitment_discount_status"] == "Used"


def test_t56_it_counts_the_usage_of_a_savings_plan_once() -> None:
    rows = read(*bills.covered("1.00", "0.60", line_item_usage_amount="2"), bills.plan_fee("0.60", used="0.60"))

    hours = [row["consumed_quantity"] for row in rows if row["charge_category"] == "Usage"]
    assert hours == ["2", "0"]
    assert [row["pricing_quantity"] for row in rows[:2]] == ["2", "0"]


def test_t57_it_amortises_a_month_of_reservations_to_the_last_digit() -> None:
    arn = {"reservation_reservation_a_r_n": bills.RESERVATION}
    lines = [
        line("744", line_item_line_item_type="Fee", **arn),
        line(
            "29.76",
            line_item_line_item_type="RIFee",
            reservation_unused_recurring_fee="9.92",
            reservation_unused_amortized_upfront_fee_for_billing_period="20.666666666666668",
            **arn,
        ),
        line(
            "0",
            line_item_line_item_type="DiscountedUsage",
            reservation_effective_cost="61.17333333333333",
            pricing_public_on_demand_cost="96",
            **arn,
        ),
        line(
            "15",
            line_item_line_item_type="Fee",
            line_item_usage_type="",
            line_item_operation="",
            line_item_product_code="AWSSupportBusiness",
            product={"product_name": "AWS Support (Business)"},
        ),
    ]

    rows = read(*lines)

    # 9.92 + 20.666666666666668 unused, 61.17333333333333 used, 15 for a fee that is no reservation's.
    assert totals(rows) == {
        "billed_cost": "788.76",
        "effective_cost": "106.759999999999998",
        "list_cost": "111",
        "contracted_cost": "111",
    }
    assert rows[1]["effective_cost"] == "30.586666666666668"
    assert [row["purchase_option"] for row in rows] == ["reserved", "reserved", "reserved", ""]
    assert [row["commitment_discount_status"] for row in rows] == ["", "Unused", "Used", ""]
    assert [row["charge_category"] for row in rows] == ["Purchase", "Purchase", "Usage", "Purchase"]


@pytest.mark.parametrize(
    "without",
    [
        ("savings_plan_savings_plan_effective_cost",),
        ("savings_plan_used_commitment",),
        ("savings_plan_total_commitment_to_date",),
    ],
)
def test_t58_it_never_amortises_half_of_a_commitment(without: tuple[str, ...]) -> None:
    content = bills.parquet([*bills.covered("1.00", "0.60"), bills.plan_fee("0.60", used="0.45")], without=without)
    found = source()

    rows, _, _ = rows_of(found, found.open_bytes(name="cur", content=content))

    assert totals(rows)["effective_cost"] == totals(rows)["billed_cost"] == "0.6"


def test_t59_it_takes_net_costs_and_no_discount_twice() -> None:
    discount = line("-0.10", line_item_line_item_type="EdpDiscount")
    rows = read(
        line("1.00", line_item_net_unblended_cost="0.90"),
        discount,
        *bills.covered(
            "2.00",
            "1.20",
            savings_plan_net_savings_plan_effective_cost="1.08",
            savings_plan_used_commitment="",
            savings_plan_total_commitment_to_date="",
        ),
    )
    gross = read(line("1.00"), discount)

    assert [row["billed_cost"] for row in rows] == ["0.9", "0", "2", "-2"]
    assert totals(rows)["effective_cost"] == "1.98"
    assert totals(gross)["billed_cost"] == "0.9"
    assert gross[1]["charge_category"] == "Adjustment"


def test_t60_it_tells_tax_credit_and_refund() -> None:
    rows = read(
        line(
            "1.9",
            line_item_line_item_type="Tax",
            line_item_usage_type="",
            line_item_resource_id="",
            product_region_code="",
            line_item_tax_type="VAT",
        ),
        line("-2", line_item_line_item_type="Credit"),
        line("-3", line_item_line_item_type="Refund"),
        line("-0.5", line_item_line_item_type="BundledDiscount"),
    )

    assert [row["charge_category"] for row in rows] == ["Tax", "Credit", "Adjustment", "Adjustment"]
    assert [row["charge_class"] for row in rows] == ["", "", "Correction", ""]
    assert orjson.loads(rows[0]["extra"])["line_item_tax_type"] == "VAT"
    assert totals(rows)["billed_cost"] == totals(rows)["effective_cost"] == "-3.6"


@pytest.mark.django_db
def test_t61_it_keeps_lines_of_the_future_and_is_not_more_complete_for_them(s3: S3, bucket: str) -> None:
    ahead = {
        "line_item_usage_start_date": "2026-11-20T00:00:00Z",
        "line_item_usage_end_date": "2026-11-21T00:00:00Z",
        "bill_billing_period_start_date": "2026-11-01T00:00:00Z",
    }
    today = ahead | {
        "line_item_usage_start_date": "2026-11-03T22:00:00Z",
        "line_item_usage_end_date": "2026-11-03T23:00:00Z",
    }
    bills.deliver(
        s3,
        bucket,
        bills.parquet([line("1", **today), bills.plan_fee("5", used="5", **ahead), line("2", **ahead)]),
        month="2026-11",
    )

    sync(create(s3, bucket))

    (found,) = queries.sources(now=NOW)
    assert found.complete_through == datetime(2026, 11, 3, tzinfo=UTC)
    assert booked(by="(charge_period_start AT TIME ZONE 'UTC')::date::text") == {"2026-11-03": "1", "2026-11-20": "7"}


# Split cost allocation


def child(parent: str, used: str, unused: str = "0", **columns: Any) -> bills.Line:
    """A pod's part of a machine."""
    return line(
        "0",
        **{
            "line_item_product_code": "AmazonEKS",
            "line_item_usage_type": "USE1-EKS-EC2-vCPU-Hours",
            "line_item_operation": "EKSPod-EC2",
            "line_item_resource_id": "arn:aws:eks:us-east-1:111122223333:pod/prod/search/api/1",
            "split_line_item_parent_resource_id": parent,
            "split_line_item_split_cost": used,
            "split_line_item_unused_cost": unused,
            "split_line_item_split_usage": "0.5",
            "resource_tags": {"aws_eks_namespace": "search"},
        }
        | columns,
    )


def machine_month() -> list[bills.Line]:
    """Two machines of which one is split, one hour each, an hour later the first again, and traffic of the first."""
    later = {"line_item_usage_start_date": "2026-10-03T01:00:00Z", "line_item_usage_end_date": "2026-10-03T02:00:00Z"}
    return [
        line("0.1632"),
        line("0.02", line_item_usage_type="USE1-DataTransfer-Out-Bytes"),
        line("0.1632", line_item_resource_id="i-2"),
        line("0.1632", **later),
        child("i-1", "0.0544", "0.0123456789012"),
        child("i-1", "0.05", "0.03"),
        child("i-1", "0.1632", "0", **later),
    ]


def test_t62_it_counts_the_machine_or_its_children_and_never_both() -> None:
    lines = machine_month()
    content = bills.parquet(lines)
    machines, pods = source(), source(**CHILDREN)

    parents, _, left_out = rows_of(machines, machines.open_bytes(name="cur", content=content))
    children, rejected, none_left_out = rows_of(pods, pods.open_bytes(name="cur", content=content))

    assert totals(parents) == totals(children) == dict.fromkeys(COSTS, "0.5096")
    assert (len(parents), sum(left_out.values())) == (4, 3)
    assert list(left_out) == ["part of a machine whose own line counts (split cost allocation)"]
    assert (len(children), rejected, none_left_out) == (7, [], {})
    # 0.1632 - 0.0667456789012 - 0.08 is what the pods left of the first hour; of the second they left nothing.
    left = [Decimal(each) for each in ("0.0164543210988", "0.02", "0.1632", "0", "0.0667456789012", "0.08", "0.1632")]
    assert [Decimal(row["effective_cost"]) for row in children] == left
    assert [row["row_number"] for row in children] == [1, 2, 3, 4, 5, 6, 7]
    assert (children[4]["consumed_quantity"], orjson.loads(children[4]["tags"])) == (
        "0.5",
        {"aws_eks_namespace": "search"},
    )


def test_t63_it_finds_the_machine_of_a_child_in_another_file(s3: S3, bucket: str) -> None:
    lines = machine_month()
    bills.deliver(s3, bucket, bills.parquet(lines[4:]), bills.csv_gz(lines[:2]), bills.parquet(lines[2:4]))
    found = source(url=f"s3://{bucket}/cur2", **s3.config, **CHILDREN)

    (raw,) = found.read({}, ALWAYS)
    rows, _, _ = rows_of(found, raw)

    assert totals(rows)["effective_cost"] == "0.5096"
    assert len(rows) == 7


def test_t64_it_splits_what_a_commitment_covers_by_effective_cost_and_leaves_the_bill_with_it() -> None:
    columns = {"savings_plan_total_commitment_to_date": "", "savings_plan_used_commitment": ""}
    content = bills.parquet(
        [
            *bills.covered("1.00", "0.60", **columns),
            bills.plan_fee("0.60", used="0.60"),
            child("i-1", "0.25", "0.05", split_line_item_public_on_demand_split_cost="0.5"),
        ]
    )
    pods, machines = source(**CHILDREN), source()

    rows, _, _ = rows_of(pods, pods.open_bytes(name="cur", content=content))
    whole, _, _ = rows_of(machines, machines.open_bytes(name="cur", content=content))

    assert totals(rows) == totals(whole)
    pod = rows[-1]
    assert (pod["billed_cost"], pod["effective_cost"], pod["list_cost"]) == ("0", "0.3", "0.5")
    assert [row["effective_cost"] for row in rows[:2]] == ["0.3", "0"]


def test_t65_it_adds_no_child_whose_machine_is_not_in_the_bill() -> None:
    content = bills.parquet([line("1"), child("i-elsewhere", "0.5")])
    found = source(**CHILDREN)

    rows, _, skipped = rows_of(found, found.open_bytes(name="cur", content=content))

    assert totals(rows)["effective_cost"] == "1"
    assert skipped == {"part of a machine that is not in this bill (split cost allocation)": 1}


@pytest.mark.parametrize("counts", ["parents", "children"])
def test_t66_it_keeps_a_task_that_has_a_cost_of_its_own(counts: str) -> None:
    task = child("i-1", "0.5") | {
        "line_item_unblended_cost": "0.7",
        "line_item_usage_type": "USE1-Fargate-vCPU-Hours:perCPU",
    }

    rows = read(line("1"), task, split_cost_allocation=counts)

    assert totals(rows)["billed_cost"] == totals(rows)["effective_cost"] == "1.7"


def test_t67_it_takes_from_several_lines_of_a_machine_in_turn() -> None:
    columns = {
        "reservation_reservation_a_r_n": "r",
        "reservation_unused_recurring_fee": "",
        "reservation_unused_amortized_upfront_fee_for_billing_period": "",
    }
    lines = [
        line("0", line_item_line_item_type="DiscountedUsage", reservation_effective_cost="0.4", **columns),
        line("0.5"),
        child("i-1", "0.6"),
    ]

    rows = read(*lines, **CHILDREN)

    assert [Decimal(row["effective_cost"]) for row in rows] == [Decimal("0.3"), Decimal(0), Decimal("0.6")]
    assert totals(rows)["billed_cost"] == "0.5"


@settings(max_examples=40, deadline=None)
@given(
    machines=st.lists(_COSTS, min_size=1, max_size=4),
    parts=st.lists(st.tuples(st.integers(0, 4), _COSTS, _COSTS), max_size=6),
)
def test_t77_it_never_changes_the_total_by_splitting_it(
    machines: list[Decimal], parts: list[tuple[int, Decimal, Decimal]]
) -> None:
    lines = [line(f"{cost:f}", line_item_resource_id=f"i-{at}") for at, cost in enumerate(machines)]
    lines += [child(f"i-{at}", f"{used:f}", f"{unused:f}") for at, used, unused in parts]
    content = bills.csv_gz(lines)
    whole, split = source(), source(**CHILDREN)

    parents, _, left_out = rows_of(whole, whole.open_bytes(name="cur", content=content))
    children, _, orphans = rows_of(split, split.open_bytes(name="cur", content=content))

    with localcontext(prec=100):
        assert totals(parents) == totals(children)
        assert totals(parents)["billed_cost"] == format(sum(machines).normalize(), "f")
    assert len(parents) + sum(left_out.values()) == len(children) + sum(orphans.values()) == len(lines)


# What a line is for


def test_t68_it_names_models_however_bedrock_bills_them() -> None:
    bedrock = {
        "line_item_product_code": "AmazonBedrock",
        "product": {"product_name": "Amazon Bedrock"},
        "line_item_resource_id": "",
    }
    market = {
        "line_item_product_code": "3bp9elbyqcyt",
        "bill_billing_entity": "AWS Marketplace",
        "line_item_resource_id": "",
        "product": {"product_name": "Claude Sonnet 4.5 (Amazon Bedrock Edition)"},
        "line_item_line_item_description": "AWS Marketplace software usage|us-east-1|Million tokens",
    }
    rows = read(
        *(
            line("1", line_item_usage_type=f"USE1-{each}", **bedrock)
            for each in (
                "Claude4.5Sonnet-input-tokens",
                "Nova2.0Lite-cache-read-input-token-count",
                "NovaPro-output-tokens",
                "Claude4.5Haiku-output-tokens-cross-region-global",
                "ProvisionedThroughput-Custom-ModelUnit",
            )
        ),
        *(
            line("1", line_item_usage_type=f"USE1-MP:USE1_{each}-Units", **market)
            for each in ("InputTokenCount", "output_tokens_standard", "cache_write_1h_input_tokens_global")
        ),
    )

    assert [(row["model"].partition(".")[2], row["token_kind"]) for row in rows] == [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "input_uncached"),
        ("amazon.nova-2-lite-v1:0", "cache_read"),
        ("nova-pro-v1:0", "output"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "output"),
        ("", ""),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "input_uncached"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "output"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "cache_write_1h"),
    ]
    assert {row["service_category"] for row in rows} == {"AI and Machine Learning"}


def test_t69_it_takes_calls_across_all_regions_for_the_cheaper_global_model() -> None:
    rows = read(
        *(
            line("1", line_item_usage_type=f"USE1-Claude4.5Sonnet-input-tokens{each}")
            for each in ("", "-cross-region-global")
        )
    )

    assert [row["model"].partition(".")[0] for row in rows] == ["regional", "global"]


def test_t70_it_names_marketplace_lines_by_product_and_seller() -> None:
    (row,) = read(
        line(
            "99",
            bill_billing_entity="AWS Marketplace",
            line_item_product_code="4k2j3h4kj2h3",
            line_item_legal_entity="Datadog, Inc.",
            product={"product_name": "Datadog Pro"},
        )
    )

    assert (row["service_name"], row["service_provider_name"], row["host_provider_name"]) == (
        "Datadog Pro",
        "Datadog, Inc.",
        "AWS",
    )
    assert row["invoice_issuer_name"] == "Amazon Web Services, Inc."


@pytest.mark.parametrize(
    ("usage_type", "more", "bought", "category"),
    [
        ("USE1-BoxUsage:p5.48xlarge", {}, "on_demand", "Standard"),
        ("USE1-SpotUsage:g6.xlarge", {}, "spot", "Dynamic"),
        ("USE1-BoxUsage:g5.xlarge", {"line_item_line_item_type": "DiscountedUsage"}, "reserved", "Committed"),
        (
            "USE1-BoxUsage:g5.xlarge",
            {"line_item_line_item_type": "SavingsPlanCoveredUsage"},
            "savings_plan",
            "Committed",
        ),
        ("USE1-Host:ml.g5.2xlarge", {"line_item_product_code": "AmazonSageMaker"}, "on_demand", "Standard"),
        ("USE1-ServerlessInf:Mem-4GB", {"line_item_product_code": "AmazonSageMaker"}, "serverless", "Standard"),
    ],
)
def test_t71_it_tells_how_a_machine_was_bought(
    usage_type: str, more: dict[str, str], bought: str, category: str
) -> None:
    (row,) = read(line("1", line_item_usage_type=usage_type, **more))

    assert (row["purchase_option"], row["pricing_category"]) == (bought, category)


def test_t72_it_knows_endpoints_and_training_jobs_by_their_arn_and_machines_by_their_type() -> None:
    arn = "arn:aws:sagemaker:us-east-1:111122223333:"
    rows = read(
        line(
            "1",
            line_item_product_code="AmazonSageMaker",
            line_item_usage_type="USE1-Host:ml.g5.2xlarge",
            line_item_resource_id=f"{arn}endpoint/answers",
        ),
        line(
            "1",
            line_item_product_code="AmazonSageMaker",
            line_item_usage_type="USE1-Train:ml.p4d.24xlarge",
            line_item_resource_id=f"{arn}training-job/lora-7",
        ),
        line("1", line_item_usage_type="USE1-SpotUsage:g6.xlarge"),
        line("1", line_item_usage_type="BoxUsage:p5.48xlarge", product_instance_type="p5.48xlarge"),
        line("1", line_item_usage_type="USE1-EBS:VolumeUsage.gp3", line_item_resource_id="vol-1"),
    )

    assert [(row["resource_type"], row["resource_name"]) for row in rows] == [
        ("endpoint", "answers"),
        ("training-job", "lora-7"),
        ("g6.xlarge", ""),
        ("p5.48xlarge", ""),
        ("", ""),
    ]
    assert [orjson.loads(row["extra"]).get("product_instance_type", "") for row in rows] == [
        "ml.g5.2xlarge",
        "ml.p4d.24xlarge",
        "g6.xlarge",
        "p5.48xlarge",
        "",
    ]


def test_t73_it_reads_whose_a_line_is_from_tags_principals_and_cost_categories() -> None:
    principal = "arn:aws:sts::111122223333:assumed-role/answers/i-1"
    rows = read(
        line(
            "1",
            resource_tags={"user_team": "search", "user_Name": "x"},
            cost_category={"team": "platform", "env": "prod"},
            tags={"iamPrincipal/team": "ben", "iamPrincipal/feature": "answers"},
            line_item_iam_principal=principal,
        ),
        line("1", resource_tags={"user_squad": "blue"}),
        tag_map={"cost_centre": "squad"},
        tag_keys=["Name"],
    )

    first, second = rows
    assert (first["attr_key"], first["attr_team"], first["attr_feature"], first["attr_environment"]) == (
        principal,
        "search",
        "answers",
        "prod",
    )
    assert orjson.loads(first["tags"]) == {
        "Name": "x",
        "costCategory/team": "platform",
        "env": "prod",
        "feature": "answers",
        "iamPrincipal/team": "ben",
        "team": "search",
    }
    assert (first["attr_tags"], second["attr_cost_centre"], second["attr_account"]) == (
        '{"Name":"x"}',
        "blue",
        "111122223333",
    )


def test_t74_it_keeps_of_a_wide_report_what_says_something() -> None:
    (row,) = read(
        line(
            "1",
            line_item_blended_cost="7",
            identity_line_item_id="abc",
            pricing_term="OnDemand",
            pricing_offering_class="standard",
            reservation_number_of_reservations="0",
            product_instance_family="GPU instance",
            product_vcpu="8",
            discount={},
            brand_new_column="kept",
        )
    )

    assert orjson.loads(row["extra"]) == {
        "brand_new_column": "kept",
        "line_item_operation": "RunInstances",
        "line_item_product_code": "AmazonEC2",
        "pricing_offering_class": "standard",
        "product_instance_family": "GPU instance",
        "product_instance_type": "m7g.xlarge",
    }


# What is refused, and what a test of the connection says


@pytest.mark.parametrize("cost", ["NaN", "inf"])
@pytest.mark.django_db
def test_t75_it_refuses_a_bill_with_a_cost_that_is_no_number(cost: str, s3: S3, bucket: str) -> None:
    bills.deliver(s3, bucket, bills.parquet([line("1")]))
    source_id = create(s3, bucket)
    sync(source_id)
    bills.deliver(s3, bucket, bills.parquet([line("1"), line(cost)]))

    (result,) = sync(source_id)

    assert result.state == "refused"
    assert "cur-00001.snappy.parquet, row 2, BilledCost" in result.error
    assert booked() == {"all": "1"}


def test_t76_it_names_a_missing_column() -> None:
    found = source()
    content = bills.csv_gz([line()], without=("line_item_unblended_cost",))

    with pytest.raises(BadDelivery, match=r"cur\.csv\.gz.*line_item_unblended_cost is missing.*add it to the export"):
        rows_of(found, found.open_bytes(name="cur.csv.gz", content=content))


def test_it_refuses_a_damaged_file_by_name() -> None:
    found = source()

    for content in (bills.parquet([line()])[:-20], bills.csv_gz([line()])[:-20]):
        with pytest.raises(BadDelivery, match=r"^cur,.*truncated"):
            rows_of(found, found.open_bytes(name="cur", content=content))


@pytest.mark.parametrize("counts", ["parents", "children"])
def test_t247_it_takes_an_exact_zero_for_nothing(counts: str) -> None:
    """Exact columns of Parquet write it as 0E-12."""
    written = pq.read_table(io.BytesIO(bills.parquet(machine_month())))
    exact = [
        column.cast(pa.decimal128(38, 12)) if pa.types.is_floating(column.type) else column
        for column in written.columns
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.table(exact, names=written.column_names), buffer)
    found = source(split_cost_allocation=counts)

    in_doubles = rows_of(found, found.open_bytes(name="cur.parquet", content=bills.parquet(machine_month())))
    in_decimals = rows_of(found, found.open_bytes(name="cur.parquet", content=buffer.getvalue()))

    assert [totals(rows) for rows, _, _ in (in_decimals, in_doubles)] == [totals(in_doubles[0])] * 2
    assert (len(in_decimals[0]), *in_decimals[1:]) == (len(in_doubles[0]), *in_doubles[1:])


def test_it_refuses_a_split_that_is_no_number_by_row() -> None:
    found = source(**CHILDREN)
    content = bills.csv_gz([line("1"), child("i-1", "much")])

    with pytest.raises(BadDelivery, match="cur, row 2, split_line_item_split_cost"):
        rows_of(found, found.open_bytes(name="cur", content=content))


def test_it_refuses_a_setting_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="split_cost_allocation is parents or children, not 'both'"):
        source(split_cost_allocation="both")


def told(found: aws_cur.AwsCur) -> list[Finding]:
    return list(found.probe(Window(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))))


def test_it_says_what_it_can_see_and_what_the_export_leaves_out(s3: S3, bucket: str) -> None:
    columns = [name for name in line() if name != "line_item_resource_id"] + [
        "savings_plan_savings_plan_effective_cost"
    ]
    bills.deliver(s3, bucket, bills.parquet([line()]), columns=[{"name": name, "type": "string"} for name in columns])

    found = told(source(url=f"s3://{bucket}/cur2", **s3.config))

    by_subject = {each.subject: each for each in found}
    assert by_subject["Export cur"].detail == "Billing periods: 2026-10"
    assert by_subject["Column line_item_resource_id of cur"].state == "note"
    assert "reservation_effective_cost" in " ".join(by_subject)
    assert "savings_plan" not in " ".join(by_subject)
    assert {each.state for each in found} == {"ok", "note"}
    assert found[-1].subject == "Read" and found[-1].state == "ok"


def test_it_says_that_a_manifest_is_damaged_and_goes_on(s3: S3, bucket: str) -> None:
    bills.deliver(s3, bucket, bills.parquet([line("1")]))
    s3.client().put_object(Bucket=bucket, Key="cur2/half/half-Manifest.json", Body=b'{"dataFiles"')

    findings = {each.subject: each for each in told(source(url=f"s3://{bucket}/cur2", **s3.config))}

    assert "half-Manifest.json" in findings["Manifests"].detail
    assert findings["Export cur"].state == "ok"


def test_it_says_that_there_is_no_manifest_yet(s3: S3, bucket: str) -> None:
    s3.client().put_object(
        Bucket=bucket, Key="cur2/cur/data/BILLING_PERIOD=2026-10/cur-00001.snappy.parquet", Body=b"x"
    )
    found = source(url=f"s3://{bucket}/cur2", **s3.config)

    missing = [each for each in told(found) if each.state == "missing"]

    assert [each.subject for each in missing] == ["Manifests"]
    assert list(found.read({}, ALWAYS)) == []


def test_it_says_which_right_to_grant_when_it_may_not_read(s3: S3) -> None:
    found = told(source(url="s3://nowhere/cur2", **s3.config))

    assert [each.state for each in found] == ["missing", "missing"]
    assert "NoSuchBucket" in found[0].detail
    assert "s3:ListBucket" in found[-1].remedy and "test" not in found[-1].detail


@pytest.mark.django_db
def test_it_reads_in_a_role_of_the_customers_account(s3: S3, bucket: str) -> None:
    bills.deliver(s3, bucket, bills.parquet([line("1.25")]))

    (result,) = sync(create(s3, bucket, role_arn="arn:aws:iam::111122223333:role/costobs", external_id="acme"))

    assert result.state == "succeeded"
    assert booked() == {"all": "1.25"}


def test_it_reads_files_and_folders_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(bills.parquet([line("1")]))
    (tmp_path / "b.csv.gz").write_bytes(bills.csv_gz([line("2")]))
    found = source()

    (folder,) = found.open_paths([str(tmp_path)])
    (single,) = found.open_paths([str(tmp_path / "b.csv.gz")])

    assert totals(rows_of(found, folder)[0])["billed_cost"] == "3"
    assert (single.export, totals(rows_of(found, single)[0])["billed_cost"]) == ("b", "2")
