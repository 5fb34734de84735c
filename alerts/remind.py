"""Escalation: an item that nobody has acknowledged is told to the next channel of the chain of its severity."""

from datetime import datetime, timedelta

from alerts import notices, topics
from alerts.channels.base import notice_from
from alerts.models import Alert, EscalationStep, OpenItem
from alerts.rows import Notice
from costobs.kernel import fmt

# What is older than this has been told often enough; a replay of history calls nobody.
_OLDEST = timedelta(days=1)


def run(*, now: datetime) -> int:
    """How many alerts it raised. Each step of a chain once for an item and what it waits for; safe to repeat and to run twice.

    An item waits since it opened, reopened or became graver, until somebody acknowledges, approves, declines or mutes it.
    """
    steps = list(
        EscalationStep.objects.filter(channel__is_active=True).select_related("channel").order_by("after_minutes")
    )
    if not steps:
        return 0
    waiting = OpenItem.objects.filter(
        closed_at=None,
        acknowledged_at=None,
        severity__in={one.severity for one in steps},
        changed_at__gt=now - _OLDEST,
        changed_at__lte=now,
    )
    return sum(_escalate(item, steps, now) for item in waiting.order_by("pk"))


def _escalate(item: OpenItem, steps: list[EscalationStep], now: datetime) -> int:
    due = [
        one
        for one in steps
        if one.severity == item.severity and item.changed_at + timedelta(minutes=one.after_minutes) <= now
    ]
    newest = (_asking(item) or _newest(item)) if due else None
    if newest is None or not _waits(newest):
        return 0
    is_sample = newest.budget.is_sample if newest.budget else False
    raised = 0
    for one in due:
        if one.channel.is_sample != is_sample:
            continue
        span = fmt.duration(timedelta(minutes=one.after_minutes))
        made = notices.raise_to(
            kind="escalated",
            budget=newest.budget,
            run=newest.action_run,
            notice=_notice(newest, span),
            key=f"escalated:{item.pk}:{item.changed_at.isoformat()}:{one.pk}",
            thread=item.thread,
            now=now,
            channels=[(one.channel_id, f"Nobody acknowledged it within {span}: the chain for {one.severity} goes on.")],
            severity=item.severity,
            audience=newest.audience,
        )
        raised += made is not None
    return raised


def _asking(item: OpenItem) -> Alert | None:
    """What still waits for approval, whatever was told of other actions of the item since."""
    told = Alert.objects.filter(thread=item.thread, kind="action_waiting", action_run__state="waiting_approval")
    return told.select_related("budget", "action_run").order_by("pk").last()


def _newest(item: OpenItem) -> Alert | None:
    told = Alert.objects.filter(thread=item.thread).exclude(kind__in=["acknowledged", "escalated"])
    return told.select_related("budget", "action_run").order_by("pk").last()


def _waits(newest: Alert) -> bool:
    """An answered request waits for nobody, whatever its alert said; nor does what ended."""
    if topics.is_closing(newest.kind):
        return False
    if newest.kind == "action_waiting" and newest.action_run is not None:
        return newest.action_run.state == "waiting_approval"
    return newest.kind != "action_done"


def _notice(newest: Alert, span: str) -> Notice:
    told = notice_from(newest.payload)
    return Notice(
        about=told.about,
        first_line=f"Not acknowledged for {span}: {told.first_line}",
        header=f"Waiting {span}: {told.header}",
        lead=told.lead,
        facts=told.facts,
        steps=told.steps,
        consequence=told.consequence,
        buttons=told.buttons,
        footer=told.footer,
        tone=told.tone,
        bar_percent=told.bar_percent,
        bar_words=told.bar_words,
        offers=told.offers,
    )
