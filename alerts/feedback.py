"""What people say about anomalies, and what that changes: each act is visible, has an end or can be undone, and is audited."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from alerts import anomaly_lines, answers
from alerts.anomaly_items import SENSITIVITY, key_of, tell_end
from alerts.causes import GROUPS
from alerts.models import Anomaly, AnomalyFeedback, OpenItem
from costobs.audit import record
from costobs.kernel import fmt

_LONGEST = timedelta(days=366)
_CLOSING = {"expected": "expected", "not_anomaly": "not_anomaly", "ignore": "ignored"}


class Conflict(Exception):
    """Somebody or a look was faster; the message says what is true now."""


class Invalid(ValueError):
    """It cannot be said so; the message names what was expected."""


class NotFound(Exception):
    """There is no such anomaly or feedback."""


def acknowledge(*, anomaly_id: int, version: int | None, by: str, now: datetime, besides: int | None = None) -> None:
    """Somebody is on it; it stays open, and channels that keep incidents are told. Raises Conflict, NotFound.

    `version` None acts on it as it is now. `besides` is a channel that knows already.
    """
    with transaction.atomic():
        row = _open(anomaly_id, version)
        if row.acknowledged_at is not None:
            raise Conflict(f"{row.acknowledged_by} is on it already, since {fmt.moment(row.acknowledged_at)}")
        row.acknowledged_by, row.acknowledged_at = by, now
        _save(row, now)
        _answered(row, by, now, besides)
        _audit("anomaly.acknowledged", row, by, now)


def mute(
    *, anomaly_id: int, version: int | None, by: str, now: datetime, days: int = 7, besides: int | None = None
) -> None:
    """Nobody is told of it for so many days (1 to 90); it stays open and goes on being measured. Raises as `acknowledge`.

    Muted as long or longer already, it raises Conflict and says by whom.
    """
    if not 1 <= days <= 90:
        raise Invalid(f"expected 1 to 90 days, found {days}")
    with transaction.atomic():
        row = _open(anomaly_id, version)
        if row.muted_until is not None and row.muted_until >= now + timedelta(days=days):
            raise Conflict(f"it is muted already, until {fmt.moment(row.muted_until)}")
        row.muted_until = now + timedelta(days=days)
        _save(row, now)
        _answered(row, by, now, besides)
        _audit("anomaly.muted", row, by, now, after={"until": row.muted_until.isoformat()})


def unmute(*, anomaly_id: int, version: int, by: str, now: datetime) -> None:
    """People are told again."""
    with transaction.atomic():
        row = _locked(anomaly_id, version)
        row.muted_until = None
        _save(row, now)
        _audit("anomaly.unmuted", row, by, now)


def say(
    *,
    anomaly_id: int,
    version: int | None,
    kind: str,
    by: str,
    now: datetime,
    ends_at: datetime | None = None,
    value: str = "",
    note: str = "",
) -> int:
    """Feedback on the scope of an anomaly; the id of it, for `undo`.

    `expected`: what this costs from its beginning until `ends_at` is all right. `not_anomaly`: this was none, and the scope
    has to stand out one spread more from now on. `ignore`: nothing is told of this scope until `ends_at`. All three close
    it. `sensitivity`: low, normal or high, for the scope. Raises Conflict, Invalid, NotFound.
    """
    with transaction.atomic():
        row = _locked(anomaly_id, version)
        starts_at, until = _span(row, kind, now, ends_at, value)
        made = AnomalyFeedback.objects.create(
            anomaly=row, scope=row.scope, scope_key=row.scope_key, kind=kind, starts_at=starts_at, ends_at=until,
            value=value if kind == "sensitivity" else "", note=note[:300], by=by, at=now,
        )  # fmt: skip
        if kind in _CLOSING:
            row.state, row.outcome, row.closed_at = "closed", _CLOSING[kind], row.closed_at or now
        _save(row, now)
        if kind in _CLOSING:
            tell_end(row, now)
            # Where nobody was told of the end, nothing is left to do all the same.
            OpenItem.objects.filter(thread=f"anomaly:{row.pk}", closed_at=None).update(
                closed_at=now, version=F("version") + 1
            )
        _audit(
            f"anomaly.{kind}",
            row,
            by,
            now,
            after={"until": until.isoformat() if until else "", "value": value},
            reason=note,
        )
    return made.pk


def plan(
    *, scope: Mapping[str, str], starts_at: datetime, ends_at: datetime, by: str, now: datetime, note: str = ""
) -> int:
    """A planned event: what this scope and its parts cost in between is expected. Raises Invalid."""
    ordered = next((group for group in GROUPS if set(group) == set(scope)), None)
    if ordered is None or not all(scope[name].strip() for name in ordered):
        known = "; ".join(" and ".join(group) or "nothing" for group in GROUPS)
        raise Invalid(f"expected a scope by {known}; found {' and '.join(scope)}")
    if not starts_at < ends_at <= starts_at + _LONGEST:
        raise Invalid("expected an end after the beginning, within a year")
    pairs = tuple((name, scope[name].strip()) for name in ordered)
    with transaction.atomic():
        made = AnomalyFeedback.objects.create(
            scope=dict(pairs), scope_key=key_of(pairs), kind="planned", starts_at=starts_at, ends_at=ends_at,
            note=note[:300], by=by, at=now,
        )  # fmt: skip
        after = {"scope": dict(pairs), "from": starts_at.isoformat(), "to": ends_at.isoformat()}
        record.write(
            actor=by, act="anomaly.planned", subject=f"scope:{made.scope_key}", at=now, after=after, reason=note
        )
    return made.pk


def undo(*, feedback_id: int, by: str, now: datetime) -> None:
    """Takes back what was said: the next look judges as if it had not been. Raises Conflict, NotFound."""
    with transaction.atomic():
        found = AnomalyFeedback.objects.select_for_update().filter(pk=feedback_id).first()
        if found is None:
            raise NotFound(f"there is no feedback {feedback_id}")
        if found.undone_at is not None:
            raise Conflict(f"{found.undone_by} has undone it already")
        found.undone_by, found.undone_at = by, now
        found.save(update_fields=["undone_by", "undone_at"])
        row = Anomaly.objects.select_for_update().filter(anomalyfeedback=found).first()
        if row is not None and row.outcome == _CLOSING.get(found.kind):
            # No longer decided by a person: the next look opens it again, or leaves it closed as back.
            row.outcome = "back"
            _save(row, now)
        subject = f"anomaly:{found.anomaly_id}" if found.anomaly_id else f"scope:{found.scope_key}"
        record.write(actor=by, act="anomaly.feedback_undone", subject=subject, at=now, before={"kind": found.kind})


def _answered(row: Anomaly, by: str, now: datetime, besides: int | None) -> None:
    """Nobody else is called for the item any more."""
    item = OpenItem.objects.select_for_update().filter(thread=f"anomaly:{row.pk}", closed_at=None).first()
    if item is None or item.acknowledged_at is not None:
        return
    OpenItem.objects.filter(pk=item.pk).update(acknowledged_at=now, acknowledged_by=by, version=F("version") + 1)
    answers.tell(item, by=by, now=now, besides=besides)


def _span(
    row: Anomaly, kind: str, now: datetime, ends_at: datetime | None, value: str
) -> tuple[datetime | None, datetime | None]:
    if kind == "sensitivity":
        if value not in SENSITIVITY:
            raise Invalid(f"expected {', '.join(SENSITIVITY)}; found {value!r}")
        return None, None
    if kind == "not_anomaly":
        return row.started_at, now
    if kind not in _CLOSING:
        raise Invalid(f"expected expected, not_anomaly, ignore or sensitivity; found {kind!r}")
    if ends_at is None or not now < ends_at <= now + _LONGEST:
        raise Invalid("expected an end in the future, within a year")
    return row.started_at if kind == "expected" else min(now, row.started_at), ends_at


def _open(anomaly_id: int, version: int | None) -> Anomaly:
    """The row, if it is open: nobody is on what is over."""
    row = _locked(anomaly_id, version)
    if row.state != "open":
        raise Conflict(over(row.outcome, row.closed_at))
    return row


def _locked(anomaly_id: int, version: int | None) -> Anomaly:
    row = Anomaly.objects.select_for_update().filter(pk=anomaly_id).first()
    if row is None:
        raise NotFound(f"there is no anomaly {anomaly_id}")
    if version is not None and row.version != version:
        raise Conflict("it was changed or measured anew since you opened it; look at it as it is now")
    return row


def _save(row: Anomaly, now: datetime) -> None:
    row.version += 1
    row.updated_at = now
    row.save()


def over(outcome: str, closed_at: datetime | None) -> str:
    """What whoever comes late is told: `it is closed already, since …: back to expected`."""
    since = f", since {fmt.moment(closed_at)}" if closed_at else ""
    return f"it is closed already{since}: {anomaly_lines.OUTCOMES[outcome].lower()}"


def _audit(
    act: str, row: Anomaly, by: str, now: datetime, *, after: Mapping[str, str] | None = None, reason: str = ""
) -> None:
    record.write(actor=by, act=act, subject=f"anomaly:{row.pk}", at=now, after=after, reason=reason)
