"""Look for what costs more than it should: by day in the books, by hour in the calls, once for each cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction

from alerts import (
    anomaly_findings,
    anomaly_hours,
    anomaly_items,
    anomaly_limits,
    anomaly_series,
    bursts,
    causes,
    seasons,
)
from alerts.anomaly_findings import Judging
from alerts.anomaly_limits import Book, Limits
from alerts.anomaly_series import Series
from alerts.causes import Scope
from alerts.models import AnomalyCheck
from alerts.seasons import Judged
from attribution import queries as spend_queries
from costobs.kernel import money
from costobs.kernel.period import day_of

__all__ = ["Limits", "Looked", "run"]

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_LOOK_AGAIN = timedelta(minutes=55)  # books of a day that is complete change by restating; hourly is soon enough
_HUNDREDTH = Decimal("0.01")
_ALARM_RATIO = bursts.ALARM_PERCENT / 100
_MOST_FALLS = 20


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look did; `waits_for` names the late sources that hold the days back."""

    opened: int
    updated: int
    closed: int
    waits_for: str


def run(*, now: datetime, limits: Limits | None = None, is_asked: bool = False) -> Looked:
    """Judges what is complete and not judged yet, the hour at work included; opens, updates and closes anomalies.

    Everything follows from the series, so that repeating changes nothing and the order of arrival does not matter: a restated
    day corrects its anomaly or closes it. Days of calls that have not changed are not read again, and series that have not
    changed are not judged again; that changes no result. `limits` hold where people set nothing. One look at a time: a lock is
    taken. Days are judged when one more is complete, once an hour, or when `is_asked`.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs anomalies'))")
        book = anomaly_limits.book(limits)
        by_hour = _hours(now, book)
        by_day = _days(now, book, is_asked=is_asked)
    opened, updated, closed = _added(by_hour[:3], by_day[:3])
    return Looked(opened, updated, closed, by_day[3])


def forget() -> None:
    """As a process that begins: the next look reads and judges all."""
    anomaly_hours.forget()
    anomaly_findings.forget()


_Done = tuple[int, int, int, str]


def _days(now: datetime, book: Book, *, is_asked: bool) -> _Done:
    stand = anomaly_series.standing(now)
    until = None if stand.until is None else _midnight(stand.until)
    before = AnomalyCheck.objects.filter(grain="day").first()
    if not is_asked and before is not None and before.judged_until == until and now - before.checked_at < _LOOK_AGAIN:
        return 0, 0, 0, before.waits_for
    done, known, scopes, falls = (0, 0, 0), 0, 0, list[list[object]]()
    for currency in spend_queries.currencies() if until is not None else ():
        series = anomaly_series.by_day(day_of(until), currency) if until is not None else {}
        judged_from = _midnight(until or now) - _DAY * anomaly_series.JUDGED_DAYS
        how = Judging("day", currency, judged_from, anomaly_items.tuning(), book)
        seen = anomaly_series.keys_seen((scope, one[0][0]) for scope, one in series.items() if one)
        series, new = anomaly_findings.with_new(series, seen, how)
        judged = {
            scope: anomaly_findings.judge(scope, one, how, is_new=scope in new)
            for scope, one in series.items()
            if how.is_worth(scope, one)
        }
        anomaly_findings.keep_only("day", currency, judged)
        known, scopes = max(known, len(series.get((), []))), scopes + len(judged)
        look = anomaly_items.Look("day", currency, now, stand.until, judged_from, book)
        done = _added(done, anomaly_items.keep(anomaly_findings.findings(series, judged, how), look))
        falls += _falls(judged, book, currency)
    _note("day", now, until, stand.waits_for, known, scopes, falls)
    return *done, stand.waits_for


def _hours(now: datetime, book: Book) -> _Done:
    this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    stand = anomaly_series.calls_standing(now)
    complete = min(stand.until, now) if stand.until is not None else None
    until = complete.astimezone(UTC).replace(minute=0, second=0, microsecond=0) if complete is not None else None
    done, known, scopes = (0, 0, 0), 0, 0
    judged_from = this_hour - _HOUR * anomaly_series.JUDGED_HOURS
    for currency in spend_queries.currencies():
        since = judged_from - _HOUR * anomaly_series.HISTORY_HOURS
        how = Judging("hour", currency, judged_from, anomaly_items.tuning(), book)
        calls = anomaly_hours.arrived(since, this_hour + _HOUR, currency, now=now, how=how)
        arrived, new = anomaly_findings.with_new(calls.series, calls.keys_seen, how)
        judged: dict[Scope, list[Judged]] = {}
        for scope, all_ in arrived.items():
            if how.is_worth(scope, all_):
                over = [one for one in all_ if until and one[0] < until]
                judged[scope] = anomaly_findings.judge(scope, over, how, is_new=scope in new)
                if until is None or until <= this_hour:
                    judged[scope] = judged[scope] + _burst(scope, all_, now, how, is_new=scope in new)
        anomaly_findings.keep_only("hour", currency, judged)
        known = max(known, len([at for at, _cost in arrived.get((), []) if until and at < until]) // 24)
        scopes += len(judged)
        look = anomaly_items.Look("hour", currency, now, complete, judged_from, book)
        done = _added(done, anomaly_items.keep(anomaly_findings.findings(arrived, judged, how), look))
    _note("hour", now, until, stand.waits_for, known, scopes)
    return *done, stand.waits_for


def _burst(scope: Scope, arrived: Series, now: datetime, how: Judging, *, is_new: bool) -> list[Judged]:
    """The hour at work, when it burns three times the usual and more; late calls can only make it worse."""
    minimum = how.book.of(scope).hour_cost
    found = bursts.burn(arrived, now, minimum=minimum)
    if found is None or found.percent < bursts.ALARM_PERCENT or found.burned_cost < minimum:
        return []
    at = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    usual, score = found.hour_usual_cost, (found.percent / 100).quantize(_HUNDREDTH)
    high = minimum * anomaly_findings.NEW_TIMES if is_new else usual * _ALARM_RATIO
    is_accepted = how.tuning.accepts(scope)(at)
    return [Judged(at, found.hour_cost, usual, usual, high, score, True, is_accepted)]


def _falls(judged: Mapping[Scope, Sequence[Judged]], book: Book, currency: str) -> list[list[object]]:
    """What cost next to nothing of late, the largest first; a part of a scope that fell as a whole is not named again."""
    found: dict[Scope, tuple[Judged, ...]] = {}
    for scope in sorted(judged, key=lambda one: (causes.GROUPS.index(causes.group_of(one)), one)):
        fell = seasons.fallen(judged[scope], least=book.of(scope).day_cost)
        if fell and not any(set(other) <= set(scope) for other in found):
            found[scope] = fell
    listed = sorted(found.items(), key=lambda item: (item[1][-1].excess, item[0]))[:_MOST_FALLS]
    return [
        [dict(scope), currency, fell[0].at.isoformat(), len(fell), *(money.text(each) for each in (
            money.total(one.cost for one in fell), money.total(one.expected or Decimal(0) for one in fell)
        ))]
        for scope, fell in listed
    ]  # fmt: skip


def _added(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _note(
    grain: str,
    now: datetime,
    until: datetime | None,
    waits_for: str,
    known: int,
    scopes: int,
    falls: Sequence[object] = (),
) -> None:
    AnomalyCheck.objects.update_or_create(
        grain=grain,
        defaults={
            "checked_at": now, "judged_until": until, "waits_for": waits_for, "known_days": known, "scopes": scopes,
            "falls": list(falls),
        },
    )  # fmt: skip


def _midnight(at: datetime) -> datetime:
    return datetime.combine(day_of(at), datetime.min.time(), UTC)
