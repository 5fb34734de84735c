"""Set up what budgets may scale or stop, look at it, and try what a change would do. Every change of a setting is audited."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from alerts import changes, worth
from alerts.hooks import RESOURCES
from alerts.hooks.base import BadConfig, PermanentFailure, Standing, TemporaryFailure
from alerts.models import Resource, ResourceChange
from alerts.resource_lines import OPEN, UNDOABLE, ChangeLine, ResourceLine, change_line, resource_line
from costobs.audit import record
from costobs.kernel import secrets as kept_secrets
from costobs.kernel.scope import DIMENSIONS

log = logging.getLogger("costobs.alerts")

_LONGEST = 100
_MOST_SECONDS = 3600
_MOST_VALUES = 100
_MOST_UNITS = 1_000_000
# Settings that say where credentials go; those that end in `url` do, too.
_PLACES = ("server", "account", "project", "region", "tenant_id", "subscription_id", "workload_identity")


class Invalid(ValueError):
    """The resource cannot be set up as asked; `errors` says why, by field."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


class NotFound(LookupError):
    """There is no such resource or change."""


class Held(ValueError):
    """A change holds the resource; the message says which."""


class NotReached(Exception):
    """It could not be looked at, or cannot do that; the message says why and holds no secret."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A resource as somebody asks for it. Of `credentials`, what is not given stays as it is stored."""

    name: str
    hook: str
    config: Mapping[str, Any]
    credentials: Mapping[str, str]
    scope: Mapping[str, Sequence[str]]
    is_dedicated: bool = False
    is_protected: bool = False
    drain_seconds: int = 60
    kept_cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """What a change would do, by looking now; nothing was changed. `users` are teams and their percent of the tokens."""

    standing_words: str
    words: str
    loses: str
    resume_words: str
    saves_cost: Decimal | None
    saves_words: str
    currency: str
    users: tuple[tuple[str, Decimal], ...]
    refusal: str  # why actions may not touch it at all; empty: they may, where one budget owns it
    is_there: bool


def create(*, draft: Draft, by: str, now: datetime, is_sample: bool = False) -> int:
    """The id of a new resource. Raises Invalid."""
    given = dict(draft.credentials)
    _check(draft, given)
    try:
        with transaction.atomic():
            made = Resource.objects.create(
                **_columns(draft), credentials=given or None, is_sample=is_sample, created_by=by, created_at=now
            )
            _audit("hook.created", made.pk, by, now, after=_told(made, given))
    except IntegrityError as problem:
        raise Invalid({"name": f"there is a hook called {draft.name!r}; choose another name"}) from problem
    return int(made.pk)


def update(*, resource_id: int, draft: Draft, by: str, now: datetime) -> None:
    """Changes a resource. Raises Invalid, NotFound, and Held while a change of it is open and other things would be meant."""
    try:
        with transaction.atomic():
            row, stored = _locked(resource_id)
            is_elsewhere = row.hook != draft.hook or _place(row.config) != _place(draft.config)
            if (is_elsewhere or row.config != dict(draft.config)) and (held := _holding(row)):
                raise Held(f"change {held.pk} holds it; undo that first, or its undo would go to another place")
            # Stored credentials belong to where they were meant for: another address must not get them.
            merged = {**({} if is_elsewhere else stored), **draft.credentials}
            if is_elsewhere and stored and not draft.credentials and RESOURCES[draft.hook].secrets:
                raise Invalid({"credentials": "it is somewhere else now; enter its credentials again"})
            _check(draft, merged)
            before = _told(row, stored)
            Resource.objects.filter(pk=row.pk).update(
                **_columns(draft), credentials=merged or None, looked_at=None, standing={}, look_error=""
            )
            after = _told(Resource.objects.defer("credentials").get(pk=row.pk), merged)
            _audit("hook.changed", row.pk, by, now, before, after)
    except IntegrityError as problem:
        raise Invalid({"name": f"there is a hook called {draft.name!r}; choose another name"}) from problem


def remove(*, resource_id: int, by: str, now: datetime) -> None:
    """Removes a resource; what was done to it stays in the list. Raises NotFound, Held."""
    with transaction.atomic():
        row, stored = _locked(resource_id)
        held = _holding(row)
        if held is not None:
            raise Held(f"change {held.pk} holds it; undo that first")
        _audit("hook.removed", row.pk, by, now, before=_told(row, stored))
        row.delete()


def look(*, resource_id: int, now: datetime) -> str:
    """What it says of itself now. Raises NotFound, NotReached."""
    row = _row(resource_id)
    standing = _looked(row, now)
    return standing.words


def trial(*, resource_id: int, to_units: int, now: datetime) -> Trial:
    """What going to `to_units` would do: looks, plans, changes nothing. Raises NotFound, NotReached."""
    row = _row(resource_id)
    standing = _looked(row, now)
    hook = RESOURCES[row.hook]()
    is_there = hook.is_there(standing, to_units)
    try:
        plan = hook.plan(standing, to_units, row.config)
    except (PermanentFailure, TemporaryFailure) as problem:
        raise NotReached(str(problem)) from problem
    saving = worth.saving(
        resource=row.scope,
        kept_cost=row.kept_cost,
        from_units=standing.units,
        to_units=min(to_units, standing.units),
        currency=settings.COSTOBS_CURRENCY,
        now=now,
        are_units_alike=hook.are_units_alike,
    )
    return Trial(
        standing_words=standing.words,
        words=f"Nothing to do: {standing.words}" if is_there else plan.words,
        loses="" if is_there else plan.loses,
        resume_words="" if is_there else plan.resume_words,
        saves_cost=None if is_there else saving.cost,
        saves_words="" if is_there else saving.words,
        currency=settings.COSTOBS_CURRENCY,
        users=tuple(worth.users(resource=row.scope, now=now)),
        refusal="it is protected: no action touches it" if row.is_protected else "",
        is_there=is_there,
    )


def request(*, resource_id: int, to_units: int, by: str, now: datetime, reason: str = "") -> int:
    """Asks for a change without a budget, until somebody undoes it; its id. Raises Invalid, NotFound, Held."""
    if not 0 <= to_units <= _MOST_UNITS:
        raise Invalid({"to_units": f"expected 0 to {_MOST_UNITS:,} units, found {to_units:,}"})
    with transaction.atomic():
        row, _stored = _locked(resource_id)
        if row.is_protected:
            raise Held("it is protected; take that off first")
        made = ResourceChange.objects.create(
            resource=row,
            resource_name=row.name,
            is_of_run=False,
            to_units=to_units,
            asked_at=now,
            asked_by=by,
            reason=reason,
            next_at=now,
        )
        after = {"change": made.pk, "to_units": to_units}
        record.write(actor=by, act="hook.asked", subject=f"hook:{row.pk}", at=now, after=after, reason=reason)
    return int(made.pk)


def undo(*, change_id: int, by: str, now: datetime) -> bool:
    """Gives one change back, whatever its action does; False when it is over or being undone. Raises NotFound."""
    with transaction.atomic():
        row = ResourceChange.objects.filter(pk=change_id).defer("resource__credentials").first()
        if row is None:
            raise NotFound(f"there is no change {change_id}")
        waiting = ResourceChange.objects.filter(pk=change_id, state__in=UNDOABLE, undo_at=None)
        done = waiting.update(undo_at=now, ended_by=by, version=F("version") + 1)
        if done:
            subject = f"hook:{row.resource_id}"
            record.write(actor=by, act="hook.undone", subject=subject, at=now, before={"change": change_id})
    return bool(done)


def names() -> list[str]:
    """The names that a rung may target."""
    return list(Resource.objects.order_by("name").values_list("name", flat=True))


def resources() -> list[ResourceLine]:
    """Every resource, by name."""
    return [_line(row) for row in Resource.objects.defer("credentials").order_by("name")]


def savings(*, now: datetime) -> dict[int, worth.Saving]:
    """What each resource would save a day at 0, by id; what stands at 0 already saves that now."""
    found = {}
    for row in Resource.objects.defer("credentials").order_by("pk"):
        units = max(1, int(row.standing.get("units") or 0))
        found[row.pk] = worth.saving(
            resource=row.scope,
            kept_cost=row.kept_cost,
            from_units=units,
            to_units=0,
            currency=settings.COSTOBS_CURRENCY,
            now=now,
        )
    return found


def resource(resource_id: int) -> ResourceLine:
    """One resource. Raises NotFound."""
    return _line(_row(resource_id))


def recent(*, resource_id: int | None = None, limit: int = 30) -> list[ChangeLine]:
    """The newest changes, of one resource or of all."""
    rows = ResourceChange.objects.select_related("action_run__budget").order_by("-pk")
    found = rows if resource_id is None else rows.filter(resource_id=resource_id)
    return [change_line(row) for row in found[:limit]]


def of_run(*, run_id: int) -> list[ChangeLine]:
    """What an action run wanted of resources, and what became of it."""
    rows = ResourceChange.objects.filter(action_run_id=run_id).select_related("action_run__budget").order_by("pk")
    return [change_line(row) for row in rows]


def _check(draft: Draft, credentials: Mapping[str, str]) -> None:
    errors: dict[str, str] = {}
    name = draft.name.strip()
    if not name or len(name) > _LONGEST or "\x00" in name or "," in name:
        errors["name"] = f"give it a name of up to {_LONGEST} characters, without commas"
    if not 0 <= draft.drain_seconds <= _MOST_SECONDS:
        errors["drain_seconds"] = f"expected 0 to {_MOST_SECONDS} seconds"
    if draft.kept_cost is not None and not (draft.kept_cost.is_finite() and draft.kept_cost >= 0):
        errors["kept_cost"] = "expected an amount of 0 or more"
    unknown = sorted(set(draft.scope) - set(DIMENSIONS))
    values = [value for listed in draft.scope.values() for value in listed]
    if unknown:
        errors["scope"] = f"unknown dimension {unknown[0]!r}; known: {', '.join(DIMENSIONS)}"
    elif any(not listed for listed in draft.scope.values()) or len(values) > _MOST_VALUES:
        errors["scope"] = f"expected 1 to {_MOST_VALUES} values"
    elif any(not value or "\x00" in value for value in values):
        errors["scope"] = "a value is empty, or holds a character that no name has"
    if draft.hook not in RESOURCES:
        errors["hook"] = f"expected one of {', '.join(RESOURCES.names())}, found {draft.hook!r}"
    else:
        try:
            RESOURCES[draft.hook]().check(draft.config, credentials)
        except BadConfig as problem:
            errors[problem.field] = problem.message
    if errors:
        raise Invalid(errors)


def _columns(draft: Draft) -> dict[str, Any]:
    return {
        "name": " ".join(draft.name.split()),
        "hook": draft.hook,
        "config": dict(draft.config),
        "scope": {name: list(values) for name, values in draft.scope.items()},
        "is_dedicated": draft.is_dedicated,
        "is_protected": draft.is_protected,
        "drain_seconds": draft.drain_seconds,
        "kept_cost": draft.kept_cost,
    }


def _place(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name in _PLACES or name.endswith("url")}


def _told(row: Resource, stored: Mapping[str, str]) -> dict[str, Any]:
    """What the audit log keeps: everything but the credentials."""
    kept = ("name", "hook", "config", "scope", "is_dedicated", "is_protected", "drain_seconds")
    told = {name: getattr(row, name) for name in kept}
    return {**told, "kept_cost": None if row.kept_cost is None else str(row.kept_cost), "credentials": sorted(stored)}


def _row(resource_id: int) -> Resource:
    row = Resource.objects.filter(pk=resource_id).defer("credentials").first()
    if row is None:
        raise NotFound(f"there is no hook {resource_id}")
    return row


def _locked(resource_id: int) -> tuple[Resource, dict[str, str]]:
    row = Resource.objects.select_for_update().filter(pk=resource_id).defer("credentials").first()
    if row is None:
        raise NotFound(f"there is no hook {resource_id}")
    return row, _stored(resource_id)


def _stored(resource_id: int) -> dict[str, str]:
    """The credentials; none where they do not open any more, so that they can be entered again."""
    try:
        found: Any = Resource.objects.filter(pk=resource_id).values_list("credentials", flat=True).first()
    except kept_secrets.Unreadable:
        return {}
    return dict(found or {})


def _holding(row: Resource) -> ResourceChange | None:
    held = ResourceChange.objects.filter(resource_id=row.pk, is_idle=False)
    working = held.filter(state__in=OPEN) | held.filter(state="failed", ended_at=None)
    return working.exclude(state="waiting").order_by("-pk").first()


def _line(row: Resource) -> ResourceLine:
    return resource_line(row, list(_stored(row.pk)), _holding(row))


def _looked(row: Resource, now: datetime) -> Standing:
    try:
        hook, credentials = changes.hook_of(row, now)
        standing = hook.look(row.config, credentials)
    except (TemporaryFailure, PermanentFailure) as problem:
        Resource.objects.filter(pk=row.pk).update(look_error=str(problem), looked_at=now)
        raise NotReached(str(problem)) from problem
    except Exception as problem:
        # Only the kind is told: a text could hold a secret.
        log.error("looking at %s broke: %s", row.name, type(problem).__name__)
        raise NotReached(f"it broke with {type(problem).__name__}; look at its settings") from None
    changes.saw(row, standing, now)
    return standing


def _audit(
    act: str,
    resource_id: int,
    by: str,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    record.write(actor=by, act=act, subject=f"hook:{resource_id}", at=now, before=before, after=after)
