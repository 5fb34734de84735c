"""The statement on paper: a PDF whose text can be read, with page numbers and the checksum on every page."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import orjson
import typst

from attribution import printing
from attribution.exports.base import Document, Export, percent
from attribution.exports.workbook import TITLES
from costobs.kernel import fmt, money

_TEMPLATE = Path(__file__).with_name("statement.typ")
_PARTS = (*printing.PARTS, "total", *printing.CHARGED, "charged")


class Pdf(Export):
    """One statement, A4 across: company, cost centre, month, state, lines, totals and checksum.

    It is dated when the month was closed, or at the end of the month while it is showback. Its letters come with the program, so
    every machine prints the same; they are Latin, Greek and Cyrillic.
    """

    kind: ClassVar = "pdf"
    title: ClassVar = "PDF statement"
    extension: ClassVar = "pdf"
    media_type: ClassVar = "application/pdf"

    def write(self, document: Document) -> Iterator[bytes]:
        data = orjson.dumps(_data(document)).decode()
        yield typst.compile(
            _TEMPLATE.read_bytes(),
            font_paths=[],
            ignore_system_fonts=True,
            format="pdf",
            sys_inputs={"data": data},
            timestamp=int(document.dated.timestamp()),
        )


def _data(document: Document) -> dict[str, Any]:
    found, sheet, dated = document.statement, document.sheet, document.dated
    invoiced = [money.total(getattr(one, name) for one in found.reconciliation) for name in _INVOICED]
    return {
        "title": f"Statement {document.id}",
        "id": document.id,
        "sha256": document.sha256,
        "company": document.company or "Statement of LLM cost",
        "kind": document.kind,
        "meaning": document.meaning,
        "heading": f"{_whose(document)}, {found.month:%B %Y}: {_amount(sheet.total.charged, found.currency)}",
        "dated": [dated.year, dated.month, dated.day, dated.hour, dated.minute, dated.second],
        "facts": _facts(document),
        "currency": found.currency,
        "columns": ["Cost centre", "Team", *(TITLES[name] for name in _PARTS)],
        "rows": [_names(row) + _cells(row, _PARTS, found.currency) for row in sheet.rows],
        "total": ["Total", "", *_cells(sheet.total, _PARTS, found.currency)],
        "tie_columns": ["Cost centre", "Team", *(TITLES[name] for name in ("total", *printing.TIES))],
        "ties": [_names(row) + _cells(row, ("total", *printing.TIES), found.currency) for row in sheet.rows],
        "tie_total": ["Total", "", *_cells(sheet.total, ("total", *printing.TIES), found.currency)],
        "markups": _markups(document),
        "conversion_columns": ["Cost centre", "Team", "Currency", "Amount", found.currency, "Rates"],
        "conversions": _conversions(document),
        "invoice_columns": ["Provider", "Invoices", "Invoiced", "In the books", "Through another source", "Difference"],
        "invoices": [
            [
                one.provider_name,
                ", ".join(sorted(one.invoices)) or "no number",
                *(_amount(getattr(one, name), found.currency) for name in _INVOICED),
            ]
            for one in found.reconciliation
        ],
        "invoice_total": ["Total", "", *(_amount(amount, found.currency) for amount in invoiced)],
        "rounding": printing.RULE,
    }


_INVOICED = ("invoiced_cost", "in_books_cost", "other_authority_cost", "difference")


def _facts(document: Document) -> list[tuple[str, str]]:
    found = document.statement
    return [
        ("Statement", document.id),
        ("State", f"{found.state}, {document.kind}"),
        ("Cost centre", _whose(document)),
        ("Cost column", found.cost),
        ("Teams", "All" if document.teams is None else ", ".join(sorted(document.teams)) or "none"),
        ("Month", f"{found.month:%B %Y}, UTC days"),
    ]


def _whose(document: Document) -> str:
    if document.cost_centre is None:
        return "All cost centres"
    return f"Cost centre {document.cost_centre}" if document.cost_centre else "No cost centre"


def _names(row: printing.Printed) -> list[str]:
    return [row.cost_centre or "No cost centre", row.team or "Unallocated"]


def _cells(row: printing.Printed, names: tuple[str, ...], currency: str) -> list[str]:
    figures = printing.figures(row)
    return [_amount(figures[name], currency) for name in names]


def _markups(document: Document) -> list[str]:
    lines = {(line.cost_centre, line.markup) for line, _ in document.lines() if line.markup}
    return [
        f"{centre}: {markup.label}, {percent(markup.percent)} % of everything but tax"
        for centre, markup in sorted(lines, key=lambda one: one[0])
        if markup
    ]


def _conversions(document: Document) -> list[list[str]]:
    currency = document.statement.currency
    return [
        [
            one.cost_centre or "No cost centre",
            one.team or "Unallocated",
            one.currency,
            _amount(one.cost, one.currency),
            "not included" if one.converted_cost is None else _amount(one.converted_cost, currency),
            one.rates or "no rate is known",
        ]
        for one in document.statement.conversions
    ]


def _amount(amount: Decimal, currency: str) -> str:
    return fmt.money(amount, currency, mode="statement")
