"""Look for what costs more than it should: by day in the books, by hour in the calls, once for each cause."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction

from alerts import anomaly_items, anomaly_reasons, anomaly_series, bursts, causes, seasons
from alerts.anomaly_items import Finding, Tuning
from alerts.anomaly_series import Series
from alerts.causes import Candidate, Scope
from alerts.models import AnomalyCheck
from alerts.seasons import Episode, Judged
from attribution import queries as spend_queries
from costobs.kernel.period import day_of

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_LOOK_AGAIN = timedelta(minutes=55)  # books of a day that is complete change by restating; hourly is soon enough
_HOURLY_THRESHOLD = Decimal("1.5")  # hours are noisier than days: so many spreads more are needed
_HUNDREDTH = Decimal("0.01")
_ALARM_RATIO = bursts.ALARM_PERCENT / 100


@dataclass(frozen=True, slots=True)
class Limits:
    """What is worth looking at, in the currency of the books: a day or an hour that cost so much, and an impact worth telling."""

    day_cost: Decimal = Decimal(20)
    hour_cost: Decimal = Decimal(5)
    impact_cost: Decimal = Decimal(50)


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look did; `waits_for` names the late sources that hold the days back."""

    opened: int
    updated: int
    closed: int
    waits_for: str


def run(*, now: datetime, limits: Limits | None = None, is_asked: bool = False) -> Looked:
    """Judges what is complete and not judged yet, the hour at work included; opens, updates and closes anomalies.

    Everything is worked out anew from the series, so that repeating changes nothing and the order of arrival does not
    matter: a restated day corrects its anomaly or closes it. One look at a time: a lock is taken. Days are judged when one
    more is complete, once an hour, or when `is_asked`.
    """
    kept = limits or Limits()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs anomalies'))")
        by_hour = _hours(now, kept)
        by_day = _days(now, kept, is_asked=is_asked)
    opened, updated, closed = _added(by_hour[:3], by_day[:3])
    return Looked(opened, updated, closed, by_day[3])


_Done = tuple[int, int, int, str]


def _days(now: datetime, limits: Limits, *, is_asked: bool) -> _Done:
    stand = anomaly_series.standing(now)
    until = None if stand.until is None else _midnight(stand.until)
    before = AnomalyCheck.objects.filter(grain="day").first()
    if not is_asked and before is not None and before.judged_until == until and now - before.checked_at < _LOOK_AGAIN:
        return 0, 0, 0, before.waits_for
    done, known, scopes = (0, 0, 0), 0, 0
    for currency in spend_queries.currencies() if until is not None else ():
        series = anomaly_series.by_day(day_of(until), currency) if until is not None else {}
        tuning = anomaly_items.tuning()
        judged_from = _midnight(until or now) - _DAY * anomaly_series.JUDGED_DAYS
        judged = {
            scope: _judge(scope, one, "day", judged_from, tuning, seasons.THRESHOLD)
            for scope, one in series.items()
            if _is_worth(one, judged_from, limits.day_cost)
        }
        known, scopes = max(known, len(series.get((), []))), scopes + len(judged)
        found = _findings(series, judged, "day", currency, limits.day_cost)
        look = anomaly_items.Look("day", currency, now, stand.until, judged_from, limits.impact_cost)
        done = _added(done, anomaly_items.keep(found, look))
    _note("day", now, until, stand.waits_for, known, scopes)
    return *done, stand.waits_for


def _hours(now: datetime, limits: Limits) -> _Done:
    this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    stand = anomaly_series.calls_standing(now)
    complete = min(stand.until, now) if stand.until is not None else None
    until = complete.astimezone(UTC).replace(minute=0, second=0, microsecond=0) if complete is not None else None
    done, known, scopes = (0, 0, 0), 0, 0
    judged_from = this_hour - _HOUR * anomaly_series.JUDGED_HOURS
    for currency in spend_queries.currencies():
        since = judged_from - _HOUR * anomaly_series.HISTORY_HOURS
        arrived = anomaly_series.by_hour(since, this_hour + _HOUR, currency)
        series = {scope: [one for one in all_ if until and one[0] < until] for scope, all_ in arrived.items()}
        tuning = anomaly_items.tuning()
        threshold = seasons.THRESHOLD + _HOURLY_THRESHOLD
        judged = {
            scope: _judge(scope, series[scope], "hour", judged_from, tuning, threshold) + _burst(
                scope, all_, now, tuning, limits.hour_cost, is_judged=until is not None and until > this_hour
            )
            for scope, all_ in arrived.items()
            if _is_worth(all_, judged_from, limits.hour_cost)
        }  # fmt: skip
        known, scopes = max(known, len(series.get((), [])) // 24), scopes + len(judged)
        found = _findings(arrived, judged, "hour", currency, limits.hour_cost)
        look = anomaly_items.Look("hour", currency, now, complete, judged_from, limits.impact_cost)
        done = _added(done, anomaly_items.keep(found, look))
    _note("hour", now, until, stand.waits_for, known, scopes)
    return *done, stand.waits_for


def _judge(
    scope: Scope, series: Series, grain: str, judged_from: datetime, tuning: Tuning, usual: Decimal
) -> list[Judged]:
    accepted: Callable[[datetime], bool] = tuning.accepts(scope)
    threshold = tuning.threshold(scope, usual)
    return seasons.judge(series, grain=grain, judged_from=judged_from, threshold=threshold, accepted=accepted)


def _burst(
    scope: Scope, arrived: Series, now: datetime, tuning: Tuning, minimum: Decimal, *, is_judged: bool
) -> list[Judged]:
    """The hour at work, when it burns three times the usual and more; late calls can only make it worse."""
    found = None if is_judged else bursts.burn(arrived, now, minimum=minimum)
    if found is None or found.percent < bursts.ALARM_PERCENT or found.burned_cost < minimum:
        return []
    at = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    usual, score = found.hour_usual_cost, (found.percent / 100).quantize(_HUNDREDTH)
    is_accepted = tuning.accepts(scope)(at)
    return [Judged(at, found.hour_cost, usual, usual, usual * _ALARM_RATIO, score, True, is_accepted)]


def _findings(
    series: Mapping[Scope, Series],
    judged: Mapping[Scope, Sequence[Judged]],
    grain: str,
    currency: str,
    minimum: Decimal,
) -> list[Finding]:
    """The causes behind everything odd, each with what it explains."""
    odd = [(scope, one) for scope, all_ in judged.items() for one in seasons.episodes(all_, minimum=minimum)]
    found: list[Finding] = []
    for members in _clusters(odd):
        candidates = [Candidate(scope, one.impact, one.at) for scope, one in members.items()]

        def cube_of(top: Candidate) -> causes.Cube:
            return anomaly_reasons.cube(anomaly_reasons.compared(series[top.scope], list(top.at), grain, currency))

        for cause in causes.find(candidates, cube_of):
            episode = members[cause.scope]
            if episode.odd:
                at = [period.at for period in episode.odd]
                compared = anomaly_reasons.compared(series[cause.scope], at, grain, currency)
                found.append(Finding(cause, episode, compared, tuple(judged[cause.scope])))
    return found


def _clusters(odd: Iterable[tuple[Scope, Episode]]) -> list[dict[Scope, Episode]]:
    """Episodes that share an odd period, directly or through others; two of one scope become one."""
    clusters: list[tuple[set[datetime], dict[Scope, Episode]]] = []
    for scope, one in sorted(odd, key=lambda item: (item[1].periods[0].at, item[0])):
        at, members = set(one.at), {scope: one}
        for other in [each for each in clusters if each[0] & at]:
            clusters.remove(other)
            at |= other[0]
            for name, episode in other[1].items():
                members[name] = _joined(members[name], episode) if name in members else episode
        clusters.append((at, members))
    return [members for _at, members in clusters]


def _joined(one: Episode, other: Episode) -> Episode:
    periods = {period.at: period for period in (*one.periods, *other.periods)}
    return replace(one, periods=tuple(periods[at] for at in sorted(periods)), is_open=one.is_open or other.is_open)


def _is_worth(series: Series, judged_from: datetime, minimum: Decimal) -> bool:
    return any(cost >= minimum for at, cost in series if at >= judged_from)


def _added(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _note(grain: str, now: datetime, until: datetime | None, waits_for: str, known: int, scopes: int) -> None:
    AnomalyCheck.objects.update_or_create(
        grain=grain,
        defaults={
            "checked_at": now, "judged_until": until, "waits_for": waits_for, "known_days": known, "scopes": scopes,
        },
    )  # fmt: skip


def _midnight(at: datetime) -> datetime:
    return datetime.combine(day_of(at), datetime.min.time(), UTC)
