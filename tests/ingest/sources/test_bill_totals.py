"""Whole bills from the vendor's files to the books, against sums that the standard library makes of the same files."""

import csv
import gzip
import io
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from django.core.management import call_command
from django.db import connection

from attribution import verify
from ingest import configure, load
from ingest.models import Delivery
from ingest.sources.base import Window
from tests.attribution import world
from tests.ingest.sources import aws_bills as bills
from tests.ingest.sources.aws_bills import line
from tests.servers import bigquery, google_api
from tests.servers.s3 import CREDENTIALS, S3

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OCTOBER = Window(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
BOTH = ("billed_cost", "effective_cost")
Sums = dict[tuple[str, str], tuple[Decimal, Decimal]]  # day and currency -> billed, effective
Costs = tuple[str, str, str, str]  # day, currency, billed, effective

pytestmark = pytest.mark.django_db


def summed(rows: Iterable[Costs]) -> Sums:
    found: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    with localcontext(prec=200):
        for day, currency, billed, effective in rows:
            found[day, currency][0] += Decimal(billed)
            found[day, currency][1] += Decimal(effective)
    return {key: (billed, effective) for key, (billed, effective) in found.items()}


def in_books() -> Sums:
    """The books of every day as they are shown: what counts, of every share."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT day::text, currency, sum(billed_cost), sum(effective_cost) FROM attribution_dailycost"
            " WHERE is_current GROUP BY 1, 2"
        )
        return {(day, currency): (billed, effective) for day, currency, billed, effective in cursor.fetchall()}


def delivered() -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for each in Delivery.objects.filter(state="current"):
        for currency, billed in each.billed_cost.items():
            found[currency] += Decimal(billed)
    return dict(found)


def proven(source_id: int, expected: Sums) -> None:
    """Loads the source, makes its days, and compares: deliveries, the proof of the books, and each day, to the last digit."""
    states = [each.state for each in load.sync(source_id=source_id, window=OCTOBER, now=NOW)]
    world.settle()
    call_command("verify", stdout=io.StringIO())

    of_currency: dict[str, Decimal] = defaultdict(Decimal)
    for (_, currency), (billed, _) in expected.items():
        of_currency[currency] += billed
    assert states == ["succeeded"]
    assert delivered() == of_currency
    assert verify.run().failures == ()
    assert in_books() == expected


# AWS


def aws_lines(random_: random.Random) -> Iterator[bills.Line]:
    """A month of every type of line; as AWS writes them, with up to ten decimals, some of them negative."""

    def cost(top: int = 1000, places: int = 10) -> str:
        return str(Decimal(random_.randrange(top * 10**places)).scaleb(-places))

    types: tuple[Callable[[], dict[str, str]], ...] = (
        dict,
        lambda: {"line_item_line_item_type": "Tax", "line_item_product_code": "AmazonEC2"},
        lambda: {"line_item_line_item_type": "Credit", "line_item_unblended_cost": f"-{cost()}"},
        lambda: {
            "line_item_line_item_type": "Refund",
            "line_item_unblended_cost": f"-{cost()}",
            "bill_bill_type": "Refund",
        },
        lambda: {
            "line_item_line_item_type": "DiscountedUsage",
            "line_item_unblended_cost": "0",
            "reservation_effective_cost": cost(),
        },
        lambda: {
            "line_item_line_item_type": "RIFee",
            "reservation_unused_recurring_fee": cost(),
            "reservation_unused_amortized_upfront_fee_for_billing_period": cost(),
        },
        lambda: {
            "line_item_line_item_type": "SavingsPlanCoveredUsage",
            "savings_plan_savings_plan_effective_cost": cost(),
        },
        lambda: {"line_item_line_item_type": "SavingsPlanNegation", "line_item_unblended_cost": f"-{cost()}"},
        lambda: {
            "line_item_line_item_type": "SavingsPlanRecurringFee",
            "savings_plan_total_commitment_to_date": cost(2000),
            "savings_plan_used_commitment": cost(),
        },
        lambda: {"bill_billing_entity": "AWS Marketplace", "line_item_legal_entity": "Anthropic"},
        lambda: {"line_item_currency_code": "EUR"},
    )
    for number in range(3_000):
        starts = datetime(2026, 10, 1, tzinfo=UTC) + timedelta(hours=random_.randrange(744))
        yield line(
            cost(),
            **{
                "line_item_usage_start_date": starts.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "line_item_usage_end_date": (starts + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "line_item_resource_id": f"i-{number % 40}",
                "resource_tags": {"user_team": f"team {number % 7}"},
                **types[number % len(types)](),
            },
        )


def aws_costs(content: bytes) -> Iterator[Costs]:
    """What is billed and what is used up, of each line as it stands in the file."""
    if content[:4] == b"PAR1":
        lines = pq.read_table(io.BytesIO(content)).to_pylist()
    else:
        lines = list(csv.DictReader(io.StringIO(gzip.decompress(content).decode())))

    def number(of: Mapping[str, Any], name: str) -> Decimal:
        told = of.get(name)
        return Decimal(repr(told) if isinstance(told, float) else told or 0)

    for each in lines:
        billed = number(each, "line_item_unblended_cost")
        unused = (
            number(each, "reservation_unused_recurring_fee"),
            number(each, "reservation_unused_amortized_upfront_fee_for_billing_period"),
        )
        commitment = (
            number(each, "savings_plan_total_commitment_to_date"),
            number(each, "savings_plan_used_commitment"),
        )
        effective = {
            "SavingsPlanCoveredUsage": number(each, "savings_plan_savings_plan_effective_cost"),
            "SavingsPlanNegation": Decimal(0),
            "SavingsPlanRecurringFee": commitment[0] - commitment[1],
            "DiscountedUsage": number(each, "reservation_effective_cost"),
            "RIFee": unused[0] + unused[1],
        }.get(each["line_item_line_item_type"], billed)
        day = str(each["line_item_usage_start_date"])[:10]
        yield day, each["line_item_currency_code"], str(billed), str(effective)


def test_it_books_a_mixed_month_of_aws_to_the_last_digit(s3: S3) -> None:
    lines = list(aws_lines(random.Random(20261128)))
    files = [bills.parquet(lines[:1_100]), bills.csv_gz(lines[1_100:2_000]), bills.parquet(lines[2_000:])]
    s3.client().create_bucket(Bucket="whole-month")
    bills.deliver(s3, "whole-month", *files)
    config = {"url": "s3://whole-month/cur2", **s3.config}
    source_id = configure.create_source(
        kind="aws_cur", name="whole month", config=config, credentials=CREDENTIALS, now=NOW
    )

    expected = summed(each for content in files for each in aws_costs(content))

    assert len(expected) > 31
    proven(source_id, expected)


# Azure

TITLES = (
    "Date,SubscriptionId,ResourceId,MeterCategory,MeterId,MeterName,UnitOfMeasure,Quantity,CostInBillingCurrency,"
    "BillingCurrency,ChargeType,PricingModel,ReservationId,Tags"
)


def azure_month(random_: random.Random) -> tuple[bytes, bytes]:
    """ActualCost and AmortizedCost of one month: lines in both, often several alike, and lines in one of them alone."""
    actual, amortised = [TITLES], [TITLES]
    for number in range(2_000):
        day = date(2026, 10, 1) + timedelta(days=random_.randrange(31))
        cost = str(Decimal(random_.randrange(10**20)).scaleb(-17))
        alike = f"10/{day.day:02}/2026,S1,/vm{number % 9},Virtual Machines,m-{number % 4},H100,1 Hour,{number % 3}"
        commitment = number % 5 == 0
        kind = f"EUR,Usage,{'Reservation' if commitment else 'OnDemand'},{'r-1' if commitment else ''},"
        actual.append(f"{alike},{0 if commitment else cost},{kind}")
        amortised.append(f"{alike},{cost},{kind}")
        if number % 50 == 0:
            actual.append(f"10/{day.day:02}/2026,S1,,Reservation,m-r,H100,1,1,{cost},EUR,Purchase,Reservation,r-1,")
        if number % 60 == 0:
            actual.append(f"10/{day.day:02}/2026,S1,,Reservation,m-r,H100,1,1,-{cost},EUR,Refund,Reservation,r-0,")
        if number % 70 == 0:
            amortised.append(
                f"10/{day.day:02}/2026,S1,,Virtual Machines,m-1,H100,1 Hour,1,{cost},EUR,UnusedReservation,Reservation,r-1,"
            )
    random_.shuffle(rest := amortised[1:])
    return "\n".join([*actual, ""]).encode(), "\n".join([TITLES, *rest, ""]).encode()


def azure_costs(content: bytes) -> Iterator[tuple[str, str, str]]:
    for each in csv.DictReader(io.StringIO(content.decode())):
        day = datetime.strptime(each["Date"], "%m/%d/%Y").replace(tzinfo=UTC)
        yield f"{day:%Y-%m-%d}", each["BillingCurrency"], each["CostInBillingCurrency"]


def test_it_books_a_joined_month_of_azure_to_the_last_digit(tmp_path: Any) -> None:
    contents = dict(zip(("ActualCost", "AmortizedCost"), azure_month(random.Random(7)), strict=True))
    for kind, content in contents.items():
        place = tmp_path / kind / "20261001-20261031"
        place.mkdir(parents=True)
        half = content.index(b"\n", len(content) // 2) + 1
        header = content[: content.index(b"\n") + 1]
        for name, part in (("part_0_0001.csv", content[:half]), ("part_1_0001.csv", header + content[half:])):
            (place / name).write_bytes(part)
        manifest = {
            "dataRowCount": content.count(b"\n") - 1,
            "exportConfig": {"exportName": kind, "type": kind, "resourceId": "subscriptions/S1"},
            "runInfo": {"runId": kind, "startDate": "2026-10-01T00:00:00", "endDate": "2026-10-31T00:00:00"},
            "blobs": [{"blobName": "part_0_0001.csv"}, {"blobName": "part_1_0001.csv"}],
        }
        (place / "manifest.json").write_bytes(orjson.dumps(manifest))
    source_id = configure.create_source(kind="azure_costs", name="joined", config={"url": str(tmp_path)}, now=NOW)

    billed = [(day, currency, cost, "0") for day, currency, cost in azure_costs(contents["ActualCost"])]
    used = [(day, currency, "0", cost) for day, currency, cost in azure_costs(contents["AmortizedCost"])]

    proven(source_id, summed([*billed, *used]))


# Google Cloud


def test_it_books_a_month_of_google_cloud_to_the_last_digit() -> None:
    random_ = random.Random(3)

    def cost(top: float = 50) -> float:
        return random_.uniform(-top / 50, top) if random_.random() < 0.8 else random_.uniform(0, 1e-6)

    rows = []
    for number in range(1_500):
        starts = datetime(2026, 10, 1, tzinfo=UTC) + timedelta(hours=random_.randrange(744))
        given = [bigquery.credit(-cost(5), "PROMOTION", name=f"c{each}") for each in range(number % 4)]
        rows.append(
            bigquery.row(
                cost(),
                credits=given,
                currency=("USD", "JPY")[number % 11 == 0],
                cost_type=("regular", "regular", "tax", "adjustment", "rounding_error")[number % 5],
                usage_start_time=f"{starts:%Y-%m-%dT%H:%M:%SZ}",
                usage_end_time=f"{starts + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
            )
        )
    amounts = [
        (each["usage_start_time"][:10], each["currency"], repr(amount), repr(amount))
        for each in rows
        for amount in (each["cost"], *(credit["amount"] for credit in each["credits"]))
    ]
    with google_api.started() as api:
        api.table()
        api.answer(
            ("month", "newest", "rows_in_all", "first", "last"),
            ["202610", "1790000000000000", str(len(rows)), "0", "0"],
        )
        api.answer(["line"], *([bigquery.line(bigquery.export(), each)] for each in rows))
        source_id = configure.create_source(kind="gcp_billing", name="google", config=api.config, now=NOW)

        proven(source_id, summed(amounts))
