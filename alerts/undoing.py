"""Give back what a change of a resource took: exactly, once its run is over, and only where it is still as we left it."""

from dataclasses import replace
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from alerts import changes, resource_alerts
from alerts.hooks.base import Change, ResourceHook, Standing, merged
from alerts.models import Resource, ResourceChange

# How long a restored resource may take to start before nobody waits for it any more.
SETTLE_WITHIN = timedelta(minutes=30)
_AGAIN = timedelta(seconds=5)
_TOLD_AFTER = 5  # attempts


def begin(*, now: datetime) -> int:
    """Finds the changes whose run is over, or that somebody wants undone: nothing was done, or it is given back."""
    held = Q(state__in=["waiting", "draining", "applying", "applied", "verified"]) | Q(state="failed", ended_at=None)
    rows = ResourceChange.objects.filter(held).select_related("resource", "action_run__budget")
    found = 0
    for change in rows.defer("resource__credentials").order_by("pk"):
        is_busy = change.is_claimed and change.next_at > now
        if not is_busy and changes.is_over(change, now):
            found += _begin(change, now)
    return found


def step(change: ResourceChange, now: datetime) -> bool:
    """One step of giving back. Raises TemporaryFailure, PermanentFailure."""
    resource = change.resource
    if resource is None:
        return _finish(change, "left", "its hook was removed before it was undone; restore it by hand", now)
    if _handed_over(change, now):
        return True
    if not changes.claim(change, now):
        return False
    if change.attempts > _TOLD_AFTER:
        resource_alerts.raise_for(change, "undoing:stuck", change.error, now)
    hook, credentials = changes.hook_of(resource, now)
    plan = changes.planned(change)
    standing = hook.look(resource.config, credentials)
    changes.saw(resource, standing, now)
    is_half = change.restored_at is not None and hook.is_half_undone(plan, standing)
    if change.restored_at is None or is_half or _is_ours(hook, plan, standing):
        if hook.is_undone(plan, standing):
            return _settled(change, standing, now)
        if not is_half and not _is_ours(hook, plan, standing) and change.verified_at is not None:
            return leave(change, standing, now)
        hook.undo(plan, resource.config, credentials)
        changes.note(change, restored_at=now, next_at=now, error="")
        standing = hook.look(resource.config, credentials)
        changes.saw(resource, standing, now)
    if hook.is_undone(plan, standing):
        return _settled(change, standing, now)
    if change.restored_at is not None and now - change.restored_at >= SETTLE_WITHIN:
        return leave(change, standing, now)
    return changes.note(change, error=f"not yet: {standing.words}", next_at=now + _AGAIN)


def leave(change: ResourceChange, standing: Standing, now: datetime) -> bool:
    """It is not what we left: somebody changed it, and it is theirs from now on."""
    words = f"it is not as it was left ({standing.words}): somebody changed it since, so it was not touched again"
    return _finish(change, "left", words, now)


def _begin(change: ResourceChange, now: datetime) -> int:
    by = _who(change, now)
    is_untouched = change.state in {"waiting", "draining"} or (change.state == "applying" and change.attempts == 0)
    if is_untouched:
        return changes.note(change, state="ended", ended_at=now, ended_by=by, error="")
    if change.is_idle:
        return changes.note(change, state="undone", ended_at=now, ended_by=by, error="")
    undo = {"undo_at": change.undo_at or now, "ended_by": by, "next_at": now, "attempts": 0, "error": ""}
    return changes.note(change, state="undoing", **undo) or _handed_over(change, now)


def _who(change: ResourceChange, now: datetime) -> str:
    if change.ended_by:
        return change.ended_by
    run = change.action_run
    if run is not None and changes.is_paused(change, now):
        return "pause"
    return (run.ended_by if run else "") or "ladder"


def _handed_over(change: ResourceChange, now: datetime) -> bool:
    """Where a later change holds the resource on top of this one, that one gives back all the way when it ends."""
    if change.started_at is None or change.resource_id is None or change.restored_at is not None:
        return False
    with transaction.atomic():
        # In one order with other workers that give back, or begin, on the same resource.
        Resource.objects.select_for_update().only("pk").get(pk=change.resource_id)
        upper = changes.above(change)
        if upper is None:
            return False
        mine = changes.planned(change)
        theirs = {
            **upper.change,
            "before": merged(mine.before, upper.change.get("before") or {}),
            "from_units": mine.from_units,
        }
        words = f"change {upper.pk} holds it still, and gives back what was before both"
        by = change.ended_by or _who(change, now)
        if _take_over(upper, theirs) and changes.note(change, state="undone", ended_at=now, ended_by=by, error=words):
            return True
        transaction.set_rollback(True)  # another worker was faster; it is tried again
    return False


def _take_over(upper: ResourceChange, theirs: dict[str, object]) -> bool:
    """Writes without letting go of a claim of somebody who works on it."""
    changed = ResourceChange.objects.filter(pk=upper.pk, version=upper.version).update(change=theirs)
    return bool(changed)


def _is_ours(hook: ResourceHook, plan: Change, standing: Standing) -> bool:
    return hook.is_applied(plan, replace(standing, is_settled=True))


def _settled(change: ResourceChange, standing: Standing, now: datetime) -> bool:
    """Restored; done once it stands."""
    since = change.restored_at or change.undo_at or now
    seconds = int(change.change.get("resume_seconds") or 0) if change.restored_at is not None else 0
    # What is there need not answer yet: its gates refuse for as long as it is known to load.
    is_loading = standing.units > 0 and now - since < timedelta(seconds=seconds)
    if (is_loading or not standing.is_settled) and now - since < SETTLE_WITHIN:
        restored = change.restored_at or now
        return changes.note(change, restored_at=restored, error=f"starting: {standing.words}", next_at=now + _AGAIN)
    return _finish(change, "undone", "", now)


def _finish(change: ResourceChange, state: str, words: str, now: datetime) -> bool:
    with transaction.atomic():
        by = change.ended_by or "ladder"
        done = changes.note(change, state=state, error=words, ended_at=now, ended_by=by, restored_at=change.restored_at)
        if done and state == "undone" and change.restored_at is not None:
            changes.audit(change, "hook.restored", by, now, to_units=int(change.change["from_units"]))
        if done and state == "left":
            resource_alerts.raise_for(change, "left", words, now)
    return done
