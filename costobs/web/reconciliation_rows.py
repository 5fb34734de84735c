"""The rows behind a cause of reconciliation: the cells it was found in, and the charges and calls of one cell."""

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from attribution import queries
from costobs.kernel import fmt
from costobs.kernel.scope import BadScope, SpendScope
from costobs.web import csv_file, filters
from costobs.web.page import notice as notice_page
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table
from costobs.web.reconciliation_parts import CAUSES

_PAGE = 100
_BEHIND = 500
_ALL = 100_000
_COLUMNS = (
    "cause", "day", "provider", "account", "model", "token_kind", "currency", "logged_tokens", "billed_tokens",
    "estimated_cost", "billed_cost", "amount", "tokens", "evidence",
)  # fmt: skip
_TOLD = {
    "offset_hours": "",
    "how": "",
    "price_ratio": "our price × {}",
    "rate_ratio": "our rate × {}",
    "rate": "our rate {}",
    "rate_source": "rate: {}",
    "billed_as": "billed as {}",
    "calls": "",
    "lines": "{} rows of the bill",
    "found": "{}",
}


def page(request: HttpRequest, asked: filters.Asked) -> HttpResponse:
    cause = request.GET.get("cause", "")
    if cause not in CAUSES:
        raise BadScope(f"unknown cause {cause!r}; known: {', '.join(CAUSES)}")
    if "cell" in request.GET:
        return _cell(request, asked, cause)
    provider = request.GET.get("provider", "")
    if request.GET.get("format") == "csv":
        rows, _count = queries.cause_rows(scope=asked.scope, cause=cause, provider=provider, limit=_ALL)
        return _csv(asked.scope, [(cause, row) for row in rows], f"reconciliation-{cause}")
    number = _number(request, "page", 1)
    rows, count = queries.cause_rows(
        scope=asked.scope, cause=cause, provider=provider, limit=_PAGE, offset=(number - 1) * _PAGE
    )
    name, meaning = CAUSES[cause]
    days = asked.scope.days
    context = {
        "page": "reconciliation",
        "scope": asked.bar,
        "heading": f"{name}: {fmt.integer(count)} row{'' if count == 1 else 's'} in {fmt.period(days.start, days.end)}",
        "sub": f"{meaning}. Largest first, {asked.scope.currency}.",
        "back": filters.url(request, path=reverse("reconciliation"), drop=["cause", "page"]),
        "back_name": "These days",
        "table": _table(request, asked, cause, rows, (number, count)),
        "caption": "One model, account and kind of token on one day. A row leads to the charges and calls behind it.",
    }
    return render(request, "pages/reconciliation_rows.html", context)


def export_all(scope: SpendScope, found: queries.Comparison, provider: str) -> HttpResponse:
    """Every cell of every cause."""
    lines = []
    for one in found.causes:
        rows, _count = queries.cause_rows(scope=scope, cause=one.cause, provider=provider, limit=_ALL)
        lines += [(one.cause, row) for row in rows]
    return _csv(scope, lines, "reconciliation")


def _csv(scope: SpendScope, lines: list[tuple[str, queries.CauseRow]], name: str) -> HttpResponse:
    told = [(cause, *_values(row)) for cause, row in lines]
    return csv_file.response(name=f"{name}-{scope.days.start}-{scope.days.last}.csv", columns=_COLUMNS, rows=told)


def _values(row: queries.CauseRow) -> tuple[csv_file.Value, ...]:
    return (
        row.day, row.provider, row.account, row.model, row.token_kind, row.currency, row.logged_tokens,
        row.billed_tokens, row.estimated_cost, row.billed_cost, row.amount, row.tokens, _evidence(row.evidence),
    )  # fmt: skip


def _evidence(evidence: Mapping[str, str]) -> str:
    """What the cause was recognised by, in words."""
    return "; ".join(_TOLD[name].format(text) for name, text in sorted(evidence.items()) if _TOLD.get(name))


def _table(
    request: HttpRequest, asked: filters.Asked, cause: str, rows: list[queries.CauseRow], place: tuple[int, int]
) -> Table:
    number, count = place
    drawn = [_row(request, cause, row) for row in rows]
    has_evidence = any(row.cells[-1].text for row in drawn)
    columns = [
        Column("Day"),
        Column("Provider"),
        Column("Account"),
        Column("Model"),
        Column("Kind"),
        Column("Logged tokens", numeric=True),
        Column("Billed tokens", numeric=True),
        Column("Estimated", numeric=True),
        Column("Billed", numeric=True),
        Column("This cause", numeric=True),
        *([Column("Evidence", wide=True)] if has_evidence else []),
    ]
    pages = max(1, -(-count // _PAGE))
    return Table(
        "Rows of this cause",
        columns,
        [Row(row.cells if has_evidence else row.cells[:-1]) for row in drawn],
        None,
        Notice("info", "Nothing of this cause in these days", "Choose other days or another currency."),
        csv_url=filters.url(request, format="csv", drop=["page"]) if rows else "",
        pages=f"Page {number} of {pages}" if pages > 1 else "",
        previous_url=filters.url(request, page=number - 1) if number > 1 else "",
        next_url=filters.url(request, page=number + 1) if number < pages else "",
    )


def _row(request: HttpRequest, cause: str, row: queries.CauseRow) -> Row:
    def money(amount: object) -> Cell:
        return Cell(fmt.money(amount, row.currency, places=2), title=f"{amount:f}")  # type: ignore[arg-type]  # a Decimal

    return Row(
        [
            Cell(fmt.day(row.day), filters.url(request, cell=row.cell_id, drop=["page", "format"])),
            Cell(row.provider),
            Cell(row.account or "any"),
            Cell(row.model or "not told"),
            Cell(row.token_kind.replace("_", " ") or "all"),
            Cell(fmt.integer(row.logged_tokens)),
            Cell(fmt.integer(row.billed_tokens) if row.billed_tokens is not None else "not told"),
            money(row.estimated_cost),
            money(row.billed_cost),
            Cell(fmt.money(row.amount, row.currency, places=2, signed=True), title=f"{row.amount:f}"),
            Cell(_evidence(row.evidence)),
        ]
    )


def _cell(request: HttpRequest, asked: filters.Asked, cause: str) -> HttpResponse:
    row = queries.cause_row(scope=asked.scope, cell_id=_number(request, "cell", 0), cause=cause)
    back = filters.url(request, drop=["cell"])
    if row is None:
        text = "The day was compared again since; the list has the new rows."
        found = Notice("nothing_matches", "This cell is gone", text, [Link("Back to the list", back)])
        return notice_page(request, found, status=404)
    behind = queries.behind(scope=asked.scope, row=row, cause=cause, limit=_BEHIND)
    amount = fmt.money(row.amount, row.currency, places=2, signed=True)
    where = " · ".join(
        part for part in (row.provider, row.account, row.model, row.token_kind.replace("_", " ")) if part
    )
    context = {
        "page": "reconciliation",
        "scope": None,
        "heading": f"{CAUSES[cause][0]}: {amount} on {fmt.day(row.day)}",
        "sub": f"{where}. {_sentence(_evidence(row.evidence))}",
        "back": back,
        "back_name": CAUSES[cause][0],
        "table": _behind(row, behind),
        "caption": "The charges of the bill and the calls of the log on this UTC day; at most"
        f" {fmt.integer(_BEHIND)} of each.",
    }
    return render(request, "pages/reconciliation_rows.html", context)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _behind(row: queries.CauseRow, behind: list[queries.BehindRow]) -> Table:
    rows = [
        Row(
            [
                Cell(one.source),
                Cell({"charge": "Charge", "event": "Call", "hour": "Calls of an hour"}[one.kind]),
                Cell(fmt.moment(one.at)),
                Cell(one.name, mono=True),
                Cell(one.words),
                Cell(fmt.integer(one.tokens) if one.tokens is not None else fmt.NOT_APPLICABLE),
                Cell(
                    fmt.money(one.cost, row.currency, places=2) if one.cost is not None else fmt.NOT_APPLICABLE,
                    title=f"{one.cost:f}" if one.cost is not None else "",
                ),
            ]
        )
        for one in behind
    ]
    columns = [
        Column("Source"),
        Column("What"),
        Column("When"),
        Column("Row or id"),
        Column("Details", wide=True),
        Column("Quantity", numeric=True, title="As the source counts it: tokens, or the unit of the bill"),
        Column("Billed", numeric=True),
    ]
    return Table(
        "Rows behind it", columns, rows, None, Notice("info", "No row", "The sources hold no row of this day.")
    )


def _number(request: HttpRequest, name: str, default: int) -> int:
    text = request.GET.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not default <= int(text[:12]) < 10**9:
        raise BadScope(f"expected {name} as a number, found {text!r}")
    return int(text)
