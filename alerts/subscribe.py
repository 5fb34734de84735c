"""Channels as people set them up: checked, with credentials sealed, and written to the audit log without them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from alerts.channels import KINDS
from alerts.channels.base import BadConfig, Letter, PermanentFailure, TemporaryFailure
from alerts.models import Channel
from alerts.rows import Button, Fact, Notice
from costobs.audit import record
from costobs.kernel import fmt, secrets
from costobs.kernel.registry import UnknownKind

log = logging.getLogger("costobs.alerts")


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
    place: str  # where it goes, for people
    last_error: str
    last_error_at: datetime | None
    last_sent_at: datetime | None
    heard_at: datetime | None  # when its buttons were last listened to


class NotArrived(Exception):
    """The test message did not arrive; the message says why and holds no secret."""


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
        ChannelLine(
            row.pk,
            row.name,
            row.kind,
            row.config,
            row.is_active,
            row.is_sample,
            KINDS[row.kind]().place(row.config),
            row.last_error,
            row.last_error_at,
            row.last_sent_at,
            row.heard_at,
        )
        for row in Channel.objects.order_by("name")
    ]


def test(*, channel_id: int, by: str, base_url: str, now: datetime) -> None:
    """Sends a message that says it is a test. Raises NotArrived, or KeyError when there is no such channel."""
    row = Channel.objects.filter(pk=channel_id).first()
    if row is None:
        raise KeyError(channel_id)
    letter = Letter(
        id=0,
        thread=f"test:{row.pk}:{now:%Y%m%d%H%M%S}",
        is_first=True,
        raised_at=now,
        base_url=base_url,
        notice=_notice(row.name, by, now),
        kind="test",
        topic="test",
        severity="info",
        owner_email=by if "@" in by else "",
        sent_at=now,
    )
    try:
        KINDS[row.kind]().send(letter, row.config, row.credentials)
    except (TemporaryFailure, PermanentFailure, secrets.Unreadable) as problem:
        _note(row.pk, str(problem), now)
        raise NotArrived(str(problem)) from problem
    except Exception as problem:
        # As with a real alert, only the kind is told: a text could hold a secret.
        log.error("the test of channel %s broke: %s", row.name, type(problem).__name__)
        raise NotArrived(f"it broke with {type(problem).__name__}; look at its settings") from None
    Channel.objects.filter(pk=row.pk).update(last_error="", last_sent_at=now)
    record.write(actor=by, act="channel.tested", subject=f"channel:{row.pk}", at=now)


def _note(channel_id: int, error: str, now: datetime) -> None:
    Channel.objects.filter(pk=channel_id).update(last_error=error, last_error_at=now)


def _notice(name: str, by: str, now: datetime) -> Notice:
    return Notice(
        about=f"Channel · {name}",
        first_line=f"Test of the channel {name}: it works",
        header=f"Test: {name}",
        lead=f"{by} asked for this message. Alerts of costobs will look like it.",
        facts=(Fact("Sent", fmt.moment(now)),),
        steps=(),
        consequence="Nothing is to be done.",
        buttons=(Button("Open settings", "/settings/alerts/", "primary"),),
        footer="Nothing is wrong; this is a test",
        tone="ok",
    )
