"""Define a unit: figures from a file, an API or a database, and what one should cost at most."""

from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from attribution import queries, unit_values
from attribution.queries import DefinedUnit, Target
from costobs.kernel import fmt
from costobs.web import filters, unit_value_page, unit_value_tables
from costobs.web.page import no_permission
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Notice, Row, Table
from costobs.web.unit_figures import UNITS
from ingest import figures

_SHOWN = 20
_MAY_NOT = "Administrators and finance upload figures and set targets. Ask one of them, or send figures with the API."
PERIODS = (("day", "day"), ("hour", "hour"), ("week", "week"), ("month", "month"))


@page_view
def page(request: HttpRequest) -> HttpResponse:
    return _page(request, {})


@require_POST
@page_view
def upload(request: HttpRequest) -> HttpResponse:
    """First shows what a file holds; with `act=load` loads it."""
    asked = filters.read(request, groups=())
    if not asked.viewer.may_act_for(None):
        return no_permission(request, _MAY_NOT)
    file = request.FILES.get("file")
    content = file.read(figures.MOST_BYTES + 1) if file is not None else request.POST.get("content", "").encode()
    told = {name: request.POST.get(name, "").strip() for name in ("name", "unit", "period")}
    period = told["period"] if told["period"] in dict(PERIODS) else "day"
    typed = {**told, "period": period, "file": (file.name or "") if file is not None else request.POST.get("named", "")}
    try:
        found = figures.read(content=content, name=told["name"], unit=told["unit"], period=period)
    except figures.BadFile as problem:
        return _page(request, {"typed": typed, "problem": str(problem)}, status=400)
    if request.POST.get("act") == "load" and found.rows:
        result = figures.upload(found=found, file=typed["file"], by=asked.viewer.name, now=timezone.now())
        if result.state != "succeeded":
            return _page(
                request, {"typed": typed, "problem": result.error or "It is being loaded already."}, status=400
            )
        _say(request, result.rows_loaded, result.rows_duplicate, len(found.wrong))
        return redirect("unit_define")
    context = {"typed": typed, "content": content.decode("utf-8-sig"), "preview": _preview(found), "found": found}
    return _page(request, {**context, "wrong": _wrong(found) if found.wrong else None})


@require_POST
@page_view
def target(request: HttpRequest) -> HttpResponse:
    """Sets or takes back the target of one unit."""
    asked = filters.read(request, groups=())
    if not asked.viewer.may_act_for(None):
        return no_permission(request, _MAY_NOT)
    unit, currency, now = request.POST.get("unit", ""), settings.COSTOBS_CURRENCY, timezone.now()
    if unit not in _names(_defined(asked)):
        messages.error(request, "There is no such unit. Nothing was changed.")
        return redirect("unit_define")
    if request.POST.get("act") == "remove":
        unit_values.remove_target(unit=unit, currency=currency, by=asked.viewer.name, now=now)
        messages.success(request, "The target is removed.")
        return redirect("unit_define")
    try:
        amount, scale = _amount(request.POST.get("amount", "")), int(request.POST.get("scale", "1")[:9])
        unit_values.set_target(unit=unit, currency=currency, scale=scale, amount=amount, by=asked.viewer.name, now=now)
    except (unit_values.BadTarget, ValueError) as problem:
        return _page(request, {"target_problem": str(problem), "target_unit": unit}, status=400)
    messages.success(request, "The target is set." if amount is not None else "The scale is set, without a target.")
    return redirect("unit_define")


def _amount(text: str) -> Decimal | None:
    if not text.strip():
        return None
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"expected an amount such as 0.003, found {text[:40]!r}") from None


def _page(request: HttpRequest, more: dict[str, Any], status: int = 200) -> HttpResponse:
    asked = filters.read(request, groups=())
    defined = _defined(asked)
    targets = queries.unit_targets(currency=asked.scope.currency)
    context = {
        "page": "unit_costs",
        "scope": None,
        "heading": _heading(defined, targets),
        "units": _units(defined, targets, asked.scope.currency),
        "may_manage": asked.viewer.may_act_for(None),
        "may_connect": asked.viewer.may_manage,
        "periods": PERIODS,
        "scales": [(1, "1"), (1_000, "1k"), (1_000_000, "1M")],
        "names": list(_names(defined).items()),
        "currency": asked.scope.currency,
        "typed": {"period": "day"},
        "limit": f"{figures.MOST_ROWS:,}",
        **more,
    }
    return render(request, "pages/unit_define.html", context, status=status)


def _defined(asked: filters.Asked) -> list[DefinedUnit]:
    return queries.defined_units(scope=asked.scope)


def _names(defined: list[DefinedUnit]) -> dict[str, str]:
    own = {unit_value_page.key(one): one.name.replace("_", " ").capitalize() for one in defined}
    return own | {one.key: one.tab for one in UNITS.values()}


def _heading(defined: list[DefinedUnit], targets: dict[str, Target]) -> str:
    if not defined:
        return "No unit of the business is defined yet"
    aimed = sum(1 for one in targets.values() if one.amount is not None)
    return f"{len(defined)} unit{'s' if len(defined) > 1 else ''} of the business, {aimed} target{'' if aimed == 1 else 's'}"


def _units(defined: list[DefinedUnit], targets: dict[str, Target], currency: str) -> Table:
    columns = [
        Column("Unit", wide=True),
        Column("Counted in"),
        Column("Figures", numeric=True),
        Column("From"),
        Column("To"),
        Column("Target", numeric=True),
        Column("Set by"),
    ]
    rows = []
    for one in defined:
        key = unit_value_page.key(one)
        url = f"{reverse('unit_costs')}?{urlencode({'unit': key})}"
        rows.append(
            Row(
                [
                    Cell(one.name.replace("_", " ").capitalize(), url, title=one.name),
                    Cell(one.unit or "units"),
                    Cell(fmt.integer(one.figures)),
                    Cell(fmt.day(one.first)),
                    Cell(fmt.day(one.last)),
                    *_aim(targets.get(key), currency),
                ]
            )
        )
    for unit in UNITS.values():
        if unit.key in targets:
            cells = [Cell(unit.tab, f"{reverse('unit_costs')}?unit={unit.key}"), Cell(unit.word)]
            rows.append(Row([*cells, *[Cell(fmt.NOT_APPLICABLE)] * 3, *_aim(targets[unit.key], currency)]))
    text = "Upload a CSV below, send counts with the API, or ask your own database."
    return Table("Units", columns, rows, empty=Notice("empty", "No figure was sent yet", text))


def _aim(found: Target | None, currency: str) -> list[Cell]:
    if found is None or found.amount is None:
        return [Cell(fmt.NOT_APPLICABLE), Cell(fmt.NOT_APPLICABLE)]
    amount = unit_value_tables.text(found.amount, found.scale, currency)
    label = {1: "1", 1_000: "1k", 1_000_000: "1M"}[found.scale]
    return [Cell(f"≤ {amount} / {label}"), Cell(found.set_by, note=fmt.moment(found.set_at))]


def _preview(found: figures.Figures) -> Table:
    columns = [
        Column("Line", numeric=True),
        Column("Figure"),
        Column("From"),
        Column("To, not included"),
        Column("Value", numeric=True),
        Column("Unit"),
        Column("Team"),
        Column("Feature"),
    ]
    rows = [
        Row(
            [
                Cell(str(one.line)),
                Cell(one.name),
                Cell(fmt.moment(one.period_start, year=True)),
                Cell(fmt.moment(one.period_end, year=True)),
                Cell(one.value),
                Cell(one.unit or fmt.NOT_APPLICABLE),
                Cell(one.team or fmt.NOT_APPLICABLE),
                Cell(one.feature or fmt.NOT_APPLICABLE),
            ]
        )
        for one in found.rows[:_SHOWN]
    ]
    more = len(found.rows) - len(rows)
    note = f"And {more:,} more lines." if more > 0 else ""
    return Table("What would be loaded", columns, rows, empty=Notice("error", "No line is a figure"), note=note)


def _wrong(found: figures.Figures) -> Table:
    columns = [Column("Line", numeric=True), Column("Column"), Column("What is wrong", wide=True)]
    rows = [Row([Cell(str(one.line)), Cell(one.field), Cell(one.reason)]) for one in found.wrong[:_SHOWN]]
    more = len(found.wrong) - len(rows)
    return Table("Lines that are left out", columns, rows, note=f"And {more:,} more." if more > 0 else "")


def _say(request: HttpRequest, loaded: int, known: int, wrong: int) -> None:
    said = [f"{loaded:,} figures are loaded"]
    if known:
        said.append(f"{known:,} were known")
    if wrong:
        said.append(f"{wrong:,} lines were left out")
    messages.success(request, f"{', '.join(said)}. They belong to their owners within a minute.")
