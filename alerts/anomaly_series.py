"""The series that anomalies are looked for in, as far as they are complete, and the cells behind a difference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from alerts import causes
from alerts.causes import Scope
from alerts.drivers import Amount, Cell
from attribution import queries as spend_queries
from costobs.kernel import money
from costobs.kernel.period import Days, day_of
from costobs.kernel.scope import SpendScope
from ingest import queries as ingest_queries

Series = list[tuple[datetime, Decimal]]

HISTORY_DAYS = 84  # learned from, before the first judged day
JUDGED_DAYS = 28
HISTORY_HOURS = 28 * 24
JUDGED_HOURS = 72
_QUANTUM = Decimal("0.000000000001")
_HOUR = timedelta(hours=1)
_CALLS = ("usage", "usage_buckets")


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the books can be judged: what ends by `until`; `waits_for` names who is late, if anybody is."""

    until: datetime | None
    waits_for: str


def standing(now: datetime) -> Standing:
    """All sources that feed the books have delivered what lies before `until`; a late one holds everything back.

    A source that is paused, or has never delivered, holds nothing back.
    """
    return _standing(now, ingest_queries.freshness(now=now).sources)


def calls_standing(now: datetime) -> Standing:
    """The same of the sources that tell of calls."""
    lines = ingest_queries.freshness(now=now).sources
    return _standing(now, [one for one in lines if one.produces in _CALLS])


def _standing(now: datetime, sources: Iterable[ingest_queries.SourceLine]) -> Standing:
    lines = [one for one in sources if one.complete_through is not None]
    behind = [one.name for one in lines if one.status in {"late", "failed"}]
    known = [one.complete_through for one in lines if one.complete_through is not None]
    return Standing(min(*known, now) if known else None, ", ".join(behind))


def by_day(until: date, currency: str, *, judged_days: int = JUDGED_DAYS) -> dict[Scope, Series]:
    """Effective cost of every scope on complete days, before `until`; a day on which nothing at all was booked is a gap."""
    days = Days(until - timedelta(days=HISTORY_DAYS + judged_days), until)
    found: dict[Scope, dict[datetime, Decimal]] = {}
    for group in causes.GROUPS:
        rows = spend_queries.daily_costs(scope=SpendScope(days, (), "effective", currency, teams=None), group_by=group)
        _collect(found, group, ((_midnight(row.day), row.keys, row.cost) for row in rows))
    return filled(found)


def by_hour(since: datetime, until: datetime, currency: str) -> dict[Scope, Series]:
    """Estimated cost of logged calls of every scope by hour; an hour in which nobody called anything is a gap."""
    return filled(hours_of(since, until, currency))


def hours_of(since: datetime, until: datetime, currency: str) -> dict[Scope, dict[datetime, Decimal]]:
    """The same without the hours in which a scope cost nothing."""
    found: dict[Scope, dict[datetime, Decimal]] = {}
    scope = SpendScope(Days(day_of(since), day_of(until)), (), "effective", currency, teams=None)
    for group in causes.GROUPS:
        rows = spend_queries.usage_by_hour(scope=scope, since=since, until=until, group_by=group)
        _collect(found, group, ((row.hour, row.keys, row.estimated_cost) for row in rows))
    return found


def filled(found: Mapping[Scope, Mapping[datetime, Decimal]]) -> dict[Scope, Series]:
    """From its first period on, a scope without rows cost nothing where others had some: the sources spoke then."""
    spoken = sorted(found.get((), {}))
    filled: dict[Scope, Series] = {}
    for scope, costs in found.items():
        first = min(costs)
        filled[scope] = [(at, costs.get(at, Decimal(0))) for at in spoken if at >= first]
    return filled


def keys_seen(firsts: Iterable[tuple[Scope, datetime]]) -> dict[str, datetime]:
    """The first period of each key, with whatever team it was, from the first periods of scopes."""
    seen: dict[str, datetime] = {}
    for scope, first in firsts:
        key = dict(scope).get("key")
        if key:
            seen[key] = min(seen.get(key, first), first)
    return seen


def cells_by_day(days: Sequence[date], currency: str) -> dict[tuple[str, ...], Decimal]:
    """Effective cost by the cells of `causes`, summed over these days."""
    found: dict[tuple[str, ...], Decimal] = {}
    for part in spans(days):
        scope = SpendScope(part, (), "effective", currency, teams=None)
        for row in spend_queries.spend(scope=scope, group_by=causes.CELL):
            found[row.keys] = money.EXACT.add(found.get(row.keys, Decimal(0)), row.cost)
    return found


def cells_by_hour(hours: Sequence[datetime], currency: str) -> dict[tuple[str, ...], Decimal]:
    """Estimated cost of calls by the cells of `causes`, summed over these hours."""
    if not hours:
        return {}
    wanted, found = set(hours), dict[tuple[str, ...], Decimal]()
    since, until = min(hours), max(hours) + _HOUR
    scope = SpendScope(Days(day_of(since), day_of(until)), (), "effective", currency, teams=None)
    for row in spend_queries.usage_by_hour(scope=scope, since=since, until=until, group_by=causes.CELL):
        if row.hour in wanted:
            found[row.keys] = money.EXACT.add(found.get(row.keys, Decimal(0)), row.estimated_cost)
    return found


def used_by_day(scope: SpendScope, days: Sequence[date]) -> dict[Cell, Amount]:
    """Cost and tokens of each model and key in a scope, summed over these days."""
    found: dict[Cell, Amount] = {}
    for part in spans(days):
        counted = spend_queries.unit_costs(scope=scope.during(part), group_by=["model", "key"])
        tokens = {row.keys: Decimal(row.tokens) for row in counted}
        for row in spend_queries.spend(scope=scope.during(part), group_by=["model", "key"]):
            _add(found, Cell(*row.keys), row.cost, tokens.get(row.keys, Decimal(0)))
    return found


def used_by_hour(scope: SpendScope, hours: Sequence[datetime]) -> dict[Cell, Amount]:
    """Estimated cost and tokens of each model and key in a scope, summed over these hours."""
    found: dict[Cell, Amount] = {}
    if hours:
        wanted = set(hours)
        asked = spend_queries.usage_by_hour(
            scope=scope, since=min(hours), until=max(hours) + _HOUR, group_by=["model", "key"]
        )
        for row in asked:
            if row.hour in wanted:
                _add(found, Cell(*row.keys), row.estimated_cost, Decimal(row.tokens))
    return found


def scaled(cells: Mapping[Cell, Amount], parts: int, of: int) -> dict[Cell, Amount]:
    """The cells of `of` periods as an average of `parts` of them, cut to 12 decimals."""
    return {cell: Amount(share(one.cost, parts, of), share(one.tokens, parts, of)) for cell, one in cells.items() if of}


def share(amount: Decimal, parts: int, of: int) -> Decimal:
    """`amount` x parts / of, cut to 12 decimals."""
    return money.DIVISION.divide(amount * parts, Decimal(of)).quantize(_QUANTUM)


def _add(found: dict[Cell, Amount], cell: Cell, cost: Decimal, tokens: Decimal) -> None:
    before = found.get(cell, Amount(Decimal(0), Decimal(0)))
    found[cell] = Amount(money.EXACT.add(before.cost, cost), before.tokens + tokens)


def _collect(
    found: dict[Scope, dict[datetime, Decimal]],
    group: tuple[str, ...],
    rows: Iterable[tuple[datetime, tuple[str, ...], Decimal]],
) -> None:
    for at, keys, cost in rows:
        # What belongs to nobody has no owner to tell; it is part of the total.
        if all(keys):
            found.setdefault(tuple(zip(group, keys, strict=True)), {})[at] = cost


def spans(days: Sequence[date]) -> list[Days]:
    spans: list[Days] = []
    for day in sorted(days):
        if spans and spans[-1].end == day:
            spans[-1] = Days(spans[-1].start, day + timedelta(days=1))
        else:
            spans.append(Days(day, day + timedelta(days=1)))
    return spans


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)
