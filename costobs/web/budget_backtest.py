"""A ladder on days that are over: what it would have done, how sure that is, and what it would have kept from running."""

from collections.abc import Callable, Sequence
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from alerts import backtest, budgets, wording
from alerts import queries as alert_queries
from alerts.backtest import Backtest, PeriodPlayed
from alerts.replay import Event
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web import budget_access, csv_file
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Kpi, Link, Notice, Row, Table

DAYS = (30, 90, 180)
_LOOKS_AT = {
    "actual": "spend",
    "forecast": "forecast",
    "burn_rate": "burn rate",
    "trend": "usual spend",
    "schedule": "schedule",
    "idleness": "idleness",
}
_STATES = {
    "done": "told",
    "running": "applied",
    "waiting_approval": "asked for approval",
    "superseded": "a stronger step took its place",
}


@require_safe
@page_view
def page(request: HttpRequest, budget_id: int) -> HttpResponse:
    """The stored ladder of a budget on the last 90 days, or as many as asked; it changes nothing."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    try:
        tested = backtest.of_budget(budget_id=budget_id, teams=viewer.teams)
    except alert_queries.NotFound:
        return budget_access.not_found(request, "budget")
    text = request.GET.get("days", "90")
    days = (
        int(text)
        if text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= backtest.MOST_DAYS
        else 90
    )
    try:
        found = backtest.run(tested=tested, days=days, now=now)
    except backtest.NotTestable as problem:
        messages.error(request, f"Nothing was tested: {problem}.")
        return redirect("budget", budget_id)
    if request.GET.get("format") == "csv":
        return _csv(found)
    url = reverse("budget_backtest", args=[budget_id])
    context = _context(found, url) | {
        "sub": f"The ladder of {found.name} as it is set, on days that are over. Nothing was done and nobody was told.",
        "actions": [
            *(Link(f"{one} days", f"{url}?days={one}") for one in DAYS if one != days),
            Link("Export CSV", f"{url}?days={days}&format=csv", icon="download"),
        ],
        "back": reverse("budget", args=[budget_id]),
    }
    return render(request, "pages/budget_backtest.html", context)


def of_draft(request: HttpRequest, save: Callable[[], int | None], *, budget_id: int | None = None) -> HttpResponse:
    """The same of what was typed into the form and not saved. Raises what `save` raises."""
    tested = backtest.of_draft(save, budget_id=budget_id)
    try:
        found = backtest.run(tested=tested, days=90, now=timezone.now())
    except backtest.NotTestable as problem:
        raise budgets.Invalid({"period": f"nothing was tested: {problem}"}) from problem
    context = _context(found, "") | {
        "sub": f"{found.name} as it was typed, on days that are over. Nothing was saved: go back to change it or to save it.",
        "actions": [],
        "back": reverse("budgets"),
    }
    return render(request, "pages/budget_backtest.html", context)


def _context(found: Backtest, url: str) -> dict[str, object]:
    return {
        "page": "budgets",
        "scope": None,
        "name": found.name,
        "heading": backtest.sentence(found),
        "kpis": _kpis(found),
        "events": _events(found, f"{url}?days={len(found.days)}&format=csv" if url else ""),
        "periods": _periods(found),
        "timeline": [(fmt.moment(one.at), _happened(one)) for one in reversed(found.told)],
        "assumptions": backtest.ASSUMPTIONS,
    }


def _kpis(found: Backtest) -> list[Kpi]:
    passed = [one for one in found.periods if one.used_percent > 100]
    throttled, stopped = found.started_on("throttle"), found.started_on("shutdown")
    span = fmt.period(found.days.start, found.days.end)
    return [
        Kpi("Alerts", str(found.notified), compare=span, note=f"{found.asked} of them ask for approval"),
        Kpi(
            "Days with a limit",
            str(len({*throttled, *stopped})),
            compare=f"{len(throttled)} throttled, {len(stopped)} shut down",
            note="Days on which one began",
        ),
        Kpi(
            "Requests refused",
            fmt.integer(found.refused_requests),
            compare=f"worth {fmt.money(found.refused_cost, found.currency, mode='kpi')} at list prices",
            note="Estimated: see how, below",
        ),
        Kpi(
            "False alarms",
            str(len(found.false_alarms)),
            compare=f"{len(passed)} of {len(found.periods)} periods went over",
            note="Warned by forecast; the period then ended within its budget",
        ),
    ]


def _happened(event: Event) -> str:
    words = wording.action(event.step.action, event.step.config)
    at = f"{event.step.percent.normalize():f} %"
    return f"{words} at {at}, {_STATES[event.state]}{_until(event)}"


def _until(event: Event) -> str:
    if event.state not in {"running", "waiting_approval"}:
        return ""
    if event.ended_at is None:
        return ", still so at the end"
    return f", until {fmt.moment(event.ended_at)}" if event.state == "running" else ", nobody answered in time"


def _events(found: Backtest, csv_url: str) -> Table:
    columns = [
        Column("When"),
        Column("Step"),
        Column("What happened", wide=True),
        Column("Level", numeric=True, title="Used, or forecast where the step looks at it, in percent of the budget"),
        Column("Until"),
        Column("Refused", numeric=True, title="Requests refused, or sent elsewhere by a reroute"),
        Column("Worth", numeric=True),
    ]
    return Table(
        "What the ladder would have done",
        columns,
        [Row(_cells(one, found)) for one in found.events],
        csv_url=csv_url if found.events else "",
        empty=Notice("info", "Nothing would have happened", "No step was reached on these days."),
    )


def _cells(event: Event, found: Backtest) -> list[Cell]:
    refused = found.refusals.get(event.id)
    false = "false alarm" if event in found.false_alarms else ""
    return [
        Cell(fmt.moment(event.at)),
        Cell(f"{event.step.percent.normalize():f} %", note=_looks_at(event)),
        Cell(f"{wording.action(event.step.action, event.step.config)}: {_STATES[event.state]}", note=false),
        Cell(fmt.percent(event.level / 100)),
        Cell(_end(event)),
        _requests(event, found),
        Cell(fmt.money(refused.cost, found.currency) if refused else ""),
    ]


def _requests(event: Event, found: Backtest) -> Cell:
    if event.id in found.rerouted:
        return Cell(fmt.integer(found.rerouted[event.id]), note="rerouted, saving not known")
    refused = found.refusals.get(event.id)
    return Cell(fmt.integer(refused.requests) if refused else "")


def _looks_at(event: Event) -> str:
    return f"of {_LOOKS_AT[event.step.trigger]}"


def _end(event: Event) -> str:
    if event.state not in {"running", "waiting_approval"}:
        return ""
    return fmt.moment(event.ended_at) if event.ended_at else "still so at the end"


def _periods(found: Backtest) -> Table:
    columns = [
        Column("Period"),
        Column("Budget", numeric=True),
        Column("Actual", numeric=True),
        Column("Used", numeric=True),
        Column("Steps taken", numeric=True),
        Column("Verdict"),
    ]
    places = fmt.column_places([one.actual_cost for one in found.periods])
    rows = [
        Row(
            [
                Cell(one.label, note="" if one.is_over else "not over on these days"),
                Cell(fmt.money(one.amount, found.currency, places=places)),
                Cell(fmt.money(one.actual_cost, found.currency, places=places)),
                Cell(fmt.percent(one.used_percent / 100)),
                Cell(str(_taken(found.told, one))),
                Cell(_verdict(one)),
            ]
        )
        for one in found.periods[:120]
    ]
    more = f" {len(found.periods) - 120} more are not shown." if len(found.periods) > 120 else ""
    return Table(
        "Periods of these days",
        columns,
        rows,
        note=f"Days of {found.zone}, measured against the amounts of now.{more}",
    )


def _taken(told: Sequence[Event], period: PeriodPlayed) -> int:
    return sum(1 for event in told if period.holds(event))


def _verdict(period: PeriodPlayed) -> str:
    if period.used_percent > 100:
        return "Over budget"
    return "Within budget" if period.is_over else "Open"


def _csv(found: Backtest) -> HttpResponse:
    columns = [
        "budget", "at", "percent", "looks_at", "action", "state", "level_percent", "period_start", "episode", "ended_at",
        "ended_by", "refused_requests", "refused_cost", "currency", "false_alarm", "rerouted_requests",
    ]  # fmt: skip
    rows = [_csv_row(event, found) for event in found.events]
    return csv_file.response(name=f"backtest-{found.days.start}-{found.days.last}.csv", columns=columns, rows=rows)


def _csv_row(event: Event, found: Backtest) -> list[csv_file.Value]:
    refused = found.refusals.get(event.id)
    ended: datetime | None = event.ended_at
    return [
        found.name, event.at, event.step.percent, _looks_at(event), event.step.action, event.state, event.level,
        event.period_start, event.episode, ended, event.ended_by, refused.requests if refused else None,
        refused.cost if refused else None, found.currency, "yes" if event in found.false_alarms else "no",
        found.rerouted.get(event.id),
    ]  # fmt: skip
