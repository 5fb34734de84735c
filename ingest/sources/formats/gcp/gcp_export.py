"""The billing export of Google Cloud in BigQuery: which tables there are, which columns each has, what is asked of them.

Written after https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables (as known on 2026-11-28):
tables gain columns over time, so columns are taken by name and only where they exist.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from ingest.sources.base import SourceUnavailable

if TYPE_CHECKING:
    from google.cloud.bigquery import SchemaField
    from google.cloud.bigquery.table import Table as BigQueryTable

Shape = Literal["text", "number", "moment", "list"]

# Our name -> where it is in the export, and what it is. Everything that is not read here costs no scanned bytes.
COLUMNS: dict[str, tuple[str, Shape]] = {
    "billing_account_id": ("billing_account_id", "text"),
    "invoice_month": ("invoice.month", "text"),
    "publisher_type": ("invoice.publisher_type", "text"),
    "cost_type": ("cost_type", "text"),
    "service_id": ("service.id", "text"),
    "service": ("service.description", "text"),
    "sku_id": ("sku.id", "text"),
    "sku": ("sku.description", "text"),
    "usage_start": ("usage_start_time", "moment"),
    "usage_end": ("usage_end_time", "moment"),
    "export_time": ("export_time", "moment"),
    "project_id": ("project.id", "text"),
    "project_number": ("project.number", "text"),
    "project_name": ("project.name", "text"),
    "ancestry_numbers": ("project.ancestry_numbers", "text"),
    "project_labels": ("project.labels", "list"),
    "labels": ("labels", "list"),
    "system_labels": ("system_labels", "list"),
    "tags": ("tags", "list"),
    "location": ("location.location", "text"),
    "country": ("location.country", "text"),
    "region": ("location.region", "text"),
    "zone": ("location.zone", "text"),
    "resource_name": ("resource.name", "text"),
    "resource_global_name": ("resource.global_name", "text"),
    "currency": ("currency", "text"),
    "currency_conversion_rate": ("currency_conversion_rate", "number"),
    "cost": ("cost", "number"),
    "cost_at_list": ("cost_at_list", "number"),
    "credits": ("credits", "list"),
    "usage_amount": ("usage.amount", "number"),
    "usage_unit": ("usage.unit", "text"),
    "usage_amount_in_pricing_units": ("usage.amount_in_pricing_units", "number"),
    "pricing_unit": ("usage.pricing_unit", "text"),
    "effective_price": ("price.effective_price", "number"),
    "list_price": ("price.list_price", "number"),
    "tier_start_amount": ("price.tier_start_amount", "number"),
    "price_unit": ("price.unit", "text"),
    "pricing_unit_quantity": ("price.pricing_unit_quantity", "number"),
    "adjustment_id": ("adjustment_info.id", "text"),
    "adjustment_description": ("adjustment_info.description", "text"),
    "adjustment_mode": ("adjustment_info.mode", "text"),
    "adjustment_type": ("adjustment_info.type", "text"),
    "transaction_type": ("transaction_type", "text"),
    "seller_name": ("seller_name", "text"),
    "subscription_id": ("subscription.instance_id", "text"),
    "consumption_model_id": ("consumption_model.id", "text"),
    "consumption_model": ("consumption_model.description", "text"),
}
MANDATORY = ("billing_account_id", "usage_start", "usage_end", "export_time", "currency", "cost")
# What is lost where a column is missing: shown by the connection test.
EFFECTS: dict[str, str] = {
    "credits": "discounts and credits are not seen, costs are gross",
    "invoice_month": "the month of usage stands in for the invoice month",
    "labels": "costs cannot be told apart by label",
    "tags": "costs cannot be told apart by tag",
    "project_labels": "labels of projects are not seen",
    "cost_type": "tax and adjustments look like usage",
    "adjustment_type": "corrections look like usage",
    "resource_global_name": "no resources; enable the detailed usage cost export",
    "list_price": "no unit prices; enable the detailed usage cost export",
    "cost_at_list": "list costs are taken to be the costs",
}
_TABLE = re.compile(r"gcp_billing_export_(resource_)?v1_(\w+)")
_NAME = re.compile(r"[\w.:-]{1,200}", re.ASCII)
_FLOATS = {"FLOAT", "FLOAT64", "DOUBLE"}
# Rows of a month may be in partitions before it where the export's day is not ours.
_MARGIN = timedelta(days=10)


@dataclass(frozen=True, slots=True)
class Export:
    """One table of the export, as its description shows it."""

    project: str
    dataset: str
    table: str
    columns: frozenset[str] = frozenset()  # of COLUMNS, those it has
    floats: frozenset[str] = frozenset()  # of those, the ones that are binary floating point
    partition: str = ""  # what a filter on partitions speaks of, "" where there are none
    unread: tuple[str, ...] = ()  # columns that we do not know

    @property
    def address(self) -> str:
        """The table as a query names it."""
        return f"`{self.project}.{self.dataset}.{self.table}`"

    @property
    def is_detailed(self) -> bool:
        """Whether it tells resources."""
        return "resource_global_name" in self.columns

    @property
    def missing(self) -> list[str]:
        """The columns without which nothing can be said, as the export names them."""
        return [COLUMNS[name][0] for name in MANDATORY if name not in self.columns]


def named(**names: str) -> None:
    """Refuses a project, dataset or table that could be anything but a name, as it is put into a query."""
    for what, name in names.items():
        if not _NAME.fullmatch(name):
            raise SourceUnavailable(f"{what}: expected a name of letters, digits and dashes, found {name[:80]!r}")


def chosen(tables: Iterable[str], *, account: str = "") -> dict[str, list[str]]:
    """Of the tables of a dataset, those of each billing account: the detailed export before the standard one.

    Both hold the same costs, as does Google's own FOCUS table, which is left out.
    """
    found: dict[str, list[str]] = {}
    wanted = account.replace("-", "_").upper()
    for table in sorted(tables):
        match = _TABLE.fullmatch(table)
        if match is not None and wanted in ("", match[2].upper()):
            # "resource_" sorts before "v1_".
            found.setdefault(match[2].replace("_", "-"), []).append(table)
    return found


def described(table: "BigQueryTable") -> Export:
    """What the description of a table says of it."""
    present = dict(_paths(table.schema))
    known = {path: name for name, (path, _) in COLUMNS.items()}
    columns = {known[path]: kind for path, kind in present.items() if path in known}
    heads = {path.partition(".")[0] for path in known}
    return Export(
        project=table.project,
        dataset=table.dataset_id,
        table=table.table_id,
        columns=frozenset(columns),
        floats=frozenset(name for name, kind in columns.items() if kind in _FLOATS),
        partition=_partition(table),
        unread=tuple(field.name for field in table.schema if field.name not in heads),
    )


def months_query(export: Export) -> str:
    """Each invoice month of the partitions since @floor: its newest export_time, how many rows it has, its span of usage."""
    moments = ", ".join(
        f"CAST({function}(UNIX_MICROS({column})) AS STRING) AS {name}"
        for function, column, name in (
            ("MAX", "export_time", "newest"),
            ("MIN", "usage_start_time", "first"),
            ("MAX", "usage_end_time", "last"),
        )
    )
    return (
        f"SELECT {_month(export)} AS month, COUNT(*) AS rows_in_all, {moments}\n"
        f"FROM {export.address}\nWHERE {_since_floor(export)}\nGROUP BY 1\nORDER BY 1"
    )


def rows_query(export: Export) -> str:
    """The rows of the invoice month @month that were exported up to @newest, each as one text: a JSON list of texts.

    One text a row, because the client makes a Python object of every cell. Numbers are texts, for JSON would not tell an
    exact one from a rounded one. Credits stay a list inside of their row: joined they would multiply its cost.
    """
    cells = ",\n  ".join(_cell(name) for name in columns_of(export))
    return (
        f"SELECT TO_JSON_STRING([\n  {cells}\n]) AS line\nFROM {export.address}\n"
        f"WHERE {_since_floor(export)} AND {_month(export)} = @month\n"
        "  AND (export_time <= TIMESTAMP_MICROS(@newest) OR export_time IS NULL)"
    )


def columns_of(export: Export) -> list[str]:
    """The columns of a row of `rows_query`, in their order."""
    return [name for name in COLUMNS if name in export.columns]


def floor(month: str) -> datetime:
    """The oldest partition that may hold rows of an invoice month ("202610")."""
    return begins(month) - _MARGIN


def begins(month: str) -> datetime:
    """The start of an invoice month. Raises ValueError when it is none."""
    if not re.fullmatch(r"\d{6}", month, re.ASCII):
        raise ValueError(f"expected a month like 202610, found {month!r}")
    return datetime(int(month[:4]), int(month[4:]), 1, tzinfo=UTC)


def ends(month: str) -> datetime:
    """The start of the month after it."""
    first = begins(month)
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def effects(export: Export) -> Iterator[tuple[str, str]]:
    """Columns that a table lacks, as the export names them, with what that means."""
    for name, effect in EFFECTS.items():
        if name not in export.columns:
            yield COLUMNS[name][0], effect


def _paths(fields: "Sequence[SchemaField]", above: str = "") -> Iterator[tuple[str, str]]:
    for field in fields:
        path = f"{above}{field.name.lower()}"
        yield path, field.field_type.upper()
        # What is repeated is read as a whole.
        if field.fields and field.mode != "REPEATED":
            yield from _paths(field.fields, f"{path}.")


def _cell(name: str) -> str:
    path, shape = COLUMNS[name]
    if shape == "list":
        return f"COALESCE(TO_JSON_STRING({path}), '')"
    if shape == "moment":
        return f"COALESCE(CAST(UNIX_MICROS({path}) AS STRING), '')"
    return f"COALESCE(CAST({path} AS STRING), '')"


def _month(export: Export) -> str:
    usage = "FORMAT_TIMESTAMP('%Y%m', usage_start_time)"
    return f"COALESCE(invoice.month, {usage})" if "invoice_month" in export.columns else usage


def _partition(table: "BigQueryTable") -> str:
    """What bounds a scan. Days of usage do not: an adjustment is about usage of long ago."""
    if table.time_partitioning is None:
        return ""
    field = table.time_partitioning.field
    return "_PARTITIONTIME" if field is None else ("export_time" if field.lower() == "export_time" else "")


def _since_floor(export: Export) -> str:
    # Rows that were just streamed in have no partition yet.
    bound = export.partition or "export_time"
    return f"({bound} >= @floor OR {bound} IS NULL)"
