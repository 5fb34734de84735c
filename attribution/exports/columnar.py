"""The statement and its FOCUS rows as Parquet, with decimals that keep every digit."""

import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from attribution import printing
from attribution.exports import focus, plain
from attribution.exports.base import Document, Export, percent

# What nearly every reader knows; an amount with more digits takes the wide type, so that none is lost.
_USUAL, _WIDE = pa.decimal128(38, 18), pa.decimal256(76, 38)


class Parquet(Export):
    """The rows of the CSV with amounts as decimals: exact ones with 18 decimals or more, printed ones with the currency's."""

    kind: ClassVar = "parquet"
    title: ClassVar = "Parquet"
    extension: ClassVar = "parquet"
    media_type: ClassVar = "application/vnd.apache.parquet"

    def write(self, document: Document) -> Iterator[bytes]:
        found = document.statement
        pairs = list(document.lines())
        texts: dict[str, list[str]] = {
            "statement_id": [document.id] * len(pairs),
            "month": [f"{found.month:%Y-%m}"] * len(pairs),
            "kind": [document.kind] * len(pairs),
            "state": [found.state] * len(pairs),
            "currency": [found.currency] * len(pairs),
            "cost_column": [found.cost] * len(pairs),
            "cost_centre": [line.cost_centre for line, _ in pairs],
            "team": [line.team for line, _ in pairs],
        }
        columns: dict[str, Any] = {name: pa.array(values, pa.string()) for name, values in texts.items()}
        for name in plain.FIGURES:
            columns[f"{name}_cost"] = amounts([printing.exact(line)[name] for line, _ in pairs])
        columns["markup_label"] = pa.array(
            [line.markup.label if line.markup else None for line, _ in pairs], pa.string()
        )
        percents = [percent(line.markup.percent) if line.markup else None for line, _ in pairs]
        columns["markup_percent"] = pa.array(percents, pa.string())
        for name in ("total", "charged"):
            printed = [getattr(row, name) for _, row in pairs]
            columns[f"printed_{name}_cost"] = pa.array(printed, pa.decimal128(38, 4))
        columns["statement_sha256"] = pa.array([document.sha256] * len(pairs), pa.string())
        yield _written(columns)


class FocusParquet(Export):
    """The FOCUS rows of the month as Parquet: costs as decimals, times as UTC timestamps, tags as JSON text."""

    kind: ClassVar = "focus_parquet"
    title: ClassVar = "FOCUS 1.2 Parquet"
    extension: ClassVar = "focus.parquet"
    media_type: ClassVar = "application/vnd.apache.parquet"
    needs_focus: ClassVar = True

    def write(self, document: Document) -> Iterator[bytes]:
        rows = list(focus.rows(document))
        columns: dict[str, Any] = {}
        for index, name in enumerate(focus.COLUMNS):
            values = [row[index] or None for row in rows]
            if name in focus.AMOUNTS:
                columns[name] = amounts([None if value is None else Decimal(value) for value in values])
            elif name in focus.MOMENTS:
                times = [None if value is None else _moment(value) for value in values]
                columns[name] = pa.array(times, pa.timestamp("us", tz="UTC"))
            else:
                columns[name] = pa.array(values, pa.string())
        yield _written(columns)

    def basis(self, document: Document) -> Iterator[bytes]:
        return focus.basis(document)


def amounts(values: Sequence[Decimal | None]) -> Any:  # pyarrow ships no types
    """A column of exact amounts."""
    try:
        return pa.array(values, _USUAL)
    except pa.ArrowInvalid:
        return pa.array(values, _WIDE)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _written(columns: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()
