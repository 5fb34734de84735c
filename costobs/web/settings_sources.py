"""Settings, sources: what is connected, how each is, and adding one more."""

from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from costobs.access import scopes
from costobs.kernel import fmt
from costobs.kernel.registry import UnknownKind
from costobs.web import settings_source_form, source_words
from costobs.web.page import notice
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table
from costobs.web.settings_access import looking, managing
from costobs.web.settings_source_form import SourceForm
from ingest import configure, probe, source_detail
from ingest import queries as ingest_queries
from ingest.queries import SourceLine
from ingest.source_detail import BackfillLine
from ingest.sources import KINDS
from ingest.sources.base import Finding

_WRONG = ("failed", "late")


@require_safe
@looking
def home(request: HttpRequest) -> HttpResponse:
    """Settings begin with the sources."""
    return redirect("settings_sources")


@require_safe
@looking
def page(request: HttpRequest) -> HttpResponse:
    now, viewer = timezone.now(), scopes.viewer(request.user)
    lines = ingest_queries.sources(now=now)
    connect = Link("Connect a source", reverse("settings_source_new"), icon="plug", primary=True)
    context = {
        "page": "settings",
        "scope": None,
        "heading": _heading(lines),
        "sub": f"As of {fmt.moment(now)}. What they bring in is on the Sources page.",
        "actions": [connect] if viewer.may_manage else [],
        "sources": _table(lines, connect if viewer.may_manage else None, may_manage=viewer.may_manage),
    }
    return render(request, "pages/settings_sources.html", context)


@require_safe
@managing
def choose(request: HttpRequest) -> HttpResponse:
    """Every kind there is, to choose one; with `q` those that have to do with it."""
    sought = request.GET.get("q", "").strip()[:100]
    groups = source_words.groups(sought)
    context = {
        "page": "settings",
        "scope": None,
        "heading": "Connect a source",
        "sub": f"{len(KINDS.names())} kinds. Start with the bill, or with the log of your gateway: it shows spend within minutes.",
        "groups": groups,
        "sought": sought,
        "matches": sum(len(kinds) for _title, _words, kinds in groups),
    }
    return render(request, "pages/settings_source_new.html", context)


@require_http_methods(["GET", "POST"])
@managing
def add(request: HttpRequest, kind: str) -> HttpResponse:
    """The form of a new source. With the button Test its values are tried and nothing is saved."""
    try:
        found = KINDS[kind]
    except UnknownKind as problem:
        back = [Link("All kinds", reverse("settings_source_new"), icon="plug")]
        return notice(request, Notice("nothing_matches", "There is no such kind", str(problem), back), status=404)
    if request.method == "GET":
        form = SourceForm(found, has_name=True, initial=settings_source_form.initial(found, {}))
        return _add_page(request, form)
    form, by, now = SourceForm(found, request.POST, has_name=True), scopes.viewer(request.user).name, timezone.now()
    given = _given(form)
    if request.POST.get("act") == "test":
        return _tested(request, form, given, by)
    if given is not None:
        try:
            source_id = configure.add_source(
                kind=kind,
                name=form.cleaned_data["name"],
                config=given,
                credentials=form.secrets(),
                files_below=settings.COSTOBS_FILES,
                by=by,
                now=now,
            )
        except configure.BadConfig as problem:
            form.tell(problem.errors)
        else:
            words = "Rows you send show up within seconds." if found.is_pushed else "It is read within a minute."
            messages.success(request, f"{form.cleaned_data['name'].strip()} is added. {words}")
            return redirect("settings_source", source_id)
    return _add_page(request, form, status=400)


def findings_context(findings: list[Finding]) -> dict[str, object]:
    """What the partial of a connection test shows."""
    missing = sum(one.state == "missing" for one in findings)
    if missing:
        words = f"{missing} thing{'s' if missing > 1 else ''} missing"
    else:
        words = "It works" if findings else "Nothing was tried"
    return {"findings": findings, "findings_title": words, "is_tested": True}


def _tested(request: HttpRequest, form: SourceForm, given: dict[str, object] | None, by: str) -> HttpResponse:
    findings: list[Finding] = []
    if given is not None:
        try:
            findings = probe.entered(
                kind=form.kind.kind,
                config=given,
                credentials=form.secrets(),
                files_below=settings.COSTOBS_FILES,
                by=by,
                now=timezone.now(),
            )
        except configure.BadConfig as problem:
            form.tell(problem.errors)
    tested = findings_context(findings) if not form.errors else {"problems": form.summary(), "is_tested": True}
    if request.headers.get("HX-Request"):
        return render(request, "_findings.html", tested)
    return _add_page(request, form, status=400 if form.errors else 200, tested=tested)


def _given(form: SourceForm) -> dict[str, object] | None:
    """The settings as typed, or None when a field already says what is wrong."""
    form.is_valid()
    found = form.config()
    return None if form.errors else found


def _add_page(
    request: HttpRequest, form: SourceForm, *, status: int = 200, tested: dict[str, object] | None = None
) -> HttpResponse:
    kind = form.kind
    context = {
        "page": "settings",
        "scope": None,
        "kind": source_words.about(kind),
        "heading": f"Connect {kind.title}",
        "sub": f"{source_words.delivers(kind.produces)}. {_promise(kind.expected_lag_seconds, is_pushed=kind.is_pushed)}",
        "form": form,
        "summary": form.summary() if request.POST.get("act") != "test" or not tested else [],
        "manual": source_words.manual(kind),
        "push": source_words.push(kind, name=str(form["name"].value() or "")),
        "files": source_words.reads_files(kind) and settings.COSTOBS_FILES,
        "may_lose_secrets": request.method == "POST" and bool(form.secrets()),
        "back": reverse("settings_source_new"),
        **(tested or {}),
    }
    return render(request, "pages/settings_source_add.html", context, status=status)


def _promise(lag_seconds: int, *, is_pushed: bool) -> str:
    lag = fmt.duration(timedelta(seconds=lag_seconds), parts=2)
    return "Rows are pushed to an address." if is_pushed else f"Data are normally there within {lag}."


def _heading(lines: list[SourceLine]) -> str:
    if not lines:
        return "No source is connected yet"
    wrong = sorted((line for line in lines if line.status in _WRONG), key=_urgency)
    if not wrong:
        return f"{len(lines)} source{'s' if len(lines) > 1 else ''} connected, none needs you"
    first = f"{wrong[0].name} {'failed' if wrong[0].status == 'failed' else 'is late'}"
    return f"{first} and {len(wrong) - 1} more need you" if len(wrong) > 1 else f"{first}; the rest is in order"


def _urgency(line: SourceLine) -> tuple[int, str]:
    """Who needs somebody comes first."""
    return (_WRONG.index(line.status) if line.status in _WRONG else len(_WRONG), line.name)


def _table(lines: list[SourceLine], connect: Link | None, *, may_manage: bool) -> Table:
    reading = source_detail.open_backfills()
    columns = [
        Column("Source", wide=True),
        Column("Delivers"),
        Column("Status"),
        Column("Complete through"),
        Column("Last read"),
        Column("Backfill"),
        Column("Rows 28 d", numeric=True),
        Column("Actions"),
    ]
    rows = [_row(line, reading.get(line.id), may_manage=may_manage) for line in sorted(lines, key=_urgency)]
    empty = Notice(
        "empty",
        "Connect one source",
        "A bill in a bucket, the log of a gateway, the metrics of your GPUs: the first figures are there within minutes.",
        [connect] if connect else [],
    )
    return Table("Sources", columns, rows, empty=empty)


def _row(line: SourceLine, past: BackfillLine | None, *, may_manage: bool) -> Row:
    late = f"late by {fmt.duration(timedelta(seconds=line.late_seconds))}" if line.status == "late" else ""
    acts = [Link("Resume", reverse("settings_source_pause", args=[line.id]), icon="play", post=True)]
    if line.is_active:
        acts = [Link("Pause", reverse("settings_source_pause", args=[line.id]), icon="pause", post=True)]
    return Row(
        [
            Cell(line.name, url=reverse("settings_source", args=[line.id]), note=line.last_error[:200] or line.title),
            Cell(source_words.delivers(line.produces)),
            Cell("Sample" if line.is_sample else "", state="sample" if line.is_sample else line.status),
            Cell(fmt.moment(line.complete_through) if line.complete_through else "no data yet", note=late),
            Cell(
                "pushed"
                if line.is_pushed
                else fmt.moment(line.last_read_at)
                if line.last_read_at
                else fmt.NOT_APPLICABLE
            ),
            Cell(fmt.percent(past.share, places=0), share=past.share) if past else Cell(fmt.NOT_APPLICABLE),
            Cell(fmt.count(line.rows_28d)),
            Cell(actions=acts if may_manage and not line.is_sample else []),
        ]
    )
