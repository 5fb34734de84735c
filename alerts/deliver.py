"""Send alerts: each once on each active channel, with retries that end, claimed so that two workers share the work."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from alerts import letters, routing, topics
from alerts.channels import KINDS
from alerts.channels.base import PermanentFailure, TemporaryFailure
from alerts.models import Alert, AlertDelivery, Channel

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
    """A waiting delivery for each alert that has none yet, on each channel that its routes name."""
    known = AlertDelivery.objects.filter(alert=OuterRef("pk"))
    fresh = Alert.objects.filter(~Exists(known), raised_at__gt=now - EXPIRES_AFTER, raised_at__lte=now)
    rows = [
        AlertDelivery(alert=alert, channel_id=target.channel_id, next_attempt_at=now, reason=target.reason)
        for alert in fresh.select_related("budget").order_by("pk")
        for target in routing.targets(alert)
    ]
    AlertDelivery.objects.bulk_create(rows, ignore_conflicts=True)


def _expire(now: datetime) -> int:
    late = now - EXPIRES_AFTER
    old = AlertDelivery.objects.filter(
        Q(asked_at=None) | Q(asked_at__lte=late), state="waiting", alert__raised_at__lte=late
    )
    return AlertDelivery.objects.filter(pk__in=old.values("pk")).update(
        state="expired", error="not sent within a day of the alert"
    )


def _claim(now: datetime, resting: set[int]) -> AlertDelivery | None:
    """The next delivery that is due, ours until the claim ends; alerts of one channel leave in their order.

    What tells that an item is over waits until what was tried before it has arrived, or was given up: a receiver that hears
    of an end first would open the item after it and keep it open.
    """
    earlier = AlertDelivery.objects.filter(
        channel=OuterRef("channel"),
        alert__thread=OuterRef("alert__thread"),
        alert_id__lt=OuterRef("alert_id"),
        state__in=["waiting", "sending"],
        attempts__gt=0,
    )
    with transaction.atomic():
        due = (
            AlertDelivery.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(Q(state="waiting") | Q(state="sending"), next_attempt_at__lte=now, channel__is_active=True)
            .exclude(channel_id__in=resting)
            .exclude(Q(alert__kind__in=topics.LAST) & Exists(earlier))
            .order_by("alert_id", "pk")
            .first()
        )
        if due is None:
            return None
        AlertDelivery.objects.filter(pk=due.pk).update(
            state="sending", attempts=F("attempts") + 1, next_attempt_at=now + CLAIM
        )
    return AlertDelivery.objects.select_related("alert__budget", "alert__action_run", "channel").get(pk=due.pk)


def _send(claimed: AlertDelivery, now: datetime) -> str:
    alert, channel = claimed.alert, claimed.channel
    held = _held(claimed, now)
    if held:
        return held
    try:
        letter = letters.letter(claimed, now)
        kind = KINDS[channel.kind]()
        if not letter.is_news and not kind.can_edit:
            return _finish(claimed, "folded", {"error": "the channel has said the same already"})
        found = kind.send(letter, channel.config, channel.credentials)
        letters.note(claimed, found, is_news=letter.is_news)
    except TemporaryFailure as problem:
        return _retry(claimed, problem, now)
    except PermanentFailure as problem:
        return _failed(claimed, str(problem), now)
    except Exception as problem:
        # One broken alert or channel must not stop the others. Only the kind is kept: a text could hold a secret.
        log.error("delivery %s on channel %s broke: %s", claimed.pk, channel.name, type(problem).__name__)
        return _failed(claimed, f"broke with {type(problem).__name__}; see the log of the worker", now)
    Channel.objects.filter(pk=channel.pk).update(last_sent_at=now, last_error="")
    log.debug("alert %s went to channel %s", alert.pk, channel.name)
    return _finish(claimed, "sent", {"sent_at": now, "error": ""})


def _held(claimed: AlertDelivery, now: datetime) -> str:
    """Muted, or kept until quiet hours end; "" when it may go."""
    mute = routing.mute_of(claimed.alert, now)
    if mute is not None:
        return _finish(claimed, "muted", {"error": f"muted by {mute.muted_by}: {mute.reason}"})
    until = routing.quiet_until(claimed.alert, claimed.channel, now)
    if until is None:
        return ""
    words = f"quiet hours until {until:%Y-%m-%d %H:%M} UTC"
    _finish(claimed, "waiting", {"next_attempt_at": until, "attempts": claimed.attempts - 1, "error": words})
    return "held"


def _failed(claimed: AlertDelivery, error: str, now: datetime) -> str:
    Channel.objects.filter(pk=claimed.channel_id).update(last_error=error, last_error_at=now)
    return _finish(claimed, "failed", {"error": error})


def _retry(claimed: AlertDelivery, problem: TemporaryFailure, now: datetime) -> str:
    pause = _PAUSES_SECONDS[min(claimed.attempts, len(_PAUSES_SECONDS)) - 1]
    # Who asks for longer than an alert lives asks for none.
    pause = min(max(pause, problem.retry_after_seconds or 0), int(EXPIRES_AFTER.total_seconds()))
    log.warning("channel %s: %s; again in %s s", claimed.channel.name, problem, pause)
    columns = {"next_attempt_at": now + timedelta(seconds=pause), "error": str(problem)}
    _finish(claimed, "waiting", columns)
    Channel.objects.filter(pk=claimed.channel_id).update(last_error=str(problem), last_error_at=now)
    return "retried"


def _finish(claimed: AlertDelivery, state: str, columns: Mapping[str, object]) -> str:
    """Only the claim that is still ours is changed: a slow worker must not undo what another one noted."""
    AlertDelivery.objects.filter(pk=claimed.pk, state="sending", attempts=claimed.attempts).update(
        state=state, **columns
    )
    return state
