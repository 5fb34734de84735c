"""The hours of every scope, remembered by day: a look reads again only the days that have changed since the last one.

In the memory of the process, because it is only a copy: a process that begins reads all once. Looks take turns by a lock.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from alerts import anomaly_series
from alerts.anomaly_findings import Judging
from alerts.anomaly_series import Series
from alerts.causes import Scope
from attribution import queries as spend_queries
from costobs.kernel.period import Days, day_of

_READ_AGAIN = timedelta(hours=6)  # whatever no mark tells of is corrected by then
_DAY = timedelta(days=1)

_Costs = dict[Scope, dict[datetime, Decimal]]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A day as it was read: its mark, when, and what each scope cost in its hours."""

    mark: str
    read_at: datetime
    costs: _Costs


_days: dict[str, dict[date, _Kept]] = {}  # by currency


@dataclass(frozen=True, slots=True)
class Calls:
    """The hours of all spend and of what is worth judging; `keys_seen`: the first hour of each key, worth it or not."""

    series: dict[Scope, Series]
    keys_seen: dict[str, datetime]


def arrived(since: datetime, until: datetime, currency: str, *, now: datetime, how: Judging) -> Calls:
    """What `anomaly_series.by_hour` says of these hours, of all spend and of the scopes that are worth judging."""
    found: _Costs = {}
    for kept in _read(since, until, currency, now):
        for scope, costs in kept.costs.items():
            inside = {at: cost for at, cost in costs.items() if since <= at < until}
            if inside:
                found.setdefault(scope, {}).update(inside)
    worth = {scope: costs for scope, costs in found.items() if not scope or how.is_worth(scope, costs.items())}
    return Calls(
        anomaly_series.filled(worth), anomaly_series.keys_seen((scope, min(costs)) for scope, costs in found.items())
    )


def forget() -> None:
    """As a process that begins: the next look reads all."""
    _days.clear()


def _read(since: datetime, until: datetime, currency: str, now: datetime) -> list[_Kept]:
    """The days of the span, oldest first."""
    days = Days(day_of(since), day_of(until) + _DAY)
    # Asked before the hours are read: what arrives in between has another mark, and is read at the next look.
    marks = spend_queries.hours_marks(days=days)
    kept = {day: one for day, one in _days.get(currency, {}).items() if day in days}
    changed = [day for day in days if not _is_same(kept.get(day), marks.get(day, ""), now)]
    for part in anomaly_series.spans(changed):
        costs = anomaly_series.hours_of(part.start_at, part.end_at, currency)
        kept |= {day: _Kept(marks.get(day, ""), now, {}) for day in part}
        for scope, hours in costs.items():
            for at, cost in hours.items():
                kept[day_of(at)].costs.setdefault(scope, {})[at] = cost
    _days[currency] = kept
    return [kept[day] for day in days]


def _is_same(kept: _Kept | None, mark: str, now: datetime) -> bool:
    return kept is not None and bool(mark) and kept.mark == mark and timedelta(0) <= now - kept.read_at < _READ_AGAIN
