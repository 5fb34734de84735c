"""What people were told, where and when, and why each of them: for the log and for the page behind "why am I getting this"."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, Q, QuerySet, TextField, Value
from django.db.models.functions import Cast, Concat

from alerts import routing
from alerts.channels.base import notice_from
from alerts.models import Alert, AlertDelivery, Anomaly, Budget, OpenItem
from alerts.rows import Notice

Teams = Sequence[str] | None


class NotFound(LookupError):
    """There is no such alert, or it is not the viewer's to see."""


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One alert on one channel."""

    id: int
    channel: str
    kind: str
    state: str
    reason: str
    attempts: int
    sent_at: datetime | None
    next_attempt_at: datetime
    error: str


@dataclass(frozen=True, slots=True)
class AlertLine:
    """One alert and where it went."""

    id: int
    raised_at: datetime
    title: str
    kind: str
    topic: str
    severity: str
    budget_id: int | None
    budget_name: str
    teams: tuple[str, ...]
    thread: str
    deliveries: tuple[DeliveryLine, ...]


@dataclass(frozen=True, slots=True)
class ItemLine:
    """The open item an alert belongs to."""

    id: int
    version: int
    severity: str
    opened_at: datetime
    closed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str


@dataclass(frozen=True, slots=True)
class AlertDetail:
    """One alert with what it said, its thread, and who silenced it."""

    line: AlertLine
    notice: Notice
    item: ItemLine | None
    thread: tuple[AlertLine, ...]  # oldest first
    muted_by: str
    muted_until: datetime | None
    mute_reason: str
    mute_id: int | None


def log(*, teams: Teams, state: str = "", topic: str = "", limit: int = 100) -> list[AlertLine]:
    """The newest alerts; of a viewer bound to teams, those about budgets and anomalies of these teams."""
    rows = _rows(teams)
    if state:
        rows = rows.filter(alertdelivery__state=state).distinct()
    if topic:
        rows = rows.filter(audience=topic)
    return _lines(rows.order_by("-pk")[:limit])


def alert(*, alert_id: int, teams: Teams, now: datetime) -> AlertDetail:
    """One alert. Raises NotFound."""
    row = _rows(teams).filter(pk=alert_id).first()
    if row is None:
        raise NotFound(f"there is no alert {alert_id}")
    mute = routing.mute_of(row, now)
    thread = _rows(teams).filter(thread=row.thread).order_by("pk")[:50]
    return AlertDetail(
        line=_lines([row])[0],
        notice=notice_from(row.payload),
        item=_item(row.thread),
        thread=tuple(_lines(thread)),
        muted_by=mute.muted_by if mute else "",
        muted_until=mute.until if mute else None,
        mute_reason=mute.reason if mute else "",
        mute_id=mute.pk if mute else None,
    )


def delivery_of(*, delivery_id: int, alert_id: int) -> bool:
    """Whether a delivery is one of this alert."""
    return AlertDelivery.objects.filter(pk=delivery_id, alert_id=alert_id).exists()


def _rows(teams: Teams) -> QuerySet[Alert]:
    deliveries = AlertDelivery.objects.select_related("channel").order_by("channel__name", "pk")
    rows = Alert.objects.select_related("budget", "action_run").prefetch_related(
        Prefetch("alertdelivery_set", deliveries)
    )
    if teams is None:
        return rows
    # Every team that the budget names must be the viewer's, and it must name one.
    budgets = Budget.objects.filter(~Q(scope__team=[]), scope__team__contained_by=list(teams), scope__has_key="team")
    anomalies = Anomaly.objects.filter(scope__team__in=[team for team in teams if team])
    threads = anomalies.values_list(Concat(Value("anomaly:"), Cast("pk", TextField()), output_field=TextField()))
    return rows.filter(Q(budget__in=budgets) | Q(budget=None, thread__in=threads))


def _lines(rows: Iterable[Alert]) -> list[AlertLine]:
    found = list(rows)
    odd = routing.anomaly_teams({one.thread for one in found})
    return [_line(one, odd.get(one.thread, ())) for one in found]


def _line(row: Alert, teams: tuple[str, ...]) -> AlertLine:
    budget = row.budget
    return AlertLine(
        id=row.pk,
        raised_at=row.raised_at,
        title=row.title,
        kind=row.kind,
        topic=row.audience,
        severity=row.severity,
        budget_id=budget.pk if budget else None,
        budget_name=budget.name if budget else "",
        teams=tuple(budget.scope.get("team", ())) if budget else teams,
        thread=row.thread,
        deliveries=tuple(
            DeliveryLine(
                one.pk,
                one.channel.name,
                one.channel.kind,
                one.state,
                one.reason,
                one.attempts,
                one.sent_at,
                one.next_attempt_at,
                one.error,
            )
            for one in row.alertdelivery_set.all()
        ),
    )


def _item(thread: str) -> ItemLine | None:
    one = OpenItem.objects.filter(thread=thread).first()
    if one is None:
        return None
    return ItemLine(
        one.pk, one.version, one.severity, one.opened_at, one.closed_at, one.acknowledged_at, one.acknowledged_by
    )
