"""One change of a resource as a row: who works on it, what became of it, and what an action run still waits for."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q

from alerts import brakes, ladder
from alerts.hooks import RESOURCES
from alerts.hooks.base import Change, PermanentFailure, ResourceHook, Standing
from alerts.models import Resource, ResourceChange
from costobs.audit import record
from costobs.kernel import secrets

# A claim that old belongs to a worker that died; a hook gives up long before.
CLAIM = timedelta(minutes=5)
PAUSES_SECONDS = (5, 10, 20, 40, 60, 120, 300, 600)
MOST_ATTEMPTS = 10
DONE = ("undone", "ended", "refused", "left")
_WORDS = {
    "waiting": "waits for its turn",
    "draining": "running requests end first",
    "applying": "is being scaled",
    "applied": "is on its way",
    "undoing": "is being restored",
    "failed": "failed",
    "left": "was changed by somebody else",
    "undone": "was restored",
    "ended": "was not touched",
}


def is_over(change: ResourceChange, now: datetime) -> bool:
    """Whether it is to be undone: a person asked, its run is over, or the ladder of its budget is paused."""
    if change.undo_at is not None:
        return True
    if not change.is_of_run:
        return False
    run = change.action_run
    if run is None or run.state not in ladder.APPLYING or (run.expires_at is not None and run.expires_at <= now):
        return True
    return not run.budget.is_active or is_paused(change, now)


def is_paused(change: ResourceChange, now: datetime) -> bool:
    """Whether the ladder of its budget, or every ladder, is paused: what it holds is let go meanwhile."""
    run = change.action_run
    return run is not None and brakes.paused_until(run.budget, brakes.pause(now=now), now) is not None


def claim(change: ResourceChange, now: datetime, /, **columns: Any) -> bool:
    """Takes the row for this worker, if nobody else has; one working change of a resource at a time."""
    given = {"is_claimed": True, "next_at": now + CLAIM, "attempts": change.attempts + 1, **columns}
    return _write(change, given)


def note(change: ResourceChange, /, **columns: Any) -> bool:
    """Writes down what was done, if the row is still as this worker left it; lets go of it."""
    return _write(change, {"is_claimed": False, **columns})


def later(change: ResourceChange, problem: str, now: datetime) -> bool:
    """Tries again after a growing pause."""
    pause = PAUSES_SECONDS[min(max(change.attempts, 1), len(PAUSES_SECONDS)) - 1]
    return note(change, error=problem, next_at=now + timedelta(seconds=pause))


def hook_of(resource: Resource, now: datetime) -> tuple[ResourceHook, dict[str, str]]:
    """The kind of a resource and its credentials. Raises PermanentFailure."""
    if resource.hook not in RESOURCES:
        raise PermanentFailure(f"there is no hook of kind {resource.hook!r} any more")
    try:
        kept: Any = Resource.objects.filter(pk=resource.pk).values_list("credentials", flat=True).first()
    except secrets.Unreadable as problem:
        raise PermanentFailure(str(problem)) from None
    hook = RESOURCES[resource.hook]()
    hook.now = now
    return hook, dict(kept or {})


def planned(change: ResourceChange) -> Change:
    """The plan as it was written down."""
    return Change(**change.change)


def plain(change: Change) -> dict[str, Any]:
    """The plan as JSON."""
    return {
        "from_units": change.from_units,
        "to_units": change.to_units,
        "words": change.words,
        "loses": change.loses,
        "resume_words": change.resume_words,
        "resume_seconds": change.resume_seconds,
        "before": dict(change.before),
        "key": change.key,
    }


def saw(resource: Resource, standing: Standing, now: datetime) -> None:
    """Keeps what a resource said of itself."""
    told = {"units": standing.units, "words": standing.words, "is_settled": standing.is_settled}
    Resource.objects.filter(pk=resource.pk).update(standing=told, looked_at=now, look_error="")


def audit(change: ResourceChange, act: str, by: str, now: datetime, *, to_units: int) -> None:
    """Writes down that a resource was changed, in the caller's transaction."""
    before = {"units": change.change.get("from_units" if act == "hook.applied" else "to_units")}
    after = {"units": to_units, "change": change.pk, "words": change.change.get("words", "")}
    subject = f"hook:{change.resource_id}"
    record.write(actor=by, act=act, subject=subject, at=now, before=before, after=after, reason=change.reason)


def in_the_way(change: ResourceChange) -> str:
    """What this change waits for: another one that works on its resource, or one that holds it lower already."""
    others = ResourceChange.objects.filter(resource_id=change.resource_id or 0, is_idle=False).exclude(pk=change.pk)
    working = others.filter(state__in=["draining", "applying", "applied", "undoing"]).order_by("pk").first()
    if working is not None:
        return f"change {working.pk} works on it first"
    lower = others.filter(state="verified", to_units__lte=change.to_units).order_by("pk").first()
    return f"change {lower.pk} holds it at {lower.to_units} already" if lower is not None else ""


def is_held(change: ResourceChange) -> bool:
    """Whether another change holds the resource as low as this one would."""
    others = ResourceChange.objects.filter(resource_id=change.resource_id or 0, state="verified").exclude(pk=change.pk)
    return change.resource_id is not None and others.filter(to_units__lte=change.to_units).exists()


def above(change: ResourceChange) -> ResourceChange | None:
    """The next later change that holds the same resource on top of this one, and is not being undone itself."""
    held = Q(state__in=["draining", "applying", "applied", "verified"]) | Q(state="failed", ended_at=None)
    others = ResourceChange.objects.filter(held, resource_id=change.resource_id or 0, is_idle=False)
    later_ones = others.filter(started_at__gt=change.started_at, restored_at=None).exclude(pk=change.pk)
    return later_ones.order_by("started_at", "pk").first()


def waiting_for(*, run_id: int, targets: Sequence[str]) -> str:
    """What an action run still waits for before it is in force: `llama: running requests end first`; empty: nothing.

    A resource that may not be touched does not hold a run up: its requests are refused, and that is what is in force.
    """
    rows = {row.resource_name: row for row in ResourceChange.objects.filter(action_run_id=run_id)}
    parts = []
    for name in targets:
        row = rows.get(name)
        if row is None:
            parts.append(f"{name}: not begun yet")
        elif row.state not in {"verified", "refused"} and not (row.state == "waiting" and is_held(row)):
            words = f"{name}: {_WORDS[row.state]}"
            parts.append(f"{words}, {row.error}" if row.error else words)
    return "; ".join(parts)


def _write(change: ResourceChange, columns: Mapping[str, Any]) -> bool:
    try:
        with transaction.atomic():
            changed = ResourceChange.objects.filter(pk=change.pk, version=change.version).update(
                **columns, version=F("version") + 1
            )
    except IntegrityError:
        return False  # another change works on this resource
    if changed:
        change.version += 1
        for name, value in columns.items():
            setattr(change, name, value)
    return bool(changed)
