"""Telling channels that keep incidents that somebody has an item, so that they call nobody else."""

from datetime import datetime

from alerts import notices
from alerts.channels import KINDS
from alerts.models import Alert, OpenItem, ThreadPosition
from alerts.rows import Notice
from costobs.kernel import fmt

# What tells of an item that is open already, and is not what it is about.
_ABOUT_ITEMS = ("acknowledged", "escalated")


def newest(thread: str) -> Alert | None:
    """The alert that says what an item is about now."""
    rows = Alert.objects.filter(thread=thread)
    return rows.exclude(kind__in=_ABOUT_ITEMS).order_by("pk").last() or rows.order_by("pk").last()


def tell(item: OpenItem, *, by: str, now: datetime, besides: int | None = None) -> None:
    """Tells them once for each version of the item. `besides` is a channel that knows already: the press came from there."""
    about = newest(item.thread)
    positions = ThreadPosition.objects.filter(thread=item.thread, channel__is_active=True).select_related("channel")
    hears = [one.channel_id for one in positions if KINDS[one.channel.kind].hears_answers and one.channel_id != besides]
    if about is None or not hears:
        return
    payload = about.payload
    notice = Notice(
        about=payload["about"],
        first_line=f"{by} has it: {about.title}",
        header="Acknowledged",
        lead=f"{by} has it since {fmt.moment(now)}.",
        facts=(),
        steps=(),
        consequence="Nobody else is called for it.",
        buttons=(),
        footer=payload["footer"],
        tone="stale",
    )
    notices.raise_to(
        kind="acknowledged",
        budget=about.budget,
        run=about.action_run,
        notice=notice,
        key=f"acknowledged:{item.pk}:{item.version}",
        thread=item.thread,
        now=now,
        channels=[(one, "It was told how this began.") for one in hears],
        severity=item.severity,
        audience=about.audience,
    )
