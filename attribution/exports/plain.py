"""The statement as CSV: a line for each cost centre and team, with every digit and the printed cents."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from attribution import printing
from attribution.exports.base import Document, Export, guarded, percent
from costobs.kernel import money

FIGURES = (*printing.PARTS, "total", *printing.TIES, *printing.CHARGED, "charged")
COLUMNS = (
    "statement_id",
    "month",
    "kind",
    "state",
    "currency",
    "cost_column",
    "cost_centre",
    "team",
    *(f"{name}_cost" for name in FIGURES),
    "markup_label",
    "markup_percent",
    "printed_total_cost",
    "printed_charged_cost",
    "statement_sha256",
)


class Csv(Export):
    """One row for each cost centre and team: what it used in each part, what leads to the invoices, what is charged."""

    kind: ClassVar = "csv"
    title: ClassVar = "CSV"
    extension: ClassVar = "csv"
    media_type: ClassVar = "text/csv; charset=utf-8"

    def write(self, document: Document) -> Iterator[bytes]:
        return lines(COLUMNS, rows(document))


def rows(document: Document) -> Iterator[tuple[str, ...]]:
    """The rows of COLUMNS."""
    found = document.statement
    head = (
        document.id,
        f"{found.month:%Y-%m}",
        document.kind,
        found.state,
        found.currency,
        found.cost,
    )
    for line, row in document.lines():
        yield (
            *head,
            guarded(line.cost_centre),
            guarded(line.team),
            *(money.text(amount) for amount in printing.exact(line).values()),
            guarded(line.markup.label) if line.markup else "",
            percent(line.markup.percent) if line.markup else "",
            money.text(row.total),
            money.text(row.charged),
            document.sha256,
        )


def lines(columns: Sequence[str], found: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """The lines of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in found:
        writer.writerow(row)
        if text.tell() > 65536:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()
