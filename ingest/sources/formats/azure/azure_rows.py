"""Charges from the rows of an ActualCost or AmortizedCost file: FOCUS columns, categories and commitments from Azure's words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from ingest.sources.formats.azure import azure_columns, azure_dates, azure_units

# The columns in which a charge of ActualCost and the same charge of AmortizedCost are alike.
_IDENTITY = (
    "date",
    "sub_account_id",
    "resource_id",
    "meter_id",
    "meter_name",
    "product",
    "charge_type",
    "reservation_id",
    "benefit_id",
    "quantity",
    "unit",
    "publisher_name",
    "tags",
    "additional_info",
)
CATEGORIES = {
    "usage": "Usage",
    "unusedreservation": "Usage",
    "unusedsavingsplan": "Usage",
    "purchase": "Purchase",
    "tax": "Tax",
    "credit": "Credit",
}
_OPTIONS = {"spot": "spot", "reservation": "reserved", "savingsplan": "savings_plan", "ondemand": "on_demand"}
_PRICING = {"spot": "Dynamic", "reservation": "Committed", "savingsplan": "Committed", "ondemand": "Standard"}
_FREQUENCIES = {"onetime": "One-Time", "recurring": "Recurring", "usagebased": "Usage-Based"}
# Provisioned throughput is paid by the hour whether it is used or not.
# https://learn.microsoft.com/azure/ai-foundry/openai/how-to/provisioned-throughput-billing (read 2026-11-28)
_PROVISIONED = r"(?i)provisioned|\bptu\b"
_MODEL_SERVICE = r"(?i)openai|foundry|cognitive|azure ai"


@dataclass(slots=True)
class Reader:
    """Reads the tables of one file in order. Not frozen: the order of dates is settled by what the file has shown."""

    file: str
    period: azure_dates.Period | None = None
    default_currency: str = ""
    order: azure_dates.Order | None = None
    columns: azure_columns.Columns | None = None
    rows: int = field(default=0)

    def check(self, table: pa.Table) -> None:
        """Finds the columns, even where no row follows. BadDelivery when a mandatory one is missing."""
        if self.columns is None:
            self.columns = azure_columns.match(
                table.column_names, file=self.file, default_currency=self.default_currency
            )

    def frame(self, table: pa.Table) -> pl.DataFrame:
        """One row for each of the table: FOCUS columns as text, `cost` as it is written, `key` to find its counterpart."""
        self.check(table)
        told = self._told(table)
        frame = self._focus(told)
        first, self.rows = self.rows + 1, self.rows + frame.height
        return frame.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias("row_number"))

    @property
    def extra(self) -> Sequence[str]:
        """The titles that are kept in `extra`."""
        return (*(self.columns.extra if self.columns else ()), "x_CostType")

    def settle(self, tables: Iterable[pa.Table]) -> None:
        """Finds out how the file writes its days, unless that is known. BadDelivery when nothing tells."""
        if self.order is None:
            pieces = (self._dates(table) for table in tables if table.num_rows)
            self.order = azure_dates.settle(pieces, self.period, file=self.file)

    def _dates(self, table: pa.Table) -> list[str]:
        columns = azure_columns.match(table.column_names, file=self.file, default_currency=self.default_currency)
        column = table.column(columns.found["date"])
        return [text for text in column.unique().to_pylist() if text] if pa.types.is_string(column.type) else []

    def _told(self, table: pa.Table) -> pl.DataFrame:
        """Our words for the file's columns, all text and never null, and the titles that are kept (as +Title)."""
        assert self.columns is not None
        arrays = {name: table.column(position) for name, position in self.columns.found.items()}
        arrays |= {f"+{name}": table.column(position) for name, position in self.columns.extra.items()}
        frame = pl.from_arrow(pa.table(arrays))
        assert isinstance(frame, pl.DataFrame)  # a table is never a single column
        missing = [name for name in azure_columns.NAMES if name not in frame.columns]
        frame = frame.with_columns(
            pl.col(name).dt.to_string("iso:strict") for name, kind in frame.schema.items() if kind != pl.String
        )
        frame = frame.with_columns(pl.lit("").alias(name) for name in missing).with_columns(pl.all().fill_null(""))
        return frame.with_columns(
            pl.col(name).str.strip_chars() for name in azure_columns.NAMES if name not in {"tags", "additional_info"}
        )

    def _focus(self, told: pl.DataFrame) -> pl.DataFrame:
        told = told.with_columns(
            # Azure writes one resource in several cases; only lower case is one identity.
            pl.col("resource_id").str.to_lowercase().str.strip_chars_end("/"),
            pl.col("sub_account_id").str.to_lowercase(),
        )
        told = told.with_columns(pl.concat_str(_IDENTITY, separator="\x1f").hash(seed=0).alias("key"))
        told = azure_units.consumed(told)
        days = azure_dates.days(told["date"], self.order)
        return told.select(
            pl.col("key"),
            # An unstated cost must not pass for another one: it is refused by this word.
            pl.when(pl.col("cost") == "").then(pl.lit("nothing")).otherwise(pl.col("cost")).alias("cost"),
            days["starts"].alias("charge_period_start"),
            days["ends"].alias("charge_period_end"),
            pl.col("currency").alias("billing_currency"),
            "list_cost",
            *_plain_columns(),
            *_charge_columns(),
            *_resource_columns(),
            *(pl.col(name) for name in told.columns if name.startswith("+")),
        )


def priced(frame: pl.DataFrame, kind: str) -> pl.DataFrame:
    """The frame with both costs from its own: all that is known when only one of the two kinds is delivered."""
    return frame.with_columns(
        pl.col("cost").alias("billed_cost"), pl.col("cost").alias("effective_cost"), pl.lit(kind).alias("+x_CostType")
    )


def completed(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame without what only we need; costs that are not stated are the effective one.

    Not the billed one: that of usage which a commitment covers is nothing.
    """
    effective = pl.col("effective_cost")
    frame = frame.with_columns(
        pl.when(pl.col("list_cost") == "").then(effective).otherwise(pl.col("list_cost")).alias("list_cost"),
        effective.alias("contracted_cost"),
    )
    return frame.drop("key", "cost")


def _plain_columns() -> list[pl.Expr]:
    product = pl.col("product")
    described = pl.concat_str(
        (
            pl.when(pl.col(name) != "").then(pl.col(name))
            for name in ("meter_category", "meter_subcategory", "meter_name")
        ),
        separator=" - ",
        ignore_nulls=True,
    )
    is_marketplace = pl.col("publisher_type").str.to_lowercase() == "marketplace"
    publisher = pl.col("publisher_name")
    return [
        pl.col("billing_account_id"),
        pl.col("billing_account_name"),
        pl.col("sub_account_id"),
        pl.col("sub_account_name"),
        pl.col("invoice_id"),
        pl.when(product != "").then(product).otherwise(described).alias("charge_description"),
        pl.lit("Microsoft").alias("invoice_issuer_name"),
        pl.lit("Microsoft Azure").alias("host_provider_name"),
        pl.when(is_marketplace & (publisher != ""))
        .then(publisher)
        .otherwise(pl.lit("Microsoft Azure"))
        .alias("service_provider_name"),
        pl.when(pl.col("meter_category") != "")
        .then(pl.col("meter_category"))
        .when(is_marketplace)
        .then(pl.when(product != "").then(product).otherwise(publisher))
        .otherwise(pl.col("consumed_service"))
        .alias("service_name"),
        pl.col("meter_id").alias("sku_id"),
        pl.col("meter_name").alias("sku_meter"),
        pl.col("product_id").alias("sku_price_id"),
        pl.col("quantity").alias("pricing_quantity"),
        pl.col("unit").alias("pricing_unit"),
        pl.col("consumed_quantity"),
        pl.col("consumed_unit"),
        pl.col("tags"),
        pl.col("cost_centre").alias("attr_cost_centre"),
        pl.col("resource_group").str.to_lowercase().alias("attr_project"),
    ]


def _word(name: str) -> pl.Expr:
    return pl.col(name).str.to_lowercase().str.replace_all(r"[^a-z]", "")


def _charge_columns() -> list[pl.Expr]:
    charge, pricing = _word("charge_type"), _word("pricing_model")
    commitment = pl.when(pl.col("reservation_id") != "").then(pl.col("reservation_id")).otherwise(pl.col("benefit_id"))
    is_unused = charge.str.starts_with("unused")
    is_committed = pricing.is_in(["reservation", "savingsplan"])
    option = pricing.replace_strict(_OPTIONS, default="")
    is_provisioned = pl.col("meter_name").str.contains(_PROVISIONED) & pl.concat_str(
        "meter_category", "meter_subcategory", "product"
    ).str.contains(_MODEL_SERVICE)
    return [
        pl.when(charge == "")
        .then(pl.lit("Usage"))
        .otherwise(charge.replace_strict(CATEGORIES, default="Adjustment"))
        .alias("charge_category"),
        pl.when(charge == "refund").then(pl.lit("Correction")).otherwise(pl.lit("")).alias("charge_class"),
        _word("frequency").replace_strict(_FREQUENCIES, default="").alias("charge_frequency"),
        pricing.replace_strict(_PRICING, default="").alias("pricing_category"),
        commitment.alias("commitment_discount_id"),
        pl.when(is_unused)
        .then(pl.lit("Unused"))
        .when(is_committed & (charge == "usage"))
        .then(pl.lit("Used"))
        .otherwise(pl.lit(""))
        .alias("commitment_discount_status"),
        pl.when(charge.is_in(["tax", "credit", "refund", "roundingadjustment"]) & ~is_committed)
        .then(pl.lit(""))
        .when(charge == "unusedreservation")
        .then(pl.lit("reserved"))
        .when(charge == "unusedsavingsplan")
        .then(pl.lit("savings_plan"))
        .when(is_provisioned & (option != "reserved"))
        .then(pl.lit("serverless"))
        .otherwise(option)
        .alias("purchase_option"),
    ]


def _resource_columns() -> list[pl.Expr]:
    held = pl.col("resource_id")
    # /subscriptions/S/resourcegroups/G/providers/NAMESPACE/TYPE/NAME[/TYPE/NAME]
    kind = held.str.extract(r".*/providers/([^/]+/[^/]+)/", 1).fill_null("")
    last = held.str.extract(r"([^/]+)$", 1).fill_null("")
    tags, name = pl.col("tags"), pl.col("resource_name")
    endpoint = tags.str.extract(r'(?i)"azuremlendpoint"\s*:\s*"([^"]+)"', 1)
    deployment = tags.str.extract(r'(?i)"azuremldeployment"\s*:\s*"([^"]+)"', 1)
    return [
        held,
        pl.when(endpoint.is_not_null())
        .then(pl.concat_str(endpoint, deployment, separator="/", ignore_nulls=True))
        .when(name != "")
        .then(name)
        .otherwise(last)
        .alias("resource_name"),
        pl.when(endpoint.is_not_null())
        .then(pl.lit("microsoft.machinelearningservices/onlineendpoints"))
        .when(kind != "")
        .then(kind)
        .otherwise(pl.col("consumed_service").str.to_lowercase())
        .alias("resource_type"),
        pl.col("region").str.to_lowercase().str.replace_all(" ", "").alias("region_id"),
    ]
