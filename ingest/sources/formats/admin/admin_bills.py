"""Lines of a vendor's cost report as charges: money as it was written, the project and key they belong to."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta

import polars as pl
import pyarrow as pa

from ingest.rows import CHARGE
from ingest.sources.base import Finding, Normalized
from ingest.sources.formats import charge_rows, instants
from ingest.sources.formats.admin import admin_units

# The columns a line fills, all of text but for its period.
_TEXTS = (
    "billing_account_id",
    "sub_account_id",
    "sub_account_name",
    "billing_currency",
    "billed_cost",
    "charge_category",
    "charge_description",
    "charge_frequency",
    "service_provider_name",
    "host_provider_name",
    "invoice_issuer_name",
    "service_category",
    "service_subcategory",
    "service_name",
    "region_id",
    "consumed_quantity",
    "consumed_unit",
    "model",
    "token_kind",
    "cost_kind",
    "tags",
    "attr_key",
)
_PERIODS = ("charge_period_start", "charge_period_end")
_READING = charge_rows.Reading(tag_keys=("api_key_name",))
Line = Mapping[str, object]


def line(found: admin_units.Found, *, vendor: str, service: str, **columns: str) -> dict[str, object]:
    """A line of a bill whose vendor sells, hosts and invoices by itself; `columns` are texts, those with + are kept as extra."""
    return {
        **dict(zip(_PERIODS, (found.starts_at, found.ends_at), strict=True)),
        "charge_category": "Usage",
        "charge_frequency": "Usage-Based",
        "service_provider_name": vendor,
        "host_provider_name": vendor,
        "invoice_issuer_name": vendor,
        "service_category": "AI and Machine Learning",
        "service_subcategory": "Generative AI",
        "service_name": service,
        **columns,
    }


def charges(lines: Sequence[Line], *, extra: Sequence[str], file: str) -> Normalized:
    """The charges of a month, and the lines that cannot be one. `extra` are columns of the lines, named without their +."""
    if not lines:
        return Normalized(pa.RecordBatch.from_pylist([], schema=CHARGE), (), file)
    names = (*_TEXTS, *(f"+{name}" for name in extra))
    data: dict[str, pl.Series] = {
        name: pl.Series([each[name] for each in lines], dtype=instants.INSTANT) for name in _PERIODS
    }
    data |= {name: pl.Series([each.get(name, "") for each in lines], dtype=pl.String) for name in names}
    return charge_rows.finish(pl.DataFrame(data), extra, _READING, file=file, file_index=0, first_row=1)


def tags(**named: str) -> str:
    """Names as tags: rules may match them, while ids stay in their own columns."""
    return json.dumps({name: value for name, value in named.items() if value})


def seen(found: Sequence[admin_units.Found], *, account: str) -> Finding:
    """What a connection test saw of the last days of a bill."""
    if not found:
        return Finding("Costs", "note", "They can be read; the last 7 days have none.")
    accounts = len({each.result.get(account) for each in found})
    newest = max(each.ends_at for each in found) - timedelta(days=1)
    what = "projects" if account == "project_id" else "workspaces"
    return Finding(
        "Costs", "ok", f"{len(found)} lines, {accounts} {what} in the last 7 days; the newest of {newest:%Y-%m-%d}"
    )
