"""Figures of the business by the column names people use: a period, a count, and whose it is."""

import calendar
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ingest.rows import ATTRIBUTES
from ingest.sources.formats import pushed_rows
from ingest.sources.formats.pushed_rows import Invalid

PERIODS = ("hour", "day", "week", "month")
LONGEST = timedelta(days=366)
_LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
_MONTH = re.compile(r"\d{4}-\d\d")
# What the columns of a figure are called besides their own names; the first that is there counts.
_ALIASES = {
    "period_start": ("date", "day", "month", "week", "hour", "period"),
    "value": ("count", "number", "quantity", "amount"),
    "name": ("metric",),
}
_OWN = ("name", "period_start", "period_end", "value", "unit", "attributes")


def canonical(told: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table or file as a figure: columns by their own names, those of an owner and all others as attributes."""
    named = {re.sub(r"\s+", "_", str(key).strip().lower()): value for key, value in told.items()}
    found: dict[str, Any] = {}
    for name in _OWN:
        used = next((one for one in (name, *_ALIASES.get(name, ())) if _says(named.get(one))), None)
        if used is not None:
            found[name] = named.pop(used)
    given = found.pop("attributes", {})
    if not isinstance(given, Mapping):
        raise Invalid("attributes", f"expected an object, found {type(given).__name__}")
    further = {key: _text(value) for key, value in named.items() if key and _says(value)}
    return {**found, "attributes": {**given, **further}}


def row(parsed: Mapping[str, Any], number: int, *, name: str, unit: str, period: str) -> pushed_rows.Row:
    """The row of a canonical figure; `name`, `unit` and `period` stand where it is silent. Raises Invalid."""
    start, end = span(parsed, period)
    return {
        "row_number": number,
        "name": (pushed_rows.text(parsed, "name") or _needed(name, "name")).lower(),
        "period_start": start,
        "period_end": end,
        "value": pushed_rows.number(parsed, "value"),
        "unit": pushed_rows.text(parsed, "unit") or unit,
        **pushed_rows.attributes(parsed),
    }


def span(parsed: Mapping[str, Any], period: str) -> tuple[datetime, datetime]:
    """The half-open period of a figure in UTC. Without an end it is one `period` long; `2026-11` is a month. Raises Invalid."""
    written = pushed_rows.text(parsed, "period_start", required=True)
    if _MONTH.fullmatch(written):
        parsed, period = {**parsed, "period_start": f"{written}-01"}, "month"
    start = pushed_rows.moment(parsed, "period_start", required=True)
    assert start is not None  # it is mandatory
    end = pushed_rows.moment(parsed, "period_end") or _after(start, period)
    if not start < end <= start + LONGEST:
        reason = f"expected a period of up to a year, found {start.isoformat()} to {end.isoformat()}"
        raise Invalid("period_end", reason)
    return start, end


def _after(start: datetime, period: str) -> datetime:
    if period == "month":
        if start.day != 1:
            raise Invalid("period_start", f"expected the first day of a month, found {start:%Y-%m-%d}")
        return start + timedelta(days=calendar.monthrange(start.year, start.month)[1])
    return start + _LENGTHS[period]


def _needed(found: str, field: str) -> str:
    if not found:
        raise Invalid(field, "is mandatory")
    return found


def _says(value: Any) -> bool:
    return value is not None and str(value).strip() != ""


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else str(value)


assert set(_OWN).isdisjoint(ATTRIBUTES)
