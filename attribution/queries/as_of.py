"""What the books were believed to say at an earlier moment, against what they say now, and what came in between.

Beliefs are kept by day, provider, team and basis, and are exact at every whole hour: a moment inside an hour is answered with
what was known when the hour began. The moment at which a month was closed is exact too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from attribution.queries import spending
from attribution.queries.scoped import Scoped, books, fetch
from costobs.kernel.scope import BadScope, SpendScope

KNOWN_DIMENSIONS = ("provider_name", "team", "basis")


@dataclass(frozen=True, slots=True)
class KnownSpend:
    """Spend of one group as it was believed; `estimated_cost` of it was not billed then."""

    keys: tuple[str, ...]
    cost: Decimal
    estimated_cost: Decimal


@dataclass(frozen=True, slots=True)
class ThenNow:
    """One group, as it was believed and as it is now."""

    key: str
    then: Decimal
    now: Decimal

    @property
    def change(self) -> Decimal:
        """Now minus then."""
        return self.now - self.then


@dataclass(frozen=True, slots=True)
class News:
    """What changed on one UTC day of knowing, and what came in on it. The changes add to now minus then exactly.

    `deliveries` are bills as "source: export", `prices` as "provider/model", `rulesets` as who published one, `closed` the
    months closed. They are told to those who see everything.
    """

    known_on: date
    change: Decimal
    deliveries: tuple[str, ...]
    prices: tuple[str, ...]
    rulesets: tuple[str, ...]
    closed: tuple[date, ...]


@dataclass(slots=True)
class _Known(Scoped):
    """Beliefs of a scope: the owner is in the row, so nothing is joined."""

    def _joins(self) -> str:
        return ""

    def _rows(self) -> str:
        return self.table

    def _conditions(self) -> Iterable[str]:
        days = self.scope.days
        self.parameters |= {"start": days.start, "end": days.end, "currency": self.scope.currency}
        yield "d.day >= %(start)s AND d.day < %(end)s AND d.currency = %(currency)s"
        if self.scope.teams is not None:
            self.parameters["viewer_teams"] = [team for team in self.scope.teams if team]
            yield "d.team = ANY(%(viewer_teams)s)"
        for index, one in enumerate(self.scope.filters):
            yield self._condition(one, f"filter_{index}")


def known_moment(*, known_at: datetime) -> datetime:
    """The moment that is answered for `known_at`: the start of its hour, or itself where a month was closed then."""
    return _moment(known_at)[0]


def first_known_at() -> datetime | None:
    """Since when beliefs are kept, None while there is none."""
    found: datetime | None = fetch("SELECT min(known_from) FROM attribution_knowncost")[0][0]
    return found


def spend_as_of(*, scope: SpendScope, known_at: datetime, group_by: Sequence[str] = ()) -> list[KnownSpend]:
    """Spend by `group_by` (provider_name, team, basis) as it was believed, largest first; the team is the owner of that time.

    Raises BadScope for another dimension or filter.
    """
    scoped = _known(scope, group_by)
    keys = scoped.keys()
    sql = f"""
        SELECT {"".join(f"{key}, " for key in keys)} coalesce(sum({scoped.cost}), 0),
            coalesce(sum({scoped.cost}) FILTER (WHERE d.basis = 'estimated'), 0)
        {scoped.source()} AND {_as_of(scoped, known_at)}
        {f"GROUP BY {', '.join(map(str, range(1, len(keys) + 1)))}" if keys else ""}
        ORDER BY {len(keys) + 1} DESC{"".join(f", {index + 1}" for index in range(len(keys)))}"""
    rows = fetch(sql, scoped.parameters)
    return [KnownSpend(tuple(row[: len(keys)]), row[-2], row[-1]) for row in rows]


def then_and_now(*, scope: SpendScope, known_at: datetime, group_by: str) -> list[ThenNow]:
    """Each day, provider, team or basis as it was believed and as the books say now; days in order, else largest change first.

    What the books say now is what every page says. Raises BadScope.
    """
    now = {row.day.isoformat(): row.cost for row in _days(scope)} if group_by == "day" else _groups(scope, group_by)
    if group_by == "day":
        scoped = _known(scope, ())
        sql = f"SELECT d.day, sum({scoped.cost}) {scoped.source()} AND {_as_of(scoped, known_at)} GROUP BY 1"
        then = {day.isoformat(): cost for day, cost in fetch(sql, scoped.parameters)}
    else:
        then = {row.keys[0]: row.cost for row in spend_as_of(scope=scope, known_at=known_at, group_by=[group_by])}
    zero = Decimal(0)
    found = [ThenNow(key, then.get(key, zero), now.get(key, zero)) for key in sorted({*then, *now})]
    return found if group_by == "day" else sorted(found, key=lambda one: -abs(one.change))


def news_since(*, scope: SpendScope, known_at: datetime) -> list[News]:
    """What became known after a moment, by UTC day, the newest first: how much it changed, and what came in on that day."""
    scoped = _known(scope, ())
    moment, is_exact = _moment(known_at)
    after = ">" if is_exact else ">="
    scoped.parameters["known_at"] = moment
    sql = f"""
        SELECT x.known_on, sum(x.cost) FROM (
            SELECT (d.known_from AT TIME ZONE 'UTC')::date AS known_on, {scoped.cost} AS cost
            {scoped.source()} AND d.known_from {after} %(known_at)s
            UNION ALL SELECT (d.known_to AT TIME ZONE 'UTC')::date, -{scoped.cost}
            {scoped.source()} AND d.known_to {after} %(known_at)s
        ) x GROUP BY 1 ORDER BY 1"""
    changes = dict(fetch(sql, scoped.parameters))
    causes = _causes(scope, moment) if scope.teams is None else {}
    days = sorted({day for day, change in changes.items() if change} | set(causes), reverse=True)
    return [News(day, changes.get(day, Decimal(0)), *_of_day(causes.get(day, []))) for day in days]


def adjusted_cost(*, scope: SpendScope) -> Decimal:
    """The part of the scope that corrects months closed before."""
    scoped = books(scope, ["team"] if scope.teams is not None else [])
    sql = f"SELECT coalesce(sum({scoped.cost}), 0) {scoped.source()} AND d.is_current AND d.origin_day IS NOT NULL"
    found: Decimal = fetch(sql, scoped.parameters)[0][0]
    return found


def _known(scope: SpendScope, dimensions: Sequence[str]) -> _Known:
    for name in (*dimensions, *(one.dimension for one in scope.filters)):
        if name not in KNOWN_DIMENSIONS:
            raise BadScope(f"what was known is kept by {', '.join(KNOWN_DIMENSIONS)}, found {name!r}")
    expressions = {name: f"d.{name}" for name in KNOWN_DIMENSIONS}
    return _Known(scope, "attribution_knowncost", expressions, dimensions)


def _moment(known_at: datetime) -> tuple[datetime, bool]:
    found = fetch(
        """SELECT %(at)s::timestamptz, TRUE FROM attribution_periodbook WHERE closed_at = %(at)s
           UNION ALL SELECT date_trunc('hour', %(at)s::timestamptz), FALSE LIMIT 1""",
        {"at": known_at},
    )
    return found[0][0], found[0][1]


def _as_of(scoped: Scoped, known_at: datetime) -> str:
    """The condition of what was believed; at a whole hour that is what had been known before it."""
    moment, is_exact = _moment(known_at)
    scoped.parameters["known_at"] = moment
    begun, ended = ("<=", ">") if is_exact else ("<", ">=")
    return f"d.known_from {begun} %(known_at)s AND (d.known_to IS NULL OR d.known_to {ended} %(known_at)s)"


def _days(scope: SpendScope) -> list[spending.DaySpend]:
    return spending.spend_by_day(scope=scope)


def _groups(scope: SpendScope, group_by: str) -> dict[str, Decimal]:
    _known(scope, [group_by])
    return {row.keys[0]: row.cost for row in spending.spend(scope=scope, group_by=[group_by])}


_CAUSES = """
SELECT (v.delivered_at AT TIME ZONE 'UTC')::date, 'delivery', s.name || ': ' || v.export, NULL::date
FROM ingest_delivery v JOIN ingest_source s ON s.id = v.source_id
WHERE v.delivered_at >= %(known_at)s AND v.billing_period_start < %(end)s
    AND v.billing_period_start + interval '1 month' > %(start)s
UNION SELECT (p.known_from AT TIME ZONE 'UTC')::date, 'price', p.provider || '/' || p.model, NULL
FROM ingest_unitprice p WHERE p.known_from >= %(known_at)s AND p.valid_from < %(end_at)s
    AND (p.valid_to IS NULL OR p.valid_to > %(start_at)s) AND (p.set_by <> '' OR p.change_id IS NOT NULL)
UNION SELECT (r.created_at AT TIME ZONE 'UTC')::date, 'ruleset', r.created_by, NULL
FROM attribution_rulesetversion r WHERE r.created_at >= %(known_at)s
UNION SELECT (b.closed_at AT TIME ZONE 'UTC')::date, 'closed', '', b.month
FROM attribution_periodbook b WHERE b.closed_at >= %(known_at)s
ORDER BY 1, 2, 3, 4
"""


def _causes(scope: SpendScope, moment: datetime) -> dict[date, list[tuple[str, str, date | None]]]:
    days = scope.days
    values: dict[str, Any] = {"known_at": moment, "start": days.start, "end": days.end}
    found: dict[date, list[tuple[str, str, date | None]]] = {}
    for day, kind, name, month in fetch(_CAUSES, values | {"start_at": days.start_at, "end_at": days.end_at}):
        found.setdefault(day, []).append((kind, name, month))
    return found


def _of_day(
    causes: Sequence[tuple[str, str, date | None]],
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[date, ...]]:
    named = [tuple(name for kind, name, _ in causes if kind == wanted) for wanted in ("delivery", "price", "ruleset")]
    return named[0], named[1], named[2], tuple(month for _kind, _name, month in causes if month is not None)
