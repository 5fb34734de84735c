"""Gates and the keys of their clients: made, shown once, kept as hashes, revoked; each act in the audit log."""

import secrets as random_secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import transaction

from alerts.hooks import gate as gate_hook
from alerts.models import Gate, GateKey
from costobs.audit import record
from costobs.kernel import secrets

_KEY_PREFIX = "cok"


class Invalid(ValueError):
    """The gate or the key cannot be made as asked."""


def create(
    *,
    name: str,
    deployment: str,
    source_id: int,
    by: str,
    now: datetime,
    provider: str = "self_hosted",
    is_sample: bool = False,
) -> int:
    """The id of a new gate, whose usage goes to the source. Raises Invalid."""
    if not name.strip() or not deployment.strip():
        raise Invalid("a gate needs a name and the deployment it stands in front of")
    with transaction.atomic():
        if Gate.objects.filter(name=name).exists():
            raise Invalid(f"a gate called {name!r} exists")
        row = Gate.objects.create(
            name=name, deployment=deployment, provider=provider, source_id=source_id, is_sample=is_sample
        )
        after = {"deployment": deployment, "provider": provider, "source": source_id}
        record.write(actor=by, act="gate.created", subject=f"gate:{name}", at=now, after=after)
    return row.pk


def of_source(*, source_id: int) -> list[str]:
    """The names of the gates whose usage goes to this source."""
    return list(Gate.objects.filter(source_id=source_id).order_by("name").values_list("name", flat=True))


def remove(*, name: str, by: str, now: datetime) -> bool:
    """Takes a gate out, so that no action waits for it any more; False when there is none of that name."""
    with transaction.atomic():
        row = Gate.objects.select_for_update().filter(name=name).first()
        if row is None:
            return False
        before = {"deployment": row.deployment, "provider": row.provider, "source": row.source_id}
        row.delete()
        record.write(actor=by, act="gate.removed", subject=f"gate:{name}", at=now, before=before)
    return True


def create_key(
    *,
    name: str,
    team: str,
    by: str,
    now: datetime,
    features: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    limits: Mapping[str, int | None] | None = None,
    is_sample: bool = False,
) -> tuple[str, str]:
    """The id of a new client key and its text, which nobody can read again. Raises Invalid.

    The key binds the team. `features` are those that a header may name (None: no header counts), `models` those it may
    call (None: all). `limits` hold at each gate: requests_per_minute, tokens_per_minute, max_inflight, max_tokens and
    priority (vLLM serves lower numbers first).
    """
    if not name.strip() or not team.strip():
        raise Invalid("a key needs a name and a team")
    try:
        bounds = gate_hook.limits(limits or {})
    except ValueError as problem:
        raise Invalid(str(problem)) from problem
    text = secrets.new_token(_KEY_PREFIX)
    key_id = f"key_{random_secrets.token_hex(4)}"
    with transaction.atomic():
        GateKey.objects.create(
            key_id=key_id,
            sha256=secrets.digest(text),
            name=name,
            team=team,
            features=None if features is None else sorted(set(features)),
            models_allowed=None if models is None else sorted(set(models)),
            **bounds,
            created_at=now,
            is_sample=is_sample,
        )
        after = {
            "name": name,
            "team": team,
            "features": None if features is None else sorted(set(features)),
            "models": None if models is None else sorted(set(models)),
            "limits": bounds,
        }
        record.write(actor=by, act="gate_key.created", subject=f"gate_key:{key_id}", at=now, after=after)
    return key_id, text


def revoke_key(*, key_id: str, by: str, now: datetime) -> bool:
    """Ends a client key at every gate within seconds; False when there is none of that id in force."""
    with transaction.atomic():
        changed = GateKey.objects.filter(key_id=key_id, revoked_at=None).update(revoked_at=now)
        if changed:
            record.write(actor=by, act="gate_key.revoked", subject=f"gate_key:{key_id}", at=now)
    return bool(changed)
