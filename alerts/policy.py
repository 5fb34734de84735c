"""The policy of a gate: answered each second, and the proof of what each gate process holds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from django.db.models import Q

from alerts import brakes, gate_prices, holds, ladder, reckoning
from alerts.hooks import gate as gate_hook
from alerts.models import ActionRun, Budget, Gate, GateKey, GateProcess
from costobs.kernel import fmt, money

# How much older than the truth `last_seen_at` may be: a gate asks each second, and not each question is worth a write.
_SEEN_STEP = timedelta(seconds=5)


class NotAGate(LookupError):
    """The token belongs to no gate."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is None when the gate already holds this version."""

    etag: str
    body: bytes | None


def answer(*, source_id: int | None, if_none_match: str, now: datetime, process: str = "", report: str = "") -> Answer:
    """The policy for the gate whose usage goes to this source. Raises NotAGate.

    Asking with the ETag of the current version proves that the process holds it, and with it every rule in it. `report`
    is what the process says of itself (header X-Costobs-Gate-Report).
    """
    gate = Gate.objects.filter(source_id=source_id).first() if source_id is not None else None
    if gate is None:
        raise NotAGate("this token belongs to no gate; make one with: costobs gate create")
    content = _content(gate, now)
    version = gate_hook.version(content)
    presented = _version_in(if_none_match)
    held = {rule["id"] for rule in content["rules"]} if presented == version else set()
    _note(gate, process[:100], presented, sorted(held), gate_hook.report(report), now)
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
    hard = reckoning.hard_budgets(now=now, is_sample=gate.is_sample)
    content = gate_hook.document(
        provider=gate.provider,
        deployment=gate.deployment,
        keys=[
            gate_hook.KeyRule(key.sha256, key.key_id, key.team, key.features, key.models_allowed, key.limits)
            for key in keys
        ],
        runs=[_applied(run, protected) for run in applied],
        hard=[_hard(row) for row in hard],
        prices=_prices(gate.provider) if hard else [],
    )
    content["rules"] += holds.rules(gate)
    return content


def _applied(run: ActionRun, protected: Sequence[brakes.Scope]) -> gate_hook.AppliedRun:
    return gate_hook.AppliedRun(
        id=run.pk,
        rules=run.plan["rules"],
        until=run.expires_at,
        protected=brakes.protected_matches(run.budget, protected),
        criticality=ladder.CRITICALITIES.index(run.plan.get("criticality", "normal")),
    )


def _hard(row: Budget) -> gate_hook.HardLimit:
    names = sorted(row.scope)
    combinations = product(*(row.scope[name] for name in names))
    return gate_hook.HardLimit(
        budget_id=row.pk,
        matches=[
            {reckoning.GATE_NAMES[name]: value for name, value in zip(names, one, strict=True)} for one in combinations
        ],
        on_unreachable=row.on_unreachable,
        default_max_tokens=row.default_max_tokens,
        message=(
            f"hard budget {row.name!r} of {fmt.money(row.amount, row.currency, mode='kpi')} a {row.period} has no room for"
            " this request"
        ),
        aborts=row.aborts_running,
    )


def _prices(provider: str) -> list[gate_hook.TokenCost]:
    return [
        gate_hook.TokenCost(
            row.model, money.text(row.input_price), money.text(row.cached_price), money.text(row.output_price)
        )
        for row in gate_prices.known(provider=provider)
    ]


def _version_in(if_none_match: str) -> str:
    return if_none_match.strip().removeprefix("W/").strip('"')


def _note(gate: Gate, process: str, presented: str, held: list[str], report: gate_hook.Report, now: datetime) -> None:
    seen = GateProcess.objects.filter(gate=gate, name=process).first()
    is_known = seen is not None and (seen.policy_version, seen.rules) == (presented, held)
    # Whether it has become idle is worth a write while somebody waits for it.
    is_idle = not any(name.startswith(holds.PREFIX) for name in held) or (
        seen is not None and seen.inflight == report.inflight
    )
    if seen is not None and is_known and is_idle and now - seen.last_seen_at < _SEEN_STEP:
        return
    found = {"last_seen_at": now, "policy_version": presented, "rules": held, **asdict(report)}
    GateProcess.objects.update_or_create(gate=gate, name=process, defaults=found)
    Gate.objects.filter(pk=gate.pk).update(last_seen_at=now, seen_policy_version=presented)
