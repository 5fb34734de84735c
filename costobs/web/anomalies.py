"""Anomalies: what costs more than it should, since when, and why."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from alerts import anomaly_lines, anomaly_queries
from alerts.anomaly_queries import AnomalyLine, CheckLine, FallLine
from alerts.seasons import ENOUGH_DAYS
from costobs.access import scopes
from costobs.kernel import fmt, money
from costobs.web import anomaly_parts, budget_access, csv_file
from costobs.web.budgets import bar
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Kpi, Link, Notice, Row, Spark, Table

_VIEWS = {"open": "Open", "closed": "Closed", "all": "All"}


@require_safe
@page_view
def page(request: HttpRequest) -> HttpResponse:
    """Open ones, dearest first; `?view=closed` or `all`, `?min=50`, `?scope=key`, `?format=csv`."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    found = anomaly_queries.anomalies(teams=viewer.teams)
    checks = anomaly_queries.checks()
    view = request.GET.get("view", "open")
    shown = _filtered(found, view, request.GET.get("min", ""), request.GET.get("scope", ""))
    if request.GET.get("format") == "csv":
        return _csv(shown, now)
    running = [line for line in found if line.is_open]
    query = request.GET.copy()
    query["format"] = "csv"
    context: dict[str, Any] = {
        "page": "anomalies",
        "scope": bar(now),
        "heading": _heading(running, [line for line in found if not line.is_open])
        if checks
        else "Nothing was judged yet",
        "sub": _sub(checks),
        "kpis": _kpis(running),
        "waiting": _waiting(checks),
        "views": [
            Link(f"{word} {_count(found, name)}", f"?view={name}", primary=name == view)
            for name, word in _VIEWS.items()
        ]
        + [Link("What is told", reverse("anomaly_thresholds"), icon="sliders-horizontal")],
        "view": view if view in _VIEWS else "open",
        "minimum": request.GET.get("min", ""),
        "kinds": [(name, anomaly_parts.KINDS[name]) for name in anomaly_parts.KINDS],
        "kind": request.GET.get("scope", ""),
        "table": _table(shown, checks, f"?{query.urlencode()}" if shown else ""),
        "falls": _falls(anomaly_queries.falls(teams=viewer.teams)),
        "feedback": anomaly_parts.feedback_table(anomaly_queries.standing(teams=viewer.teams), viewer),
        "may_plan": budget_access.may_manage(viewer),
        "plan_error": "",
    }
    return render(request, "pages/anomalies.html", context)


def _filtered(found: Sequence[AnomalyLine], view: str, minimum: str, kind: str) -> list[AnomalyLine]:
    least = Decimal(minimum) if minimum.isdigit() and len(minimum) < 10 else Decimal(0)
    return [
        line
        for line in found
        if (view == "all" or line.is_open == (view != "closed"))
        and line.impact_cost >= least
        and (not kind or anomaly_parts.kind_of(line) == kind)
    ]


def _count(found: Sequence[AnomalyLine], view: str) -> int:
    return len(_filtered(found, view, "", ""))


def _heading(running: Sequence[AnomalyLine], closed: Sequence[AnomalyLine]) -> str:
    """`3 open anomalies, $1,206 above expected so far`."""
    if not running:
        more = f"; {len(closed)} closed, {_sums(closed, 'impact_cost')} above expected" if closed else ""
        return f"No open anomaly{more}"
    several = f"{len(running)} open anomal{'y' if len(running) == 1 else 'ies'}"
    return f"{several}, {_sums(running, 'impact_cost')} above expected so far"


def _sums(lines: Sequence[AnomalyLine], name: str) -> str:
    sums: dict[str, Decimal] = {}
    for line in lines:
        sums[line.currency] = money.EXACT.add(sums.get(line.currency, Decimal(0)), getattr(line, name))
    return " and ".join(fmt.money(amount, currency) for currency, amount in sorted(sums.items())) or fmt.money(0)


def _sub(checks: dict[str, CheckLine]) -> str:
    times = [one.checked_at for one in checks.values()]
    checked = f"Last checked {fmt.moment(max(times))}. " if times else "Not checked yet. "
    return f"{checked}Days are of effective cost, hours of the estimated cost of logged calls; times are UTC."


def _kpis(running: Sequence[AnomalyLine]) -> list[Kpi]:
    names = ", ".join(line.scope_words for line in running[:2])
    more = f" and {len(running) - 2} more" if len(running) > 2 else ""
    return [
        Kpi("Open", str(len(running)), note=f"{names}{more}" if names else "Nothing stands out"),
        Kpi(
            "Above expected so far",
            _sums(running, "impact_cost"),
            note="Actual less expected of the odd days and hours",
        ),
        Kpi(
            "If it goes on",
            _sums(running, "if_goes_on_cost"),
            note="More until the end of the month, at the newest rate",
        ),
    ]


def _waiting(checks: dict[str, CheckLine]) -> Notice | None:
    day = checks.get("day")
    if day is not None and day.waits_for:
        until = fmt.moment(day.judged_until) if day.judged_until else "the beginning"
        text = f"Days are judged to {until}. Late data are no anomaly: what follows is judged when they are in."
        return Notice("late", f"Waiting for {day.waits_for}", text, [Link("Sources", reverse("sources"), icon="plug")])
    return None


def _table(lines: Sequence[AnomalyLine], checks: dict[str, CheckLine], csv_url: str) -> Table:
    columns = [
        Column("Where", wide=True),
        Column("Above expected", numeric=True),
        Column("Since"),
        Column("Expected → actual", numeric=True),
        Column("Driver", wide=True),
        Column("State"),
        Column("Cost"),
    ]
    rows = [
        Row(
            [
                Cell(line.scope_words, reverse("anomaly", args=[line.id]), note=_coincides(line)),
                Cell(
                    fmt.money(line.impact_cost, line.currency, signed=True),
                    note=f"{line.periods} {line.grain}{'s' if line.periods != 1 else ''}",
                ),
                Cell(anomaly_lines.since(line)),
                Cell(
                    f"{fmt.money(line.newest_expected_cost, line.currency)} → {fmt.money(line.newest_cost, line.currency)}",
                    note=f"a {line.grain}" if line.grain == "day" else "an hour",
                ),
                Cell(line.driver_words, note=anomaly_parts.change_words(line)),
                Cell(line.outcome_words, state="watch" if line.is_open else "ended", note=_who(line)),
                Cell(spark=Spark([one.cost for one in line.points[-30:]], label=_spark_words(line))),
            ]
        )
        for line in lines
    ]
    return Table("Anomalies", columns, rows, empty=_empty(checks), csv_url=csv_url)


def _empty(checks: dict[str, CheckLine]) -> Notice:
    day = checks.get("day")
    if day is None:
        return Notice(
            "not_arrived", "Nothing was judged yet", "The first look comes within a minute of the first data."
        )
    if day.known_days < ENOUGH_DAYS:
        text = f"Needs {ENOUGH_DAYS} complete days; {day.known_days} so far. Until then nothing is called odd."
        return Notice("not_arrived", "Learning", text)
    text = f"{day.scopes} scopes were judged. Last checked {fmt.moment(day.checked_at)}."
    return Notice("info", "No anomaly here", text)


def _falls(lines: Sequence[FallLine]) -> Table | None:
    """What fell away; None where nothing did."""
    columns = [
        Column("Where", wide=True), Column("Since"), Column("Days", numeric=True), Column("Expected → actual", numeric=True),
    ]  # fmt: skip
    rows = [
        Row(
            [
                Cell(one.scope_words, _explore(one)),
                Cell(fmt.day(one.since)),
                Cell(fmt.count(one.days)),
                Cell(f"{fmt.money(one.expected_cost, one.currency)} → {fmt.money(one.actual_cost, one.currency)}"),
            ]
        )
        for one in lines
    ]
    return Table("Fell away", columns, rows) if rows else None


def _explore(one: FallLine) -> str:
    days = {"from": one.since - timedelta(days=28), "to": one.since + timedelta(days=one.days - 1)}
    chips = [("f", f"{name}:{value}") for name, value in one.scope.items()]
    return f"{reverse('explore')}?{urlencode([('preset', 'custom'), *days.items(), *chips])}"


def _coincides(line: AnomalyLine) -> str:
    return f"coincides with: {line.coincidences[0].text}" if line.coincidences else ""


def _who(line: AnomalyLine) -> str:
    if line.is_open and line.acknowledged_by:
        return f"{line.acknowledged_by} is on it"
    return ""


def _spark_words(line: AnomalyLine) -> str:
    shown = line.points[-30:]
    return f"Cost of the last {len(shown)} {line.grain}s, at the end {fmt.money(line.newest_cost, line.currency)}"


def _csv(lines: Sequence[AnomalyLine], now: datetime) -> HttpResponse:
    columns = [
        "anomaly", "scope", "grain", "state", "outcome", "started_at", "last_at", "periods", "currency", "actual_cost",
        "expected_cost", "impact_cost", "if_goes_on_cost", "driver", "score", "acknowledged_by",
    ]  # fmt: skip
    rows = [
        (
            line.id, line.scope_words, line.grain, line.state, line.outcome_words, line.started_at, line.last_at,
            line.periods, line.currency, line.actual_cost, line.expected_cost, line.impact_cost, line.if_goes_on_cost,
            line.driver_words, line.score, line.acknowledged_by,
        )
        for line in lines
    ]  # fmt: skip
    return csv_file.response(name=f"anomalies-{now.date()}.csv", columns=columns, rows=rows)
