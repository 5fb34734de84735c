"""From a delivery to the letter a channel gets: where its thread stands, whether it is news, and what may be done from there."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from alerts import ladder, topics
from alerts.channels.base import Letter, Position, notice_from
from alerts.models import ActionRun, Alert, AlertDelivery, Channel, OpenItem, ThreadPosition
from alerts.rows import Offer
from costobs.kernel import fmt

# An amount that has grown by half is news.
_GROWN = Decimal("1.5")
# A socket that was not heard for so long does not listen: the buttons become links.
HEARD_WITHIN = timedelta(minutes=3)


def letter(delivery: AlertDelivery, now: datetime) -> Letter:
    """The letter of one delivery."""
    alert, channel = delivery.alert, delivery.channel
    position = ThreadPosition.objects.filter(thread=alert.thread, channel=channel).first()
    standing = topics.standing(alert.kind, tone="", severity=alert.severity, topic=alert.audience)
    notice = notice_from(alert.payload)
    return Letter(
        id=alert.pk,
        thread=alert.thread,
        is_first=position is None and not _has_begun(alert, channel),
        raised_at=alert.raised_at,
        base_url=settings.COSTOBS_URL,
        notice=notice,
        kind=alert.kind,
        topic=standing.topic,
        severity=standing.severity,
        is_closing=standing.is_closing and not _is_asked_still(alert),
        is_answer=standing.is_answer,
        is_news=is_news(alert, position),
        owner_email=alert.budget.owner_email if alert.budget else "",
        position=Position(position.ref, position.place) if position is not None and position.ref else None,
        offers=_offers(alert, notice.offers) if _is_heard(channel, now) else (),
        sent_at=now,
    )


def is_news(alert: Alert, position: ThreadPosition | None) -> bool:
    """Whether the channel has not said the same before: another state, or half as much again."""
    if position is None or not alert.state or alert.state != position.state:
        return True
    if alert.impact_cost is None or position.impact_cost is None:
        return False
    return bool(abs(alert.impact_cost) >= abs(position.impact_cost) * _GROWN)


def note(delivery: AlertDelivery, found: Position | None, *, is_news: bool) -> None:
    """Writes down where the thread stands and what was said last."""
    alert = delivery.alert
    columns: dict[str, object] = {"state": alert.state, "impact_cost": alert.impact_cost} if is_news else {}
    if found is not None:
        columns |= {"ref": found.ref, "place": found.place}
    position, _created = ThreadPosition.objects.get_or_create(
        thread=alert.thread, channel=delivery.channel, defaults={"ref": "", "first_alert": alert}
    )
    if columns:
        ThreadPosition.objects.filter(pk=position.pk).update(**columns)


def _has_begun(alert: Alert, channel: Channel) -> bool:
    return AlertDelivery.objects.filter(channel=channel, alert__thread=alert.thread, state="sent").exists()


def _is_asked_still(alert: Alert) -> bool:
    """Whether another action of the item waits for somebody: an incident goes on when one of its actions has ended."""
    about_item = Alert.objects.filter(thread=alert.thread, kind="action_waiting")
    return about_item.filter(action_run__state="waiting_approval").exclude(action_run=alert.action_run).exists()


def _is_heard(channel: Channel, now: datetime) -> bool:
    return channel.kind == "slack_app" and channel.heard_at is not None and now - channel.heard_at <= HEARD_WITHIN


def _offers(alert: Alert, given: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """What may be done from a message: about the run as it is now, and about the item."""
    item = OpenItem.objects.filter(thread=alert.thread, closed_at=None).first()
    about_item: list[Offer] = []
    if item is not None and not given:
        if item.acknowledged_at is None:
            about_item.append(Offer("alert_ack", "I'm on it", f"{item.pk}:v{item.version}"))
        about_item.append(Offer("alert_mute", "Mute 24 hours", f"{item.pk}:v{item.version}"))
    return (*_of_run(alert), *given, *about_item)


def _of_run(alert: Alert) -> tuple[Offer, ...]:
    run = alert.action_run
    if run is None:
        return ()
    run = ActionRun.objects.select_related("budget").get(pk=run.pk)
    subject, words = f"{run.pk}:v{run.version}", run.plan.get("words", run.action)
    until = f" until {fmt.moment(run.expires_at)} or undo" if run.expires_at else ""
    if run.state == "waiting_approval":
        asks = (
            f"{words}?",
            f"{words} for {run.plan.get('target_words', '')}{until}. You can undo at any time.",
            "Approve",
        )
        # A shutdown is never approved in one tap: its button opens a window that asks for the budget's name.
        approve = Offer("act_approve", "Approve", subject, "primary", None if run.action == "shutdown" else asks)
        return approve, Offer("act_decline", "Decline", subject)
    if run.state in ladder.APPLYING and run.action != "notify":
        noun = {"throttle": "throttle", "shutdown": "shutdown"}.get(run.action, run.action)
        asks = (f"Undo {noun}?", f"Back to: {run.before.get('words', 'no limit')}, within seconds.", "Undo")
        return (Offer("act_undo", f"Undo {noun}", subject, "danger", asks),)
    return ()
