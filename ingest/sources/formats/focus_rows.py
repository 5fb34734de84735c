"""Charges from tables of a FOCUS file."""

import polars as pl
import pyarrow as pa

from ingest.rows import COSTS
from ingest.sources.base import Normalized
from ingest.sources.formats import charge_rows, focus_columns

_NUMBERS = (*COSTS, "pricing_quantity", "consumed_quantity", "billing_currency")
_MOMENTS = ("charge_period_start", "charge_period_end", "billing_period_start", "billing_period_end")


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
    return charge_rows.finish(
        frame, list(columns.extra), reading, file=file, file_index=file_index, first_row=first_row
    )


def _selected(table: pa.Table, columns: focus_columns.Columns) -> pl.DataFrame:
    """Our columns and the extra ones (named `+Name`), with NULL and the like as ""."""
    arrays = {name: table.column(position) for name, position in columns.found.items()}
    arrays |= {f"+{name}": table.column(position) for name, position in columns.extra.items()}
    frame = pl.from_arrow(pa.table(arrays))
    assert isinstance(frame, pl.DataFrame)  # a table is never a single column
    numbers = [name for name in _NUMBERS if name in columns.found]
    frame = frame.with_columns(pl.col(pl.String).fill_null("")).with_columns(pl.col(numbers).str.strip_chars())
    return frame.with_columns(
        pl.col(name).dt.to_string("iso:strict").fill_null("")
        for name, kind in frame.schema.items()
        if kind != pl.String and name not in _MOMENTS
    )
