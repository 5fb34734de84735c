"""Send alerts: each once on each active channel, with retries that end, claimed so that two workers share the work."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q

from alerts.channels import KINDS
from alerts.channels.base import Letter, PermanentFailure, TemporaryFailure, notice_from
from alerts.models import AlertDelivery

log = logging.getLogger("costobs.alerts")

# After this an alert is no news: a replay of history, or the end of a long outage, must not flood people.
EXPIRES_AFTER = timedelta(days=1)
# A claim that old belongs to a worker that died.
CLAIM = timedelta(minutes=5)
_PAUSES_SECONDS = (10, 30, 120, 600, 1800, 3600)
_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one run did."""

    sent: int
    retried: int
    failed: int
    expired: int


def run(*, now: datetime) -> Delivered:
    """Sends what is due. Safe to repeat and to run twice at once: a delivery belongs to whoever claimed it.

    Alerts of sample budgets go to sample channels only. A channel that fails is left alone for the rest of the run, so
    one dead server costs one time-out.
    """
    _fan_out(now)
    expired = _expire(now)
    results: list[str] = []
    resting: set[int] = set()
    for _ in range(_AT_ONCE):
        claimed = _claim(now, resting)
        if claimed is None:
            break
        outcome = _send(claimed, now)
        results.append(outcome)
        if outcome == "retried":
            resting.add(claimed.channel_id)
    return Delivered(results.count("sent"), results.count("retried"), results.count("failed"), expired)


def _fan_out(now: datetime) -> None:
    """A waiting delivery for each alert that has none yet and each active channel of its world."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO alerts_alertdelivery (alert_id, channel_id, state, attempts, next_attempt_at, error)
            SELECT a.id, c.id, 'waiting', 0, %(now)s, ''
            FROM alerts_alert a
            LEFT JOIN alerts_budget b ON b.id = a.budget_id
            JOIN alerts_channel c ON c.is_active AND c.is_sample = coalesce(b.is_sample, false)
            WHERE a.raised_at > %(since)s AND a.raised_at <= %(now)s
              AND NOT EXISTS (SELECT FROM alerts_alertdelivery d WHERE d.alert_id = a.id)
            ORDER BY a.id, c.id
            ON CONFLICT (alert_id, channel_id) DO NOTHING
            """,
            {"now": now, "since": now - EXPIRES_AFTER},
        )


def _expire(now: datetime) -> int:
    old = AlertDelivery.objects.filter(state="waiting", alert__raised_at__lte=now - EXPIRES_AFTER)
    return AlertDelivery.objects.filter(pk__in=old.values("pk")).update(
        state="expired", error="not sent within a day of the alert"
    )


def _claim(now: datetime, resting: set[int]) -> AlertDelivery | None:
    """The next delivery that is due, ours until the claim ends; alerts of one channel leave in their order."""
    with transaction.atomic():
        due = (
            AlertDelivery.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(Q(state="waiting") | Q(state="sending"), next_attempt_at__lte=now, channel__is_active=True)
            .exclude(channel_id__in=resting)
            .order_by("alert_id", "pk")
            .first()
        )
        if due is None:
            return None
        AlertDelivery.objects.filter(pk=due.pk).update(
            state="sending", attempts=F("attempts") + 1, next_attempt_at=now + CLAIM
        )
    return AlertDelivery.objects.select_related("alert", "channel").get(pk=due.pk)


def _send(claimed: AlertDelivery, now: datetime) -> str:
    alert, channel = claimed.alert, claimed.channel
    thread_began = AlertDelivery.objects.filter(channel=channel, alert__thread=alert.thread, state="sent").exists()
    try:
        letter = Letter(
            id=alert.pk,
            thread=alert.thread,
            is_first=not thread_began,
            raised_at=alert.raised_at,
            base_url=settings.COSTOBS_URL,
            notice=notice_from(alert.payload),
        )
        KINDS[channel.kind]().send(letter, channel.config, channel.credentials)
    except TemporaryFailure as problem:
        return _retry(claimed, problem, now)
    except PermanentFailure as problem:
        return _finish(claimed, "failed", {"error": str(problem)})
    except Exception as problem:
        # One broken alert or channel must not stop the others. Only the kind is kept: a text could hold a secret.
        log.error("delivery %s on channel %s broke: %s", claimed.pk, channel.name, type(problem).__name__)
        return _finish(claimed, "failed", {"error": f"broke with {type(problem).__name__}; see the log of the worker"})
    return _finish(claimed, "sent", {"sent_at": now, "error": ""})


def _retry(claimed: AlertDelivery, problem: TemporaryFailure, now: datetime) -> str:
    pause = _PAUSES_SECONDS[min(claimed.attempts, len(_PAUSES_SECONDS)) - 1]
    pause = max(pause, problem.retry_after_seconds or 0)
    log.warning("channel %s: %s; again in %s s", claimed.channel.name, problem, pause)
    columns = {"next_attempt_at": now + timedelta(seconds=pause), "error": str(problem)}
    _finish(claimed, "waiting", columns)
    return "retried"


def _finish(claimed: AlertDelivery, state: str, columns: Mapping[str, object]) -> str:
    """Only the claim that is still ours is changed: a slow worker must not undo what another one noted."""
    AlertDelivery.objects.filter(pk=claimed.pk, state="sending", attempts=claimed.attempts).update(
        state=state, **columns
    )
    return state
