"""Charges from tables of a file in FOCUS columns, and of vendors who write a cost, a date and a service in their own."""

import polars as pl
import pyarrow as pa

from ingest.rows import COSTS
from ingest.sources.base import Normalized
from ingest.sources.formats import charge_rows, instants
from ingest.sources.formats.focus import focus_columns

_AMOUNTS = (*COSTS, "pricing_quantity", "consumed_quantity")
_MOMENTS = ("charge_period_start", "charge_period_end", "billing_period_start", "billing_period_end")
_BARE_DATE = r"^(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}|\d{4}\d{2}\d{2})$"
# 21.11.2026 has its day first wherever it is written; of 1/2/2026 the settings know.
_DOTTED = r"^(\d{1,2})\.(\d{1,2})\.(\d{4})\b"
_SLASHED = r"^(\d{1,2})/(\d{1,2})/(\d{2,4})\b"
# Written with a comma as the decimal mark, and points, spaces or apostrophes between thousands.
_WITH_COMMA = r"^[+-]?\d{1,3}(?:[. \u00a0\u202f']\d{3})*(?:,\d+)?$|^[+-]?\d+(?:,\d+)?$"
_CURRENCY_SIGNS = r"^[€£¥₩$]\s*|\s*[€£¥₩$]$"


def charges(
    table: pa.Table,
    columns: focus_columns.Columns,
    reading: charge_rows.Reading,
    *,
    file: str,
    file_index: int,
    first_row: int,
) -> Normalized:
    """The charges of a piece of a file, and the rows that cannot be one (with row and field). Order is kept."""
    frame = _selected(table, columns)
    if not columns.is_focus:
        frame = _whole_days(_american(frame, reading), columns)
    if reading.has_decimal_comma:
        frame = _points(frame)
    return charge_rows.finish(
        frame, list(columns.extra), reading, file=file, file_index=file_index, first_row=first_row
    )


def _selected(table: pa.Table, columns: focus_columns.Columns) -> pl.DataFrame:
    """Our columns and the extra ones (named `+Name`), with NULL and the like as ""."""
    arrays = {name: table.column(position) for name, position in columns.found.items()}
    arrays |= {f"+{name}": table.column(position) for name, position in columns.extra.items()}
    frame = pl.from_arrow(pa.table(arrays))
    assert isinstance(frame, pl.DataFrame)  # a table is never a single column
    numbers = [name for name in (*_AMOUNTS, "billing_currency") if name in columns.found]
    frame = frame.with_columns(pl.col(pl.String).fill_null("")).with_columns(pl.col(numbers).str.strip_chars())
    return frame.with_columns(
        pl.col(name).dt.to_string("iso:strict").fill_null("")
        for name, kind in frame.schema.items()
        if kind != pl.String and name not in _MOMENTS
    )


def _american(frame: pl.DataFrame, reading: charge_rows.Reading) -> pl.DataFrame:
    """Dates with the day first in the order that the reader of moments expects."""
    for name in _MOMENTS:
        if frame.schema.get(name) != pl.String:
            continue
        text = pl.col(name).str.strip_chars()
        if reading.has_day_first:
            text = text.str.replace(_SLASHED, "${2}/${1}/${3}")
        frame = frame.with_columns(text.str.replace(_DOTTED, "${2}/${1}/${3}").alias(name))
    return frame


def _whole_days(frame: pl.DataFrame, columns: focus_columns.Columns) -> pl.DataFrame:
    """What a vendor without FOCUS leaves out: usage is what is charged for, and a bare date is its whole day."""
    if "charge_category" not in columns.found:
        frame = frame.with_columns(charge_category=pl.lit("Usage"))
    if "charge_period_end" in columns.found:
        return frame
    start = pl.col("charge_period_start")
    if frame.schema["charge_period_start"] != pl.String:
        is_midnight = start.dt.truncate("1d") == start
        return frame.with_columns(charge_period_end=pl.when(is_midnight).then(start.dt.offset_by("1d")))
    day = instants.parse_repeated(frame["charge_period_start"])
    next_day = day.dt.offset_by("1d").dt.to_string("%Y-%m-%dT%H:%M:%SZ").fill_null("")
    is_bare = frame["charge_period_start"].str.contains(_BARE_DATE)
    return frame.with_columns(
        charge_period_end=pl.select(pl.when(is_bare).then(next_day).otherwise(pl.lit(""))).to_series()
    )


def _points(frame: pl.DataFrame) -> pl.DataFrame:
    """Amounts with a point as their decimal mark; what does not fit is left for the check of numbers to refuse."""
    for name in _AMOUNTS:
        if name not in frame.columns:
            continue
        bare = pl.col(name).str.replace_all(_CURRENCY_SIGNS, "")
        plain = bare.str.replace_all(r"[. \u00a0\u202f']", "").str.replace(",", ".", literal=True)
        # A number that would be read otherwise without the setting (1.5) is refused rather than made 15.
        unclear = pl.concat_str(pl.lit("?"), pl.col(name))
        told = pl.when(bare.str.contains(_WITH_COMMA)).then(plain).when(bare == "").then(pl.lit("")).otherwise(unclear)
        frame = frame.with_columns(told.alias(name))
    return frame
