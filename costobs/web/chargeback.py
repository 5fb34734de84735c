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

from attribution import issue, printing, queries
from attribution.exports import KINDS, Document
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.kernel.period import Days, add_months, parse_month
from costobs.kernel.period import month as month_of
from costobs.kernel.scope import BadScope, SpendScope
from costobs.web import chargeback_tables as tables
from costobs.web import filters, month_close
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Link, Row, Table
from costobs.web.scope_view import Choice, ScopeBar
from ingest import queries as ingest_queries

BASES = issue.COLUMNS
_STEPS = ("open", "provisional", "reviewed", "closed")


@dataclass(frozen=True, slots=True)
class Asked:
    """The month in view, by whom, in which cost column."""

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

    def money(self, amount: Decimal) -> str:
        """An amount as statements write it."""
        return fmt.money(amount, self.scope.currency, mode="statement")


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
    asked = read(request, month)
    shown = issue.document(scope=asked.scope)
    found, sheet = shown.statement, shown.sheet
    months = issue.months()
    view = tables.View(asked.month, asked.name, asked.query, found, sheet, asked.days, asked.scope.cost)
    context = {
        "page": "chargeback",
        "scope": bar(request, asked, months),
        "heading": _heading(asked, shown),
        "sub": _sub(asked, shown),
        "exports": exports(asked, shown),
        "months": [(f"{start:%Y-%m}", fmt.month(start), start == asked.days.start) for start in reversed(months)],
        "steps": steps(found),
        "kind": printing.kind(found),
        "meaning": shown.meaning,
        "state_words": _state_words(asked, found),
        "pending": _pending(asked, found),
        "identity": shown.id,
        "checksum": shown.sha256,
        "reconciliation": tables.reconciliation(view) if asked.viewer.may_see_all else None,
        "statement": tables.statement(view),
        "statement_caption": f"{asked.scope.currency}, {filters.BASES[asked.scope.cost].lower()}, UTC days. Hover an amount"
        " for its exact digits.",
        "bars": tables.bars(view),
        "centres": tables.centres(view),
        "ties": tables.ties(view),
        "conversions": tables.conversions(view) if found.conversions else None,
        "rules": _rules(asked.days.start),
        "closing": month_close.card(request, asked.scope),
    }
    return render(request, "pages/chargeback.html", context)


def read(request: HttpRequest, month: str) -> Asked:
    """What the address asks for. Raises BadScope."""
    days, viewer = _month(month), scopes.viewer(request.user)
    basis = request.GET.get("basis", "effective")
    if basis not in BASES:
        raise BadScope(f"unknown basis {basis!r}; a statement is in one of: {', '.join(BASES)}")
    scope = SpendScope(days, (), basis, settings.COSTOBS_CURRENCY, viewer.teams)
    return Asked(days, scope, viewer, urlencode({"basis": basis}))


def bar(request: HttpRequest, asked: Asked, months: list[date]) -> ScopeBar:
    """The bar with the basis and the months beside this one."""
    before = [start for start in months if start < asked.days.start]
    after = [start for start in months if start > asked.days.start]
    return ScopeBar(
        start=asked.days.start,
        last=asked.days.last,
        label=asked.name,
        basis=asked.scope.cost,
        bases=[Choice(key, filters.BASES[key]) for key in BASES],
        currency=asked.scope.currency,
        freshness=filters.freshness(timezone.now()),
        previous_url=_month_url(before[-1], asked) if before else "",
        next_url=_month_url(after[0], asked) if after else "",
        share_url=request.build_absolute_uri(),
    )


def exports(asked: Asked, shown: Document) -> list[Link]:
    """Every file this statement can be had as."""
    base = reverse("api_chargeback", args=[asked.month])
    query = {"cost": asked.scope.cost, "currency": asked.scope.currency}
    if shown.cost_centre is not None:
        query["cost_centre"] = shown.cost_centre
    icons = {"pdf": "file-text", "xlsx": "file-spreadsheet"}
    return [
        Link(
            kind.title,
            f"{base}?{urlencode({**query, 'format': kind.kind})}",
            icon=icons.get(kind.kind, "download"),
        )
        for kind in KINDS
    ]


def steps(found: queries.Statement) -> list[dict[str, object]]:
    """Open, provisional, reviewed, closed, with the one it is in."""
    state = printing.state(found)
    return [
        {"label": step.capitalize(), "done": _STEPS.index(step) < _STEPS.index(state), "current": step == state}
        for step in _STEPS
    ]


def _month(text: str) -> Days:
    try:
        return parse_month(text)
    except (ValueError, OverflowError) as problem:
        raise BadScope(f"expected a month as YYYY-MM, found {text!r}") from problem


def _redirect(request: HttpRequest, start: date) -> HttpResponse:
    basis = request.GET.get("basis", "")
    query = f"?{urlencode({'basis': basis})}" if basis else ""
    return HttpResponseRedirect(f"{reverse('chargeback_month', args=[f'{start:%Y-%m}'])}{query}")


def _month_url(start: date, asked: Asked) -> str:
    return f"{reverse('chargeback_month', args=[f'{start:%Y-%m}'])}?{asked.query}"


def _heading(asked: Asked, shown: Document) -> str:
    found = shown.statement
    if not found.lines:
        return f"{asked.name}: nothing in the books"
    charged = asked.money(shown.sheet.total.charged)
    if not asked.viewer.may_see_all:
        return f"{asked.name}: {charged} for {' and '.join(asked.viewer.teams or ())}"
    apart = sum((abs(one.difference) for one in found.reconciliation), Decimal(0))
    return f"{asked.name}: {charged} charged, {asked.money(apart)} difference to invoices"


def _sub(asked: Asked, shown: Document) -> str:
    if not shown.statement.lines:
        return "Choose another month, or load its bills."
    sheet, parts = shown.sheet, []
    nobody = sum((row.total for row in sheet.rows if not row.team), Decimal(0))
    if nobody:
        parts.append(f"{asked.money(nobody)} of it has no owner")
    if sheet.total.markup:
        parts.append(f"{asked.money(sheet.total.markup)} of it is markup")
    estimated = sheet.total.ties["estimated"]
    if estimated:
        parts.append(f"{asked.money(estimated)} is estimated and not billed yet")
    return f"{'; '.join(parts) or 'Every cent has an owner and is billed'}."


def _state_words(asked: Asked, found: queries.Statement) -> str:
    match printing.state(found):
        case "closed":
            return f"Closed, version {found.version}: what changes later becomes an adjustment in an open month."
        case "reviewed":
            return f"Reviewed: somebody went through {asked.name}; it is charged once it is closed."
        case "provisional":
            return f"Provisional: every day of {asked.name} is billed. A later bill may still change this month until it is closed."
    final = queries.last_final_day()
    reached = f"bills are complete to {fmt.day(final)}" if final else "no bill has arrived yet"
    return f"Open: days of {asked.name} still arrive ({reached})."


def _pending(asked: Asked, found: queries.Statement) -> str:
    """How many bills do not reach to the end of the month yet."""
    if found.is_final or not asked.viewer.may_see_all or not found.lines:
        return ""
    sources = [
        one.name
        for one in ingest_queries.sources(now=timezone.now())
        if one.is_active
        and "charges" in one.produces
        and one.complete_through is not None
        and one.complete_through < asked.days.end_at
    ]
    if not sources:
        return ""
    count = "1 source" if len(sources) == 1 else f"{len(sources)} sources"
    named = ", ".join(sources[:5]) + (" …" if len(sources) > 5 else "")
    return f"{count} not final ({named}): you can make a provisional statement, its exports say that it is showback."


def _rules(month: date) -> Table:
    rows = [
        Row(
            [
                Cell(str(rule.position)),
                Cell(rule.name),
                Cell(rule.kind),
                Cell(rule.summary, note=_valid(rule)),
            ]
        )
        for rule in queries.rules_in_force(month=month)
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
