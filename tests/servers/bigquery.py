"""The billing export of Google Cloud as a test makes it: the schema that Google documents, rows of it, and answers about them."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from google.cloud import bigquery

from ingest.sources.formats.gcp import gcp_export

ACCOUNT = "01AB23-45CD67-89EF01"
DETAILED = "gcp_billing_export_resource_v1_01AB23_45CD67_89EF01"
STANDARD = "gcp_billing_export_v1_01AB23_45CD67_89EF01"

_PAIR = [{"name": "key", "type": "STRING"}, {"name": "value", "type": "STRING"}]


def _record(name: str, *fields: Mapping[str, Any], mode: str = "NULLABLE") -> dict[str, Any]:
    return {"name": name, "type": "RECORD", "mode": mode, "fields": list(fields)}


def _column(name: str, kind: str = "STRING") -> dict[str, Any]:
    return {"name": name, "type": kind}


def _list(name: str, *fields: Mapping[str, Any]) -> dict[str, Any]:
    return _record(name, *(fields or _PAIR), mode="REPEATED")


def schema(*, is_detailed: bool = True, without: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The columns of the detailed or the standard export, less some, as the API of BigQuery describes them."""
    columns = [
        _column("billing_account_id"),
        _record("service", _column("id"), _column("description")),
        _record("sku", _column("id"), _column("description")),
        _column("usage_start_time", "TIMESTAMP"),
        _column("usage_end_time", "TIMESTAMP"),
        _record(
            "project",
            *(_column(name) for name in ("id", "number", "name")),
            _list("labels"),
            _column("ancestry_numbers"),
            _list("ancestors", _column("resource_name"), _column("display_name")),
        ),
        _list("labels"),
        _list("system_labels"),
        _record("location", *(_column(name) for name in ("location", "country", "region", "zone"))),
        _list("tags", *_PAIR, _column("inherited", "BOOLEAN"), _column("namespace")),
        _column("transaction_type"),
        _column("seller_name"),
        _column("export_time", "TIMESTAMP"),
        _column("cost", "FLOAT"),
        _column("currency"),
        _column("currency_conversion_rate", "FLOAT"),
        _record(
            "usage",
            _column("amount", "FLOAT"),
            _column("unit"),
            _column("amount_in_pricing_units", "FLOAT"),
            _column("pricing_unit"),
        ),
        _list("credits", _column("name"), _column("amount", "FLOAT"), *map(_column, ("full_name", "id", "type"))),
        _record("invoice", _column("month"), _column("publisher_type")),
        _column("cost_type"),
        _record("adjustment_info", *map(_column, ("id", "description", "mode", "type"))),
        _column("cost_at_list", "FLOAT"),
        _record("subscription", _column("instance_id")),
        _record("consumption_model", _column("id"), _column("description")),
    ]
    if is_detailed:
        prices = ("effective_price", "tier_start_amount", "pricing_unit_quantity", "list_price")
        columns += [
            _record("price", *(_column(name, "NUMERIC") for name in prices), _column("unit")),
            _record("resource", _column("name"), _column("global_name")),
        ]
    return [column for column in columns if column["name"] not in without]


def row(
    cost: float, *, month: str = "202610", exported: str = "2026-10-03T12:00:00Z", **changed: Any
) -> dict[str, Any]:
    """A row of an hour of usage; `changed` are whole columns."""
    return {
        "billing_account_id": ACCOUNT,
        "service": {"id": "6F81-5844-456A", "description": "Compute Engine"},
        "sku": {"id": "2E27-4F75-95CD", "description": "N1 Predefined Instance Core running in Americas"},
        "usage_start_time": "2026-10-03T07:00:00Z",
        "usage_end_time": "2026-10-03T08:00:00Z",
        "project": {"id": "search-prod", "number": "1234", "name": "Search", "labels": [], "ancestry_numbers": "/9/8/"},
        "labels": [],
        "system_labels": [],
        "location": {"location": "us-central1", "country": "US", "region": "us-central1", "zone": None},
        "tags": [],
        "transaction_type": "GOOGLE",
        "export_time": exported,
        "cost": cost,
        "currency": "USD",
        "currency_conversion_rate": 1.0,
        "usage": {"amount": 3600.0, "unit": "seconds", "amount_in_pricing_units": 1.0, "pricing_unit": "hour"},
        "credits": [],
        "invoice": {"month": month, "publisher_type": "GOOGLE"},
        "cost_type": "regular",
        "cost_at_list": cost,
        **changed,
    }


def credit(amount: float, kind: str = "SUSTAINED_USAGE_DISCOUNT", *, name: str = "", id: str = "") -> dict[str, Any]:  # noqa: A002
    """One credit of a row."""
    return {"name": name or kind.lower(), "amount": amount, "full_name": name, "id": id, "type": kind}


def export(name: str = DETAILED, **of: Any) -> gcp_export.Export:
    """A table of the export as its description tells it."""
    table = bigquery.Table(
        f"costs.billing.{name}", schema=[bigquery.SchemaField.from_api_repr(each) for each in schema(**of)]
    )
    table.time_partitioning = bigquery.TimePartitioning(type_="DAY")
    return gcp_export.described(table)


def line(found: gcp_export.Export, of: dict[str, Any]) -> str:
    """A row as BigQuery answers `gcp_export.rows_query` with."""
    cells = []
    for name in gcp_export.columns_of(found):
        path, shape = gcp_export.COLUMNS[name]
        value: Any = of
        for step in path.split("."):
            value = (value or {}).get(step)
        if shape == "moment":
            moment = datetime.fromisoformat(value) if value else None
            value = str(int(moment.timestamp()) * 1_000_000 + moment.microsecond) if moment else ""
        cells.append(json.dumps(value, separators=(",", ":")) if shape == "list" else _written(value))
    return json.dumps(cells)


def _written(value: Any) -> str:
    """A cell as CAST AS STRING and TO_JSON_STRING have it: 15 digits of a double where they are enough, else 17."""
    if value is None:
        return ""
    if isinstance(value, float):
        short = f"{value:.15g}"
        return short if float(short) == value else f"{value:.17g}"
    return str(value)
