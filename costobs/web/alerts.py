"""Alerts: what was told where and when, why somebody got it, and taking, muting and sending it again."""

from datetime import timedelta
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from alerts import mutes, told, topics
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web import alert_tables, budget_access, csv_file
from costobs.web.alert_forms import MuteForm
from costobs.web.page import no_permission
from costobs.web.page import page as page_view
from costobs.web.parts import Link

_SHOWN = 200
_STATES = ("sent", "waiting", "failed", "muted", "expired", "folded")

_DONE = {
    "ack": "You have it. Nobody else is called.",
    "unmute": "It speaks again.",
    "resend": "It goes out within seconds.",
}


@require_safe
@page_view
def page(request: HttpRequest) -> HttpResponse:
    """The log, `?format=csv` as a file; a lead sees the alerts about budgets of own teams."""
    viewer = scopes.viewer(request.user)
    state, topic = request.GET.get("state", ""), request.GET.get("topic", "")
    state = state if state in _STATES else ""
    topic = topic if topic in topics.TOPICS else ""
    found = told.log(teams=viewer.teams, state=state, topic=topic, limit=_SHOWN)
    if request.GET.get("format") == "csv":
        return csv_file.response(name=f"alerts-{timezone.now().date()}.csv", **alert_tables.log_rows(found))
    query = urlencode({"state": state, "topic": topic, "format": "csv"})
    context = {
        "page": "alerts",
        "heading": _heading(found, state),
        "sub": f"The newest {_SHOWN}, of {'every budget' if viewer.may_see_all else ', '.join(viewer.teams or ())}.",
        "actions": [Link("Settings of alerts", reverse("settings_alerts"), icon="bell")] if viewer.may_see_all else [],
        "log": alert_tables.log(found, f"?{query}"),
        "states": [(name, name == state) for name in _STATES],
        "topics": [(name, words.partition(":")[0], name == topic) for name, words in topics.TOPICS.items()],
    }
    return render(request, "pages/alerts.html", context)


@require_safe
@page_view
def alert(request: HttpRequest, alert_id: int) -> HttpResponse:
    """One alert: why it came, what it said, who has it. It only asks; nothing acts by being opened."""
    return _alert_page(request, alert_id)


@require_POST
@page_view
def decide(request: HttpRequest, alert_id: int, verb: str) -> HttpResponse:
    """Take an item, mute it, let it speak again, or send it once more."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    try:
        found = told.alert(alert_id=alert_id, teams=viewer.teams, now=now)
    except told.NotFound:
        return budget_access.not_found(request, "alert")
    if verb != "mute" and verb not in _DONE:
        return budget_access.not_found(request, "alert")
    if verb == "resend" and not viewer.may_manage:
        return no_permission(request, "Only administrators send an alert again.")
    if not budget_access.may_act(viewer, found.line.teams):
        return no_permission(request, budget_access.not_yours(found.line.teams))
    if verb == "mute":
        return _mute(request, found, viewer.name)
    try:
        done = _carry_out(request, verb, found, viewer.name)
    except mutes.Invalid as problem:
        return _alert_page(request, alert_id, conflict=str(problem), status=409)
    if done:
        messages.success(request, _DONE[verb])
    else:
        messages.error(request, "It changed meanwhile; nothing was done.")
    return redirect("alert", alert_id)


def _carry_out(request: HttpRequest, verb: str, found: told.AlertDetail, by: str) -> bool:
    now = timezone.now()
    if verb == "ack":
        version = request.POST.get("version", "")
        if found.item is None or not (version.isdecimal() and len(version) < 10):
            raise mutes.Invalid("there is nothing to take")
        mutes.acknowledge(item_id=found.item.id, version=int(version), by=by, now=now)
        return True
    if verb == "unmute":
        return found.mute_id is not None and mutes.unmute(mute_id=found.mute_id, by=by, now=now)
    return _resend(request, found, by)


def _resend(request: HttpRequest, found: told.AlertDetail, by: str) -> bool:
    number = request.GET.get("delivery", "")
    if not (number.isascii() and number.isdecimal() and len(number) < 18):
        return False
    if not told.delivery_of(delivery_id=int(number), alert_id=found.line.id):
        return False
    return mutes.resend(delivery_id=int(number), by=by, now=timezone.now())


def _mute(request: HttpRequest, found: told.AlertDetail, by: str) -> HttpResponse:
    form = MuteForm(request.POST, abouts=_abouts(found))
    if not form.is_valid():
        return _alert_page(request, found.line.id, form=form, status=400)
    data, now = form.cleaned_data, timezone.now()
    about, _, subject = data["about"].partition("=")
    until = now + timedelta(hours=data["hours"])
    try:
        mutes.mute(about=about, subject=subject, until=until, reason=data["reason"], by=by, now=now)
    except mutes.Invalid as problem:
        form.add_error(None, str(problem))
        return _alert_page(request, found.line.id, form=form, status=400)
    messages.success(request, f"Muted until {fmt.moment(until)}.")
    return redirect("alert", found.line.id)


def _abouts(found: told.AlertDetail) -> list[tuple[str, str]]:
    """What may be muted from here: the item, its budget, its team."""
    line = found.line
    abouts = [(f"thread={line.thread}", "this item")]
    if line.budget_id is not None:
        abouts.append((f"budget={line.budget_id}", f"budget {line.budget_name}"))
    if len(line.teams) == 1:
        abouts.append((f"team={line.teams[0]}", f"team {line.teams[0]}"))
    return abouts


def _alert_page(
    request: HttpRequest, alert_id: int, *, form: MuteForm | None = None, conflict: str = "", status: int = 200
) -> HttpResponse:
    viewer = scopes.viewer(request.user)
    try:
        found = told.alert(alert_id=alert_id, teams=viewer.teams, now=timezone.now())
    except told.NotFound:
        return budget_access.not_found(request, "alert")
    may_act = budget_access.may_act(viewer, found.line.teams)
    item = found.item
    context = {
        "page": "alerts",
        "heading": found.notice.first_line,
        "sub": f"{found.notice.about} · told {fmt.moment(found.line.raised_at)}",
        "found": found,
        "facts": found.notice.facts,
        "links": [Link(one.label, one.path, primary=one.style == "primary") for one in found.notice.buttons],
        "deliveries": alert_tables.deliveries(found.line, may_manage=viewer.may_manage),
        "thread": alert_tables.thread(found.thread),
        "may_act": may_act,
        "is_open": item is not None and item.closed_at is None,
        "form": form or MuteForm(abouts=_abouts(found)),
        "conflict": conflict,
    }
    return render(request, "pages/alert.html", context, status=status)


def _heading(found: list[told.AlertLine], state: str) -> str:
    if not found:
        return "Nothing was told yet" if not state else f"No alert is {state}"
    failed = sum(1 for one in found if any(each.state == "failed" for each in one.deliveries))
    count = f"{len(found)} alert{'s' if len(found) != 1 else ''}"
    if failed:
        return f"{count}, {failed} did not arrive everywhere"
    if not any(one.deliveries for one in found):
        return f"{count}, and nobody was told"
    return f"{count}, none failed to arrive"
