"""Resources and their changes as people see them; never a credential."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from alerts import wording
from alerts.models import Resource, ResourceChange

STATES = {
    "waiting": "Waiting for its turn",
    "draining": "Draining",
    "applying": "Being applied",
    "applied": "On its way",
    "verified": "In force",
    "undoing": "Being undone",
    "undone": "Undone",
    "ended": "Ended, nothing was done",
    "refused": "Refused",
    "failed": "Failed",
    "left": "Left as it is",
}
OPEN = ("waiting", "draining", "applying", "applied", "verified", "undoing")
UNDOABLE = ("waiting", "draining", "applying", "applied", "verified", "failed")


@dataclass(frozen=True, slots=True)
class ResourceLine:
    """One resource. `secrets` are the names of stored credentials, never their values."""

    id: int
    name: str
    hook: str
    config: Mapping[str, Any]
    secrets: tuple[str, ...]
    scope: Mapping[str, tuple[str, ...]]
    scope_words: str
    is_dedicated: bool
    is_protected: bool
    drain_seconds: int
    kept_cost: Decimal | None
    units: int | None
    standing_words: str
    is_settled: bool
    looked_at: datetime | None
    look_error: str
    held_by: str  # Held at 0 by change 7
    is_sample: bool


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """One change of a resource, for a run or for a person."""

    id: int
    resource_id: int | None
    resource_name: str
    run_id: int | None
    budget_name: str
    state: str
    state_words: str
    words: str
    loses: str
    resume_words: str
    saves_cost: Decimal | None
    saves_words: str
    currency: str
    asked_at: datetime
    asked_by: str
    applied_at: datetime | None
    verified_at: datetime | None
    ended_at: datetime | None
    ended_by: str
    error: str
    may_undo: bool


def resource_line(row: Resource, secrets: Sequence[str], holding: ResourceChange | None) -> ResourceLine:
    """One resource with the change that holds it."""
    standing: Mapping[str, Any] = row.standing
    return ResourceLine(
        id=row.pk,
        name=row.name,
        hook=row.hook,
        config=dict(row.config),
        secrets=tuple(sorted(secrets)),
        scope={name: tuple(values) for name, values in row.scope.items()},
        scope_words=wording.scope(row.scope) if row.scope else "not said",
        is_dedicated=row.is_dedicated,
        is_protected=row.is_protected,
        drain_seconds=row.drain_seconds,
        kept_cost=row.kept_cost,
        units=standing.get("units"),
        standing_words=str(standing.get("words", "")),
        is_settled=bool(standing.get("is_settled", True)),
        looked_at=row.looked_at if standing else None,
        look_error=row.look_error,
        held_by=f"{STATES[holding.state]}: change {holding.pk} to {holding.to_units}" if holding else "",
        is_sample=row.is_sample,
    )


def change_line(row: ResourceChange) -> ChangeLine:
    """One change; its words are the plan's, or before there is one, what was asked for."""
    plan: Mapping[str, Any] = row.change
    asked = f"At most {row.to_units} units" if row.is_limit else f"To {row.to_units} units"
    run = row.action_run
    return ChangeLine(
        id=row.pk,
        resource_id=row.resource_id,
        resource_name=row.resource_name,
        run_id=row.action_run_id,
        budget_name=run.budget.name if run else "",
        state=row.state,
        state_words=STATES[row.state],
        words=str(plan.get("words") or asked),
        loses=str(plan.get("loses", "")),
        resume_words=str(plan.get("resume_words", "")),
        saves_cost=row.saves_cost,
        saves_words=row.saves_words,
        currency=row.currency,
        asked_at=row.asked_at,
        asked_by=row.asked_by,
        applied_at=row.applied_at,
        verified_at=row.verified_at,
        ended_at=row.ended_at,
        ended_by=row.ended_by,
        error=row.error,
        may_undo=row.state in UNDOABLE and row.undo_at is None and (row.state != "failed" or row.ended_at is None),
    )
