"""One cost centre's statement: its lines by team, feature, model and service, and the vendors' rows behind each line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from attribution import issue, printing, queries
from attribution.exports import Document
from costobs.kernel import fmt
from costobs.kernel.scope import BadScope, SpendScope
from costobs.web import chargeback, csv_file
from costobs.web import chargeback_tables as tables
from costobs.web.chargeback import Asked
from costobs.web.page import notice
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table

_PAGE = 100
_MOST_LINES = 200
_LINE = ("team", "feature", "model", "service_name")
_KINDS = {
    "charges": "Charges as they came",
    "parts": "Parts of splits",
    "books": "Estimates and corrections",
}
_WHAT = {
    "charges": "Rows of the vendors' deliveries that belong to this line whole.",
    "parts": "This line's parts of charges that a rule or telemetry split, with pool, method, rule version and weight.",
    "books": "What is estimated from usage and not billed yet, and what corrects a closed month.",
}


@dataclass(frozen=True, slots=True)
class _Line:
    """Which line of which cost centre the rows are asked for; "" is a value, None is any."""

    cost_centre: str
    values: dict[str, str]

    def narrowed(self, scope: SpendScope) -> SpendScope:
        found = scope.where("cost_centre", self.cost_centre)
        for name, value in self.values.items():
            found = found.where(name, value)
        return found


@page_view
def page(request: HttpRequest, month: str, cost_centre: str) -> HttpResponse:
    asked, centre = chargeback.read(request, month), _named(cost_centre)
    shown = issue.document(scope=asked.scope, cost_centre=centre)
    if not shown.statement.lines:
        return notice(request, _missing(asked, centre), status=404)
    view = tables.View(asked.month, asked.name, asked.query, shown.statement, shown.sheet, asked.days, asked.scope.cost)
    lines = queries.statement_detail(scope=asked.scope.where("cost_centre", centre))
    context = {
        "page": "chargeback",
        "scope": chargeback.bar(request, asked, []),
        "name": centre or "No cost centre",
        "month": asked.name,
        "month_url": f"{reverse('chargeback_month', args=[asked.month])}?{asked.query}",
        "heading": f"{centre or 'No cost centre'}, {asked.name}: {asked.money(shown.sheet.total.charged)} charged",
        "sub": _sub(asked, shown),
        "exports": chargeback.exports(asked, shown),
        "steps": chargeback.steps(shown.statement),
        "kind": printing.kind(shown.statement),
        "meaning": shown.meaning,
        "identity": shown.id,
        "checksum": shown.sha256,
        "statement": tables.statement(view),
        "ties": tables.ties(view),
        "conversions": tables.conversions(view) if shown.statement.conversions else None,
        "lines": _lines(asked, cost_centre, lines),
    }
    return render(request, "pages/chargeback_cost_centre.html", context)


@page_view
def lines_csv(request: HttpRequest, month: str, cost_centre: str) -> HttpResponseBase:
    """The lines as a file, with every digit."""
    asked, centre = chargeback.read(request, month), _named(cost_centre)
    found = queries.statement_detail(scope=asked.scope.where("cost_centre", centre))
    names = [*(f"{name}_cost" for name in printing.PARTS), "total_cost"]
    rows = [
        [centre, *(getattr(one, name) for name in _LINE), asked.scope.currency, *(getattr(one, name) for name in names)]
        for one in found
    ]
    name = f"chargeback-{asked.month}-{cost_centre}-lines.csv"
    return csv_file.response(name=name, columns=["cost_centre", *_LINE, "currency", *names], rows=rows)


@page_view
def rows(request: HttpRequest, month: str, cost_centre: str) -> HttpResponse:
    """The rows behind one line, or behind the whole cost centre."""
    asked, line = chargeback.read(request, month), _line(request, cost_centre)
    kind, scope = _kind(request), line.narrowed(asked.scope)
    counted = {name: queries.counted(scope=scope, kind=name) for name in _KINDS}
    if "rows" not in request.GET:
        kind = next((name for name, one in counted.items() if one.rows), kind)
    at, count = _page(request), counted[kind].rows
    found = queries.statement_rows(scope=scope, kind=kind, limit=_PAGE, offset=(at - 1) * _PAGE)
    context = {
        "page": "chargeback",
        "scope": None,
        "name": line.cost_centre or "No cost centre",
        "month": asked.name,
        "month_url": f"{reverse('chargeback_month', args=[asked.month])}?{asked.query}",
        "centre_url": f"{reverse('chargeback_cost_centre', args=[asked.month, cost_centre])}?{asked.query}",
        "heading": _rows_heading(asked, line, counted),
        "sub": f"{_digits(counted[kind].billed_cost)} billed, {_digits(counted[kind].effective_cost)} effective:"
        f" {_KINDS[kind].lower()} in {asked.scope.currency}, {asked.name}, with every digit.",
        "tabs": [_tab(asked, cost_centre, line, name, one, name == kind) for name, one in counted.items()],
        "what": _WHAT[kind],
        "rows": _rows_table(asked, cost_centre, line, kind, found, at, count),
    }
    return render(request, "pages/chargeback_rows.html", context)


@page_view
def rows_csv(request: HttpRequest, month: str, cost_centre: str) -> HttpResponseBase:
    """All the rows of one kind as a file."""
    asked, line, kind = chargeback.read(request, month), _line(request, cost_centre), _kind(request)
    columns = [*_columns(kind), "currency"]
    found = queries.every_row(scope=line.narrowed(asked.scope), kind=kind)
    name = f"chargeback-{asked.month}-{cost_centre}-{kind}.csv"
    return csv_file.response(name=name, columns=columns, rows=_values(found, kind, asked.scope.currency))


def _values(found: Iterator[Any], kind: str, currency: str) -> Iterator[list[csv_file.Value]]:  # rows of one kind
    for one in found:
        yield [*(getattr(one, name) for name in _columns(kind)), currency]


def _columns(kind: str) -> list[str]:
    made: dict[str, Any] = {"charges": queries.ChargeRow, "parts": queries.PartRow, "books": queries.BookRow}
    return list(made[kind].__dataclass_fields__)


def _named(slug: str) -> str:
    try:
        return printing.unslug(slug)
    except ValueError as problem:
        raise BadScope(f"the address names no cost centre: {problem}") from problem


def _line(request: HttpRequest, cost_centre: str) -> _Line:
    return _Line(_named(cost_centre), {name: request.GET[name] for name in _LINE if name in request.GET})


def _kind(request: HttpRequest) -> str:
    kind = request.GET.get("rows", "charges")
    if kind not in _KINDS:
        raise BadScope(f"unknown rows {kind!r}; known: {', '.join(_KINDS)}")
    return kind


def _page(request: HttpRequest) -> int:
    text = request.GET.get("at", "1")
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 10_000_000:
        raise BadScope(f"expected a page as a number from 1, found {text!r}")
    return int(text)


def _sub(asked: Asked, shown: Document) -> str:
    total = shown.sheet.total
    parts = [f"{asked.money(total.total)} in the books"]
    if total.converted:
        parts.append(f"{asked.money(total.converted)} from other currencies")
    if total.markup:
        parts.append(f"{asked.money(total.markup)} markup")
    return f"{', '.join(parts)}."


def _missing(asked: Asked, centre: str) -> Notice:
    words = f"No line of {asked.name} belongs to {centre or 'no cost centre'}, or none that you may see."
    url = f"{reverse('chargeback_month', args=[asked.month])}?{asked.query}"
    return Notice("nothing_matches", "There is no such statement", words, [Link("The whole month", url)])


def _lines(asked: Asked, slug: str, found: list[queries.DetailLine]) -> Table:
    names = [name for name in printing.PARTS if any(getattr(one, f"{name}_cost") for one in found)]
    rows = [
        Row(
            [
                Cell(one.team or "Unallocated", _rows_url(asked, slug, _of(one)), title="The rows behind this line"),
                Cell(one.feature or fmt.NOT_APPLICABLE),
                Cell(one.model or fmt.NOT_APPLICABLE),
                Cell(one.service_name or fmt.NOT_APPLICABLE),
                *(_exact(asked, getattr(one, f"{name}_cost")) for name in names),
                _exact(asked, one.total_cost),
            ],
            kind="" if one.team else "unallocated",
        )
        for one in found[:_MOST_LINES]
    ]
    columns = [Column("Team"), Column("Feature"), Column("Model"), Column("Service", wide=True)]
    columns += [Column(tables.PART_TITLES[name], numeric=True, title=tables.PART_HELP[name]) for name in names]
    columns.append(Column("Total", numeric=True))
    sums = [_exact(asked, _sum(found, f"{name}_cost")) for name in [*names, "total"]]
    more = f" The {_MOST_LINES} largest of {len(found)}; the file has all." if len(found) > _MOST_LINES else ""
    return Table(
        "Lines",
        columns,
        rows,
        Row([Cell("Total"), Cell(""), Cell(""), Cell(""), *sums], kind="total") if rows else None,
        csv_url=f"{reverse('chargeback_lines_csv', args=[asked.month, slug])}?{asked.query}",
        note=f"Each amount is rounded by itself here; the statement above adds up as printed.{more}",
    )


def _sum(found: list[queries.DetailLine], name: str) -> Decimal:
    return sum((getattr(one, name) for one in found), Decimal(0))


def _of(one: queries.DetailLine) -> dict[str, str]:
    return {name: getattr(one, name) for name in _LINE}


def _exact(asked: Asked, amount: Decimal) -> Cell:
    return Cell(asked.money(amount), title=f"{amount:f}" if amount else "")


def _rows_url(asked: Asked, slug: str, values: dict[str, str], *, file: bool = False, **more: str) -> str:
    name = "chargeback_rows_csv" if file else "chargeback_rows"
    query = urlencode({"basis": asked.scope.cost, **values, **more})
    return f"{reverse(name, args=[asked.month, slug])}?{query}"


def _rows_heading(asked: Asked, line: _Line, counted: Mapping[str, queries.Counted]) -> str:
    rows = sum(one.rows for one in counted.values())
    whole = sum((getattr(one, f"{asked.scope.cost}_cost") for one in counted.values()), Decimal(0))
    told = "1 row makes up" if rows == 1 else f"{fmt.integer(rows)} rows make up"
    return f"{told} {asked.money(whole)} of {_words(line)}"


def _words(line: _Line) -> str:
    named = [value or "no " + name.removesuffix("_name") for name, value in line.values.items()]
    return f"{line.cost_centre or 'no cost centre'}{': ' if named else ''}{', '.join(named)}"


def _tab(asked: Asked, slug: str, line: _Line, kind: str, one: queries.Counted, is_current: bool) -> dict[str, object]:
    label = f"{_KINDS[kind]} ({fmt.integer(one.rows)})"
    return {"label": label, "url": _rows_url(asked, slug, line.values, rows=kind), "current": is_current}


def _rows_table(asked: Asked, slug: str, line: _Line, kind: str, found: queries.Rows, at: int, count: int) -> Table:
    made = {"charges": _charges, "parts": _parts, "books": _books}
    columns, rows = made[kind](found)
    last = max(1, -(-count // _PAGE))

    def url(number: int) -> str:
        return _rows_url(asked, slug, line.values, rows=kind, at=str(number))

    return Table(
        _KINDS[kind],
        columns,
        rows,
        empty=Notice("empty", "No rows of this kind", "The other tabs have the rows of this line."),
        csv_url=_rows_url(asked, slug, line.values, file=True, rows=kind) if count else "",
        pages=f"{at} of {last}" if last > 1 else "",
        previous_url=url(at - 1) if at > 1 else "",
        next_url=url(at + 1) if at < last else "",
    )


_COSTS = [Column("Billed", numeric=True), Column("Effective", numeric=True)]


def _charges(found: Any) -> tuple[list[Column], list[Row]]:  # rows of one kind
    columns = [Column("Source"), Column("File and row"), Column("Period, UTC"), Column("What", wide=True)]
    columns += [Column("Resource"), Column("Team"), *_COSTS]
    rows = [
        Row(
            [
                Cell(one.source),
                Cell(one.file or fmt.NOT_APPLICABLE, mono=True, note=f"row {fmt.integer(one.row_number)}"),
                Cell(f"{one.charge_period_start:%Y-%m-%d %H:%M}", note=f"to {one.charge_period_end:%Y-%m-%d %H:%M}"),
                Cell(one.charge_description or one.service_name, note=f"{one.charge_category}, {one.service_name}"),
                Cell(one.resource_id or fmt.NOT_APPLICABLE, mono=bool(one.resource_id)),
                Cell(one.team or "Unallocated"),
                Cell(_digits(one.billed_cost)),
                Cell(_digits(one.effective_cost)),
            ]
        )
        for one in found
    ]
    return columns, rows


def _parts(found: Any) -> tuple[list[Column], list[Row]]:  # rows of one kind
    columns = [Column("Day"), Column("Pool", wide=True), Column("Rule", wide=True), Column("Share")]
    columns += [
        Column("Weight", numeric=True),
        *_COSTS,
        Column("Of the pool", numeric=True),
    ]
    rows = [
        Row(
            [
                Cell(fmt.day(one.day), note=one.source),
                Cell(one.pool, mono=True, note=one.method.replace("_", " ")),
                Cell(one.rule or "no rule, measured", note=f"ruleset version {one.ruleset_version}"),
                Cell(one.share_kind.replace("_", " "), note=one.team or "Unallocated"),
                Cell(_digits(one.weight), note="estimated" if one.is_estimated_weight else ""),
                Cell(_digits(one.billed_cost)),
                Cell(_digits(one.effective_cost)),
                Cell(
                    _digits(one.pool_effective_cost) if one.pool_effective_cost is not None else fmt.NOT_APPLICABLE,
                    note=f"{fmt.integer(one.pool_charges)} charges" if one.pool_charges is not None else "",
                ),
            ]
        )
        for one in found
    ]
    return columns, rows


def _books(found: Any) -> tuple[list[Column], list[Row]]:  # rows of one kind
    columns = [Column("Day"), Column("Source"), Column("What"), Column("Model"), Column("Deployment"), Column("Tokens")]
    columns += [Column("Team"), *_COSTS]
    rows = [
        Row(
            [
                Cell(fmt.day(one.day), note=f"corrects {fmt.day(one.origin_day)}" if one.origin_day else ""),
                Cell(one.source),
                Cell("correction" if one.origin_day else "estimate"),
                Cell(one.model or fmt.NOT_APPLICABLE),
                Cell(one.deployment or fmt.NOT_APPLICABLE),
                Cell(one.token_kind.replace("_", " ") or "requests"),
                Cell(one.team or "Unallocated"),
                Cell(_digits(one.billed_cost)),
                Cell(_digits(one.effective_cost)),
            ]
        )
        for one in found
    ]
    return columns, rows


def _digits(amount: Decimal) -> str:
    """Every digit but trailing zeros, which say how a column was made and not what it holds."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
