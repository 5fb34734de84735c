"""One anomaly: what was expected, what came, why and where, and what people say about it."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from alerts import anomaly_lines, anomaly_queries, feedback, thresholds
from alerts.anomaly_queries import AnomalyLine
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.kernel.period import day_of
from costobs.web import anomaly_parts, anomaly_thresholds, budget_access, charts
from costobs.web.action_detail import Fact
from costobs.web.budgets import bar
from costobs.web.page import no_permission
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, ChartCard, Column, Notice, Row, Table

_DONE = {
    "acknowledge": "You are on it. It stays open until it is back to expected.",
    "mute": "Muted for 7 days. It goes on being measured.",
    "unmute": "People are told again.",
    "expected": "Expected until the day you named; it is closed.",
    "not_anomaly": "Closed. This scope has to stand out more from now on.",
    "ignore": "Ignored until the day you named.",
    "sensitivity": "The sensitivity of this scope is changed.",
}


@require_safe
@page_view
def page(request: HttpRequest, anomaly_id: int) -> HttpResponse:
    """Chart, drivers, where, coincidences, and the forms; it only asks."""
    return _page(request, anomaly_id)


@require_POST
@page_view
def decide(request: HttpRequest, anomaly_id: int, verb: str) -> HttpResponse:
    """One act of a person; answers 409 when somebody or a look was faster."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    try:
        line = anomaly_queries.anomaly(anomaly_id=anomaly_id, teams=viewer.teams)
    except anomaly_queries.NotFound:
        return budget_access.not_found(request, "anomaly")
    if verb not in _DONE:
        return budget_access.not_found(request, "act")
    if not budget_access.may_act(viewer, line.teams):
        return no_permission(request, budget_access.not_yours(line.teams))
    version = budget_access.whole(request.POST.get("version", ""))
    if version is None:
        return _page(request, anomaly_id, "the form had no version", status=409)
    try:
        _act(request, verb, anomaly_id, version, viewer.name, now)
    except feedback.Conflict as problem:
        return _page(request, anomaly_id, str(problem), status=409)
    except feedback.Invalid as problem:
        return _page(request, anomaly_id, str(problem), status=400)
    messages.success(request, _DONE[verb])
    return redirect("anomaly", anomaly_id)


@require_POST
@page_view
def undo(request: HttpRequest, feedback_id: int) -> HttpResponse:
    """Takes back what was said."""
    viewer = scopes.viewer(request.user)
    try:
        said = anomaly_queries.feedback(feedback_id=feedback_id, teams=viewer.teams)
    except anomaly_queries.NotFound:
        return budget_access.not_found(request, "feedback")
    if not budget_access.may_act(viewer, said.teams):
        return no_permission(request, budget_access.not_yours(said.teams))
    try:
        feedback.undo(feedback_id=feedback_id, by=viewer.name, now=timezone.now())
        messages.success(request, "Undone. The next look judges as if it had not been said.")
    except feedback.Conflict as problem:
        messages.warning(request, f"Nothing was done: {problem}.")
    return redirect("anomaly", said.anomaly_id) if said.anomaly_id else redirect("anomalies")


@require_POST
@page_view
def plan(request: HttpRequest) -> HttpResponse:
    """A planned event: finance and administrators say beforehand what will be expected."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    if not budget_access.may_manage(viewer):
        return no_permission(request, "Administrators and finance plan events.")
    scope = {name: request.POST.get(name, "").strip() for name in ("provider_name", "team", "feature", "key", "model")}
    try:
        feedback.plan(
            scope={name: value for name, value in scope.items() if value},
            starts_at=_day(request, "from"),
            ends_at=_day(request, "to") + timedelta(days=1),
            by=viewer.name,
            now=now,
            note=request.POST.get("note", "").strip(),
        )
    except feedback.Invalid as problem:
        messages.error(request, f"Nothing was planned: {problem}.")
    else:
        messages.success(request, "Planned. What it costs in this time is expected.")
    return redirect("anomalies")


def _act(request: HttpRequest, verb: str, anomaly_id: int, version: int, by: str, now: datetime) -> None:
    plain: dict[str, Callable[..., None]] = {
        "acknowledge": feedback.acknowledge,
        "mute": feedback.mute,
        "unmute": feedback.unmute,
    }
    if verb in plain:
        plain[verb](anomaly_id=anomaly_id, version=version, by=by, now=now)
        return
    ends_at = _day(request, "until") + timedelta(days=1) if verb in {"expected", "ignore"} else None
    feedback.say(
        anomaly_id=anomaly_id,
        version=version,
        kind=verb,
        by=by,
        now=now,
        ends_at=ends_at,
        value=request.POST.get("sensitivity", ""),
        note=request.POST.get("note", "").strip(),
    )


def _day(request: HttpRequest, name: str) -> datetime:
    text = request.POST.get(name, "").strip()
    try:
        day = date.fromisoformat(text)
    except ValueError as problem:
        raise feedback.Invalid(f"expected a day as YYYY-MM-DD, found {text!r}") from problem
    if not 2000 <= day.year < 2200:
        raise feedback.Invalid(f"expected a day of this century, found {text}")
    return datetime.combine(day, datetime.min.time(), UTC)


def _page(request: HttpRequest, anomaly_id: int, problem: str = "", *, status: int = 200) -> HttpResponse:
    now, viewer = timezone.now(), scopes.viewer(request.user)
    try:
        line = anomaly_queries.anomaly(anomaly_id=anomaly_id, teams=viewer.teams)
        said = anomaly_queries.feedback_of(anomaly_id=anomaly_id, teams=viewer.teams)
    except anomaly_queries.NotFound:
        return budget_access.not_found(request, "anomaly")
    wrong = Notice("error", "Nothing was done", f"{problem[:1].upper()}{problem[1:]}.") if problem else None
    context: dict[str, Any] = {
        "page": "anomalies",
        "scope": bar(now),
        "line": line,
        "heading": _heading(line),
        "sub": _sub(line),
        "problem": wrong,
        "facts": _facts(line, now),
        "chart": _chart(line),
        "drivers": _drivers(line),
        "places": _places(line),
        "events": line.coincidences,
        "feedback": anomaly_parts.feedback_table(said, viewer),
        "may_act": budget_access.may_act(viewer, line.teams),
        "not_yours": budget_access.not_yours(line.teams),
        "is_muted": line.muted_until is not None and line.muted_until > now,
        "next_week": day_of(now + timedelta(days=7)).isoformat(),
    }
    return render(request, "pages/anomaly.html", context, status=status)


def _heading(line: AnomalyLine) -> str:
    name = f"{line.scope_words[:1].upper()}{line.scope_words[1:]}"
    if line.is_open:
        rate = fmt.money(line.rate_cost, line.currency)
        return f"{name} costs {rate} {_per(line)} more than expected"
    return f"{name} cost {fmt.money(line.impact_cost, line.currency)} more than expected"


def _sub(line: AnomalyLine) -> str:
    kind = "Effective cost, UTC days" if line.grain == "day" else "Estimated cost of logged calls, UTC hours"
    return f"{kind}, {line.currency}. Since {anomaly_lines.since(line)}; {line.outcome_words.lower()}."


def _per(line: AnomalyLine) -> str:
    return "a day" if line.grain == "day" else "an hour"


def _facts(line: AnomalyLine, now: datetime) -> list[Fact]:
    currency = line.currency
    days = {"from": day_of(line.started_at) - timedelta(days=28), "to": day_of(line.last_at)}
    chips = [("f", f"{name}:{value}") for name, value in line.scope.items()]
    explore = f"{reverse('explore')}?{urlencode([('preset', 'custom'), *days.items(), *chips])}"
    shown = [
        Fact("Above expected so far", fmt.money(line.impact_cost, currency), explore),
        Fact(
            "Expected → actual",
            f"{fmt.money(line.newest_expected_cost, currency)} → {fmt.money(line.newest_cost, currency)} {_per(line)}",
        ),
        Fact("Since", anomaly_lines.since(line)),
        Fact("Odd so far", f"{line.periods} {line.grain}{'s' if line.periods > 1 else ''}"),
        Fact("Score", _score(line)),
        Fact("Told", _told(line), reverse("anomaly_thresholds")),
        Fact("Detected", fmt.moment(line.detected_at)),
        Fact("Complete to", fmt.moment(line.complete_through) if line.complete_through else "not known"),
    ]
    if line.is_open:
        ends = fmt.short_day(line.month_ends.last)
        shown.insert(2, Fact("If it goes on", f"{fmt.money(line.if_goes_on_cost, currency, signed=True)} by {ends}"))
    if line.acknowledged_at:
        shown.append(Fact("On it", f"{line.acknowledged_by}, {fmt.ago(line.acknowledged_at, now)}"))
    if line.muted_until and line.muted_until > now:
        shown.append(Fact("Muted until", fmt.moment(line.muted_until)))
    return shown


def _score(line: AnomalyLine) -> str:
    if line.newest_expected_cost == 0 and line.expected_cost == 0 and line.new_keys:
        return f"{line.score} times what a new key may cost"
    return f"{line.score} spreads above the expected level"


def _told(line: AnomalyLine) -> str:
    """From how much on people are told of this scope, and whether it is so much."""
    limits = thresholds.book(teams=None).of(tuple(line.scope.items()))
    is_told = limits.is_told(impact=line.impact_cost, expected=line.expected_cost)
    return f"{'From' if is_told else 'Not yet: only from'} {anomaly_thresholds.told_from(limits)}"


def _chart(line: AnomalyLine) -> ChartCard:
    at: list[date | datetime] = [day_of(one.at) if line.grain == "day" else one.at for one in line.points]
    costs = [one.cost for one in line.points]
    chart = charts.expected_band(
        at=at,
        actual=costs,
        expected=[one.expected for one in line.points],
        low=[one.low for one in line.points],
        high=[one.high for one in line.points],
        is_odd=[one.is_odd for one in line.points],
        currency=line.currency,
    )
    columns = [
        Column("Day" if line.grain == "day" else "Hour"), Column("Actual", numeric=True), Column("Expected", numeric=True),
        Column("Range", numeric=True), Column("Above expected", numeric=True),
    ]  # fmt: skip
    rows = [
        Row(
            [
                Cell(fmt.day(day_of(one.at)) if line.grain == "day" else fmt.moment(one.at)),
                Cell(fmt.money(one.cost, line.currency)),
                Cell(fmt.UNKNOWN if one.expected is None else fmt.money(one.expected, line.currency)),
                Cell(
                    fmt.UNKNOWN
                    if one.low is None or one.high is None
                    else fmt.money_range(one.low, one.high, line.currency)
                ),
                Cell("yes" if one.is_odd else ""),
            ]
        )
        for one in reversed(line.points)
    ]
    caption = (
        f"{'Effective cost a day' if line.grain == 'day' else 'Estimated cost an hour'}, {line.currency}, UTC. "
        "The band is what the level, the season and the usual spread let expect; the dots lie above it."
    )
    summary = (
        f"{line.scope_words[:1].upper()}{line.scope_words[1:]} cost {fmt.money(line.newest_cost, line.currency)} at last; "
        f"{fmt.money(line.newest_expected_cost, line.currency)} was expected."
    )
    return ChartCard("c-anomaly", "Actual and expected", caption, chart, summary, Table("The series", columns, rows))


def _drivers(line: AnomalyLine) -> Table:
    rows = [
        Row(
            [
                Cell(one.words, note=_named(line, one.kind)),
                Cell(fmt.money(one.cost, line.currency, signed=True)),
                Cell(fmt.percent(one.share)),
            ]
        )
        for one in line.drivers
    ]
    columns = [Column("Part", wide=True), Column("Above expected", numeric=True), Column("Share", numeric=True)]
    whole = Row([Cell("Above expected"), Cell(fmt.money(line.impact_cost, line.currency, signed=True)), Cell("100 %")])
    empty = Notice("info", "The parts are not known", "No call was logged in these days, so nothing can be divided.")
    return Table("Drivers", columns, rows, total=whole if rows else None, empty=empty)


def _named(line: AnomalyLine, kind: str) -> str:
    """Which keys and models are new: `key-7 $310, key-8 $12`."""
    if kind == "new_key":
        return ", ".join(
            f"{anomaly_lines.short_key(one.key)} {fmt.money(one.cost, line.currency)}" for one in line.new_keys
        )
    return ", ".join(line.new_models) if kind == "new_model" else ""


def _places(line: AnomalyLine) -> Table:
    columns = [
        Column("Dimension"),
        Column("Value"),
        Column("Above average", numeric=True),
        Column("Share", numeric=True),
    ]
    rows = [
        Row(
            [
                Cell(anomaly_parts.KINDS[one.dimension]),
                Cell(one.value),
                Cell(fmt.money(one.excess_cost, line.currency, signed=True)),
                Cell(fmt.percent(one.share), share=one.share if 0 <= one.share <= 1 else None),
            ]
        )
        for one in line.places
    ]
    empty = Notice("info", "No value stands out", "The difference is spread over many teams, keys and models.")
    return Table("Where", columns, rows, empty=empty)
