"""Chargeback: what does each cost centre owe for a month, and does it tie to the invoices?"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from attribution import printing, queries
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.kernel.period import Days, add_months, parse_month
from costobs.kernel.period import month as month_of
from costobs.kernel.scope import BadScope, SpendScope
from costobs.web import filters, month_close
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Link, Notice, Row, RowKind, Table
from costobs.web.scope_view import Choice, ScopeBar

_BASES = ("effective", "billed")
_STEPS = ("open", "provisional", "reviewed", "closed")
_PART_TITLES = {
    "direct": "Direct",
    "shared": "Shared",
    "idle": "Idle",
    "overhead": "Overhead",
    "unallocated": "Unallocated",
    "adjustment": "Adjustments",
}
_PART_HELP = {
    "direct": "Used by the team itself",
    "shared": "The team's part of what all use, split by rule",
    "idle": "Paid GPU capacity that nobody used",
    "overhead": "What a node costs besides its GPUs",
    "unallocated": "Spend that no rule gave to a team",
    "adjustment": "Credits, corrections and adjustments",
}


@dataclass(frozen=True, slots=True)
class _Asked:
    days: Days
    scope: SpendScope
    viewer: scopes.Viewer
    query: str

    @property
    def month(self) -> str:
        return f"{self.days.start:%Y-%m}"

    @property
    def name(self) -> str:
        return fmt.month(self.days.start)


@page_view
def latest(request: HttpRequest) -> HttpResponse:
    """To the month asked for by `?month=`, else to the newest one with every day billed, else to the current one."""
    wanted = request.GET.get("month", "")
    if wanted:
        return _redirect(request, _month(wanted).start)
    final, extent = queries.last_final_day(), queries.extent()
    if final is None or extent is None or month_of(final).start < extent.start.replace(day=1):
        return _redirect(request, timezone.now().date())
    whole = month_of(final)
    newest = whole.start if final == whole.last else add_months(whole.start, -1)
    return _redirect(request, max(newest, extent.start.replace(day=1)))


@page_view
def page(request: HttpRequest, month: str) -> HttpResponse:
    asked = _read(request, month)
    found = queries.statement(scope=asked.scope)
    sheet = printing.printed(found)
    months = _months()
    state = printing.state(found)
    context = {
        "page": "chargeback",
        "scope": _bar(request, asked, months),
        "heading": _heading(asked, found, sheet),
        "sub": _sub(asked, found, sheet),
        "actions": _actions(asked),
        "months": [(f"{start:%Y-%m}", fmt.month(start), start == asked.days.start) for start in reversed(months)],
        "steps": [
            {"label": step.capitalize(), "done": _STEPS.index(step) < _STEPS.index(state), "current": step == state}
            for step in _STEPS
        ],
        "state_words": _state_words(asked, found),
        "identity": printing.identity(found, teams=asked.scope.teams),
        "checksum": printing.checksum(found),
        "rule": printing.RULE,
        "reconciliation": _reconciliation(found) if asked.viewer.may_see_all else None,
        "statement": _statement(asked, found, sheet),
        "statement_caption": f"{asked.scope.currency}, {filters.BASES[asked.scope.cost].lower()}, UTC days. Hover an amount"
        " for its exact digits.",
        "centres": _centres(asked, found, sheet),
        "ties": _ties(asked, found, sheet),
        "rules": _rules(),
        "closing": month_close.card(request, asked.scope),
        "others": queries.other_currencies(scope=asked.scope),
    }
    return render(request, "pages/chargeback.html", context)


def _month(text: str) -> Days:
    try:
        return parse_month(text)
    except (ValueError, OverflowError) as problem:
        raise BadScope(f"expected a month as YYYY-MM, found {text!r}") from problem


def _redirect(request: HttpRequest, start: date) -> HttpResponse:
    basis = request.GET.get("basis", "")
    query = f"?{urlencode({'basis': basis})}" if basis else ""
    return HttpResponseRedirect(f"{reverse('chargeback_month', args=[f'{start:%Y-%m}'])}{query}")


def _read(request: HttpRequest, month: str) -> _Asked:
    days, viewer = _month(month), scopes.viewer(request.user)
    basis = request.GET.get("basis", "effective")
    if basis not in _BASES:
        raise BadScope(f"unknown basis {basis!r}; a statement is in one of: {', '.join(_BASES)}")
    scope = SpendScope(days, (), basis, settings.COSTOBS_CURRENCY, viewer.teams)
    return _Asked(days, scope, viewer, urlencode({"basis": basis}))


def _months() -> list[date]:
    """The first days of the months the books hold, oldest first."""
    extent = queries.extent()
    found: list[date] = []
    start = extent.start.replace(day=1) if extent else None
    while extent and start and start < extent.end:
        found.append(start)
        start = add_months(start, 1)
    return found


def _bar(request: HttpRequest, asked: _Asked, months: list[date]) -> ScopeBar:
    before = [start for start in months if start < asked.days.start]
    after = [start for start in months if start > asked.days.start]
    return ScopeBar(
        start=asked.days.start,
        last=asked.days.last,
        label=asked.name,
        basis=asked.scope.cost,
        bases=[Choice(key, filters.BASES[key]) for key in _BASES],
        currency=asked.scope.currency,
        freshness=filters.freshness(timezone.now()),
        previous_url=_month_url(before[-1], asked) if before else "",
        next_url=_month_url(after[0], asked) if after else "",
        share_url=request.build_absolute_uri(),
    )


def _month_url(start: date, asked: _Asked) -> str:
    return f"{reverse('chargeback_month', args=[f'{start:%Y-%m}'])}?{asked.query}"


def _statement_money(amount: Decimal, asked: _Asked) -> str:
    return fmt.money(amount, asked.scope.currency, mode="statement")


def _heading(asked: _Asked, found: queries.Statement, sheet: printing.PrintedStatement) -> str:
    if not found.lines:
        return f"{asked.name}: nothing in the books"
    charged = _statement_money(sheet.total.total, asked)
    if not asked.viewer.may_see_all:
        return f"{asked.name}: {charged} for {' and '.join(asked.viewer.teams or ())}"
    apart = sum((abs(one.difference) for one in found.reconciliation), Decimal(0))
    return f"{asked.name}: {charged} charged, {_statement_money(apart, asked)} difference to invoices"


def _sub(asked: _Asked, found: queries.Statement, sheet: printing.PrintedStatement) -> str:
    if not found.lines:
        return "Choose another month, or load its bills."
    parts = []
    nobody = sum((row.total for row in sheet.rows if not row.team), Decimal(0))
    if nobody:
        parts.append(f"{_statement_money(nobody, asked)} of it has no owner")
    estimated = sheet.total.ties["estimated"]
    if estimated:
        parts.append(f"{_statement_money(estimated, asked)} is estimated and not billed yet")
    return f"{'; '.join(parts) or 'Every cent has an owner and is billed'}."


def _state_words(asked: _Asked, found: queries.Statement) -> str:
    if found.book:
        return f"{found.book.capitalize()}: see how far {asked.name} is below."
    ahead = " A later bill may still change this month, until it closes."
    if found.is_final:
        return f"Provisional: every day of {asked.name} is billed.{ahead}"
    final = queries.last_final_day()
    reached = f"bills are complete to {fmt.day(final)}" if final else "no bill has arrived yet"
    return f"Open: days of {asked.name} still arrive ({reached}).{ahead}"


def _actions(asked: _Asked) -> list[Link]:
    base = reverse("api_chargeback", args=[asked.month])
    query = urlencode({"cost": asked.scope.cost, "currency": asked.scope.currency})
    return [
        Link("CSV", f"{base}?{query}&format=csv", icon="download"),
        Link("FOCUS CSV", f"{base}?{query}&format=focus", icon="download"),
        Link("JSON", f"{base}?{query}&format=json", icon="download"),
    ]


def _reconciliation(found: queries.Statement) -> Table:
    def money(amount: Decimal) -> Cell:
        return Cell(fmt.money(amount, found.currency, mode="statement"))

    rows = []
    for one in found.reconciliation:
        invoices = ", ".join(one.invoices) or "no number on the bill"
        other = (
            f"{fmt.money(one.other_authority_cost, found.currency, mode='statement')} counted through another source"
            if one.other_authority_cost
            else ""
        )
        state = "unexplained" if one.difference else "matched"
        rows.append(
            Row(
                [
                    Cell(
                        one.provider_name,
                        note="" if one.invoice_issuer_name == one.provider_name else one.invoice_issuer_name,
                    ),
                    Cell(invoices, mono=bool(one.invoices)),
                    money(one.invoiced_cost),
                    Cell(fmt.money(one.in_books_cost, found.currency, mode="statement"), note=other),
                    money(one.difference),
                    Cell(state=state),
                ]
            )
        )
    invoiced = sum((one.invoiced_cost for one in found.reconciliation), Decimal(0))
    booked = sum((one.in_books_cost for one in found.reconciliation), Decimal(0))
    apart = sum((one.difference for one in found.reconciliation), Decimal(0))
    columns = [
        Column("Provider"),
        Column("Invoice no.", wide=True),
        Column("Invoiced", numeric=True),
        Column("In the books", numeric=True),
        Column("Difference", numeric=True),
        Column("Status"),
    ]
    total = Row([Cell("Total"), Cell(""), money(invoiced), money(booked), money(apart), Cell("")], kind="total")
    empty = Notice("not_arrived", "No bill of this month has arrived", "What is shown below is estimated from usage.")
    return Table("Reconciliation with invoices", columns, rows, total if rows else None, empty)


def _statement(asked: _Asked, found: queries.Statement, sheet: printing.PrintedStatement) -> Table:
    columns = [Column("Cost centre"), Column("Team")]
    columns += [Column(_PART_TITLES[name], numeric=True, title=_PART_HELP[name]) for name in printing.PARTS]
    columns.append(Column("Total", numeric=True))
    rows = []
    for line, row in zip(found.lines, sheet.rows, strict=True):
        exact = {**printing.exact_parts(line), "total": line.total_cost}
        figures = {**row.parts, "total": row.total}
        cells = [
            Cell(_statement_money(amount, asked), title=f"{exact[name]:f}" if exact[name] else "")
            for name, amount in figures.items()
        ]
        rows.append(Row([*_names(asked, row), *cells], kind=_kind(row)))
    sums = [Cell(_statement_money(sheet.total.parts[name], asked)) for name in printing.PARTS]
    total = Row([Cell("Total"), Cell(""), *sums, Cell(_statement_money(sheet.total.total, asked))], kind="total")
    return Table(
        f"Statement of {asked.name}", columns, rows, total if rows else None, _nothing(asked), note=printing.RULE
    )


def _ties(asked: _Asked, found: queries.Statement, sheet: printing.PrintedStatement) -> Table:
    def cells(row: printing.Printed) -> list[Cell]:
        figures = [row.total, row.ties["estimated"], row.ties["timing"], row.ties["billed"]]
        return [Cell(_statement_money(amount, asked)) for amount in figures]

    columns = [
        Column("Cost centre"),
        Column("Team"),
        Column("Total", numeric=True),
        Column("Not billed yet", numeric=True, title="Estimated from usage; part of the total"),
        Column("Commitment timing", numeric=True, title="Total minus what is billed and what is not billed yet"),
        Column("Billed", numeric=True, title="The same rows as the invoices have them"),
    ]
    rows = [Row([*_names(asked, row), *cells(row)], kind=_kind(row)) for row in sheet.rows]
    total = Row([Cell("Total"), Cell(""), *cells(sheet.total)], kind="total") if rows else None
    note = "Total = not billed yet + commitment timing + billed."
    return Table("From the statement to the invoices", columns, rows, total, _nothing(asked), note=note)


def _centres(asked: _Asked, found: queries.Statement, sheet: printing.PrintedStatement) -> Table:
    whole = sheet.total.total
    rows = [
        Row(
            [
                Cell(centre or "No cost centre", _explore_url(asked, "cost_centre", centre)),
                Cell(_statement_money(amount, asked)),
                Cell(
                    fmt.percent(amount / whole) if whole else fmt.NOT_APPLICABLE,
                    share=amount / whole if whole > 0 and amount >= 0 else None,
                ),
            ],
            kind="" if centre else "unallocated",
        )
        for centre, amount in printing.by_cost_centre(sheet.rows).items()
    ]
    columns = [Column("Cost centre"), Column("Total", numeric=True), Column("Share")]
    total = Row([Cell("Total"), Cell(_statement_money(whole, asked)), Cell("")], kind="total") if rows else None
    return Table("Cost centres", columns, rows, total, _nothing(asked))


def _rules() -> Table:
    rows = [
        Row(
            [
                Cell(str(rule.position)),
                Cell(rule.name),
                Cell(rule.kind),
                Cell(rule.summary, note=_valid(rule)),
            ]
        )
        for rule in queries.rules_in_force()
    ]
    rows.append(
        Row(
            [Cell(fmt.NOT_APPLICABLE), Cell("The rest"), Cell("Unallocated"), Cell("no rule took it")],
            kind="unallocated",
        )
    )
    columns = [Column("Order"), Column("Rule"), Column("Kind"), Column("What it does", wide=True)]
    return Table("Rules in force", columns, rows)


def _valid(rule: queries.RuleLine) -> str:
    since = f"from {fmt.day(rule.valid_from)}" if rule.valid_from else ""
    until = f"until {fmt.day(rule.valid_to)}, exclusive" if rule.valid_to else ""
    return " ".join(part for part in (since, until) if part)


def _names(asked: _Asked, row: printing.Printed) -> list[Cell]:
    centre = Cell(row.cost_centre or "No cost centre", _explore_url(asked, "cost_centre", row.cost_centre))
    return [centre, Cell(row.team or "Unallocated", _explore_url(asked, "team", row.team))]


def _kind(row: printing.Printed) -> RowKind:
    return "" if row.team else "unallocated"


def _explore_url(asked: _Asked, dimension: str, value: str) -> str:
    query = [
        ("preset", "custom"),
        ("from", asked.days.start.isoformat()),
        ("to", asked.days.last.isoformat()),
        ("cmp", "month"),
        ("group", "team" if dimension == "cost_centre" and value else "service_name"),
        ("basis", asked.scope.cost),
        ("f", f"{dimension}:{value}"),
    ]
    return f"{reverse('explore')}?{urlencode(query)}"


def _nothing(asked: _Asked) -> Notice:
    return Notice(
        "empty", f"Nothing in the books for {asked.name}", "Choose another month, or load its bills and usage."
    )
