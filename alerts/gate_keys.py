"""The keys of clients after they were made: seen, limited, replaced; and the gates with their processes, for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Prefetch

from alerts.hooks import gate as gate_hook
from alerts.models import Gate, GateKey, GateProcess
from costobs.audit import record
from costobs.kernel import secrets

_KEY_PREFIX = "cok"
_LIVE = timedelta(minutes=1)
_SHOWN = timedelta(days=1)  # processes that ended longer ago are history


class Invalid(ValueError):
    """The key cannot be changed as asked; `field` is what it is about."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Key:
    """One client key and its limits; never its text."""

    key_id: str
    name: str
    team: str
    features: tuple[str, ...] | None
    models: tuple[str, ...] | None
    limits: Mapping[str, int]
    created_at: datetime
    revoked_at: datetime | None
    is_sample: bool


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a gate, as it said itself when it last asked for the policy."""

    name: str
    last_seen_at: datetime
    is_live: bool
    policy_version: str
    rules: tuple[str, ...]
    software: str
    is_draining: bool
    inflight: int | None
    admitted: int | None
    refused: int | None


@dataclass(frozen=True, slots=True)
class Place:
    """One gate and its processes, the living first."""

    name: str
    provider: str
    deployment: str
    last_seen_at: datetime | None
    processes: tuple[Process, ...]
    is_sample: bool

    @property
    def live(self) -> tuple[Process, ...]:
        """Those that asked for the policy within the last minute."""
        return tuple(process for process in self.processes if process.is_live)


def listed(*, with_revoked: bool = False) -> list[Key]:
    """The client keys, by team and name."""
    rows = GateKey.objects.order_by("team", "name", "pk")
    return [_key(row) for row in rows if with_revoked or row.revoked_at is None]


def key(*, key_id: str) -> Key | None:
    """One key; None when there is none of that id."""
    row = GateKey.objects.filter(key_id=key_id).first()
    return None if row is None else _key(row)


def places(*, now: datetime) -> list[Place]:
    """The gates by name, with the processes that were heard of within a day."""
    recent = GateProcess.objects.filter(last_seen_at__gt=now - _SHOWN).order_by("-last_seen_at", "name")
    rows = Gate.objects.order_by("name").prefetch_related(Prefetch("processes", recent, to_attr="recent"))
    return [
        Place(
            name=row.name,
            provider=row.provider,
            deployment=row.deployment,
            last_seen_at=row.last_seen_at,
            processes=tuple(_process(each, now) for each in row.recent),
            is_sample=row.is_sample,
        )
        for row in rows
    ]


def change(
    *,
    key_id: str,
    features: Sequence[str] | None,
    models: Sequence[str] | None,
    limits: Mapping[str, int | None],
    by: str,
    now: datetime,
) -> bool:
    """What a key may do from now on, at every gate within seconds; False when there is none of that id in force.

    Raises Invalid with the name of the limit.
    """
    bounds: dict[str, int] = {}
    for name, value in limits.items():
        try:
            bounds |= gate_hook.limits({name: value})
        except ValueError as problem:
            raise Invalid(name, str(problem)) from problem
    with transaction.atomic():
        row = GateKey.objects.select_for_update().filter(key_id=key_id, revoked_at=None).first()
        if row is None:
            return False
        before = _document(row)
        row.features = None if features is None else sorted(set(features))
        row.models_allowed = None if models is None else sorted(set(models))
        for name in limits:
            setattr(row, name, bounds.get(name))
        row.save()
        if _document(row) != before:
            subject = f"gate_key:{key_id}"
            record.write(actor=by, act="gate_key.changed", subject=subject, at=now, before=before, after=_document(row))
    return True


def rotate(*, key_id: str, by: str, now: datetime) -> str | None:
    """A new text for a key, which nobody can read again; the old one ends within seconds. None: no such key in force.

    The id stays, so its usage, its limits and the budgets about it go on.
    """
    text = secrets.new_token(_KEY_PREFIX)
    with transaction.atomic():
        changed = GateKey.objects.filter(key_id=key_id, revoked_at=None).update(sha256=secrets.digest(text))
        if not changed:
            return None
        record.write(actor=by, act="gate_key.rotated", subject=f"gate_key:{key_id}", at=now)
    return text


def _document(row: GateKey) -> dict[str, object]:
    return {"features": row.features, "models": row.models_allowed, "limits": row.limits}


def _key(row: GateKey) -> Key:
    return Key(
        key_id=row.key_id,
        name=row.name,
        team=row.team,
        features=None if row.features is None else tuple(row.features),
        models=None if row.models_allowed is None else tuple(row.models_allowed),
        limits=row.limits,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        is_sample=row.is_sample,
    )


def _process(row: GateProcess, now: datetime) -> Process:
    return Process(
        name=row.name,
        last_seen_at=row.last_seen_at,
        is_live=now - row.last_seen_at < _LIVE,
        policy_version=row.policy_version,
        rules=tuple(row.rules),
        software=row.software,
        is_draining=row.is_draining,
        inflight=row.inflight,
        admitted=row.admitted,
        refused=row.refused,
    )
