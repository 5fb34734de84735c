"""One source: how it is, its settings, and everything an administrator does with it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from costobs.access import scopes, tokens
from costobs.kernel import fmt
from costobs.web import csv_file, settings_backfill, settings_source_form, settings_sources, source_words
from costobs.web import settings_source_tables as tables
from costobs.web.parts import Kpi, Link
from costobs.web.settings_access import looking, managing
from costobs.web.settings_source_form import SourceForm
from ingest import configure, probe, source_detail
from ingest import queries as ingest_queries
from ingest.source_detail import SourceDetail
from ingest.sources import KINDS, config

_LOADS = 30
_WORDS = {
    "on_time": "is up to date",
    "late": "is late",
    "failed": "could not be read",
    "paused": "is paused",
    "waiting": "waits for its first data",
}


@require_safe
@looking
def page(request: HttpRequest, source_id: int) -> HttpResponse:
    return _page(request, source_id)


@require_POST
@managing
def test(request: HttpRequest, source_id: int) -> HttpResponse:
    """Tries the source as it is; the findings alone when the page asks for them itself."""
    try:
        found = probe.saved(source_id=source_id, by=scopes.viewer(request.user).name, now=timezone.now())
    except configure.UnknownSource:
        return settings_backfill.missing(request)
    if request.headers.get("HX-Request"):
        return render(request, "_findings.html", settings_sources.findings_context(found))
    return _page(request, source_id, tested=settings_sources.findings_context(found))


@require_http_methods(["GET", "POST"])
@managing
def edit(request: HttpRequest, source_id: int) -> HttpResponse:
    """Changes the settings, and tries changed ones before they are saved."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    found = settings_backfill.own(source_id, now)
    if found is None:
        return settings_backfill.missing(request)
    kind = KINDS[found.line.kind]
    if request.method == "GET":
        initial = settings_source_form.initial(kind, found.config)
        return _edit_page(request, found, SourceForm(kind, initial=initial, secrets_set=found.secrets_set))
    form = SourceForm(kind, request.POST, secrets_set=found.secrets_set)
    form.is_valid()
    given = form.config()
    tested: dict[str, object] = {}
    if not form.errors:
        told: dict[str, Any] = {
            "config": given,
            "credentials": form.secrets(),
            "files_below": settings.COSTOBS_FILES,
            "by": viewer.name,
            "now": now,
            "source_id": source_id,
        }
        try:
            if request.POST.get("act") != "test":
                configure.update_source(**told)
                messages.success(request, "Changed. The next read uses it; where it was read up to stays as it is.")
                return redirect("settings_source", source_id)
            tested = settings_sources.findings_context(probe.entered(kind=kind.kind, **told))
        except configure.BadConfig as problem:
            form.tell(problem.errors)
    if request.headers.get("HX-Request"):
        return render(request, "_findings.html", tested or {"problems": form.summary(), "is_tested": True})
    return _edit_page(request, found, form, tested=tested, status=400 if form.errors else 200)


@require_POST
@managing
def pause(request: HttpRequest, source_id: int) -> HttpResponse:
    """Pauses an active source, resumes a paused one; back to the page the button was on."""
    now = timezone.now()
    found = settings_backfill.own(source_id, now)
    if found is None:
        return settings_backfill.missing(request)
    resumes = not found.line.is_active
    configure.pause(source_id=source_id, is_active=resumes, by=scopes.viewer(request.user).name, now=now)
    words = (
        "is read again." if resumes else "is paused. What it brought in stays; rows that are pushed are still taken."
    )
    messages.success(request, f"{found.line.name} {words}")
    return redirect("settings_source", source_id)


@require_POST
@managing
def read(request: HttpRequest, source_id: int) -> HttpResponse:
    """Has the source read in the next round, whatever its interval."""
    try:
        configure.read_soon(source_id=source_id, by=scopes.viewer(request.user).name, now=timezone.now())
    except configure.UnknownSource:
        return settings_backfill.missing(request)
    messages.success(request, "It is read within a minute.")
    return redirect("settings_source", source_id)


@require_http_methods(["GET", "POST"])
@managing
def rotate(request: HttpRequest, source_id: int) -> HttpResponse:
    """Replaces credentials; those that are left empty stay."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    found = settings_backfill.own(source_id, now)
    if found is None:
        return settings_backfill.missing(request)
    kind = KINDS[found.line.kind]
    form = SourceForm(kind, request.POST or None, has_config=False, secrets_set=found.secrets_set)
    if request.method == "POST" and form.is_valid():
        gone = [name for name in request.POST.getlist("forget") if name in found.secrets_set]
        try:
            told = configure.rotate(
                source_id=source_id, credentials=form.secrets(), forget=gone, by=viewer.name, now=now
            )
        except configure.BadConfig as problem:
            form.tell(problem.errors)
        else:
            messages.success(request, f"Replaced: {', '.join(config.label(name) for name in told)}. Test it now.")
            return redirect("settings_source", source_id)
    context = {
        "page": "settings",
        "scope": None,
        "source": found,
        "form": form,
        "summary": form.summary(),
        "heading": f"Rotate the credentials of {found.line.name}",
        "sub": _secrets_words(found),
        "back": reverse("settings_source", args=[source_id]),
        "set": [(name, config.label(name)) for name in found.secrets_set],
    }
    return render(request, "pages/settings_source_rotate.html", context, status=400 if form.errors else 200)


@require_safe
@looking
def quarantined(request: HttpRequest, source_id: int) -> HttpResponse:
    """Quarantined rows of one source, as they came."""
    rows = ingest_queries.quarantined(source_id=source_id, limit=100_000)
    return csv_file.response(
        name="quarantined.csv",
        columns=["source", "file", "row", "field", "reason", "raw", "loaded_at"],
        rows=[[one.source, one.file, one.row_number, one.field, one.reason, one.raw, one.loaded_at] for one in rows],
    )


def _page(request: HttpRequest, source_id: int, *, tested: Mapping[str, object] | None = None) -> HttpResponse:
    now, viewer = timezone.now(), scopes.viewer(request.user)
    found = source_detail.source(source_id=source_id, now=now)
    if found is None:
        return settings_backfill.missing(request)
    kind = KINDS[found.line.kind]
    loads = ingest_queries.loads(source_id=source_id, limit=_LOADS)
    acts = viewer.may_manage and not found.line.is_sample
    context = {
        "page": "settings",
        "scope": None,
        "kind": source_words.about(kind),
        "heading": _heading(found),
        "sub": _sub(found),
        "kpis": _kpis(found),
        "acts": acts,
        "actions": _actions(found) if acts else [],
        "settings": _settings(found),
        "secrets_words": _secrets_words(found),
        "push": source_words.push(kind, name=found.line.name, source_id=source_id),
        "push_tokens": tokens.of_source(source_id=source_id),
        "loads": tables.loads(loads, shows_source=False),
        "files": tables.files(loads),
        "has_loads": bool(loads),
        "deliveries": tables.deliveries(source_detail.deliveries(source_id=source_id))
        if found.line.produces == "charges"
        else None,
        "quarantined": tables.quarantined(
            ingest_queries.quarantined(source_id=source_id, limit=50),
            csv_url=reverse("settings_source_quarantined", args=[source_id]),
        ),
        **settings_backfill.context(found, now, may_manage=viewer.may_manage),
        **(tested or {}),
    }
    return render(request, "pages/settings_source.html", context)


def _edit_page(
    request: HttpRequest,
    found: SourceDetail,
    form: SourceForm,
    *,
    tested: Mapping[str, object] | None = None,
    status: int = 200,
) -> HttpResponse:
    kind = KINDS[found.line.kind]
    context = {
        "page": "settings",
        "scope": None,
        "kind": source_words.about(kind),
        "source": found,
        "heading": f"Edit {found.line.name}",
        "sub": "The next read uses what you save. For the past of another place ask for a backfill afterwards.",
        "form": form,
        "summary": form.summary(),
        "manual": source_words.manual(kind),
        "files": source_words.reads_files(kind) and settings.COSTOBS_FILES,
        "may_lose_secrets": request.method == "POST" and bool(form.secrets()),
        "back": reverse("settings_source", args=[found.line.id]),
        **(tested or {}),
    }
    return render(request, "pages/settings_source_add.html", context, status=status)


def _heading(found: SourceDetail) -> str:
    line = found.line
    through = f", complete through {fmt.moment(line.complete_through)}" if line.complete_through else ""
    return f"{line.name} {_WORDS[line.status]}{through}"


def _sub(found: SourceDetail) -> str:
    line = found.line
    if line.is_pushed:
        return f"{line.title}. Rows are pushed to an address."
    words = [f"{line.title}. Read every {fmt.duration(timedelta(seconds=found.poll_seconds), parts=1)}"]
    words.append(f"data are normally there within {fmt.duration(timedelta(seconds=line.expected_lag_seconds))}")
    if found.restatement_days:
        words.append(f"the last {found.restatement_days} days are read again, since the vendor restates them")
    return f"{'; '.join(words)}."


def _kpis(found: SourceDetail) -> list[Kpi]:
    line = found.line
    late = (
        f"late by {fmt.duration(timedelta(seconds=line.late_seconds))}" if line.late_seconds else "within its usual lag"
    )
    asked = line.last_load_at if line.is_pushed else line.last_read_at
    return [
        Kpi(
            "Complete through",
            fmt.moment(line.complete_through) if line.complete_through else fmt.NOT_APPLICABLE,
            state="sample" if line.is_sample else line.status,
            note=late if line.complete_through else "",
        ),
        Kpi(
            "Last load" if line.is_pushed else "Last read",
            fmt.moment(asked) if asked else fmt.NOT_APPLICABLE,
            note=f"Last load {fmt.moment(line.last_load_at)}" if line.last_load_at else "Nothing was loaded yet",
        ),
        Kpi("Rows loaded, 28 days", fmt.count(line.rows_28d), note=source_words.delivers(line.produces)),
        Kpi("Quarantined, 28 days", fmt.integer(line.quarantined_28d), note="Kept as they came"),
    ]


def _actions(found: SourceDetail) -> list[Link]:
    line = found.line
    own = [line.id]
    switch = Link("Pause", reverse("settings_source_pause", args=own), icon="pause", post=True)
    if not line.is_active:
        switch = Link("Resume", reverse("settings_source_pause", args=own), icon="play", post=True)
    reads = (
        []
        if line.is_pushed or not line.is_active
        else [Link("Read now", reverse("settings_source_read", args=own), icon="refresh-cw", post=True)]
    )
    return [
        *reads,
        switch,
        Link("Edit", reverse("settings_source_edit", args=own), icon="pencil"),
        Link("Remove…", reverse("settings_source_remove", args=own), icon="trash-2", danger=True),
    ]


def _settings(found: SourceDetail) -> list[tuple[str, str]]:
    """The settings as they are, those of the kind included; never a credential."""
    told = []
    for one in config.fields_of(KINDS[found.line.kind]):
        text = config.typed(one, found.config.get(one.name, one.default))
        told += [(one.label, "yes" if one.shape == "yes" else text)] if text else []
    return told


def _secrets_words(found: SourceDetail) -> str:
    if not found.may_open:
        return "They do not open with this installation's key (COSTOBS_FERNET_KEY). Enter them again."
    if not found.secrets_set:
        return "None is set."
    names = ", ".join(config.label(name) for name in found.secrets_set)
    on = f"set on {fmt.day(found.secrets_set_at.date())}, " if found.secrets_set_at else ""
    return f"{names}: {on}encrypted, never shown."
