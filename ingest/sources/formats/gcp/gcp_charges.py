"""Charges from rows of Google Cloud's billing export: the cost of a row, and each of its credits as a charge of its own."""

from collections.abc import Mapping

import orjson
import polars as pl

from ingest.rows import COSTS
from ingest.sources.base import Normalized
from ingest.sources.formats import charge_rows
from ingest.sources.formats.gcp import gcp_export
from ingest.sources.formats.gcp.gcp_export import Export

PROVIDER = "Google Cloud"
_CREDIT = pl.Struct(dict.fromkeys(("name", "full_name", "type", "id", "amount"), pl.String))
_LABELS = ("labels", "tags", "project_labels", "system_labels")
# Services that are billed under names of their own, and FOCUS's word for what they are.
_CATEGORIES = {
    "Vertex AI": "AI and Machine Learning",
    "Gemini API": "AI and Machine Learning",
    "Generative Language API": "AI and Machine Learning",
    "Cloud Machine Learning Engine": "AI and Machine Learning",
    "Compute Engine": "Compute",
    "Kubernetes Engine": "Compute",
    "Cloud Run": "Compute",
    "Cloud Storage": "Storage",
    "Cloud SQL": "Databases",
    "AlloyDB": "Databases",
    "BigQuery": "Analytics",
    "Networking": "Networking",
}
_COMMITMENT_SKU = r"(?i)^commitment\b"
_SPENT_COMMITMENT = r"(?i)dollar based"
_SPOT_SKU = r"(?i)\bspot\b|\bpreemptible\b"
_RESOURCE_COMMITMENT = "COMMITTED_USAGE_DISCOUNT"
_SPEND_COMMITMENT = "COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE"
_COMMITMENTS = (_RESOURCE_COMMITMENT, _SPEND_COMMITMENT, "FEE_UTILIZATION_OFFSET")
_NEAREST = (
    ("labels", "label"),
    ("tags", "tag"),
    ("tags", "inherited"),
    ("project_labels", "project"),
    ("system_labels", "system"),
)
_QUANTITIES = ("pricing_quantity", "pricing_unit", "consumed_quantity", "consumed_unit")
_SHAPE = (
    *("at", "nth", *COSTS, *_QUANTITIES, "charge_period_start", "charge_period_end"),
    *("billing_account_id", "billing_currency", "sub_account_id", "sub_account_name"),
    *("charge_category", "charge_class", "charge_description", "charge_frequency"),
    *("service_provider_name", "host_provider_name", "invoice_issuer_name", "service_name", "service_category"),
    *("sku_id", "sku_meter", "sku_price_id", "resource_id", "resource_name", "region_id", "pricing_category"),
    *("commitment_discount_id", "commitment_discount_status", "purchase_option", "tags"),
)
# Columns that have no place in FOCUS are kept under the export's own names.
_EXTRA = (
    "export_time",
    "cost_type",
    "publisher_type",
    "service_id",
    "project_number",
    "ancestry_numbers",
    "location",
    "country",
    "zone",
    "currency_conversion_rate",
    "effective_price",
    "list_price",
    "price_unit",
    "pricing_unit_quantity",
    "adjustment_id",
    "adjustment_description",
    "adjustment_mode",
    "adjustment_type",
    "transaction_type",
    "seller_name",
    "consumption_model_id",
    "consumption_model",
)
_CREDIT_EXTRA = ("credit.type", "credit.id", "credit.name")


def charges(
    lines: pl.Series, export: Export, reading: charge_rows.Reading, *, month: str, file: str, first_row: int
) -> Normalized:
    """The charges of some rows of `gcp_export.rows_query`, each followed by those of its credits, numbered from `first_row`."""
    frame = _named(_opened(lines, export))
    rows = pl.concat([_usage(frame), _credits(frame)], how="diagonal").sort("at", "nth")
    rows = rows.with_columns(
        pl.lit(gcp_export.begins(month)).alias("billing_period_start"),
        pl.lit(gcp_export.ends(month)).alias("billing_period_end"),
    )
    extra = {name: _shown(name) for name in _EXTRA} | {name: name for name in _CREDIT_EXTRA}
    rows = rows.rename({f"+{name}": f"+{title}" for name, title in extra.items() if name != title})
    rows = rows.drop("at", "nth")
    return charge_rows.finish(rows, list(extra.values()), reading, file=file, file_index=0, first_row=first_row)


def _opened(lines: pl.Series, export: Export) -> pl.DataFrame:
    """The cells of the lines, with "" for columns that the table lacks; moments are instants, credits are lists."""
    columns = gcp_export.columns_of(export)
    cells = lines.str.json_decode(pl.List(pl.String))
    frame = pl.DataFrame({"cells": cells}).select(pl.col("cells").list.to_struct(fields=columns)).unnest("cells")
    missing = [name for name in gcp_export.COLUMNS if name not in columns]
    frame = frame.with_columns(pl.all().fill_null(""), *(pl.lit("").alias(name) for name in missing))
    moments = [name for name, (_, shape) in gcp_export.COLUMNS.items() if shape == "moment"]
    return frame.with_columns(
        # A double is its shortest text, whichever way the server writes it; what is no number stays, to be refused.
        *(_shortest(name) for name in sorted(export.floats)),
        *(pl.col(name).cast(pl.Int64, strict=False).cast(pl.Datetime("us", "UTC")) for name in moments),
        pl.col("credits").replace(["", "null"], "[]").str.json_decode(pl.List(_CREDIT)),
    )


def _shortest(name: str) -> pl.Expr:
    return pl.coalesce(pl.col(name).cast(pl.Float64, strict=False).cast(pl.String), pl.col(name)).alias(name)


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    """FOCUS columns of the rows, whatever their costs are."""
    column = pl.col
    sold_by_partner = (column("publisher_type") == "PARTNER") & (column("seller_name") != "")
    provider = pl.lit(PROVIDER)
    exported = column("export_time").dt.to_string("iso:strict").fill_null("")
    is_corrected = (column("adjustment_type") != "") | (column("cost_type") == "adjustment")
    types = column("credits").list.eval(pl.element().struct.field("type"))
    return (
        frame.with_row_index("at")
        .with_columns(
            column("usage_start").alias("charge_period_start"),
            column("usage_end").alias("charge_period_end"),
            column("currency").alias("billing_currency"),
            column("project_id").alias("sub_account_id"),
            column("project_name").alias("sub_account_name"),
            pl.when(is_corrected).then(pl.lit("Correction")).otherwise(pl.lit("")).alias("charge_class"),
            pl.when(sold_by_partner).then(column("seller_name")).otherwise(provider).alias("service_provider_name"),
            provider.alias("host_provider_name"),
            provider.alias("invoice_issuer_name"),
            column("service").alias("service_name"),
            column("service").replace_strict(_CATEGORIES, default="").alias("service_category"),
            column("sku").alias("sku_meter"),
            # Google has no id of a price: the SKU and the tier it begins at say which it is.
            pl.when(column("tier_start_amount") == "")
            .then(pl.lit(""))
            .otherwise(pl.concat_str("sku_id", column("tier_start_amount").str.replace(r"\.0+$", ""), separator="/"))
            .alias("sku_price_id"),
            _first("resource_global_name", "resource_name").alias("resource_id"),
            _first("region", "location").alias("region_id"),
            _purchase_option(types),
            _tags(frame),
            *(column(name).alias(f"+{name}") for name in _EXTRA if name != "export_time"),
            exported.alias("+export_time"),
        )
        .with_columns(
            column("purchase_option")
            .replace_strict(
                {"spot": "Dynamic", "reserved": "Committed", "savings_plan": "Committed"}, default="Standard"
            )
            .alias("pricing_category")
        )
    )


def _usage(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows themselves, at their cost before credits."""
    column = pl.col
    is_fee = column("sku").str.contains(_COMMITMENT_SKU)
    kind = column("cost_type")
    category = (
        pl.when(kind == "tax")
        .then(pl.lit("Tax"))
        .when(kind.is_in(["adjustment", "rounding_error"]))
        .then(pl.lit("Adjustment"))
        .when(is_fee)
        .then(pl.lit("Purchase"))
        .otherwise(pl.lit("Usage"))
    )
    ids = column("credits").list.eval(
        pl.element().struct.field("id").filter(pl.element().struct.field("type").is_in(_COMMITMENTS))
    )
    covered = ids.list.len() > 0
    return _shape(
        frame.with_columns(
            pl.lit(0, dtype=pl.UInt32).alias("nth"),
            *(column("cost").alias(name) for name in ("billed_cost", "effective_cost", "contracted_cost")),
            _first("cost_at_list", "cost").alias("list_cost"),
            category.alias("charge_category"),
            _first("adjustment_description", "sku").alias("charge_description"),
            category.replace_strict({"Usage": "Usage-Based", "Purchase": "Recurring"}, default="One-Time").alias(
                "charge_frequency"
            ),
            column("usage_amount_in_pricing_units").alias("pricing_quantity"),
            column("usage_amount").alias("consumed_quantity"),
            column("usage_unit").alias("consumed_unit"),
            pl.when(column("subscription_id") != "")
            .then(column("subscription_id"))
            .otherwise(ids.list.first().fill_null(""))
            .alias("commitment_discount_id"),
            pl.when(covered).then(pl.lit("Used")).otherwise(pl.lit("")).alias("commitment_discount_status"),
            *(pl.lit("").alias(f"+{name}") for name in _CREDIT_EXTRA),
        )
    )


def _credits(frame: pl.DataFrame) -> pl.DataFrame:
    """Each credit as a charge of its row's resource, model and owner; without quantities, which would count twice.

    At list and contracted prices it costs nothing: what was saved is list cost less effective cost.
    """
    frame = frame.filter(pl.col("credits").list.len() > 0).explode("credits")
    credit = {name: pl.col("credits").struct.field(name).fill_null("") for name in _CREDIT.to_schema()}
    is_commitment = credit["type"].is_in(_COMMITMENTS)
    nothing, named = pl.lit(""), [credit[name] for name in ("full_name", "name", "type")]
    return _shape(
        frame.with_columns(
            pl.col("at").cum_count().over("at").cast(pl.UInt32).alias("nth"),
            *(credit["amount"].alias(name) for name in ("billed_cost", "effective_cost")),
            *(pl.lit("0").alias(name) for name in ("list_cost", "contracted_cost")),
            pl.lit("Credit").alias("charge_category"),
            pl.coalesce(pl.when(name != "").then(name) for name in named).fill_null("").alias("charge_description"),
            pl.lit("One-Time").alias("charge_frequency"),
            *(nothing.alias(name) for name in _QUANTITIES),
            pl.when(is_commitment).then(credit["id"]).otherwise(nothing).alias("commitment_discount_id"),
            pl.when(is_commitment).then(pl.lit("Used")).otherwise(nothing).alias("commitment_discount_status"),
            *(credit[name.partition(".")[2]].alias(f"+{name}") for name in _CREDIT_EXTRA),
        )
    )


def _shape(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(*_SHAPE, *(f"+{name}" for name in (*_EXTRA, *_CREDIT_EXTRA)))


def _first(*names: str) -> pl.Expr:
    """The first of the columns that says something."""
    return pl.coalesce(pl.when(pl.col(name) != "").then(pl.col(name)) for name in names).fill_null("")


def _purchase_option(types: pl.Expr) -> pl.Expr:
    """How capacity was bought, where the credits or the SKU say it."""
    sku, model = pl.col("sku"), pl.col("consumption_model")
    is_fee = sku.str.contains(_COMMITMENT_SKU)
    on_spend = types.list.contains(_SPEND_COMMITMENT) | (is_fee & sku.str.contains(_SPENT_COMMITMENT))
    return (
        pl.when(on_spend | ~model.is_in(["", "Default"]))
        .then(pl.lit("savings_plan"))
        .when(types.list.contains(_RESOURCE_COMMITMENT) | is_fee)
        .then(pl.lit("reserved"))
        .when(sku.str.contains(_SPOT_SKU))
        .then(pl.lit("spot"))
        .otherwise(pl.lit(""))
        .alias("purchase_option")
    )


def _tags(frame: pl.DataFrame) -> pl.Expr:
    """Labels and tags as one JSON object, put together once for each distinct combination."""
    distinct = frame.select(_LABELS).unique()
    found = [_merged(row) for row in distinct.iter_rows(named=True)]
    keys = pl.concat_str(_LABELS, separator="\x1f")
    known = distinct.select(keys.alias("key"))["key"]
    return keys.replace_strict(known, pl.Series(found, dtype=pl.String), return_dtype=pl.String).alias("tags")


def _merged(lists: Mapping[str, str]) -> str:
    """One object of all labels and tags of a row. Of two values for a key the nearer one has it: the resource's label, its
    own tag, an inherited tag, the project's label, Google's own label. The other is kept under a name that says whose it is.
    """
    merged: dict[str, str] = {}
    for kind, where in _NEAREST:
        entries = [
            each for each in _entries(lists[kind]) if kind != "tags" or _is_inherited(each) is (where == "inherited")
        ]
        for entry in entries:
            key, value = str(entry.get("key") or ""), str(entry.get("value") or "")
            if not key or merged.get(key) == value:
                continue
            merged[key if key not in merged else f"{entry.get('namespace') or where}/{key}"] = value
    return orjson.dumps(merged, option=orjson.OPT_SORT_KEYS).decode() if merged else ""


def _entries(text: str) -> list[dict[str, object]]:
    found = orjson.loads(text) if text else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _is_inherited(entry: Mapping[str, object]) -> bool:
    return entry.get("inherited") in (True, "true")


def _shown(name: str) -> str:
    """A column as the export names it."""
    return gcp_export.COLUMNS[name][0]
