"""Writing an alert down: once for each dedupe key, in the caller's transaction, and keeping the item it belongs to."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import F

from alerts import messages, queries, topics
from alerts.models import ActionRun, Alert, AlertDelivery, Budget, OpenItem
from alerts.rows import Notice
from attribution import queries as spend_queries
from costobs.kernel import fmt
from costobs.kernel.period import Days

__all__ = ["driver", "raise_alert", "raise_to"]

# What tells of an item that is open already, and changes nothing about it.
_ABOUT_ITEMS = frozenset({"acknowledged", "escalated"})


def raise_alert(
    *,
    kind: str,
    budget: Budget | None,
    run: ActionRun | None,
    notice: Notice,
    key: str,
    period: Days | None = None,
    now: datetime,
    thread: str = "",
    severity: str = "",
    audience: str = "",
    state: str = "",
    impact: Decimal | None = None,
) -> bool:
    """Adds the alert; False when one with this key exists. What it says is fixed from now on.

    Alerts with one `thread` are one open item (default: the budget in this period). `severity` and `audience`, a topic of
    `alerts.topics`, follow from the kind and the notice's tone unless given. Two alerts of a thread with the same `state` say
    the same: channels stay silent on the second, unless `impact` (an amount) has grown by half since they last spoke.
    """
    return _raised(kind, budget, run, notice, key, period, now, thread, severity, audience, state, impact) is not None


def raise_to(
    *,
    kind: str,
    budget: Budget | None,
    run: ActionRun | None,
    notice: Notice,
    key: str,
    thread: str,
    now: datetime,
    channels: Sequence[tuple[int, str]],
    severity: str = "",
    audience: str = "",
) -> int | None:
    """An alert for these channels alone, each with the reason that people read; its id, or None when the key exists."""
    with transaction.atomic():
        made = _raised(kind, budget, run, notice, key, None, now, thread, severity, audience, "", None)
        if made is None:
            return None
        AlertDelivery.objects.bulk_create(
            [AlertDelivery(alert=made, channel_id=one, next_attempt_at=now, reason=why) for one, why in channels],
            ignore_conflicts=True,
        )
    return made.pk


def _raised(
    kind: str,
    budget: Budget | None,
    run: ActionRun | None,
    notice: Notice,
    key: str,
    period: Days | None,
    now: datetime,
    thread: str,
    severity: str,
    audience: str,
    state: str,
    impact: Decimal | None,
) -> Alert | None:
    if not thread and (budget is None or period is None):
        raise ValueError("an alert that is not about a budget in a period needs a thread")
    if not thread and budget is not None and period is not None:
        thread = f"budget:{budget.pk}:{period.start:%Y-%m-%d}"
    standing = topics.standing(
        kind, tone=notice.tone, action=run.action if run else "", severity=severity, topic=audience
    )
    with transaction.atomic():
        made, created = Alert.objects.get_or_create(
            dedupe_key=key,
            defaults={
                "thread": thread,
                "kind": kind,
                "severity": standing.severity,
                "audience": standing.topic,
                "state": state,
                "impact_cost": impact,
                "budget": budget,
                "action_run": run,
                "title": notice.first_line,
                "payload": asdict(notice),
                "raised_at": now,
            },
        )
        # The end of one action is not the end of what waits for somebody beside it.
        is_other_end = standing.is_closing and run is not None and _is_asked(run)
        if created and kind not in _ABOUT_ITEMS and standing.topic not in {"digest", "test"} and not is_other_end:
            _keep_item(thread, standing, now)
    return made if created else None


def _is_asked(run: ActionRun) -> bool:
    """Whether another action of the budget waits for somebody in the same period."""
    others = ActionRun.objects.filter(budget=run.budget_id, period_start=run.period_start, state="waiting_approval")
    return others.exclude(pk=run.pk).exists()


def _keep_item(thread: str, standing: topics.Standing, now: datetime) -> None:
    """Opens, reopens, makes graver or closes the item. What has become graver waits for somebody again."""
    item, created = OpenItem.objects.select_for_update().get_or_create(
        thread=thread, defaults={"severity": standing.severity, "opened_at": now, "changed_at": now}
    )
    columns: dict[str, object] = {}
    if standing.is_closing:
        columns = {"closed_at": now}
    elif not created and item.closed_at is not None:
        columns = {"closed_at": None, "severity": standing.severity, **_WAITS, "changed_at": now}
    elif not created and topics.worst(item.severity, standing.severity) != item.severity:
        columns = {"severity": standing.severity, **_WAITS, "changed_at": now}
    if columns:
        OpenItem.objects.filter(pk=item.pk).update(**columns, version=F("version") + 1)


_WAITS: dict[str, object] = {"acknowledged_at": None, "acknowledged_by": ""}


def driver(budget: Budget, days: Days) -> messages.Driver | None:
    """The model that took the largest part of the budget."""
    rows = spend_queries.spend(scope=queries.spend_scope(budget, days), group_by=["model"])
    named = next((row for row in rows if row.keys[0] and row.cost > 0), None)
    return None if named is None else messages.Driver(named.keys[0], fmt.money(named.cost, budget.currency))
