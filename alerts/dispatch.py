"""Deliver statements: each month of a schedule once, with retries that end, claimed so that two workers share the work."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F

from alerts.destinations import KINDS
from alerts.destinations.base import Item, Parcel, PermanentFailure, TemporaryFailure
from alerts.models import StatementDispatch, StatementSchedule
from attribution import issue
from costobs.kernel import secrets
from costobs.kernel.period import add_months, month
from costobs.kernel.scope import SpendScope

log = logging.getLogger("costobs.alerts")

# A claim that old belongs to a worker that died. Writing and sending the files of a large month takes minutes, not a quarter.
CLAIM = timedelta(minutes=15)
MOST_ATTEMPTS = 12
_PAUSES_SECONDS = (60, 120, 300, 600, 1800, 3600, 3600 * 3, 3600 * 6)
_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What one run did."""

    planned: int
    sent: int
    retried: int
    failed: int


class NotArrived(Exception):
    """The test parcel did not arrive; the message says why and holds no secret."""


def run(*, now: datetime) -> Dispatched:
    """Plans what is due and sends it. Safe to repeat and to run twice at once: a month belongs to whoever claimed it.

    A worker that dies in between leaves a claim that ends; the month is sent again, as the same parcel with the same key.
    """
    planned = _plan(now)
    results: list[str] = []
    resting: set[int] = set()
    for _ in range(_AT_ONCE):
        claimed = _claim(now, resting)
        if claimed is None:
            break
        outcome = _send(claimed, now)
        results.append(outcome)
        if outcome != "sent":
            resting.add(claimed.schedule_id)
    return Dispatched(planned, results.count("sent"), results.count("retried"), results.count("failed"))


def test(*, schedule_id: int, now: datetime) -> str:
    """Sends a small file to the destination of a schedule; what it answered. Raises NotArrived, or KeyError without one."""
    row = StatementSchedule.objects.filter(pk=schedule_id).first()
    if row is None:
        raise KeyError(schedule_id)
    text = f"A test of the delivery {row.name!r}. No statement is in it."
    items = [Item("costobs-test.txt", "text/plain; charset=utf-8", f"{text}\n".encode())]
    key = f"costobs-test-{row.pk}-{int(now.timestamp())}"
    parcel = Parcel(key, "test", f"Test of {row.name}", text, "", "test", items, now, settings.COSTOBS_URL)
    try:
        return KINDS[row.destination]().send(parcel, row.config, row.credentials or {})
    except (TemporaryFailure, PermanentFailure, secrets.Unreadable) as problem:
        raise NotArrived(str(problem)) from problem
    except Exception as problem:
        # As in a real run, only the kind is told: a text could hold a secret.
        log.error("the test of %s broke: %s", row.name, type(problem).__name__)
        raise NotArrived(f"it broke with {type(problem).__name__}; look at its settings") from None


def _plan(now: datetime) -> int:
    """A row for each month that is due and has none. The constraint makes twice once."""
    due = []
    for row in StatementSchedule.objects.filter(is_active=True).order_by("pk"):
        for start, version in _due(row, now):
            due.append(
                StatementDispatch(
                    schedule=row, month=start, version=version, state="waiting", next_attempt_at=now, planned_at=now
                )
            )
    known = set(
        StatementDispatch.objects.filter(schedule_id__in={one.schedule_id for one in due}).values_list(
            "schedule_id", "month", "version"
        )
    )
    new = [one for one in due if (one.schedule_id, one.month, one.version) not in known]
    StatementDispatch.objects.bulk_create(new, ignore_conflicts=True)
    return len(new)


def _due(row: StatementSchedule, now: datetime) -> list[tuple[Any, int]]:
    """Months and versions: what closed since the schedule is active, or the month before once its day has come."""
    if row.trigger == "closed":
        return [(one.month, one.version) for one in issue.closed_since(row.active_from)]
    today = now.astimezone(UTC).date()
    day = today.replace(day=row.day_of_month or 1)
    came = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [(add_months(today, -1), 0)] if came <= now and came + timedelta(days=1) > row.active_from else []


def _claim(now: datetime, resting: set[int]) -> StatementDispatch | None:
    with transaction.atomic():
        due = (
            StatementDispatch.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(state__in=["waiting", "sending"], next_attempt_at__lte=now, schedule__is_active=True)
            .exclude(schedule_id__in=resting)
            .order_by("month", "version", "pk")
            .first()
        )
        if due is None:
            return None
        StatementDispatch.objects.filter(pk=due.pk).update(
            state="sending", attempts=F("attempts") + 1, next_attempt_at=now + CLAIM
        )
    return StatementDispatch.objects.select_related("schedule").get(pk=due.pk)


def _send(claimed: StatementDispatch, now: datetime) -> str:
    schedule = claimed.schedule
    try:
        parcel = _parcel(claimed, now)
        receipt = KINDS[schedule.destination]().send(parcel, schedule.config, schedule.credentials or {})
    except TemporaryFailure as problem:
        return _retry(claimed, str(problem), now)
    except PermanentFailure as problem:
        return _finish(claimed, "failed", {"error": str(problem)})
    except secrets.Unreadable as problem:
        return _finish(claimed, "failed", {"error": str(problem)})
    except Exception as problem:
        # One broken schedule must not stop the others. Only the kind is kept: a text could hold a secret.
        log.error("dispatch %s of %s broke: %s", claimed.pk, schedule.name, type(problem).__name__)
        return _retry(claimed, f"broke with {type(problem).__name__}; see the log of the worker", now)
    files = [
        {"name": one.name, "sha256": hashlib.sha256(one.content).hexdigest(), "bytes": len(one.content)}
        for one in parcel.items
    ]
    return _finish(claimed, "sent", {"sent_at": now, "error": "", "receipt": receipt, "files": files})


def _parcel(claimed: StatementDispatch, now: datetime) -> Parcel:
    """The files of the month as it stands. A version that was reopened meanwhile is not sent. Raises PermanentFailure."""
    schedule = claimed.schedule
    scope = SpendScope(month(claimed.month), (), schedule.cost, settings.COSTOBS_CURRENCY, None)
    whole = issue.document(scope=scope)
    version = whole.statement.version if whole.statement.is_chargeback else 0
    if claimed.version and claimed.version != version:
        raise PermanentFailure(
            f"version {claimed.version} was reopened before it was sent; the next close sends the next one"
        )
    centres: list[str | None] = list(schedule.cost_centres) or [None]
    items = [
        Item(one.name, one.media_type, one.content)
        for centre in centres
        for one in issue.files(scope=scope, cost_centre=centre, kinds=schedule.formats)
    ]
    name = f"{claimed.month:%Y-%m}"
    told = f"v{claimed.version}" if claimed.version else "showback"
    company = f"{whole.company}: " if whole.company else ""
    return Parcel(
        key=f"costobs-{schedule.pk}-{name}-{told}",
        folder=f"{name}/{told}",
        subject=f"{company}LLM cost of {claimed.month:%B %Y}, {whole.kind}",
        text=f"{whole.meaning}\nStatement {whole.id}, SHA-256 {whole.sha256}.\n{settings.COSTOBS_URL}/chargeback/{name}/",
        month=name,
        kind=whole.kind,
        items=items,
        sent_at=now,
        base_url=settings.COSTOBS_URL,
    )


def _retry(claimed: StatementDispatch, problem: str, now: datetime) -> str:
    if claimed.attempts >= MOST_ATTEMPTS:
        return _finish(claimed, "failed", {"error": f"{problem}; given up after {claimed.attempts} attempts"})
    pause = _PAUSES_SECONDS[min(claimed.attempts, len(_PAUSES_SECONDS)) - 1]
    _finish(claimed, "waiting", {"next_attempt_at": now + timedelta(seconds=pause), "error": problem})
    return "retried"


def _finish(claimed: StatementDispatch, state: str, columns: Mapping[str, Any]) -> str:
    """Only the claim that is still ours is changed: a slow worker must not undo what another one noted."""
    StatementDispatch.objects.filter(pk=claimed.pk, state="sending", attempts=claimed.attempts).update(
        state=state, **columns
    )
    return state
