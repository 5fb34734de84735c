"""Review packs for finance and for engineering: each period once, at an hour of the first day after it in a named zone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.db import transaction

from alerts import anomaly_queries, digest_messages, notices, queries
from alerts.anomaly_lines import AnomalyLine
from alerts.digest_messages import Frame, Plan
from alerts.models import Channel, DigestIssue, DigestSchedule
from alerts.rows import BudgetLine, Notice, PeriodVariance, Section
from attribution import close
from attribution import queries as spend_queries
from costobs.audit import record
from costobs.kernel import fmt
from costobs.kernel.period import Days, add_months, budget_period
from costobs.kernel.scope import Filter, SpendScope
from ingest import queries as ingest_queries

AUDIENCES = {"finance": "Finance", "engineering": "Engineering"}
PERIODS = {"week": "Weekly", "month": "Monthly", "quarter": "Quarterly"}
_REASONS = 5  # budgets whose variance is explained: each is a question to the books


class Invalid(ValueError):
    """It cannot be set up as asked: messages by field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(errors.values()))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class ScheduleLine:
    """One schedule as pages show it."""

    id: int
    name: str
    audience: str
    period: str
    zone: str
    hour: int
    teams: tuple[str, ...] | None
    channel: str
    is_active: bool
    newest: datetime | None


def run(*, now: datetime) -> list[int]:
    """The alerts of the packs that were due. Each schedule and period once: a constraint makes twice once."""
    made = []
    for row in DigestSchedule.objects.filter(is_active=True, channel__is_active=True).order_by("pk"):
        start, due_at = _due(row.period, row.zone, row.hour, now)
        if now < due_at or due_at <= row.active_from:
            continue
        if not DigestIssue.objects.filter(schedule=row, period_start=start).exists():
            issued = _issue(row, start, now)
            made += [issued] if issued is not None else []
    return made


def preview(
    *, audience: str, period: str, now: datetime, teams: Sequence[str] | None = None, zone: str = "UTC"
) -> Notice:
    """The pack of the last whole period, as it would be sent now."""
    start, _due_at = _due(period, zone, 0, now)
    return _pack(audience, budget_period(period, start), period, None if teams is None else tuple(teams), now)


def send_test(*, schedule_id: int, by: str, now: datetime) -> bool:
    """Sends the pack of the last whole period to its channel, marked as a test; False when there is no such schedule."""
    row = DigestSchedule.objects.filter(pk=schedule_id).first()
    if row is None:
        return False
    start, _due_at = _due(row.period, row.zone, row.hour, now)
    _tell(row, start, now, key=f"digest-test:{row.pk}:{now.isoformat()}", prefix="Test: ")
    record.write(actor=by, act="digest.tested", subject=f"digest:{row.pk}", at=now)
    return True


def create(
    *,
    name: str,
    audience: str,
    period: str,
    channel_id: int,
    by: str,
    now: datetime,
    zone: str = "UTC",
    hour: int = 8,
    teams: Sequence[str] | None = None,
) -> int:
    """A schedule; the first pack is that of the period that ends next. Raises Invalid."""
    channel = Channel.objects.filter(pk=channel_id).first()
    wrong = errors(name=name, audience=audience, period=period, zone=zone, hour=hour)
    if channel is None:
        wrong["channel_id"] = "choose one of the channels"
    if wrong or channel is None:
        raise Invalid(wrong)
    columns = {
        "audience": audience,
        "period": period,
        "zone": zone,
        "hour": hour,
        "teams": list(teams) if teams else None,
    }
    with transaction.atomic():
        row, created = DigestSchedule.objects.get_or_create(
            name=name.strip(), defaults={**columns, "channel": channel, "active_from": now}
        )
        if not created:
            raise Invalid({"name": f"a digest called {name!r} exists"})
        record.write(
            actor=by, act="digest.created", subject=f"digest:{row.pk}", at=now, after={"name": name, **columns}
        )
    return row.pk


def pause(*, schedule_id: int, is_active: bool, by: str, now: datetime) -> None:
    """Stops or restarts a schedule; what was due meanwhile is not sent later."""
    with transaction.atomic():
        columns: dict[str, object] = {"is_active": is_active, **({"active_from": now} if is_active else {})}
        if DigestSchedule.objects.filter(pk=schedule_id).exclude(is_active=is_active).update(**columns):
            act = "digest.resumed" if is_active else "digest.paused"
            record.write(actor=by, act=act, subject=f"digest:{schedule_id}", at=now)


def remove(*, schedule_id: int, by: str, now: datetime) -> bool:
    """Takes a schedule out; False when there is none."""
    with transaction.atomic():
        row = DigestSchedule.objects.filter(pk=schedule_id).first()
        if row is None:
            return False
        before = {"name": row.name}
        row.delete()
        record.write(actor=by, act="digest.removed", subject=f"digest:{schedule_id}", at=now, before=before)
    return True


def schedules() -> list[ScheduleLine]:
    """Every schedule by name."""
    rows = DigestSchedule.objects.select_related("channel").order_by("name")
    newest = {one.schedule_id: one.made_at for one in DigestIssue.objects.order_by("period_start")}
    return [
        ScheduleLine(
            row.pk,
            row.name,
            row.audience,
            row.period,
            row.zone,
            row.hour,
            None if row.teams is None else tuple(row.teams),
            row.channel.name,
            row.is_active,
            newest.get(row.pk),
        )
        for row in rows
    ]


def errors(*, name: str, audience: str, period: str, zone: str, hour: int) -> dict[str, str]:
    """What is wrong with a schedule, by field; empty when nothing is."""
    found: dict[str, str] = {}
    if not name.strip():
        found["name"] = "it needs a name"
    if audience not in AUDIENCES:
        found["audience"] = f"expected one of {', '.join(AUDIENCES)}"
    if period not in PERIODS:
        found["period"] = f"expected one of {', '.join(PERIODS)}"
    if not 0 <= hour <= 23:
        found["hour"] = "expected 0 to 23"
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        found["zone"] = f"expected a name as Europe/Berlin, found {zone!r}"
    return found


def _due(period: str, zone: str, hour: int, now: datetime) -> tuple[date, datetime]:
    """The first day of the last whole period there, and when its pack is due."""
    here = ZoneInfo(zone)
    current = budget_period(period, now.astimezone(here).date())
    before = budget_period(period, current.start - timedelta(days=1))
    return before.start, datetime.combine(current.start, time(hour), here)


def _issue(row: DigestSchedule, start: date, now: datetime) -> int | None:
    with transaction.atomic():
        issue, created = DigestIssue.objects.get_or_create(schedule=row, period_start=start, defaults={"made_at": now})
        if not created:
            return None
        alert_id = _tell(row, start, now, key=f"digest:{row.pk}:{start}")
        DigestIssue.objects.filter(pk=issue.pk).update(alert_id=alert_id)
    return alert_id


def _tell(row: DigestSchedule, start: date, now: datetime, *, key: str, prefix: str = "") -> int | None:
    teams = None if row.teams is None else tuple(row.teams)
    notice = _pack(row.audience, budget_period(row.period, start), row.period, teams, now, prefix)
    return notices.raise_to(
        kind="digest",
        budget=None,
        run=None,
        notice=notice,
        key=key,
        thread=f"digest:{row.pk}:{start}{':test' if prefix else ''}",
        now=now,
        channels=[(row.channel_id, f"It is the channel of the digest {row.name}.")],
        severity="info",
    )


def _pack(
    audience: str, days: Days, period: str, teams: tuple[str, ...] | None, now: datetime, prefix: str = ""
) -> Notice:
    before = budget_period(period, days.start - timedelta(days=1))
    currency = settings.COSTOBS_CURRENCY
    scope = SpendScope(days, (), "effective", currency, teams)
    then = scope.during(before)
    total, earlier = spend_queries.total(scope=scope), spend_queries.total(scope=then)
    lines = queries.budgets(now=now, teams=teams)
    lines = [line for line in lines if not line.is_sample] or lines
    plans = _plans(lines, days, teams, now)
    parts = _finance if audience == "finance" else _engineering
    sections = [*parts(scope, then, total, earlier, lines, plans, now)]
    frame = Frame(audience, period, days, before, currency, teams, ingest_queries.freshness(now=now).complete_through)
    over = sum(1 for one in plans if one.period.variance_cost > 0)
    made = digest_messages.notice(frame, total, earlier, sections, over)
    return replace(made, first_line=prefix + made.first_line)


def _finance(
    scope: SpendScope,
    then: SpendScope,
    total: spend_queries.SpendTotal,
    earlier: spend_queries.SpendTotal,
    _lines: Sequence[BudgetLine],
    plans: Sequence[Plan],
    now: datetime,
) -> list[Section]:
    found = [digest_messages.plan(plans, scope.currency), _moved("Moved, by team", scope, then, "team")]
    found.append(digest_messages.unallocated(total, earlier, scope.currency))
    if scope.teams is None:
        found.append(digest_messages.reconciliation(spend_queries.compared(scope=scope), scope.currency))
        found.append(_month_close(scope.days, now))
    return found


def _engineering(
    scope: SpendScope,
    then: SpendScope,
    total: spend_queries.SpendTotal,
    _earlier: spend_queries.SpendTotal,
    lines: Sequence[BudgetLine],
    _plans: Sequence[Plan],
    _now: datetime,
) -> list[Section]:
    models = spend_queries.unit_costs(scope=scope, group_by=["model"])
    was = {one.keys[0]: one for one in spend_queries.unit_costs(scope=then, group_by=["model"])}
    return [
        _moved("What changed, by feature", scope, then, "feature"),
        _moved("What changed, by model", scope, then, "model"),
        digest_messages.units(models, was, scope.currency),
        digest_messages.waste(spend_queries.gpu_costs(scope=scope), total, scope.currency),
        digest_messages.at_risk(lines, queries.waiting_actions(teams=scope.teams)),
        digest_messages.anomalies(_odd(scope)),
    ]


def _odd(scope: SpendScope) -> list[AnomalyLine]:
    """The anomalies that the viewer may see and that began in these days or went on into them."""
    found = anomaly_queries.anomalies(teams=scope.teams, limit=1000)
    days = scope.days
    return [line for line in found if line.started_at < days.end_at and line.last_at >= days.start_at]


def _moved(title: str, scope: SpendScope, then: SpendScope, dimension: str) -> Section:
    found = spend_queries.movers(scope=scope, compare=then, dimension=dimension, limit=1000)
    now = {one.keys[0]: one for one in spend_queries.unit_costs(scope=scope, group_by=[dimension])}
    before = {one.keys[0]: one for one in spend_queries.unit_costs(scope=then, group_by=[dimension])}
    why = {one.key: digest_messages.why_moved(now.get(one.key), before.get(one.key)) for one in found}
    return digest_messages.moved(title, found, why, scope.currency)


def _plans(lines: Sequence[BudgetLine], days: Days, teams: tuple[str, ...] | None, now: datetime) -> list[Plan]:
    """Each budget in the pack's own period if it has the same, else in its current one; the worst first."""
    periods = queries.periods_during(lines=lines, days=days, now=now)
    found = [(line, periods[line.id]) for line in lines if line.id in periods]
    found.sort(key=lambda pair: (-pair[1].variance_percent, pair[0].name))
    return [
        Plan(line, period, _reason(line, period, teams) if number < _REASONS else "")
        for number, (line, period) in enumerate(found)
    ]


def _reason(line: BudgetLine, period: PeriodVariance, teams: tuple[str, ...] | None) -> str:
    filters = tuple(Filter(name, tuple(values)) for name, values in sorted(line.scope.items()))
    scope = SpendScope(period.days, filters, "effective", line.currency, teams)
    length = len(period.days)
    before = Days(period.days.start - timedelta(days=length), period.days.start)
    moved = spend_queries.movers(scope=scope, compare=scope.during(before), dimension="model", limit=1)
    if not moved:
        return ""
    return f"{moved[0].key or 'no model'} {fmt.money(moved[0].change, line.currency, signed=True)}"


def _month_close(days: Days, now: datetime) -> Section:
    months = []
    first = days.start.replace(day=1)
    while first < days.end:
        book = close.status(month=first, now=now)
        months.append((first, book.state, [one.words for one in book.open_lines]))
        first = add_months(first, 1)
    return digest_messages.month_close(months)
