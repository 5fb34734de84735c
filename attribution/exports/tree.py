"""The statement as JSON: what the REST API answers."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

import orjson

from attribution import printing
from attribution.exports.base import Document, Export, percent
from attribution.queries import Conversion, Reconciliation
from costobs.kernel import money


class Json(Export):
    """Everything the statement says, amounts as text with every digit, beside them the cents as printed."""

    kind: ClassVar = "json"
    title: ClassVar = "JSON"
    extension: ClassVar = "json"
    media_type: ClassVar = "application/json"

    def write(self, document: Document) -> Iterator[bytes]:
        yield orjson.dumps(tree(document), option=orjson.OPT_APPEND_NEWLINE)


def tree(document: Document) -> dict[str, Any]:
    """The document of the API."""
    found, sheet = document.statement, document.sheet
    return {
        "id": document.id,
        "sha256": document.sha256,
        "company": document.company,
        "month": f"{found.month:%Y-%m}",
        "currency": found.currency,
        "cost": found.cost,
        "kind": document.kind,
        "state": found.state,
        "version": found.version,
        "closed_at": found.closed_at.isoformat() if found.closed_at else None,
        "is_final": found.is_final,
        "meaning": document.meaning,
        "cost_centre": document.cost_centre,
        "teams": None if document.teams is None else sorted(document.teams),
        "lines": [_line(line, row) for line, row in document.lines()],
        "total": {**_totals(document), "printed": _printed(sheet.total)},
        "conversions": [_conversion(one) for one in found.conversions],
        "reconciliation": [_reconciled(one) for one in found.reconciliation],
        "rounding": printing.RULE,
    }


def _line(line: Any, row: printing.Printed) -> dict[str, Any]:
    markup = {"label": line.markup.label, "percent": percent(line.markup.percent)} if line.markup else None
    return {
        "id": f"{printing.slug(line.cost_centre)}/{printing.slug(line.team)}",
        "cost_centre": line.cost_centre,
        "team": line.team,
        **{f"{name}_cost": money.text(amount) for name, amount in printing.exact(line).items()},
        "markup": markup,
        "printed": _printed(row),
    }


def _totals(document: Document) -> dict[str, str]:
    sums: dict[str, list[Decimal]] = {name: [] for name in printing.figures(document.sheet.total)}
    for line, _ in document.lines():
        for name, amount in printing.exact(line).items():
            sums[name].append(amount)
    return {f"{name}_cost": money.text(money.total(amounts)) for name, amounts in sums.items()}


def _printed(row: printing.Printed) -> dict[str, str]:
    return {f"{name}_cost": money.text(amount) for name, amount in printing.figures(row).items()}


def _conversion(one: Conversion) -> dict[str, Any]:
    return {
        "cost_centre": one.cost_centre,
        "team": one.team,
        "currency": one.currency,
        "cost": money.text(one.cost),
        "tax_cost": money.text(one.tax_cost),
        "is_included": one.converted_cost is not None,
        "converted_cost": _text(one.converted_cost),
        "rates": one.rates,
        "lowest_rate": _text(one.lowest_rate),
        "highest_rate": _text(one.highest_rate),
    }


def _reconciled(one: Reconciliation) -> dict[str, Any]:
    return {
        "invoice_issuer_name": one.invoice_issuer_name,
        "provider_name": one.provider_name,
        "invoices": sorted(one.invoices),
        "invoiced_cost": money.text(one.invoiced_cost),
        "in_books_cost": money.text(one.in_books_cost),
        "other_authority_cost": money.text(one.other_authority_cost),
        "difference": money.text(one.difference),
    }


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else money.text(amount)
