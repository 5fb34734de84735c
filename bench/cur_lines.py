"""The lines of the generated AWS bill that `cur.py` loads: the same ones each time, with their exact sums by day."""

import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HOURS = 31 * 24
UNIT = 10**10  # amounts are whole numbers of 1e-10 dollars: as doubles of 15 digits they keep every digit
ACCOUNTS, INSTANCES, TEAMS, APPS = 40, 2_000, 25, 8
_MAP = pa.map_(pa.string(), pa.string())
# Twenty kinds of lines, one for each remainder of the line's number: what a company with language models on AWS pays for.
# Type, product code, product name, usage type, operation, unit.
_EC2 = ("AmazonEC2", "Amazon Elastic Compute Cloud")
_KINDS = (
    *(("Usage", *_EC2, f"USE1-BoxUsage:{machine}", "RunInstances", "Hrs") for machine in ("m7g.xlarge", "c7i.2xlarge")),
    *(("Usage", *_EC2, f"USE1-BoxUsage:{machine}", "RunInstances", "Hrs") for machine in ("g5.2xlarge", "p5.48xlarge")),
    ("Usage", *_EC2, "USE1-SpotUsage:g6.xlarge", "RunInstances:SV001", "Hrs"),
    ("Usage", *_EC2, "USE1-EBS:VolumeUsage.gp3", "CreateVolume-Gp3", "GB-Mo"),
    ("Usage", *_EC2, "USE1-DataTransfer-Out-Bytes", "RunInstances", "GB"),
    ("Usage", "AmazonS3", "Amazon Simple Storage Service", "USE1-TimedStorage-ByteHrs", "StandardStorage", "GB-Mo"),
    ("Usage", "AmazonS3", "Amazon Simple Storage Service", "USE1-Requests-Tier1", "PutObject", "Requests"),
    ("Usage", "AmazonBedrock", "Amazon Bedrock", "USE1-NovaLite-input-tokens", "InvokeModelInference", "1K tokens"),
    (
        "Usage",
        "AmazonBedrock",
        "Amazon Bedrock",
        "USE1-Claude4.5Sonnet-output-tokens",
        "InvokeModelInference",
        "1K tokens",
    ),
    (
        "Usage",
        "1x2y3z",
        "Claude Opus 4.5 (Amazon Bedrock Edition)",
        "USE1-MP:USE1_input_tokens-Units",
        "Usage",
        "Units",
    ),
    ("Usage", "AmazonSageMaker", "Amazon SageMaker", "USE1-Host:ml.g5.2xlarge", "RunInstance", "Hrs"),
    ("Usage", "AmazonCloudWatch", "AmazonCloudWatch", "USE1-DataProcessing-Bytes", "PutLogEvents", "GB"),
    ("SavingsPlanCoveredUsage", *_EC2, "USE1-BoxUsage:m7g.2xlarge", "RunInstances", "Hrs"),
    ("SavingsPlanNegation", *_EC2, "USE1-BoxUsage:m7g.2xlarge", "RunInstances", "Hrs"),
    ("DiscountedUsage", *_EC2, "USE1-BoxUsage:r7g.xlarge", "RunInstances", "Hrs"),
    (
        "Usage",
        "AmazonEKS",
        "Amazon Elastic Container Service for Kubernetes",
        "USE1-EKS-EC2-vCPU-Hours",
        "EKSPod-EC2",
        "vCPU-Hours",
    ),
    (
        "SavingsPlanRecurringFee",
        "ComputeSavingsPlans",
        "Savings Plans for AWS Compute usage",
        "ComputeSP:1yrNoUpfront",
        "",
        "Hrs",
    ),
    ("Tax", *_EC2, "", "", ""),
)
_SPLIT, _FEE, _TAX = 17, 18, 19
# Columns that such an export has and this company's lines leave empty, so that the file is as wide as a real one.
_EMPTY_TEXT = (
    *(
        "bill_payer_account_name",
        "capacity_reservation_capacity_reservation_arn",
        "capacity_reservation_capacity_reservation_status",
    ),
    *(
        "capacity_reservation_capacity_reservation_type",
        "line_item_tax_type",
        "line_item_availability_zone",
        "pricing_lease_contract_length",
    ),
    *(
        "pricing_offering_class",
        "pricing_purchase_option",
        "product_comment",
        "product_fee_code",
        "product_fee_description",
    ),
    *(
        "product_from_location",
        "product_from_location_type",
        "product_from_region_code",
        "product_to_location",
        "product_to_location_type",
    ),
    *(
        "product_to_region_code",
        "product_operation",
        "product_usagetype",
        "product_location_type",
        "product_instance_family",
    ),
    *(
        "product_instancesku",
        "reservation_availability_zone",
        "reservation_end_time",
        "reservation_modification_status",
    ),
    *(
        "reservation_start_time",
        "reservation_subscription_id",
        "savings_plan_end_time",
        "savings_plan_instance_type_family",
    ),
    *(
        "savings_plan_region",
        "savings_plan_start_time",
        "split_line_item_split_cost_sharing_method",
        "pricing_rate_code",
    ),
)
_EMPTY_NUMBERS = (
    *(
        "line_item_net_unblended_cost",
        "line_item_net_unblended_rate",
        "line_item_normalization_factor",
        "line_item_normalized_usage_amount",
    ),
    *("reservation_amortized_upfront_cost_for_usage", "reservation_amortized_upfront_fee_for_billing_period"),
    *("reservation_net_amortized_upfront_cost_for_usage", "reservation_net_amortized_upfront_fee_for_billing_period"),
    *(
        "reservation_net_effective_cost",
        "reservation_net_recurring_fee_for_usage",
        "reservation_net_unused_recurring_fee",
    ),
    *("reservation_net_unused_amortized_upfront_fee_for_billing_period", "reservation_net_upfront_value"),
    *(
        "reservation_normalized_units_per_reservation",
        "reservation_number_of_reservations",
        "reservation_recurring_fee_for_usage",
    ),
    *(
        "reservation_total_reserved_normalized_units",
        "reservation_total_reserved_units",
        "reservation_units_per_reservation",
    ),
    *("reservation_unused_amortized_upfront_fee_for_billing_period", "reservation_unused_normalized_unit_quantity"),
    *("reservation_unused_quantity", "reservation_unused_recurring_fee", "reservation_upfront_value"),
    *(
        "savings_plan_amortized_upfront_commitment_for_billing_period",
        "savings_plan_net_amortized_upfront_commitment_for_billing_period",
    ),
    *("savings_plan_net_recurring_commitment_for_billing_period", "savings_plan_net_savings_plan_effective_cost"),
    *(
        "savings_plan_recurring_commitment_for_billing_period",
        "split_line_item_net_split_cost",
        "split_line_item_net_unused_cost",
    ),
    *("split_line_item_actual_usage", "split_line_item_reserved_usage", "split_line_item_split_usage_ratio"),
    *("discount_bundled_discount", "discount_total_discount"),
)


def write(folder: Path, *, lines: int, files: int) -> None:
    """The Parquet files, and totals.json with what each day comes to."""
    folder.mkdir(parents=True)
    days: dict[str, list[int]] = {}
    step = -(-lines // files)
    for number, first in enumerate(range(0, lines, step), 1):
        frame = _amounts(first, min(first + step, lines))
        _add(days, frame)
        table = _table(frame)
        pq.write_table(table, folder / f"cur-{number:05}.snappy.parquet", compression="snappy", row_group_size=100_000)
    told = {day: [str(Decimal(each) / UNIT) for each in amounts] for day, amounts in sorted(days.items())}
    (folder / "totals.json").write_text(json.dumps({"days": told}))


def _amounts(first: int, end: int) -> pl.DataFrame:
    """Each line's number, kind, hour and amounts in whole units."""
    n = pl.col("n")
    frame = pl.DataFrame({"n": pl.int_range(first, end, eager=True)}).with_columns(
        kind=(n % 20).cast(pl.Int32),
        pair=n - (n % 20 == 15).cast(pl.Int64),  # a negation takes back the line before it
    )
    pair = pl.col("pair")
    frame = frame.with_columns(
        hour=(pair * 2_654_435_761 % HOURS).cast(pl.Int64),
        amount=(pair * 7_919 % 900_000 + 1_000) * 1_237,
    )
    kind, amount = pl.col("kind"), pl.col("amount")
    used = amount * 6 // 10
    return frame.with_columns(
        billed=pl.when(kind == 15)
        .then(-amount)
        .when(kind.is_in([16, _SPLIT]))
        .then(0)
        .when(kind == _FEE)
        .then(amount * 10)
        .otherwise(amount),
        used=used,
        effective=pl.when(kind.is_in([14, 16]))
        .then(used)
        .when(kind.is_in([15, _SPLIT]))
        .then(0)
        .when(kind == _FEE)
        .then(amount * 10 - used * 10)
        .otherwise(amount),
    )


def _add(days: dict[str, list[int]], frame: pl.DataFrame) -> None:
    sums = frame.group_by(day=pl.col("hour") // 24 + 1).agg(pl.col("billed").sum(), pl.col("effective").sum())
    for day, billed, effective in sums.iter_rows():
        held = days.setdefault(f"2026-10-{day:02}", [0, 0])
        held[0] += billed
        held[1] += effective


def _table(frame: pl.DataFrame) -> pa.Table:
    kinds = (
        pl.DataFrame(_KINDS, schema=["type", "code", "name", "usage_type", "operation", "unit"], orient="row")
        .with_row_index("kind")
        .with_columns(pl.col("kind").cast(pl.Int32))
    )
    of_kind = pl.col("n") // len(_KINDS)
    frame = frame.join(kinds, on="kind", how="left", maintain_order="left").with_columns(
        start=pl.datetime(2026, 10, 1) + pl.duration(hours=pl.col("hour")),
        account=pl.format("{}", 100_000_000_000 + of_kind % ACCOUNTS),
        instance=pl.format("i-{}", 10**16 + of_kind * 7 % INSTANCES),
        team=pl.format("team-{}", of_kind % ACCOUNTS % TEAMS),
        app=pl.format("app-{}", of_kind // ACCOUNTS % APPS),
    )
    for name in ("billed", "amount", "used"):
        for title, times in ((f"{name}_usd", 1), (f"{name}_of_ten", 10)):
            # Arrow divides; the reciprocal that Polars multiplies by would leave digits at the end.
            whole = pc.multiply(frame[name].to_arrow(), times).cast(pa.float64())
            frame = frame.with_columns(pl.Series(title, pc.divide(whole, pa.scalar(float(UNIT)))))
    columns: dict[str, pa.Array] = {name: values.to_arrow() for name, values in _lines(frame).to_dict().items()}
    columns["product"] = _product(frame)
    columns["resource_tags"] = _tags(frame)
    columns["cost_category"] = _pairs(["Charge type"], [["Usage"] * len(frame)])
    columns["discount"] = _pairs([], [], rows=len(frame))
    columns |= {name: pa.nulls(len(frame), pa.string()) for name in _EMPTY_TEXT}
    columns |= {name: pa.nulls(len(frame), pa.float64()) for name in _EMPTY_NUMBERS}
    return pa.table(columns)


def _lines(frame: pl.DataFrame) -> pl.DataFrame:
    kind, n, start = pl.col("kind"), pl.col("n"), pl.col("start")
    is_plan, is_reserved = kind.is_in([14, 15, _FEE]), kind == 16

    def only(rows: pl.Expr, value: pl.Expr) -> pl.Expr:
        return pl.when(rows).then(value)

    return frame.select(
        pl.format("{}abcdefghijklmnopqrstuvwxyz234567abcdefgh", n).alias("identity_line_item_id"),
        pl.format("{}/{}", start.dt.strftime("%FT%TZ"), (start + pl.duration(hours=1)).dt.strftime("%FT%TZ")).alias(
            "identity_time_interval"
        ),
        pl.lit("1234567890").alias("bill_invoice_id"),
        pl.lit("Amazon Web Services, Inc.").alias("bill_invoicing_entity"),
        pl.when(kind == 11).then(pl.lit("AWS Marketplace")).otherwise(pl.lit("AWS")).alias("bill_billing_entity"),
        pl.lit("Anniversary").alias("bill_bill_type"),
        pl.lit("100000000000").alias("bill_payer_account_id"),
        pl.datetime(2026, 10, 1).alias("bill_billing_period_start_date"),
        pl.datetime(2026, 11, 1).alias("bill_billing_period_end_date"),
        pl.col("account").alias("line_item_usage_account_id"),
        pl.format("account {}", n // len(_KINDS) % ACCOUNTS).alias("line_item_usage_account_name"),
        pl.col("type").alias("line_item_line_item_type"),
        start.dt.cast_time_unit("ms").alias("line_item_usage_start_date"),
        (start + pl.duration(hours=1)).dt.cast_time_unit("ms").alias("line_item_usage_end_date"),
        pl.col("code").alias("line_item_product_code"),
        pl.col("usage_type").alias("line_item_usage_type"),
        pl.col("operation").alias("line_item_operation"),
        pl.when(kind < _FEE).then(pl.col("instance")).otherwise(pl.lit("")).alias("line_item_resource_id"),
        (1 + n % 50 / 8).alias("line_item_usage_amount"),
        pl.lit("USD").alias("line_item_currency_code"),
        (pl.col("billed_usd") / 4).alias("line_item_unblended_rate"),
        pl.col("billed_usd").alias("line_item_unblended_cost"),
        (pl.col("billed_usd") / 5).alias("line_item_blended_rate"),
        (pl.col("billed_usd") * 0.9).alias("line_item_blended_cost"),
        pl.format("$ for {} in US East", pl.col("usage_type")).alias("line_item_line_item_description"),
        pl.lit("Amazon Web Services, Inc.").alias("line_item_legal_entity"),
        only(kind.is_in([9, 10, 11]), pl.format("arn:aws:iam::1:role/{}", pl.col("app"))).alias(
            "line_item_iam_principal"
        ),
        pl.col("amount_usd").alias("pricing_public_on_demand_cost"),
        (pl.col("amount_usd") / 4).alias("pricing_public_on_demand_rate"),
        pl.lit("OnDemand").alias("pricing_term"),
        pl.col("unit").alias("pricing_unit"),
        pl.format("{}", 1_000_000 + kind).alias("pricing_rate_id"),
        pl.lit("USD").alias("pricing_currency"),
        pl.format("SKU{}", kind).alias("product_sku"),
        pl.col("usage_type").str.extract(r":((?:ml\.)?[a-z0-9]+\.[a-z0-9]+)$", 1).alias("product_instance_type"),
        pl.lit("us-east-1").alias("product_region_code"),
        pl.lit("US East (N. Virginia)").alias("product_location"),
        pl.col("code").alias("product_servicecode"),
        pl.lit("Compute Instance").alias("product_product_family"),
        only(is_reserved, pl.col("used_usd")).alias("reservation_effective_cost"),
        only(is_reserved, pl.lit("arn:aws:ec2:us-east-1:1:reserved-instances/1")).alias(
            "reservation_reservation_a_r_n"
        ),
        only(is_plan, pl.lit("arn:aws:savingsplans::1:savingsplan/1")).alias("savings_plan_savings_plan_a_r_n"),
        only(kind == 14, pl.col("used_usd")).alias("savings_plan_savings_plan_effective_cost"),
        only(kind == 14, pl.col("used_usd") / 4).alias("savings_plan_savings_plan_rate"),
        only(kind == _FEE, pl.col("amount_of_ten")).alias("savings_plan_total_commitment_to_date"),
        only(kind == _FEE, pl.col("used_of_ten")).alias("savings_plan_used_commitment"),
        only(is_plan, pl.lit("ComputeSavingsPlans")).alias("savings_plan_offering_type"),
        only(is_plan, pl.lit("No Upfront")).alias("savings_plan_payment_option"),
        only(is_plan, pl.lit("1yr")).alias("savings_plan_purchase_term"),
        only(kind == _SPLIT, pl.col("instance")).alias("split_line_item_parent_resource_id"),
        only(kind == _SPLIT, pl.col("used_usd")).alias("split_line_item_split_cost"),
        only(kind == _SPLIT, pl.col("used_usd") / 9).alias("split_line_item_unused_cost"),
        only(kind == _SPLIT, pl.lit(0.5)).alias("split_line_item_split_usage"),
    )


def _product(frame: pl.DataFrame) -> pa.MapArray:
    names = ["product_name", "region", "servicename", "group", "operating_system", "tenancy", "vcpu", "memory"]
    rows = len(frame)
    fixed = [["us-east-1"] * rows, ["x"] * rows, ["EC2"] * rows, ["Linux"] * rows, ["Shared"] * rows, ["8"] * rows]
    return _pairs(names, [frame["name"].to_list(), *fixed, ["32 GiB"] * rows])


def _tags(frame: pl.DataFrame) -> pa.MapArray:
    names = ["user_team", "user_app", "user_env", "user_name"]
    env = ["prod" if number % 4 else "dev" for number in range(len(frame))]
    return _pairs(names, [frame["team"].to_list(), frame["app"].to_list(), env, frame["instance"].to_list()])


def _pairs(names: list[str], values: list[list[str]], *, rows: int = 0) -> pa.MapArray:
    """Maps that all have the same keys."""
    rows = rows or len(values[0])
    offsets = pa.array(range(0, rows * len(names) + 1, len(names)) if names else [0] * (rows + 1), pa.int32())
    items = [value for row in zip(*values, strict=True) for value in row] if names else []
    return pa.MapArray.from_arrays(offsets, pa.array(names * rows, pa.string()), pa.array(items, pa.string()))
