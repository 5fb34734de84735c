"""Budgets as a file and back, and copies of one: what would happen is shown before it does."""

from decimal import Decimal

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from alerts import budget_cells, budget_copies, budget_files
from alerts import queries as alert_queries
from alerts.budget_files import Plan, RowPlan
from alerts.budgets import Invalid
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web import budget_access, csv_file
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Notice, Row, Table
from costobs.web.settings_access import letting

_MOST_SHOWN = 500
_VERDICTS = {"new": "New", "changed": "Changed", "same": "Same", "wrong": "Wrong"}
_managing = letting(budget_access.may_manage, budget_access.NOT_MANAGER)


@require_safe
@page_view
def export(request: HttpRequest) -> HttpResponse:
    """The budgets the viewer sees as a file that the import reads."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    lines = sorted(alert_queries.budgets(now=now, teams=viewer.teams), key=lambda line: line.name)
    rows = budget_files.rows(ids=[line.id for line in lines])
    return csv_file.response(name=f"budgets-terms-{now.date()}.csv", columns=budget_files.COLUMNS, rows=rows)


@require_http_methods(["GET", "POST"])
@_managing
def import_page(request: HttpRequest) -> HttpResponse:
    """Takes a file or pasted text; shows what each row would do, and with `act=apply` does all of it."""
    context: dict[str, object] = {"page": "budgets", "scope": None, "heading": "Import budgets", "columns": _columns()}
    if request.method == "GET":
        return render(request, "pages/budget_import.html", context)
    viewer, now = scopes.viewer(request.user), timezone.now()
    content = _content(request)
    is_kept = request.POST.get("act") == "apply"
    step = budget_files.apply if is_kept else budget_files.plan
    context["pasted"] = budget_files.decoded(content)
    try:
        found = step(content=content, by=viewer.name, now=now)
    except budget_files.Unreadable as problem:
        context["problem"] = str(problem)
        return render(request, "pages/budget_import.html", context, status=400)
    if is_kept and found.is_right:
        messages.success(request, f"{found.count('new')} budgets are new and {found.count('changed')} changed.")
        return redirect("budgets")
    context |= {"heading": _heading(found), "plan": found, "rows": _table(found), "may_apply": _may_apply(found)}
    return render(request, "pages/budget_import.html", context, status=200 if found.is_right else 400)


@require_http_methods(["GET", "POST"])
@_managing
def copy(request: HttpRequest, budget_id: int) -> HttpResponse:
    """Copies a budget beside itself or into its next period, with a growth."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    try:
        found = alert_queries.budget(id=budget_id, now=now, teams=viewer.teams)
    except alert_queries.NotFound:
        return budget_access.not_found(request, "budget")
    context: dict[str, object] = {
        "page": "budgets",
        "scope": None,
        "line": found.line,
        "children": len(found.family.children),
        "heading": f"Copy {found.line.name}",
        "given": request.POST,
        "errors": {},
    }
    if request.method == "GET":
        return render(request, "pages/budget_copy.html", context)
    try:
        made = budget_copies.copy(
            budget_id=budget_id,
            name=request.POST.get("name", ""),
            growth_percent=_growth(request.POST.get("growth", "")),
            to_next=request.POST.get("when") == "next",
            with_children=request.POST.get("children") == "on",
            by=viewer.name,
            now=now,
        )
    except Invalid as problem:
        context["errors"] = problem.errors
        return render(request, "pages/budget_copy.html", context, status=400)
    messages.success(request, f"{len(made)} budget{'s are' if len(made) > 1 else ' is'} made.")
    return redirect("budget", made[0])


def _growth(text: str) -> Decimal:
    try:
        return budget_cells.percent(text) or Decimal(0)
    except ValueError as problem:
        raise Invalid({"growth_percent": str(problem)}) from problem


def _content(request: HttpRequest) -> bytes:
    uploaded = request.FILES.get("file")
    if uploaded is not None:
        # One byte more than may be read says that there is too much.
        return bytes(uploaded.read(budget_files.MOST_BYTES + 1))
    return request.POST.get("pasted", "").encode()


def _may_apply(found: Plan) -> bool:
    return found.is_right and bool(found.count("new") + found.count("changed"))


def _heading(found: Plan) -> str:
    wrong = found.count("wrong")
    if wrong:
        return f"{wrong} of {len(found.rows)} rows {'is' if wrong == 1 else 'are'} wrong; nothing was written"
    return f"{found.count('new')} new, {found.count('changed')} changed, {found.count('same')} the same"


def _table(found: Plan) -> Table:
    order = {"wrong": 0, "changed": 1, "new": 2, "same": 3}
    judged = sorted(found.rows, key=lambda one: (order[one.verdict], one.line))
    columns = [
        Column("Line", numeric=True),
        Column("Budget"),
        Column("What"),
        Column("Cells", wide=True),
    ]
    note = f"{_MOST_SHOWN} of {len(judged)} rows are shown; all of them count." if len(judged) > _MOST_SHOWN else ""
    rows = [_row(one) for one in judged[:_MOST_SHOWN]]
    return Table("Budgets in the file", columns, rows, empty=Notice("empty", "No row"), note=note)


def _row(one: RowPlan) -> Row:
    if one.mistakes:
        words = "; ".join(f"{mistake.column}: {mistake.text}" for mistake in one.mistakes)
    elif one.verdict == "changed":
        words = "; ".join(f"{column}: {was or 'nothing'} → {is_ or 'nothing'}" for column, was, is_ in one.changes)
    else:
        words = "; ".join(f"{column} {is_}" for column, _, is_ in one.changes if column != "name") or fmt.NOT_APPLICABLE
    cell = Cell(words, tone="unfavourable") if one.mistakes else Cell(words)
    return Row([Cell(str(one.line)), Cell(one.name), Cell(_VERDICTS[one.verdict]), cell])


def _columns() -> str:
    return ", ".join(budget_files.COLUMNS)
