"""AWS bills for tests: lines with CUR 2.0's columns, written and delivered as AWS does it."""

import csv
import gzip
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tests.servers.s3 import S3

Line = dict[str, Any]
MAPS = ("product", "resource_tags", "cost_category", "discount", "tags")
START = "2026-10-03T00:00:00Z"
END = "2026-10-03T01:00:00Z"
PLAN = "arn:aws:savingsplans::111122223333:savingsplan/0f1e"
RESERVATION = "arn:aws:ec2:us-east-1:111122223333:reserved-instances/ab12"
_NUMBERS = ("cost", "amount", "commitment", "to_date", "fee", "fee_for_billing_period", "split_usage", "rate")
_LEGACY = {
    "savings_plan_savings_plan_a_r_n": "savingsPlan/SavingsPlanARN",
    "reservation_reservation_a_r_n": "reservation/ReservationARN",
}
_CATEGORIES = ("line_item", "savings_plan", "split_line_item", "reservation", "identity", "pricing", "product", "bill")


def line(cost: str = "1", **columns: Any) -> Line:
    """A line of on-demand EC2 usage in October 2026, with what is given in place of that."""
    told: Line = {
        "bill_bill_type": "Anniversary",
        "bill_billing_entity": "AWS",
        "bill_billing_period_start_date": "2026-10-01T00:00:00Z",
        "bill_billing_period_end_date": "2026-11-01T00:00:00Z",
        "bill_invoice_id": "777",
        "bill_invoicing_entity": "Amazon Web Services, Inc.",
        "bill_payer_account_id": "999900001111",
        "line_item_usage_account_id": "111122223333",
        "line_item_usage_account_name": "search prod",
        "line_item_line_item_type": "Usage",
        "line_item_usage_start_date": START,
        "line_item_usage_end_date": END,
        "line_item_product_code": "AmazonEC2",
        "line_item_usage_type": "USE1-BoxUsage:m7g.xlarge",
        "line_item_operation": "RunInstances",
        "line_item_resource_id": "i-1",
        "line_item_usage_amount": "1",
        "line_item_currency_code": "USD",
        "line_item_unblended_cost": cost,
        "line_item_legal_entity": "Amazon Web Services, Inc.",
        "line_item_line_item_description": "an hour",
        "pricing_unit": "Hrs",
        "product_region_code": "us-east-1",
        "product": {"product_name": "Amazon Elastic Compute Cloud"},
        "resource_tags": {},
    }
    return told | columns


def parquet(lines: Sequence[Line], *, without: Sequence[str] = ()) -> bytes:
    """CUR 2.0 as Parquet: doubles, instants and maps."""
    columns: dict[str, pa.Array] = {}
    for name in _names(lines, without):
        values = [each.get(name) for each in lines]
        if name in MAPS:
            columns[name] = pa.array(
                [None if each is None else list(each.items()) for each in values], pa.map_(pa.string(), pa.string())
            )
        elif name.endswith("_date") and not name.endswith("_to_date"):
            moments = [datetime.fromisoformat(each) if each else None for each in values]
            columns[name] = pa.array(moments, pa.timestamp("ms", tz="UTC"))
        elif name.endswith(_NUMBERS):
            columns[name] = pa.array([float(each) if each else None for each in values], pa.float64())
        else:
            columns[name] = pa.array(values, pa.string())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def csv_gz(lines: Sequence[Line], *, without: Sequence[str] = ()) -> bytes:
    """CUR 2.0 as gzip CSV: maps are JSON objects."""
    names = _names(lines, without)
    rows = [[_cell(each.get(name)) for name in names] for each in lines]
    return gzip.compress(_csv([names, *rows]))


def legacy_gz(lines: Sequence[Line]) -> bytes:
    """A legacy report as gzip CSV: `lineItem/UnblendedCost`, and a column for each tag and cost category."""
    names = [name for name in _names(lines, ()) if name not in MAPS]
    tags = sorted({key for each in lines for key in each.get("resource_tags") or {}})
    categories = sorted({key for each in lines for key in each.get("cost_category") or {}})
    header = [*map(_slashed, names), "product/ProductName"]
    header += [f"resourceTags/{key.replace('user_', 'user:', 1)}" for key in tags]
    header += [f"costCategory/{key}" for key in categories]
    rows = [
        [
            *(_cell(each.get(name)) for name in names),
            (each.get("product") or {}).get("product_name", ""),
            *((each.get("resource_tags") or {}).get(key, "") for key in tags),
            *((each.get("cost_category") or {}).get(key, "") for key in categories),
        ]
        for each in lines
    ]
    return gzip.compress(_csv([header, *rows]))


def deliver(
    s3: S3, bucket: str, *files: bytes, run: str = "", month: str = "2026-10", export: str = "cur", **more: Any
) -> str:
    """A delivery of Data Exports below `cur2/`: overwritten, or kept in a folder of its own with `run`. The manifest's key."""
    client = s3.client()
    place = f"BILLING_PERIOD={month}/" + (f"{run}/" if run else "")
    keys = []
    for number, content in enumerate(files, 1):
        suffix = "snappy.parquet" if content[:4] == b"PAR1" else "csv.gz"
        keys.append(f"cur2/{export}/data/{place}{export}-{number:05}.{suffix}")
        client.put_object(Bucket=bucket, Key=keys[-1], Body=content)
    manifest = {
        "exportName": export,
        "executionId": run or "same",
        "dataFiles": [f"s3://{bucket}/{key}" for key in keys],
        **more,
    }
    key = f"cur2/{export}/metadata/{place}{export}-Manifest.json"
    client.put_object(Bucket=bucket, Key=key, Body=orjson.dumps(manifest))
    return key


def deliver_legacy(s3: S3, bucket: str, *files: bytes, assembly: str) -> None:
    """A delivery of a legacy report that keeps its versions: manifests of the assembly and of the month."""
    client = s3.client()
    month = "legacy/report/20261001-20261101"
    keys = [f"{month}/{assembly}/report-{number}.csv.gz" for number in range(1, len(files) + 1)]
    for key, content in zip(keys, files, strict=True):
        client.put_object(Bucket=bucket, Key=key, Body=content)
    manifest = {
        "assemblyId": assembly,
        "account": "999900001111",
        "columns": [{"category": "lineItem", "name": "UnblendedCost"}, {"category": "bill", "name": "InvoiceId"}],
        "reportName": "report",
        "billingPeriod": {"start": "20261001T000000.000Z", "end": "20261101T000000.000Z"},
        "bucket": bucket,
        "reportKeys": keys,
    }
    for key in (f"{month}/{assembly}/report-Manifest.json", f"{month}/report-Manifest.json"):
        client.put_object(Bucket=bucket, Key=key, Body=orjson.dumps(manifest))


def covered(cost: str, effective: str, **columns: Any) -> list[Line]:
    """An hour that a Savings Plan covers: the usage, and the line that takes its on-demand cost back."""
    plan = {"savings_plan_savings_plan_a_r_n": PLAN} | columns
    return [
        line(
            cost,
            line_item_line_item_type="SavingsPlanCoveredUsage",
            savings_plan_savings_plan_effective_cost=effective,
            **plan,
        ),
        line(f"-{cost}", line_item_line_item_type="SavingsPlanNegation", **plan),
    ]


def plan_fee(cost: str, *, used: str, **columns: Any) -> Line:
    """An hour's fee of a Savings Plan."""
    return line(
        cost,
        **{
            "line_item_line_item_type": "SavingsPlanRecurringFee",
            "line_item_usage_type": "ComputeSP:1yrNoUpfront",
            "line_item_resource_id": PLAN,
            "savings_plan_savings_plan_a_r_n": PLAN,
            "savings_plan_total_commitment_to_date": cost,
            "savings_plan_used_commitment": used,
        }
        | columns,
    )


def now() -> datetime:
    """When the tests' months are loaded."""
    return datetime(2026, 11, 5, 12, tzinfo=UTC)


def _names(lines: Sequence[Line], without: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(key for each in lines for key in each) if name not in without]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _slashed(name: str) -> str:
    """`line_item_unblended_cost` as legacy CSV writes it: lineItem/UnblendedCost."""
    if name in _LEGACY:
        return _LEGACY[name]
    category = next(each for each in _CATEGORIES if name.startswith(f"{each}_"))
    words = category.split("_")
    rest = name.removeprefix(f"{category}_").split("_")
    return words[0] + "".join(map(str.title, words[1:])) + "/" + "".join(map(str.title, rest))
