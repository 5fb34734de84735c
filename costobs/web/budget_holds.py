"""What holds ladders back: the break-glass pause, maintenance windows, quiet hours and protected scopes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from alerts import rung_checks, windows
from alerts.actions.base import BadConfig
from alerts.brakes import Pause
from alerts.windows import ProtectedLine, WindowLine
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web import budget_access
from costobs.web.page import no_permission
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Notice, Row, Table

_HOURS = {"1", "4", "24", "168"}


@require_safe
@page_view
def page(request: HttpRequest) -> HttpResponse:
    return _page(request)


@require_POST
@page_view
def hold(request: HttpRequest, act: str) -> HttpResponse:
    """Pause or resume everything, add or remove a window, protect a scope or no longer."""
    viewer = scopes.viewer(request.user)
    if act not in _ACTS:
        return budget_access.not_found(request, "act")
    if not budget_access.may_manage(viewer):
        return no_permission(request, budget_access.NOT_MANAGER)
    try:
        words = _ACTS[act](request, viewer.name, timezone.now())
    except windows.Invalid as problem:
        return _page(request, list(problem.errors.items()), status=400)
    messages.success(request, words)
    return redirect("budget_holds")


def _pause(request: HttpRequest, by: str, now: datetime) -> str:
    hours = request.POST.get("hours", "1")
    if hours not in _HOURS:
        raise windows.Invalid({"hours": f"expected one of {', '.join(sorted(_HOURS, key=int))}, found {hours!r}"})
    until = now + timedelta(hours=int(hours))
    count = windows.pause_all(until=until, by=by, now=now, reason=request.POST.get("reason", ""))
    return f"{count} ladder{'' if count == 1 else 's'} paused until {fmt.moment(until)}."


def _resume(request: HttpRequest, by: str, now: datetime) -> str:
    resumed = windows.resume_all(by=by, now=now, reason=request.POST.get("reason", ""))
    return "Every ladder is on again; what was in force holds again." if resumed else "Nothing was paused."


def _add_window(request: HttpRequest, by: str, now: datetime) -> str:
    given = request.POST
    zone = given.get("zone", "").strip() or "UTC"
    text = given.get("scope", "").strip()
    windows.add(
        kind=given.get("kind", ""),
        name=given.get("name", ""),
        weekly=given.get("weekly", ""),
        zone=zone,
        starts_at=_moment(given.get("starts_at", ""), zone, "starts_at"),
        ends_at=_moment(given.get("ends_at", ""), zone, "ends_at"),
        scope=_scope(text, "scope") if text else {},
        by=by,
        now=now,
    )
    return "The window stands."


def _remove_window(request: HttpRequest, by: str, now: datetime) -> str:
    removed = windows.remove(window_id=_number(request), by=by, now=now)
    return "The window is gone." if removed else "It was gone already."


def _protect(request: HttpRequest, by: str, now: datetime) -> str:
    scope = _scope(request.POST.get("protected_scope", ""), "scope")
    windows.protect(scope=scope, by=by, now=now, reason=request.POST.get("reason", ""))
    return "Protected. Gates leave these requests alone within seconds."


def _unprotect(request: HttpRequest, by: str, now: datetime) -> str:
    removed = windows.unprotect(protected_id=_number(request), by=by, now=now)
    return "No longer protected." if removed else "It was gone already."


_ACTS = {
    "pause": _pause,
    "resume": _resume,
    "add-window": _add_window,
    "remove-window": _remove_window,
    "protect": _protect,
    "unprotect": _unprotect,
}


def _page(request: HttpRequest, errors: Sequence[tuple[str, str]] = (), *, status: int = 200) -> HttpResponse:
    now, viewer = timezone.now(), scopes.viewer(request.user)
    pause = budget_access.all_paused(now)
    window_lines = windows.windows(now=now, teams=viewer.teams)
    protected_lines = windows.protected(teams=viewer.teams)
    context = {
        "page": "budgets",
        "scope": None,
        "heading": _heading(pause, window_lines, protected_lines),
        "sub": "Budgets that are paused by themselves are not listed here. Times are UTC where no zone is named.",
        "may_manage": budget_access.may_manage(viewer),
        "problem": _problem(errors),
        "typed": request.POST,
        "windows": _windows(window_lines),
        "protected": _protected(protected_lines),
        "window_lines": window_lines,
        "protected_lines": protected_lines,
        **budget_access.pause_context(viewer, now),
    }
    return render(request, "pages/budget_holds.html", context, status=status)


def _heading(pause: Pause | None, lines: Sequence[WindowLine], protected: Sequence[ProtectedLine]) -> str:
    if pause is not None:
        return f"Every ladder is paused until {fmt.moment(pause.until)}"
    opened = [line.name for line in lines if line.open_until is not None]
    if opened:
        return f"{', '.join(opened)} {'is' if len(opened) == 1 else 'are'} open and holds ladders back"
    if protected:
        return f"No window is open; {len(protected)} scope{' is' if len(protected) == 1 else 's are'} protected"
    return "Nothing holds any ladder back"


def _problem(errors: Sequence[tuple[str, str]]) -> Notice | None:
    if not errors:
        return None
    return Notice(
        "error", "Nothing was changed", "; ".join(f"{name.replace('_', ' ')}: {text}" for name, text in errors)
    )


def _windows(lines: Sequence[WindowLine]) -> Table:
    columns = [Column("Window"), Column("Kind"), Column("When"), Column("For"), Column("Open"), Column("By")]
    rows = [
        Row(
            [
                Cell(line.name),
                Cell(windows.KINDS[line.kind]),
                Cell(line.when_words),
                Cell(line.scope_words),
                Cell(f"until {fmt.moment(line.open_until)}" if line.open_until else "no"),
                Cell(line.created_by),
            ]
        )
        for line in lines
    ]
    empty = Notice("info", "No window", "Actions start and notices go out at any time.")
    return Table("Windows", columns, rows, empty=empty)


def _protected(lines: Sequence[ProtectedLine]) -> Table:
    columns = [Column("Scope"), Column("Why", wide=True), Column("By"), Column("Since")]
    rows = [
        Row([Cell(line.scope_words), Cell(line.reason), Cell(line.created_by), Cell(fmt.moment(line.created_at))])
        for line in lines
    ]
    empty = Notice("info", "Nothing is protected everywhere", "A budget may protect scopes of its own.")
    return Table("Protected scopes", columns, rows, empty=empty)


def _moment(text: str, zone: str, name: str) -> datetime | None:
    """A local time of the zone as an instant; None when nothing was typed. Raises Invalid."""
    if not text.strip():
        return None
    if zone not in available_timezones():
        raise windows.Invalid({"zone": f"expected a zone such as UTC or Europe/Berlin, found {zone!r}"})
    try:
        local = datetime.fromisoformat(text.strip())
    except ValueError:
        raise windows.Invalid({name: f"expected a time such as 2026-12-24 22:00, found {text!r}"}) from None
    return (local if local.tzinfo else local.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def _scope(text: str, name: str) -> dict[str, list[str]]:
    try:
        return rung_checks.parse_scope(text)
    except BadConfig as problem:
        raise windows.Invalid({name: str(problem)}) from problem


def _number(request: HttpRequest) -> int:
    text = request.POST.get("id", "")
    number = budget_access.whole(text, digits=15)
    if number is None:
        raise windows.Invalid({"id": f"expected a number, found {text!r}"})
    return number
