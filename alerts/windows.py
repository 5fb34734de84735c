"""What people hold ladders back with: the break-glass pause, maintenance windows, quiet hours, protected scopes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.db import transaction

from alerts import brakes, calendars, rung_checks, wording
from alerts.actions.base import BadConfig
from alerts.models import Budget, HoldWindow, LadderPause, ProtectedScope
from costobs.audit import record
from costobs.kernel.scope import DIMENSIONS

KINDS = {"maintenance": "Maintenance", "quiet": "Quiet hours"}
MOST_WINDOWS = 100
_LONGEST_PAUSE = timedelta(days=92)


class Invalid(ValueError):
    """It cannot be kept as asked; `errors` has a message for each field."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


@dataclass(frozen=True, slots=True)
class WindowLine:
    """One window; `open_until` is its end while it is open."""

    id: int
    kind: str
    name: str
    when_words: str
    scope_words: str
    open_until: datetime | None
    created_by: str


@dataclass(frozen=True, slots=True)
class ProtectedLine:
    """One protected scope of the installation."""

    id: int
    scope_words: str
    reason: str
    created_by: str
    created_at: datetime


def pause_all(*, until: datetime, by: str, now: datetime, reason: str) -> int:
    """Break glass: nothing fires and nothing holds, in any budget, those made meanwhile included; returns how many there are
    now. It replaces a pause that holds. Raises Invalid.
    """
    if not reason.strip():
        raise Invalid({"reason": "expected why, in a few words"})
    if not now < until <= now + _LONGEST_PAUSE:
        raise Invalid({"until": f"expected a time after now and within 92 days, found {until:%Y-%m-%d %H:%M} UTC"})
    with transaction.atomic():
        _end_pauses(by, now)
        row = LadderPause.objects.create(reason=reason.strip()[:300], until=until, started_at=now, started_by=by)
        after = {"until": until.isoformat(), "reason": row.reason}
        record.write(actor=by, act="ladders.paused", subject="ladders", at=now, after=after, reason=row.reason)
    return Budget.objects.filter(is_active=True).count()


def resume_all(*, by: str, now: datetime, reason: str = "") -> bool:
    """Ends the break-glass pause; False when none holds. Budgets that are paused by themselves stay so."""
    with transaction.atomic():
        ended = _end_pauses(by, now)
        if ended:
            before = {"until": [row.until.isoformat() for row in ended], "reason": [row.reason for row in ended]}
            record.write(actor=by, act="ladders.resumed", subject="ladders", at=now, before=before, reason=reason)
    return bool(ended)


def add(
    *,
    kind: str,
    name: str,
    by: str,
    now: datetime,
    weekly: str = "",
    zone: str = "UTC",
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    scope: Mapping[str, Sequence[str]] | None = None,
) -> int:
    """The id of a new window, weekly or once. Raises Invalid with every mistake at once."""
    errors: dict[str, str] = {}
    columns = {"kind": kind, "name": name.strip(), "zone": zone, "scope": _scope(scope or {}, errors)}
    if kind not in KINDS:
        errors["kind"] = f"expected one of {', '.join(KINDS)}, found {kind!r}"
    if not 1 <= len(columns["name"]) <= 100:
        errors["name"] = "expected a name of 1 to 100 characters"
    if zone not in available_timezones():
        errors["zone"] = f"expected a zone such as UTC or Europe/Berlin, found {zone!r}"
    columns |= _when(weekly, starts_at, ends_at, now, errors)
    if HoldWindow.objects.count() >= MOST_WINDOWS:
        errors["name"] = f"expected at most {MOST_WINDOWS} windows; remove one first"
    if errors:
        raise Invalid(errors)
    with transaction.atomic():
        row = HoldWindow.objects.create(created_at=now, created_by=by, **columns)
        subject = f"window:{row.pk}"
        record.write(actor=by, act="window.added", subject=subject, at=now, after=_document(row))
    return row.pk


def remove(*, window_id: int, by: str, now: datetime) -> bool:
    """Removes a window, one that is open too; False when it is gone already."""
    with transaction.atomic():
        row = HoldWindow.objects.select_for_update().filter(pk=window_id).first()
        if row is None:
            return False
        before = _document(row)
        row.delete()
        record.write(actor=by, act="window.removed", subject=f"window:{window_id}", at=now, before=before)
    return True


def protect(*, scope: Mapping[str, Sequence[str]], by: str, now: datetime, reason: str = "") -> int:
    """From now on no action of any budget touches these requests, one that holds neither. Raises Invalid."""
    try:
        clean = rung_checks.protected_scope(scope)
    except BadConfig as problem:
        raise Invalid({"scope": str(problem)}) from problem
    with transaction.atomic():
        given = {"reason": reason.strip()[:300], "created_at": now, "created_by": by}
        row, created = ProtectedScope.objects.get_or_create(scope=clean, defaults=given)
        if created:
            subject = f"protected:{row.pk}"
            record.write(
                actor=by, act="scope.protected", subject=subject, at=now, after={"scope": clean}, reason=reason
            )
    return row.pk


def unprotect(*, protected_id: int, by: str, now: datetime) -> bool:
    """Lets actions touch them again; False when it is gone already."""
    with transaction.atomic():
        row = ProtectedScope.objects.select_for_update().filter(pk=protected_id).first()
        if row is None:
            return False
        before = {"scope": row.scope}
        row.delete()
        record.write(actor=by, act="scope.unprotected", subject=f"protected:{protected_id}", at=now, before=before)
    return True


def windows(*, now: datetime, teams: Sequence[str] | None = None) -> list[WindowLine]:
    """Every window, those that are open first; of a viewer bound to teams, those that may hold budgets of these back."""
    found = [
        WindowLine(
            id=row.pk,
            kind=row.kind,
            name=row.name,
            when_words=_when_words(row),
            scope_words=wording.scope(row.scope) if row.scope else "every budget",
            open_until=brakes.window_end(row, now),
            created_by=row.created_by,
        )
        for row in HoldWindow.objects.order_by("kind", "name", "pk")
        if _may_see(row.scope, teams)
    ]
    return sorted(found, key=lambda line: line.open_until is None)


def protected(*, teams: Sequence[str] | None = None) -> list[ProtectedLine]:
    """The protected scopes of the installation; of a viewer bound to teams, those that these may have requests in."""
    return [
        ProtectedLine(row.pk, wording.scope(row.scope), row.reason, row.created_by, row.created_at)
        for row in ProtectedScope.objects.order_by("pk")
        if _may_see(row.scope, teams)
    ]


def _may_see(scope: brakes.Scope, teams: Sequence[str] | None) -> bool:
    return teams is None or brakes.may_overlap(scope, {"team": teams})


def _end_pauses(by: str, now: datetime) -> list[LadderPause]:
    rows = list(LadderPause.objects.select_for_update().filter(ended_at=None, until__gt=now).order_by("pk"))
    LadderPause.objects.filter(pk__in=[row.pk for row in rows]).update(ended_at=now, ended_by=by)
    return rows


def _when(
    weekly: str, starts_at: datetime | None, ends_at: datetime | None, now: datetime, errors: dict[str, str]
) -> dict[str, Any]:
    if weekly.strip():
        if starts_at is not None or ends_at is not None:
            errors["weekly"] = "expected weekly times or one begin and end, found both"
        try:
            return {"weekly": calendars.clean(weekly)}
        except calendars.BadWindows as problem:
            errors["weekly"] = str(problem)
            return {}
    if starts_at is None or ends_at is None:
        errors["weekly"] = "expected weekly times, or a begin and an end"
    elif ends_at <= starts_at or ends_at <= now:
        errors["ends_at"] = "expected an end after the begin and after now"
    return {"starts_at": starts_at, "ends_at": ends_at}


def _scope(given: Mapping[str, Sequence[str]], errors: dict[str, str]) -> dict[str, list[str]]:
    foreign = sorted(set(given) - set(DIMENSIONS))
    if foreign:
        errors["scope"] = f"unknown dimension {foreign[0]!r}; known: {', '.join(DIMENSIONS)}"
    return {name: sorted(set(values)) for name, values in sorted(given.items()) if values}


def _when_words(row: HoldWindow) -> str:
    if row.weekly:
        return f"{row.weekly}, {row.zone}"
    place = ZoneInfo(row.zone)
    begins, ends = (moment and moment.astimezone(place) for moment in (row.starts_at, row.ends_at))
    return f"{begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M}, {row.zone}"


def _document(row: HoldWindow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "name": row.name,
        "weekly": row.weekly,
        "zone": row.zone,
        "starts_at": row.starts_at and row.starts_at.isoformat(),
        "ends_at": row.ends_at and row.ends_at.isoformat(),
        "scope": row.scope,
    }
