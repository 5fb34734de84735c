"""The statement as a workbook: a sheet for the summary, one for the lines, one for what leads to the invoices."""

import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import xlsxwriter

from attribution import printing
from attribution.exports.base import Document, Export, percent
from costobs.kernel import money
from costobs.kernel.period import month

TITLES = {
    "direct": "Direct",
    "shared": "Shared",
    "idle": "Idle",
    "overhead": "Overhead",
    "unallocated": "Unallocated",
    "adjustment": "Adjustments",
    "tax": "Tax",
    "total": "Total",
    "estimated": "Not billed yet",
    "timing": "Commitment timing",
    "billed": "Billed",
    "converted": "From other currencies",
    "markup": "Markup",
    "charged": "Charged",
}
_SUMMARY = (*printing.PARTS, "total", *printing.CHARGED, "charged")
Value = str | int | Decimal | None


class Xlsx(Export):
    """Amounts are numbers in printed cents, to reckon with; beside each line its exact amounts stand as text."""

    kind: ClassVar = "xlsx"
    title: ClassVar = "Excel"
    extension: ClassVar = "xlsx"
    media_type: ClassVar = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

    def write(self, document: Document) -> Iterator[bytes]:
        file = io.BytesIO()
        options = {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        book = xlsxwriter.Workbook(file, options)
        # Naive, as the library wants it; it is UTC.
        created = datetime.combine(document.dated.date(), document.dated.time().replace(microsecond=0))
        title = f"Statement {document.id}"
        book.set_properties({"title": title, "author": document.company, "created": created})
        sheets = _Sheets(book, document)
        sheets.summary()
        sheets.lines()
        sheets.reconciliation()
        book.close()
        yield file.getvalue()


class _Sheets:
    """Writes row by row: a row that is written cannot be touched again."""

    def __init__(self, book: Any, document: Document) -> None:
        self._document, self._book = document, book
        places = money.MINOR_UNITS.get(document.statement.currency, 2)
        digits = f"#,##0.{'0' * places}" if places else "#,##0"
        self._amount = book.add_format({"num_format": f"{digits};[Red]-{digits}"})
        self._whole = book.add_format({"num_format": digits, "bold": True, "top": 1})
        self._head = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        self._strong = book.add_format({"bold": True})
        self._sheet: Any = None
        self._at = 0

    def summary(self) -> None:
        """Who, what, when, and the figures of each cost centre."""
        found, document = self._document.statement, self._document
        self._begin("Summary", [24, *([15] * len(_SUMMARY))])
        for label, text in (
            ("Company", document.company),
            ("Statement", document.id),
            ("Month", f"{month(found.month).start:%B %Y}"),
            ("Kind", document.kind),
            ("State", found.state),
            ("Currency", found.currency),
            ("Cost column", found.cost),
            ("Cost centre", "All" if document.cost_centre is None else document.cost_centre or "No cost centre"),
            ("Teams", "All" if document.teams is None else ", ".join(sorted(document.teams))),
            ("Checksum, SHA-256", document.sha256),
            ("Meaning", document.meaning),
            ("Rounding", printing.RULE),
        ):
            self._row([label, text], [self._strong, None])
        self._row([])
        heads = ["Cost centre", *(f"{TITLES[name]}, {found.currency}" for name in _SUMMARY)]
        self._row(heads, [self._head] * len(heads))
        for centre, row in printing.by_cost_centre(document.sheet.rows).items():
            figures = printing.figures(row)
            self._row([centre or "No cost centre", *(figures[name] for name in _SUMMARY)])
        figures = printing.figures(document.sheet.total)
        self._row(["Total", *(figures[name] for name in _SUMMARY)], [self._whole] * (len(_SUMMARY) + 1))

    def lines(self) -> None:
        """Each cost centre and team: printed cents as numbers, then the exact amounts as text."""
        currency = self._document.statement.currency
        names = list(printing.figures(self._document.sheet.total))
        self._begin("Lines", [18, 18, *([14] * len(names)), 20, 10, *([24] * len(names))])
        heads = ["Cost centre", "Team", *(f"{TITLES[name]}, {currency}" for name in names), "Markup", "Percent"]
        heads += [f"{TITLES[name]}, exact" for name in names]
        self._row(heads, [self._head] * len(heads))
        for line, row in self._document.lines():
            exact = [money.text(amount) for amount in printing.exact(line).values()]
            markup = [line.markup.label, percent(line.markup.percent)] if line.markup else ["", ""]
            self._row([line.cost_centre, line.team, *printing.figures(row).values(), *markup, *exact])
        total: list[Value] = ["Total", "", *printing.figures(self._document.sheet.total).values()]
        self._row(total, [self._whole] * len(total))

    def reconciliation(self) -> None:
        """Invoices against the books, and other currencies."""
        found = self._document.statement
        self._begin("Reconciliation", [28, 28, 24, *([16] * 3), 12, *([24] * 4)])
        heads = ["Issuer", "Provider", "Invoices", "Invoiced", "In the books", "Difference", "Currency"]
        heads += ["Invoiced, exact", "In the books, exact", "Through another source, exact", "Difference, exact"]
        self._row(heads, [self._head] * len(heads))
        for one in found.reconciliation:
            amounts = [one.invoiced_cost, one.in_books_cost, one.difference]
            exact = [one.invoiced_cost, one.in_books_cost, one.other_authority_cost, one.difference]
            names = [one.invoice_issuer_name, one.provider_name, ", ".join(sorted(one.invoices))]
            cents = [money.round_minor(amount, found.currency) for amount in amounts]
            self._row([*names, *cents, found.currency, *(money.text(amount) for amount in exact)])
        if not found.reconciliation:
            self._row(["Invoices are about all teams at once: this statement has no part of them."])
        self._row([])
        heads = ["Cost centre", "Team", "Other currency", "Amount in it", f"In {found.currency}", "Included", "Rates"]
        heads += ["Amount, exact", "Converted, exact", "Lowest rate", "Highest rate"]
        self._row(heads, [self._head] * len(heads))
        for other in found.conversions:
            converted = other.converted_cost
            cents = [money.round_minor(other.cost, other.currency)]
            into: Value = None if converted is None else money.round_minor(converted, found.currency)
            digits = [_text(amount) for amount in (other.cost, converted, other.lowest_rate, other.highest_rate)]
            is_in = "no rate" if converted is None else "yes"
            self._row([other.cost_centre, other.team, other.currency, *cents, into, is_in, other.rates, *digits])

    def _begin(self, name: str, widths: Sequence[int]) -> None:
        self._sheet, self._at = self._book.add_worksheet(name), 0
        for column, width in enumerate(widths):
            self._sheet.set_column(column, column, width)

    def _row(self, values: Sequence[Value], formats: Sequence[Any] | None = None) -> None:
        for column, value in enumerate(values):
            style = formats[column] if formats else None
            if isinstance(value, Decimal | int):
                self._sheet.write_number(self._at, column, value, style or self._amount)
            elif value:
                # Marked-up text is written as it is in this mode, so nothing may look like it.
                text = f"'{value}" if value.startswith("<r>") else value
                self._sheet.write_string(self._at, column, text, style)
        self._at += 1


def _text(amount: Decimal | None) -> str:
    return "" if amount is None else money.text(amount)
