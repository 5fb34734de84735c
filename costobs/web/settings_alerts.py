"""Settings, alerts: where they go, who is told what, who is called next, when it is quiet, and the digests."""

import re
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from alerts import digests, mutes, routes, subscribe
from alerts.channels import KINDS
from costobs.access import scopes
from costobs.web import alert_forms, alert_tables
from costobs.web.kind_form import Styled, first_line
from costobs.web.parts import Cell, Column, Link, Row, Table
from costobs.web.settings_access import looking, managing

_FORMS: dict[str, type[Styled]] = {
    "route": alert_forms.RouteForm,
    "step": alert_forms.StepForm,
    "quiet": alert_forms.QuietForm,
    "person": alert_forms.PersonForm,
    "digest": alert_forms.DigestForm,
}
# An amount, a count or a share, with its sign and currency; a dash where there is none.
_FIGURE = re.compile(r"^(–$|[+−]?([A-Z]{3}\s|[^\w\s])?\d)")
_LONG = 48  # letters of a text that may take several lines
_DONE = {
    "route": "The route holds for alerts from now on.",
    "step": "The chain holds for items that wait from now on.",
    "quiet": "The quiet hours are set.",
    "person": "The member is linked.",
    "digest": "The digest is set up. Look at its preview, or send a test.",
}


@require_safe
@looking
def page(request: HttpRequest) -> HttpResponse:
    return _page(request)


@require_POST
@managing
def add(request: HttpRequest, what: str) -> HttpResponse:
    """A route, a step, quiet hours, a person's link or a digest."""
    if what not in _FORMS:
        raise Http404
    form = _form(what, request.POST)
    if form.is_valid():
        try:
            _add(what, form.cleaned_data, scopes.viewer(request.user).name)
        except (routes.Invalid, digests.Invalid) as problem:
            form.tell(problem.errors)
        else:
            messages.success(request, _DONE[what])
            return redirect(f"{reverse('settings_alerts')}#{what}")
    return _page(request, {what: form}, status=400)


@require_POST
@managing
def remove(request: HttpRequest, what: str, row_id: int) -> HttpResponse:
    """Takes one of them out, or ends a mute."""
    by, now = scopes.viewer(request.user).name, timezone.now()
    if what == "mute":
        done = mutes.unmute(mute_id=row_id, by=by, now=now)
    else:
        done = routes.remove(what=what, row_id=row_id, by=by, now=now)
    if done:
        messages.success(request, "It speaks again." if what == "mute" else "Removed.")
    else:
        messages.error(request, "There is none any more.")
    return redirect("settings_alerts")


@require_http_methods(["GET", "POST"])
@managing
def channel_new(request: HttpRequest) -> HttpResponse:
    """A new channel; `kind` chooses which."""
    kind = request.GET.get("kind", "")
    if kind not in KINDS:
        kinds = [(one.title, f"?kind={one.kind}", first_line(one)) for one in KINDS]
        context: dict[str, Any] = {"page": "settings", "heading": "Where should alerts go?", "kinds": kinds}
        return render(request, "pages/settings_channel_new.html", context)
    form = alert_forms.ChannelForm(request.POST or None, kind=KINDS[kind])
    if request.method == "POST" and form.is_valid():
        try:
            subscribe.create(
                name=form.cleaned_data["name"],
                kind=kind,
                config=form.config(),
                credentials=form.credentials(),
                by=scopes.viewer(request.user).name,
                now=timezone.now(),
            )
        except subscribe.Invalid as problem:
            form.add_error(None, str(problem))
        else:
            messages.success(request, "The channel is set up. Test it now.")
            return redirect("settings_alerts")
    context = {
        "page": "settings",
        "heading": f"New channel: {KINDS[kind].title}",
        "sub": first_line(KINDS[kind]),
        "form": form,
        "is_app": kind == "slack_app",
    }
    return render(request, "pages/settings_channel.html", context, status=400 if form.errors else 200)


@require_POST
@managing
def channel_decide(request: HttpRequest, channel_id: int, verb: str) -> HttpResponse:
    """Test, pause, resume or remove a channel."""
    by, now = scopes.viewer(request.user).name, timezone.now()
    found = next((one for one in subscribe.channels() if one.id == channel_id), None)
    if found is None or verb not in {"test", "pause", "resume", "remove"}:
        raise Http404
    if verb == "test":
        try:
            subscribe.test(channel_id=channel_id, by=by, base_url=settings.COSTOBS_URL, now=now)
            messages.success(request, f"The test went out to {found.name}.")
        except subscribe.NotArrived as problem:
            messages.error(request, f"It did not arrive: {problem}.")
    elif verb == "remove":
        subscribe.remove(channel_id=channel_id, by=by, now=now)
        messages.success(request, f"{found.name} is removed, with its routes and what it had sent.")
    else:
        subscribe.pause(channel_id=channel_id, is_active=verb == "resume", by=by, now=now)
        messages.success(request, f"{found.name} is {'active' if verb == 'resume' else 'paused'}.")
    return redirect("settings_alerts")


@require_POST
@managing
def digest_decide(request: HttpRequest, schedule_id: int, verb: str) -> HttpResponse:
    """Test, pause, resume or remove a digest."""
    by, now = scopes.viewer(request.user).name, timezone.now()
    if not any(one.id == schedule_id for one in digests.schedules()):
        raise Http404
    match verb:
        case "test":
            digests.send_test(schedule_id=schedule_id, by=by, now=now)
            messages.success(request, "The test goes out within seconds.")
        case "pause" | "resume":
            digests.pause(schedule_id=schedule_id, is_active=verb == "resume", by=by, now=now)
            messages.success(request, "It is paused." if verb == "pause" else "It goes on with the next period.")
        case "remove":
            digests.remove(schedule_id=schedule_id, by=by, now=now)
            messages.success(request, "The digest is removed.")
        case _:
            raise Http404
    return redirect("settings_alerts")


@require_safe
@looking
def digest_preview(request: HttpRequest) -> HttpResponse:
    """The pack of the last whole period, as it would be sent now."""
    audience, period = request.GET.get("audience", "finance"), request.GET.get("period", "week")
    zone = request.GET.get("zone", "UTC")
    teams = [one for one in request.GET.get("teams", "").split(",") if one.strip()]
    if digests.errors(name="preview", audience=audience, period=period, zone=zone, hour=0):
        raise Http404
    found = digests.preview(audience=audience, period=period, zone=zone, teams=teams or None, now=timezone.now())
    tables = [(one, _section_table(one.title, one.columns, one.rows)) for one in found.sections]
    context = {"page": "settings", "heading": found.first_line, "sub": found.lead, "found": found, "sections": tables}
    return render(request, "pages/digest_preview.html", context)


def _page(request: HttpRequest, given: dict[str, Styled] | None = None, *, status: int = 200) -> HttpResponse:
    now, may_manage = timezone.now(), scopes.viewer(request.user).may_manage
    channels = subscribe.channels()
    forms = {name: (given or {}).get(name) or _form(name) for name in _FORMS}
    context = {
        "page": "settings",
        "heading": _heading(channels),
        "sub": "Who is told what, where and when. What is critical is told at any hour and cannot be muted.",
        "actions": _actions(may_manage=may_manage),
        "may_manage": may_manage,
        "channels": alert_tables.channels(channels, may_manage=may_manage, now=now),
        "routes": alert_tables.routes(routes.routes(), may_manage=may_manage),
        "steps": alert_tables.steps(routes.steps(), may_manage=may_manage),
        "quiet": alert_tables.quiet(routes.quiet(), may_manage=may_manage),
        "people": alert_tables.people(routes.people(), may_manage=may_manage),
        "mutes": alert_tables.mutes(mutes.mutes(now=now), may_manage=may_manage),
        "digests": alert_tables.digests(digests.schedules(), may_manage=may_manage),
        "forms": forms if may_manage and channels else {},
    }
    return render(request, "pages/settings_alerts.html", context, status=status)


def _heading(channels: list[subscribe.ChannelLine]) -> str:
    if not channels:
        return "No channel: nobody is told"
    failing = [one.name for one in channels if one.last_error and one.is_active]
    if failing:
        return f"{', '.join(failing)} {'fails' if len(failing) == 1 else 'fail'}"
    active = sum(1 for one in channels if one.is_active)
    return f"{active} of {len(channels)} channels active, none fails"


def _actions(*, may_manage: bool) -> list[Link]:
    others = [
        Link("Log of alerts", reverse("alerts"), icon="history"),
        Link("From when anomalies are told", reverse("anomaly_thresholds"), icon="sliders-horizontal"),
    ]
    if not may_manage:
        return others
    return [Link("Add a channel", reverse("channel_new"), icon="plus", primary=True), *others]


def _form(what: str, data: Any = None) -> Any:
    extra = {} if what == "person" else {"channels": subscribe.channels()}
    return _FORMS[what](data, auto_id=f"{what}_%s", **extra)


def _add(what: str, data: dict[str, Any], by: str) -> None:
    now = timezone.now()
    match what:
        case "route":
            routes.add_route(
                audience=data["audience"],
                channel_id=data["channel_id"],
                team=data["team"],
                topic_names=data["topics"],
                least_severity=data["least_severity"],
                by=by,
                now=now,
            )
        case "step":
            routes.add_step(**data, by=by, now=now)
        case "quiet":
            routes.set_quiet(**data, by=by, now=now)
        case "person":
            routes.link_person(**data, by=by, now=now)
        case "digest":
            teams = [one.strip() for one in data["teams"].split(",") if one.strip()]
            digests.create(**{**data, "teams": teams or None}, by=by, now=now)


def _section_table(title: str, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> Table | None:
    if not rows:
        return None
    heads = [
        Column(
            name[:1].upper() + name[1:] or "\u00a0",
            numeric=bool(number) and all(_FIGURE.match(one) for one in cells),
            wide=any(len(one) > _LONG for one in cells),
        )
        for number, (name, cells) in enumerate(zip(columns, zip(*rows, strict=True), strict=True))
    ]
    return Table(title, heads, [Row([Cell(one) for one in row]) for row in rows])
