"""Charges from tables of an AWS Cost and Usage Report, in FOCUS words."""

import re
from collections.abc import Collection
from dataclasses import replace

import polars as pl
import pyarrow as pa

from ingest.sources.base import Normalized
from ingest.sources.formats import charge_rows
from ingest.sources.formats.cur import cur_columns, cur_costs, cur_maps, cur_split
from ingest.sources.formats.focus import focus_columns

_TYPE, _USAGE_TYPE = pl.col("line_item_line_item_type"), pl.col("line_item_usage_type")
_CATEGORIES = {
    "Usage": "Usage",
    "DiscountedUsage": "Usage",
    "SavingsPlanCoveredUsage": "Usage",
    "SavingsPlanNegation": "Usage",  # so that it takes covered usage back where that was counted
    "Fee": "Purchase",
    "RIFee": "Purchase",
    "SavingsPlanRecurringFee": "Purchase",
    "SavingsPlanUpfrontFee": "Purchase",
    "Tax": "Tax",
    "Credit": "Credit",
    "Refund": "Adjustment",
}
# Hours of machines: EC2's, and those SageMaker names by what they do (Host:ml.g5.xlarge, Train:ml.p4d.24xlarge).
_MACHINE = r"(?:BoxUsage|SpotUsage|DedicatedUsage|HostUsage|HostBoxUsage|UnusedBox|InstanceUsage|SchedUsage|:ml\.)"
_MACHINE_TYPE = r"(?:Usage|Box|[A-Za-z-]+):((?:ml\.)?[a-z][a-z0-9-]*\.[a-z0-9-]+)"
_NUMBERS = (
    "line_item_unblended_cost",
    "line_item_net_unblended_cost",
    "line_item_usage_amount",
    "pricing_public_on_demand_cost",
)
# An exact column of Parquet has its zero as 0E-10, which must be told for nothing like any other.
_WITH_DIGITS = re.compile(
    r"^(?:line_item|pricing|reservation|savings_plan|split_line_item)_.*(?:cost|fee|fee_for_billing_period|amount|usage|commitment|to_date)$"
)
_INSTANTS = (
    "line_item_usage_start_date",
    "line_item_usage_end_date",
    "bill_billing_period_start_date",
    "bill_billing_period_end_date",
)
# Columns of ours that a charge has no place for, kept where they say something.
_ALSO_EXTRA = (
    "bill_bill_type",
    "bill_billing_entity",
    "line_item_availability_zone",
    "line_item_iam_principal",
    "line_item_legal_entity",
    "line_item_line_item_type",
    "line_item_operation",
    "line_item_product_code",
    "product_instance_type",
    "split_line_item_parent_resource_id",
)
# What most lines say, which says nothing.
_USUAL = {
    "bill_bill_type": "Anniversary",
    "bill_billing_entity": "AWS",
    "line_item_legal_entity": "Amazon Web Services, Inc.",
    "line_item_line_item_type": "Usage",
    "pricing_term": "OnDemand",
}
_SERVICE_CATEGORIES = (
    (
        "AI and Machine Learning",
        "bedrock|sagemaker|comprehend|rekognition|textract|transcribe|amazonq|kendra|translate|polly",
    ),
    ("Compute", "ec2|ecs|eks|lambda|batch|lightsail|fargate|computesavingsplans"),
    ("Storage", "s3|efs|fsx|glacier|backup|storage"),
    ("Databases", "rds|dynamodb|elasticache|redshift|docdb|neptune|memorydb|opensearch|es$"),
    ("Networking", "vpc|elb|cloudfront|route53|datatransfer|directconnect|globalaccelerator|apigateway"),
    ("Management and Governance", "cloudwatch|cloudtrail|config|support"),
    ("Security", "kms|guardduty|waf|inspector|secretsmanager|shield"),
)
_NOTHING = ("0", "0.0", "0.0000000000", "{}")
_AMAZON = r"(?i)^(?:amazon|aws)\b"
_TOLD = ("attr_key", "purchase_option", "row_number")
_RENAMED = {
    "charge_period_start": "line_item_usage_start_date",
    "charge_period_end": "line_item_usage_end_date",
    "billing_period_start": "bill_billing_period_start_date",
    "billing_period_end": "bill_billing_period_end_date",
    "billing_account_id": "bill_payer_account_id",
    "billing_account_name": "bill_payer_account_name",
    "sub_account_id": "line_item_usage_account_id",
    "sub_account_name": "line_item_usage_account_name",
    "billing_currency": "line_item_currency_code",
    "charge_description": "line_item_line_item_description",
    "invoice_id": "bill_invoice_id",
    "sku_id": "product_sku",
    "sku_meter": "line_item_usage_type",
    "sku_price_id": "pricing_rate_id",
    "resource_id": "line_item_resource_id",
    "pricing_unit": "pricing_unit",
    "attr_key": "line_item_iam_principal",
}


def charges(
    table: pa.Table,
    columns: cur_columns.Columns,
    reading: charge_rows.Reading,
    split: cur_split.Split,
    *,
    file: str,
    file_index: int,
    first_row: int,
) -> Normalized:
    """The charges of a piece of a report, the rows that cannot be one, and what was left out of a split."""
    frame = selected(table, columns, first_row)
    frame, product = cur_maps.described(frame, columns)
    frame = cur_costs.costs(frame, columns.found)
    frame, skipped = split.applied(frame, file=file, file_index=file_index)
    frame = cur_maps.tagged(frame, columns)
    frame = _described(frame)
    frame, extra = _extra(frame, [*_ALSO_EXTRA, *columns.extra, *product])
    kept = [*focus_columns.NAMES, *_TOLD, *(f"+{name}" for name in extra)]
    frame = frame.select(name for name in kept if name in frame.columns)
    found = charge_rows.finish(frame, extra, reading, file=file, file_index=file_index, first_row=first_row)
    return replace(found, skipped=skipped)


def selected(table: pa.Table, columns: cur_columns.Columns, first_row: int) -> pl.DataFrame:
    """The columns of a table by our names (`tag:…`, `category:…` and `+…` for the others), with "" for nothing."""
    arrays = {name: table.column(position) for name, position in columns.found.items()}
    arrays |= {f"tag:{name}": table.column(position) for name, position in columns.tags.items()}
    arrays |= {f"category:{name}": table.column(position) for name, position in columns.categories.items()}
    arrays |= {f"+{name}": table.column(position) for name, position in columns.extra.items()}
    frame = pl.from_arrow(pa.table(arrays))
    assert isinstance(frame, pl.DataFrame)  # a table is never a single column
    frame = frame.with_columns(pl.col(pl.String).fill_null(""))
    frame = frame.with_columns(
        pl.col(name).dt.to_string("iso:strict").fill_null("")
        for name, kind in frame.schema.items()
        if kind != pl.String and name not in _INSTANTS
    )
    missing = [name for name in cur_columns.NAMES if name not in frame.columns]
    frame = frame.with_columns(pl.lit("").alias(name) for name in missing)
    written = [name for name in frame.columns if _WITH_DIGITS.match(name) and frame.schema[name] == pl.String]
    frame = frame.with_columns(charge_rows.digits(frame[name]).alias(name) for name in written)
    return frame.with_columns(
        pl.col(_NUMBERS).str.strip_chars(),
        pl.int_range(first_row, first_row + pl.len(), dtype=pl.Int64).alias("row_number"),
    )


def _described(frame: pl.DataFrame) -> pl.DataFrame:
    """What kind of charge each line is, whose, for what, and how it was bought."""
    frame = frame.with_columns(
        _TYPE.replace_strict(_CATEGORIES, default="Adjustment", return_dtype=pl.String).alias("charge_category"),
        pl.when((pl.col("bill_bill_type") == "Refund") | (_TYPE == "Refund"))
        .then(pl.lit("Correction"))
        .otherwise(pl.lit(""))
        .alias("charge_class"),
        _frequency().alias("charge_frequency"),
        pl.coalesce(_given("reservation_reservation_arn"), _given("savings_plan_savings_plan_arn"), pl.lit("")).alias(
            "commitment_discount_id"
        ),
        _commitment_status().alias("commitment_discount_status"),
        _purchase_option().alias("purchase_option"),
        *_quantities(),
        *_services(),
        *_resources(),
    )
    frame = frame.with_columns(_pricing_category().alias("pricing_category"))
    return frame.with_columns(pl.col(old).alias(new) for new, old in _RENAMED.items())


def _given(name: str) -> pl.Expr:
    column = pl.col(name)
    return pl.when(column != "").then(column)


def _frequency() -> pl.Expr:
    return (
        pl.when(_TYPE.is_in(["RIFee", "SavingsPlanRecurringFee"]))
        .then(pl.lit("Recurring"))
        .when(_TYPE.replace_strict(_CATEGORIES, default="", return_dtype=pl.String) == "Usage")
        .then(pl.lit("Usage-Based"))
        .otherwise(pl.lit("One-Time"))
    )


def _commitment_status() -> pl.Expr:
    """A recurring fee stands for what of the commitment nobody used, in effective cost; there may be none."""
    is_unused = _TYPE.is_in(["RIFee", "SavingsPlanRecurringFee"]) & pl.col("effective_cost").str.contains("[1-9]")
    return (
        pl.when(_TYPE.is_in(["DiscountedUsage", cur_costs.COVERED]))
        .then(pl.lit("Used"))
        .when(is_unused)
        .then(pl.lit("Unused"))
        .otherwise(pl.lit(""))
    )


def _purchase_option() -> pl.Expr:
    return (
        pl.when(_TYPE.is_in([cur_costs.COVERED, cur_costs.NEGATION, *cur_costs.SAVINGS_PLAN_FEES]))
        .then(pl.lit("savings_plan"))
        .when((_TYPE == "DiscountedUsage") | cur_costs.is_commitment_fee())
        .then(pl.lit("reserved"))
        .when(_USAGE_TYPE.str.contains("SpotUsage|Spot-Usage"))
        .then(pl.lit("spot"))
        .when(_USAGE_TYPE.str.contains(r"(?i)serverless"))
        .then(pl.lit("serverless"))
        .when((_TYPE == "Usage") & _USAGE_TYPE.str.contains(_MACHINE))
        .then(pl.lit("on_demand"))
        .otherwise(pl.lit(""))
    )


def _pricing_category() -> pl.Expr:
    bought = pl.col("purchase_option")
    return (
        pl.when(bought.is_in(["savings_plan", "reserved"]))
        .then(pl.lit("Committed"))
        .when(bought == "spot")
        .then(pl.lit("Dynamic"))
        .when(pl.col("charge_category") == "Usage")
        .then(pl.lit("Standard"))
        .otherwise(pl.lit(""))
    )


def _quantities() -> list[pl.Expr]:
    """Quantities of usage; a negation repeats that of the usage it takes back, which would then count twice."""
    amount = pl.when(_TYPE == cur_costs.NEGATION).then(pl.lit("0")).otherwise(pl.col("line_item_usage_amount"))
    is_usage = _TYPE.replace_strict(_CATEGORIES, default="", return_dtype=pl.String) == "Usage"
    child = pl.when(pl.col("~is_child")).then(pl.col("split_line_item_split_usage")).otherwise(amount)
    return [
        amount.alias("pricing_quantity"),
        pl.when(is_usage).then(child).otherwise(pl.lit("")).alias("consumed_quantity"),
        pl.when(is_usage).then(pl.col("pricing_unit")).otherwise(pl.lit("")).alias("consumed_unit"),
    ]


def _services() -> list[pl.Expr]:
    """The service by its name. The product code of a marketplace line is opaque and its seller is its legal entity."""
    name, code = pl.col("product_product_name"), pl.col("line_item_product_code")
    seller = pl.col("line_item_legal_entity")
    is_sold_by_others = pl.col("bill_billing_entity").str.contains("(?i)marketplace") & ~seller.str.contains(_AMAZON)
    return [
        pl.coalesce(_given("product_product_name"), code).alias("service_name"),
        pl.when(is_sold_by_others & (seller != ""))
        .then(seller)
        .otherwise(pl.lit("AWS"))
        .alias("service_provider_name"),
        pl.lit("AWS").alias("host_provider_name"),
        pl.coalesce(_given("bill_invoicing_entity"), seller).alias("invoice_issuer_name"),
        _service_category().alias("service_category"),
        pl.coalesce(_given("product_region_code"), _given("product_region"), pl.lit("")).alias("region_id"),
        # Models sold over the marketplace are named by the product only; their usage types read MP:USE1_InputTokenCount-Units.
        pl.when(name.str.contains(r"(?i)bedrock edition")).then(name).otherwise(pl.lit("")).alias("+x_ModelName"),
    ]


def _service_category() -> pl.Expr:
    code = pl.concat_str("line_item_product_code", "product_product_name").str.to_lowercase()
    told = (pl.when(code.str.contains(words)).then(pl.lit(name)) for name, words in _SERVICE_CATEGORIES)
    return pl.coalesce(*told, pl.lit("Other"))


def _resources() -> list[pl.Expr]:
    """Machines by their type; SageMaker's and Bedrock's resources by what their ARN says they are, and their name."""
    arn = r"^arn:[^:]*:(?:sagemaker|bedrock):[^:]*:[^:]*:([^/]+)/(.+)$"
    resource = pl.col("line_item_resource_id")
    machine = pl.coalesce(_given("product_instance_type"), _USAGE_TYPE.str.extract(_MACHINE_TYPE, 1))
    return [
        resource.str.extract(arn, 2).fill_null("").alias("resource_name"),
        pl.coalesce(
            resource.str.extract(arn, 1), pl.when(_USAGE_TYPE.str.contains(_MACHINE)).then(machine), pl.lit("")
        ).alias("resource_type"),
        pl.coalesce(machine, pl.lit("")).alias("product_instance_type"),
    ]


def _extra(frame: pl.DataFrame, names: Collection[str]) -> tuple[pl.DataFrame, list[str]]:
    """The frame with what is kept as `+name`, and the names of those that say something in these rows."""
    frame = frame.with_columns(pl.col(name).alias(f"+{name}") for name in _ALSO_EXTRA)
    columns = [name for name in dict.fromkeys((*names, "x_ModelName")) if f"+{name}" in frame.columns]
    frame = frame.with_columns(
        pl.when(pl.col(f"+{name}").is_in([*_NOTHING, _USUAL.get(name, "")]))
        .then(pl.lit(""))
        .otherwise(pl.col(f"+{name}"))
        .alias(f"+{name}")
        for name in columns
    )
    said = frame.select((pl.col(f"+{name}") != "").any().alias(name) for name in columns).row(0) if columns else ()
    speaking = [name for name, says in zip(columns, said, strict=True) if says]
    return frame.drop(f"+{name}" for name in columns if name not in speaking), speaking
