"""Channels as people set them up: checked, with credentials sealed, and written to the audit log without them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from alerts.channels import KINDS
from alerts.channels.base import BadConfig
from alerts.models import Channel
from costobs.audit import record
from costobs.kernel.registry import UnknownKind


class Invalid(ValueError):
    """The channel cannot be made as asked; the message names the setting and holds no secret."""


@dataclass(frozen=True, slots=True)
class ChannelLine:
    """One channel, without its credentials."""

    id: int
    name: str
    kind: str
    config: Mapping[str, Any]
    is_active: bool
    is_sample: bool


def create(
    *,
    name: str,
    kind: str,
    by: str,
    now: datetime,
    config: Mapping[str, Any] | None = None,
    credentials: Mapping[str, str] | None = None,
    is_sample: bool = False,
) -> int:
    """The id of a new channel; alerts raised from now on go there too. Raises Invalid."""
    if not name.strip():
        raise Invalid("a channel needs a name")
    try:
        KINDS[kind]().check(config or {}, credentials)
    except (BadConfig, UnknownKind) as problem:
        raise Invalid(str(problem)) from problem
    with transaction.atomic():
        if Channel.objects.filter(name=name).exists():
            raise Invalid(f"a channel called {name!r} exists")
        row = Channel.objects.create(
            name=name,
            kind=kind,
            config=dict(config or {}),
            credentials=dict(credentials) if credentials else None,
            is_sample=is_sample,
        )
        after = {"name": name, "kind": kind, "config": dict(config or {})}
        record.write(actor=by, act="channel.created", subject=f"channel:{row.pk}", at=now, after=after)
    return row.pk


def pause(*, channel_id: int, is_active: bool, by: str, now: datetime) -> None:
    """Stops or restarts a channel; what waits is sent when it restarts within a day."""
    with transaction.atomic():
        if Channel.objects.filter(pk=channel_id).exclude(is_active=is_active).update(is_active=is_active):
            act = "channel.resumed" if is_active else "channel.paused"
            record.write(actor=by, act=act, subject=f"channel:{channel_id}", at=now)


def remove(*, channel_id: int, by: str, now: datetime) -> bool:
    """Deletes a channel and its deliveries; False when there is none."""
    with transaction.atomic():
        row = Channel.objects.filter(pk=channel_id).first()
        if row is None:
            return False
        before = {"name": row.name, "kind": row.kind, "config": row.config}
        row.delete()
        record.write(actor=by, act="channel.removed", subject=f"channel:{channel_id}", at=now, before=before)
    return True


def channels() -> list[ChannelLine]:
    """Every channel by name."""
    return [
        ChannelLine(row.pk, row.name, row.kind, row.config, row.is_active, row.is_sample)
        for row in Channel.objects.order_by("name")
    ]
