"""Who is told what, as people set it up: routes, escalation chains and quiet hours, each written to the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import transaction

from alerts import topics
from alerts.models import Channel, ChatPerson, EscalationStep, QuietHours, Route
from costobs.audit import record

MOST_MINUTES = 24 * 60


class Invalid(ValueError):
    """It cannot be set up as asked: messages by field, "" for the whole."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(errors.values()))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class RouteLine:
    """One route as pages show it."""

    id: int
    audience: str
    channel: str
    team: str
    topics: tuple[str, ...]
    least_severity: str


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of a chain."""

    id: int
    severity: str
    after_minutes: int
    channel: str


@dataclass(frozen=True, slots=True)
class QuietLine:
    """Quiet hours of a channel or of a person."""

    id: int
    whose: str
    zone: str
    begins: time
    ends: time


@dataclass(frozen=True, slots=True)
class PersonLine:
    """A member of a Slack workspace and the account behind it."""

    id: int
    workspace: str
    member: str
    account: str


def add_route(
    *,
    audience: str,
    channel_id: int,
    by: str,
    now: datetime,
    topic_names: Sequence[str] = (),
    team: str = "",
    least_severity: str = "info",
) -> int:
    """A route to a channel. Raises Invalid."""
    errors: dict[str, str] = {}
    if audience not in topics.AUDIENCES:
        errors["audience"] = f"expected one of {', '.join(topics.AUDIENCES)}"
    if set(topic_names) - set(topics.TOPICS):
        errors["topics"] = f"expected some of {', '.join(topics.TOPICS)}"
    if least_severity not in topics.SEVERITIES:
        errors["least_severity"] = f"expected one of {', '.join(topics.SEVERITIES)}"
    channel = _channel(channel_id, errors)
    if errors or channel is None:
        raise Invalid(errors)
    columns = {"topics": sorted(set(topic_names)), "least_severity": least_severity}
    with transaction.atomic():
        row, created = Route.objects.get_or_create(
            audience=audience, channel=channel, team=team.strip(), defaults=columns
        )
        if not created:
            raise Invalid({"channel_id": "there is such a route already; remove it first"})
        after = {"audience": audience, "channel": channel.name, "team": team.strip(), **columns}
        record.write(actor=by, act="alert_route.added", subject=f"alert_route:{row.pk}", at=now, after=after)
    return row.pk


def add_step(*, severity: str, after_minutes: int, channel_id: int, by: str, now: datetime) -> int:
    """A step of the chain of a severity. Raises Invalid."""
    errors: dict[str, str] = {}
    if severity not in topics.SEVERITIES:
        errors["severity"] = f"expected one of {', '.join(topics.SEVERITIES)}"
    if not 0 < after_minutes <= MOST_MINUTES:
        errors["after_minutes"] = f"expected 1 to {MOST_MINUTES} minutes"
    channel = _channel(channel_id, errors)
    if errors or channel is None:
        raise Invalid(errors)
    with transaction.atomic():
        row, created = EscalationStep.objects.get_or_create(
            severity=severity, after_minutes=after_minutes, channel=channel
        )
        if created:
            after = {"severity": severity, "after_minutes": after_minutes, "channel": channel.name}
            record.write(actor=by, act="escalation.added", subject=f"escalation:{row.pk}", at=now, after=after)
    return row.pk


def set_quiet(
    *, zone: str, begins: time, ends: time, by: str, now: datetime, channel_id: int | None = None, person: str = ""
) -> int:
    """Quiet hours of a channel, or of a person that a channel writes to as an owner; they take the place of earlier ones.

    Raises Invalid.
    """
    errors: dict[str, str] = {}
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        errors["zone"] = f"expected a name as Europe/Berlin, found {zone!r}"
    if begins == ends:
        errors["ends"] = "they would never end; choose another hour"
    channel = _channel(channel_id, errors) if channel_id is not None else None
    if (channel is None) == (not person.strip()):
        errors.setdefault("channel_id", "choose a channel or name a person, one of both")
    if errors:
        raise Invalid(errors)
    whose: dict[str, Any] = {"channel": channel} if channel else {"person": person.strip().lower()}
    with transaction.atomic():
        columns = {"zone": zone, "begins": begins, "ends": ends}
        row, _created = QuietHours.objects.update_or_create(**whose, defaults=columns)
        after = {"whose": channel.name if channel else person, "zone": zone, "from": str(begins), "to": str(ends)}
        record.write(actor=by, act="quiet_hours.set", subject=f"quiet_hours:{row.pk}", at=now, after=after)
    return row.pk


def link_person(*, workspace: str, member: str, account: str, by: str, now: datetime) -> int:
    """Says who a member of a Slack workspace is here. It goes before the e-mail address that Slack knows. Raises Invalid."""
    given = {"workspace": workspace.strip(), "member": member.strip(), "account": account.strip()}
    errors = {name: "it is needed" for name, value in given.items() if not value}
    if errors:
        raise Invalid(errors)
    with transaction.atomic():
        row, _created = ChatPerson.objects.update_or_create(
            workspace=given["workspace"],
            member=given["member"],
            defaults={"account": given["account"], "linked_at": now, "linked_by": by},
        )
        record.write(actor=by, act="chat_person.linked", subject=f"chat_person:{row.pk}", at=now, after=given)
    return row.pk


_REMOVABLE: dict[str, Any] = {"route": Route, "step": EscalationStep, "quiet": QuietHours, "person": ChatPerson}


def remove(*, what: str, row_id: int, by: str, now: datetime) -> bool:
    """Takes a route, a step, quiet hours or a person's link out; False when there is none."""
    with transaction.atomic():
        row = _REMOVABLE[what].objects.filter(pk=row_id).first() if what in _REMOVABLE else None
        if row is None:
            return False
        row.delete()
        record.write(actor=by, act=f"alert_{what}.removed", subject=f"alert_{what}:{row_id}", at=now)
    return True


def routes() -> list[RouteLine]:
    """Every route, in the order in which audiences are asked."""
    order = list(topics.AUDIENCES)
    rows = Route.objects.select_related("channel")
    found = [
        RouteLine(one.pk, one.audience, one.channel.name, one.team, tuple(one.topics), one.least_severity)
        for one in rows
    ]
    return sorted(found, key=lambda line: (order.index(line.audience), line.team, line.channel))


def steps() -> list[StepLine]:
    """Every step, the gravest chain first, in the order of time."""
    rows = EscalationStep.objects.select_related("channel")
    found = [StepLine(one.pk, one.severity, one.after_minutes, one.channel.name) for one in rows]
    return sorted(found, key=lambda line: (-topics.SEVERITIES.index(line.severity), line.after_minutes, line.channel))


def quiet() -> list[QuietLine]:
    """All quiet hours."""
    rows = QuietHours.objects.select_related("channel")
    found = [
        QuietLine(one.pk, one.channel.name if one.channel else str(one.person), one.zone, one.begins, one.ends)
        for one in rows
    ]
    return sorted(found, key=lambda line: line.whose)


def people() -> list[PersonLine]:
    """Who was linked by an administrator."""
    rows = ChatPerson.objects.order_by("workspace", "account", "pk")
    return [PersonLine(one.pk, one.workspace, one.member, one.account) for one in rows]


def account_of(*, workspace: str, member: str) -> str:
    """The account that a member was linked to, or ""."""
    found = ChatPerson.objects.filter(workspace=workspace, member=member).first()
    return found.account if found else ""


def _channel(channel_id: int | None, errors: dict[str, str]) -> Channel | None:
    found = Channel.objects.filter(pk=channel_id or 0).first()
    if found is None:
        errors["channel_id"] = "choose one of the channels"
    return found
