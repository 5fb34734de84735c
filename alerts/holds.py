"""What gates refuse while a resource is taken away under them, and whether its requests have ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from alerts.hooks.gate import LIVE
from alerts.models import Gate, ResourceChange

# From when requests are refused until the resource stands again: what is not there must not be called.
HOLDING = ("draining", "applying", "applied", "verified", "undoing")
RETRY_AFTER_SECONDS = 300
PREFIX = "hold-"


@dataclass(frozen=True, slots=True)
class Drain:
    """How far the gates of a resource are: of `gates` live ones, `holding` refuse new requests; `inflight` None: not known."""

    gates: int
    holding: int
    inflight: int | None

    @property
    def is_drained(self) -> bool:
        return self.gates > 0 and self.holding == self.gates and self.inflight == 0


def rules(gate: Gate) -> list[dict[str, Any]]:
    """The rules of the policy of this gate that refuse everything, one for each change of what it stands before."""
    found = ResourceChange.objects.filter(
        state__in=HOLDING,
        to_units=0,
        is_limit=False,
        is_idle=False,
        started_at__isnull=False,
        resource__is_sample=gate.is_sample,
        resource__scope__deployment__contains=[gate.deployment],
    )
    return [_rule(change) for change in found.order_by("pk").only("pk", "resource_name", "change", "action_run")]


def drain(change: ResourceChange, now: datetime) -> Drain:
    """What the gates before the resource of this change say."""
    resource = change.resource
    names = resource.scope.get("deployment", []) if resource else []
    if not names or resource is None:
        return Drain(0, 0, None)
    gates = Gate.objects.filter(deployment__in=names, is_sample=resource.is_sample).prefetch_related("processes")
    live = [[one for one in gate.processes.all() if now - one.last_seen_at <= LIVE] for gate in gates]
    name = _name(change.pk)
    holding = sum(1 for processes in live if processes and all(name in one.rules for one in processes))
    counted = [one.inflight for processes in live for one in processes]
    known = [count for count in counted if count is not None]
    return Drain(
        sum(1 for processes in live if processes), holding, sum(known) if known and len(known) == len(counted) else None
    )


def retry_after(change: ResourceChange) -> int:
    """How long a client should wait: the time to resume where that is known."""
    return int(change.change.get("resume_seconds") or RETRY_AFTER_SECONDS)


def deadline(change: ResourceChange) -> datetime | None:
    """When running requests have had their time: what the rung says, else the resource."""
    resource = change.resource
    if change.started_at is None or resource is None:
        return None
    run = change.action_run
    seconds = run.plan.get("drain_seconds") if run is not None else None
    return change.started_at + timedelta(seconds=resource.drain_seconds if seconds is None else int(seconds))


def _rule(change: ResourceChange) -> dict[str, Any]:
    return {
        "id": _name(change.pk),
        "match": {"team": None, "feature": None, "model": None, "key_id": None},
        "action": "block",
        "requests_per_minute": None,
        "max_inflight": None,
        "max_tokens": None,
        "retry_after_seconds": retry_after(change),
        "message": f"{change.resource_name} is scaled down by a budget; ask again later",
        "until": None,
    }


def _name(change_id: int) -> str:
    return f"{PREFIX}{change_id}"
