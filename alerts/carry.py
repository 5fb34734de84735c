"""Carry out what action runs want of resources: refuse, drain, scale, verify, watch, and undo exactly.

Each step is one conditional update of a row; a hook may be called again after a crash between two of them. While a change
works on a resource no other does. What somebody changed by hand since is not overwritten.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from alerts import brakes, changes, holds, ladder, resource_alerts, undoing, worth
from alerts.hooks.base import Change, PermanentFailure, Standing, TemporaryFailure
from alerts.models import ActionRun, Resource, ResourceChange

log = logging.getLogger("costobs.alerts")

# How long a change may take to show before people are told that it does not.
VERIFY_WITHIN = timedelta(minutes=10)
_AGAIN = timedelta(seconds=5)
_WATCH = timedelta(seconds=60)
_LOOK = timedelta(minutes=5)
_AT_ONCE = 20
_STEPPED = ("waiting", "draining", "applying", "applied", "verified", "undoing")


@dataclass(frozen=True, slots=True)
class Carried:
    """What one round did: changes that were asked for, steps that were taken, resources that were looked at."""

    asked: int
    steps: int
    looked: int


def run(*, now: datetime) -> Carried:
    """One round. Safe to repeat, to kill in the middle and to run twice at once: a change belongs to whoever claimed it."""
    asked = _ask(now)
    undoing.begin(now=now)
    steps = 0
    due = ResourceChange.objects.filter(state__in=_STEPPED, next_at__lte=now).order_by("next_at", "pk")
    for change in _with_facts(due)[:_AT_ONCE]:
        steps += _step(change, now)
    return Carried(asked, steps, _look_around(now))


def _with_facts(rows: QuerySet[ResourceChange]) -> QuerySet[ResourceChange]:
    return rows.select_related("resource", "action_run__budget").defer("resource__credentials")


def _ask(now: datetime) -> int:
    """A row for each resource that a run in force names and has none; what a pause let go of begins again."""
    if brakes.pause(now=now) is not None:
        return 0
    runs = ActionRun.objects.filter(state__in=ladder.APPLYING, applied_at__isnull=False, plan__has_key="targets")
    runs = runs.exclude(budget__paused_until__gt=now).select_related("budget").order_by("pk")
    asked = 0
    for run_ in runs:
        known = set(ResourceChange.objects.filter(action_run=run_).values_list("resource_name", flat=True))
        new = [name for name in run_.plan["targets"] or [] if name not in known]
        found = {row.name: row for row in Resource.objects.filter(name__in=new).defer("credentials")}
        rows = [_row(run_, name, found.get(name), now) for name in dict.fromkeys(new)]
        asked += len(ResourceChange.objects.bulk_create(rows, ignore_conflicts=True))
    paused = ResourceChange.objects.filter(action_run__in=runs, state__in=["undone", "ended"], ended_by="pause")
    for change in paused:
        again = {"started_at": None, "applied_at": None, "verified_at": None, "undo_at": None, "restored_at": None}
        empty = {"change": {}, "error": "", "attempts": 0, "ended_at": None, "ended_by": "", "is_idle": False}
        asked += changes.note(change, state="waiting", next_at=now, **again, **empty)
    return asked


def _row(run_: ActionRun, name: str, resource: Resource | None, now: datetime) -> ResourceChange:
    is_limit = run_.action != "shutdown" and run_.plan.get("max_units") != 0
    units = run_.plan.get("to_units") if run_.action == "shutdown" else run_.plan.get("max_units")
    return ResourceChange(
        resource=resource,
        resource_name=name,
        action_run=run_,
        to_units=int(units if units is not None else run_.plan.get("to_units") or 0),
        is_limit=is_limit,
        asked_at=now,
        asked_by=run_.decided_by or "ladder",
        reason=run_.reason,
        next_at=now,
    )


def _step(change: ResourceChange, now: datetime) -> bool:
    """One step of one change; a hook that breaks must not stop the others."""
    steps: Mapping[str, Callable[[ResourceChange, datetime], bool]] = {
        "waiting": _begin,
        "draining": _drain,
        "applying": _apply,
        "applied": _verify,
        "verified": _watch,
        "undoing": undoing.step,
    }
    try:
        return steps[change.state](change, now)
    except TemporaryFailure as problem:
        if change.state in {"draining", "applying"} and change.attempts >= changes.MOST_ATTEMPTS:
            return _fail(change, f"{problem}; given up after {change.attempts} attempts", now)
        return changes.later(change, str(problem), now)
    except PermanentFailure as problem:
        return _fail(change, str(problem), now)
    except Exception as problem:
        # Only the kind is kept: a text could hold a secret.
        log.error("change %s of %s broke: %s", change.pk, change.resource_name, type(problem).__name__)
        return changes.later(change, f"broke with {type(problem).__name__}; see the log of the worker", now)


def _begin(change: ResourceChange, now: datetime) -> bool:
    """Takes the resource, unless it may not be touched or another change has it."""
    if change.resource is None:
        return _seek(change, now)
    waits = changes.in_the_way(change)
    if waits and not change.resource.is_protected:
        return changes.note(change, error=waits, next_at=now + _AGAIN)
    reason = _refusal(change, now)
    if reason:
        return _refuse(change, reason, now)
    return changes.claim(change, now, state="draining", attempts=1, error="") and _plan(change, now)


def _seek(change: ResourceChange, now: datetime) -> bool:
    """The hook that a run names may still be added, as long as its action holds."""
    found = Resource.objects.filter(name=change.resource_name).defer("credentials").first()
    if found is not None and change.is_of_run:
        return changes.note(change, resource=found, next_at=now, error="")
    error = f"there is no hook called {change.resource_name!r}; add it, or change the rung"
    resource_alerts.raise_for(change, "missing", error, now)
    return changes.note(change, error=error, next_at=now + _WATCH)


def _refusal(change: ResourceChange, now: datetime) -> str:
    resource, run_ = change.resource, change.action_run
    assert resource is not None
    if resource.is_protected:
        return "it is protected: no action touches it"
    if run_ is None:
        return ""
    if resource.is_sample != run_.budget.is_sample:
        return "sample budgets meet sample resources only"
    scopes = [*brakes.protected(), *run_.budget.protected]
    kept = worth.protected(resource=resource.scope, scopes=scopes, now=now)
    return kept or worth.refusal(
        resource=resource.scope,
        is_dedicated=resource.is_dedicated,
        budget=run_.budget.scope,
        least_percent=Decimal(settings.COSTOBS_OWNED_PERCENT),
        now=now,
    )


def _plan(change: ResourceChange, now: datetime) -> bool:
    """Looks, and writes down what will be done; from then on the gates refuse. In a crash it is looked at again."""
    resource = change.resource
    assert resource is not None
    hook, credentials = changes.hook_of(resource, now)
    standing = hook.look(resource.config, credentials)
    changes.saw(resource, standing, now)
    if hook.is_there(standing, change.to_units):
        words = f"Nothing to do: {standing.words}"
        plan = Change(standing.units, change.to_units, words, "", "", None, standing.details)
        done = {"change": changes.plain(plan), "is_idle": True, "started_at": now, "verified_at": now}
        return changes.note(change, state="verified", next_at=now + _WATCH, **done)
    plan = replace(
        hook.plan(standing, change.to_units, resource.config), key=f"costobs-change-{change.pk}-{change.version}"
    )
    budget = change.action_run.budget if change.action_run else None
    saving = worth.saving(
        resource=resource.scope,
        kept_cost=resource.kept_cost,
        from_units=plan.from_units,
        to_units=plan.to_units,
        currency=budget.currency if budget else settings.COSTOBS_CURRENCY,
        now=now,
        are_units_alike=hook.are_units_alike,
    )
    return changes.note(
        change,
        state="draining" if change.to_units == 0 and not change.is_limit else "applying",
        change=changes.plain(plan),
        saves_cost=saving.cost,
        saves_words=saving.words,
        currency=budget.currency if budget else settings.COSTOBS_CURRENCY,
        started_at=now,
        next_at=now,
        attempts=0,
        error="",
    )


def _drain(change: ResourceChange, now: datetime) -> bool:
    """Waits until the gates have nothing in flight, or running requests have had their time."""
    if change.started_at is None:
        return changes.claim(change, now) and _plan(change, now)
    found, until = holds.drain(change, now), holds.deadline(change)
    if found.is_drained or until is None or now >= until:
        return changes.note(change, state="applying", next_at=now, attempts=0, error="")
    inflight = "unknown" if found.inflight is None else str(found.inflight)
    words = f"{found.holding} of {found.gates} gates refuse, {inflight} requests in flight, until {until:%H:%M:%S} UTC"
    return changes.note(change, error=words, next_at=now + timedelta(seconds=1))


def _apply(change: ResourceChange, now: datetime) -> bool:
    resource = change.resource
    if resource is None:
        raise PermanentFailure("its hook was removed")
    if not changes.claim(change, now):
        return False
    hook, credentials = changes.hook_of(resource, now)
    plan = changes.planned(change)
    hook.apply(plan, resource.config, credentials)
    with transaction.atomic():
        done = changes.note(change, state="applied", applied_at=now, next_at=now, attempts=0, error="")
        if done:
            changes.audit(change, "hook.applied", change.asked_by, now, to_units=plan.to_units)
    return done


def _verify(change: ResourceChange, now: datetime) -> bool:
    """In force is only what the resource says itself."""
    found = _looked(change, now)
    if found is None:
        return False
    is_applied, standing = found
    if is_applied:
        return changes.note(change, state="verified", verified_at=now, next_at=now + _WATCH, attempts=0, error="")
    words = f"not yet: {standing.words}"
    if change.applied_at is not None and now - change.applied_at >= VERIFY_WITHIN:
        resource_alerts.raise_for(change, "unverified", f"it did not take effect within 10 minutes, {words}", now)
    return changes.note(change, error=words, next_at=now + _AGAIN)


def _watch(change: ResourceChange, now: datetime) -> bool:
    """Looks now and then whether it still holds. What somebody changed by hand is theirs from then on."""
    if change.is_idle:
        return changes.note(change, next_at=now + _LOOK)
    found = _looked(change, now, is_settled=True)
    if found is None:
        return False
    is_applied, standing = found
    if is_applied or changes.above(change) is not None:
        return changes.note(change, next_at=now + _WATCH, attempts=0, error="")
    return undoing.leave(change, standing, now)


def _looked(change: ResourceChange, now: datetime, *, is_settled: bool = False) -> tuple[bool, Standing] | None:
    """Whether the change took effect, by what the resource says; None: another worker has it."""
    resource = change.resource
    if resource is None:
        raise PermanentFailure("its hook was removed")
    if not changes.claim(change, now):
        return None
    hook, credentials = changes.hook_of(resource, now)
    standing = hook.look(resource.config, credentials)
    changes.saw(resource, standing, now)
    asked = replace(standing, is_settled=True) if is_settled else standing
    return hook.is_applied(changes.planned(change), asked), standing


def _refuse(change: ResourceChange, reason: str, now: datetime) -> bool:
    with transaction.atomic():
        done = changes.note(change, state="refused", error=reason, ended_at=now, ended_by="ladder")
        if done:
            resource_alerts.raise_for(change, "refused", reason, now)
    return done


def _fail(change: ResourceChange, error: str, now: datetime) -> bool:
    """What was begun stays to be undone; what was in force, or is being undone, is tried again and told once."""
    if change.state in {"applied", "verified", "undoing"}:
        with transaction.atomic():
            done = changes.note(change, error=error, next_at=now + _LOOK)
            if done:
                resource_alerts.raise_for(change, f"{change.state}:stuck", error, now)
        return done
    ended = {"ended_at": now, "ended_by": "ladder"} if change.started_at is None else {}
    with transaction.atomic():
        done = changes.note(change, state="failed", error=error, **ended)
        if done:
            resource_alerts.raise_for(change, "failed", error, now)
    return done


def _look_around(now: datetime) -> int:
    """What resources stand at, where nobody has looked for a while; whoever wins the update looks."""
    old = Q(looked_at=None) | Q(looked_at__lte=now - _LOOK)
    looked = 0
    for resource in Resource.objects.filter(old, is_sample=False).defer("credentials").order_by("looked_at", "pk")[:5]:
        if not Resource.objects.filter(pk=resource.pk, looked_at=resource.looked_at).update(looked_at=now):
            continue
        looked += 1
        try:
            hook, credentials = changes.hook_of(resource, now)
            changes.saw(resource, hook.look(resource.config, credentials), now)
        except (TemporaryFailure, PermanentFailure) as problem:
            Resource.objects.filter(pk=resource.pk).update(look_error=str(problem))
        except Exception as problem:
            log.error("looking at %s broke: %s", resource.name, type(problem).__name__)
            Resource.objects.filter(pk=resource.pk).update(look_error=f"broke with {type(problem).__name__}")
    return looked
