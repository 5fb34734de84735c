"""The policy of a gate: answered each second, and the proof of what each gate process holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from alerts import brakes, ladder
from alerts.hooks import gate as gate_hook
from alerts.models import ActionRun, Gate, GateKey, GateProcess

# How much older than the truth `last_seen_at` may be: a gate asks each second, and not each question is worth a write.
_SEEN_STEP = timedelta(seconds=5)


class NotAGate(LookupError):
    """The token belongs to no gate."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is None when the gate already holds this version."""

    etag: str
    body: bytes | None


def answer(*, source_id: int | None, if_none_match: str, now: datetime, process: str = "") -> Answer:
    """The policy for the gate whose usage goes to this source. Raises NotAGate.

    Asking with the ETag of the current version proves that the process holds it, and with it every rule in it.
    """
    gate = Gate.objects.filter(source_id=source_id).first() if source_id is not None else None
    if gate is None:
        raise NotAGate("this token belongs to no gate; make one with: costobs gate create")
    content = _content(gate, now)
    version = gate_hook.version(content)
    presented = _version_in(if_none_match)
    held = {rule["id"] for rule in content["rules"]} if presented == version else set()
    _note(gate, process[:100], presented, sorted(held), now)
    etag = f'"{version}"'
    return Answer(etag, None if presented == version else gate_hook.body(content, now=now))


def _content(gate: Gate, now: datetime) -> dict[str, Any]:
    keys = GateKey.objects.filter(revoked_at=None, is_sample=gate.is_sample)
    runs = ActionRun.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=now),
        Q(budget__paused_until=None) | Q(budget__paused_until__lte=now),
        state__in=ladder.APPLYING,
        applied_at__isnull=False,
        budget__is_active=True,
        budget__is_sample=gate.is_sample,
    ).select_related("budget")
    applied = list(runs)
    if applied and brakes.pause(now=now) is not None:
        applied = []
    protected = brakes.protected() if applied else []
    return gate_hook.document(
        provider=gate.provider,
        deployment=gate.deployment,
        keys=[gate_hook.KeyRule(key.sha256, key.key_id, key.team, key.features, key.models_allowed) for key in keys],
        runs=[_applied(run, protected) for run in applied],
    )


def _applied(run: ActionRun, protected: Sequence[brakes.Scope]) -> gate_hook.AppliedRun:
    return gate_hook.AppliedRun(
        id=run.pk,
        rules=run.plan["rules"],
        until=run.expires_at,
        protected=brakes.protected_matches(run.budget, protected),
        criticality=ladder.CRITICALITIES.index(run.plan.get("criticality", "normal")),
    )


def _version_in(if_none_match: str) -> str:
    return if_none_match.strip().removeprefix("W/").strip('"')


def _note(gate: Gate, process: str, presented: str, held: list[str], now: datetime) -> None:
    seen = GateProcess.objects.filter(gate=gate, name=process).first()
    if seen and seen.policy_version == presented and seen.rules == held and now - seen.last_seen_at < _SEEN_STEP:
        return
    found = {"last_seen_at": now, "policy_version": presented, "rules": held}
    GateProcess.objects.update_or_create(gate=gate, name=process, defaults=found)
    Gate.objects.filter(pk=gate.pk).update(last_seen_at=now, seen_policy_version=presented)
