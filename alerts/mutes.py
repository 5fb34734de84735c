"""What people do with an open item: take it, silence it for a time, let it speak again, send an alert once more."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from alerts import answers
from alerts.models import Alert, AlertDelivery, Anomaly, Budget, Mute, OpenItem
from costobs.audit import record
from costobs.kernel import fmt

LONGEST = timedelta(days=90)
ABOUT = {"thread": "This item", "budget": "A budget", "team": "A team"}


class Invalid(ValueError):
    """It cannot be done as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class MuteLine:
    """A mute as pages show it."""

    id: int
    about: str
    subject: str
    words: str
    reason: str
    muted_by: str
    muted_at: datetime
    until: datetime


def acknowledge(*, item_id: int, by: str, now: datetime, version: int | None = None, besides: int | None = None) -> str:
    """Somebody takes an item: nobody else is called for it any more. What it is about, in words. Raises Invalid.

    Channels that keep incidents are told; `besides` is a channel that knows already. Twice is once.
    """
    with transaction.atomic():
        item = _locked(item_id)
        if item.acknowledged_at is not None:
            raise Invalid(f"{item.acknowledged_by} has it already, since {fmt.moment(item.acknowledged_at)}")
        if version is not None and version != item.version:
            raise Invalid("it has changed since this message; look at it again")
        OpenItem.objects.filter(pk=item.pk).update(acknowledged_at=now, acknowledged_by=by, version=F("version") + 1)
        newest = _newest(item.thread)
        _take_anomaly(item.thread, by, now)
        record.write(actor=by, act="alert.acknowledged", subject=f"item:{item.pk}", at=now, after={"item": item.thread})
        answers.tell(item, by=by, now=now, besides=besides)
    return newest.title


def mute(*, about: str, subject: str, until: datetime, reason: str, by: str, now: datetime) -> int:
    """Silences an item, a budget or a team until a moment; the mute's id. Raises Invalid."""
    errors = [
        (about not in ABOUT or not subject.strip(), "expected an item, a budget or a team"),
        (not reason.strip(), "say why, so that others know"),
        (until <= now, "the end lies in the past"),
        (until > now + LONGEST, f"a mute ends within {LONGEST.days} days"),
    ]
    for is_wrong, words in errors:
        if is_wrong:
            raise Invalid(words)
    with transaction.atomic():
        row = Mute.objects.create(
            about=about, subject=subject.strip(), until=until, reason=reason.strip()[:300], muted_by=by, muted_at=now
        )
        after = {"about": about, "subject": subject, "until": until.isoformat()}
        record.write(actor=by, act="alert.muted", subject=f"mute:{row.pk}", at=now, after=after, reason=reason)
    return row.pk


def mute_item(*, item_id: int, until: datetime, reason: str, by: str, now: datetime) -> str:
    """Silences an open item; its newest line. Raises Invalid."""
    with transaction.atomic():
        item = _locked(item_id)
        mute(about="thread", subject=item.thread, until=until, reason=reason, by=by, now=now)
    return _newest(item.thread).title


def unmute(*, mute_id: int, by: str, now: datetime) -> bool:
    """Ends a mute; False when it is over already."""
    with transaction.atomic():
        done = Mute.objects.filter(pk=mute_id, ended_at=None, until__gt=now).update(ended_at=now, ended_by=by)
        if done:
            record.write(actor=by, act="alert.unmuted", subject=f"mute:{mute_id}", at=now)
    return bool(done)


def mutes(*, now: datetime) -> list[MuteLine]:
    """What is silent now, the one that ends first."""
    rows = Mute.objects.filter(ended_at=None, until__gt=now).order_by("until", "pk")
    return [
        MuteLine(one.pk, one.about, one.subject, _words(one), one.reason, one.muted_by, one.muted_at, one.until)
        for one in rows
    ]


def resend(*, delivery_id: int, by: str, now: datetime) -> bool:
    """Sends an alert on a channel once more; False while it is on its way."""
    with transaction.atomic():
        done = AlertDelivery.objects.filter(
            pk=delivery_id, state__in=["sent", "failed", "expired", "muted", "folded"]
        ).update(state="waiting", next_attempt_at=now, attempts=0, error="", asked_at=now)
        if done:
            record.write(actor=by, act="alert.resent", subject=f"delivery:{delivery_id}", at=now)
    return bool(done)


def _locked(item_id: int) -> OpenItem:
    item = OpenItem.objects.select_for_update().filter(pk=item_id).first()
    if item is None:
        raise Invalid("there is no such item any more")
    if item.closed_at is not None:
        raise Invalid(f"it is over since {fmt.moment(item.closed_at)}")
    return item


def _take_anomaly(thread: str, by: str, now: datetime) -> None:
    """Where the item is of an anomaly, its page says the same."""
    about, _, number = thread.partition(":")
    if about == "anomaly" and number.isdecimal():
        Anomaly.objects.filter(pk=int(number), state="open", acknowledged_at=None).update(
            acknowledged_at=now, acknowledged_by=by, version=F("version") + 1
        )


def _newest(thread: str) -> Alert:
    return answers.newest(thread) or Alert.objects.filter(thread=thread).latest("pk")


def _words(one: Mute) -> str:
    if one.about == "thread":
        newest = Alert.objects.filter(thread=one.subject).order_by("pk").last()
        return newest.title if newest else one.subject
    if one.about == "budget":
        found = Budget.objects.filter(pk=int(one.subject)).first() if one.subject.isdecimal() else None
        return f"Budget {found.name}" if found else f"Budget {one.subject}, which is gone"
    return f"Team {one.subject}"
