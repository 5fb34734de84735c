"""Spend: by any dimensions, by day, in total, what moved, and estimate against bill."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from attribution.queries import extents
from attribution.queries.scoped import SHARE, books, fetch, usage
from costobs.kernel.scope import SpendScope


@dataclass(frozen=True, slots=True)
class SpendRow:
    """Spend of one group. Of `cost`, `estimated_cost` is not billed yet and `unpriced_cost` is at a conservative price."""

    keys: tuple[str, ...]
    cost: Decimal
    estimated_cost: Decimal
    unpriced_cost: Decimal


@dataclass(frozen=True, slots=True)
class DaySpend:
    """Spend of one group on one day. `key` is "" when nothing was grouped. `is_final`: every bill is complete for the day."""

    day: date
    key: str
    cost: Decimal
    estimated_cost: Decimal
    is_final: bool


@dataclass(frozen=True, slots=True)
class SpendTotal:
    """The one total of a scope; the shares direct + shared + idle + overhead + unallocated add to `cost`."""

    cost: Decimal
    estimated_cost: Decimal
    direct_cost: Decimal
    shared_cost: Decimal
    idle_cost: Decimal  # idle_workload and idle_infrastructure
    overhead_cost: Decimal
    unallocated_cost: Decimal
    unpriced_cost: Decimal
    unpriced_requests: int


@dataclass(frozen=True, slots=True)
class EstimateLine:
    """Where a bill replaced estimates: what was billed, what had been estimated, and the part of the bill nobody logged."""

    provider_name: str
    model: str
    billed: Decimal
    estimated: Decimal
    bypass: Decimal

    @property
    def difference(self) -> Decimal:
        """Billed minus estimated."""
        return self.billed - self.estimated


@dataclass(frozen=True, slots=True)
class Mover:
    """One value of a dimension whose spend changed between two scopes."""

    key: str
    cost: Decimal
    before: Decimal

    @property
    def change(self) -> Decimal:
        """Now minus before."""
        return self.cost - self.before


_ESTIMATED = "d.basis = 'estimated'"
_SUM = "coalesce(sum({cost}) FILTER (WHERE {condition}), 0)"


def spend(*, scope: SpendScope, group_by: Sequence[str] = ()) -> list[SpendRow]:
    """Spend by `group_by`, largest first; without dimensions one row with the total. Raises BadScope."""
    scoped = books(scope, group_by, folded=True, kept=["basis", "is_unpriced"])
    keys = scoped.keys()
    listed = "".join(f"{key}, " for key in keys)
    sql = f"""
        SELECT {listed} coalesce(sum({scoped.cost}), 0), {_SUM.format(cost=scoped.cost, condition=_ESTIMATED)},
            {_SUM.format(cost=scoped.cost, condition="d.is_unpriced")}
        {scoped.source()} AND d.is_current
        {_group(keys)} ORDER BY {len(keys) + 1} DESC{"".join(f", {index + 1}" for index in range(len(keys)))}"""
    return [SpendRow(tuple(row[: len(keys)]), *row[len(keys) :]) for row in fetch(sql, scoped.parameters)]


def spend_by_day(*, scope: SpendScope, group_by: str | None = None) -> list[DaySpend]:
    """Spend by day, and by one dimension if asked; days without rows are absent. Ordered by day, then largest first."""
    scoped = books(scope, [group_by] if group_by else [])
    key = scoped.keys()[0] if group_by else "''"
    sql = f"""
        SELECT d.day, {key} AS key, sum({scoped.cost}) AS cost, {_SUM.format(cost=scoped.cost, condition=_ESTIMATED)}
        {scoped.source()} AND d.is_current GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"""
    final = extents.last_final_day()
    return [
        DaySpend(day, key, cost, estimated, final is not None and day <= final)
        for day, key, cost, estimated in fetch(sql, scoped.parameters)
    ]


def total(*, scope: SpendScope) -> SpendTotal:
    """The total of a scope and its shares."""
    scoped = books(scope, ["share_kind"], folded=True, kept=["basis", "is_unpriced"])
    kinds = {
        "direct": "= 'direct'",
        "shared": "= 'shared'",
        "idle": "IN ('idle_workload', 'idle_infrastructure')",
        "overhead": "= 'overhead'",
        "unallocated": "= 'unallocated'",
    }
    shares = ", ".join(_SUM.format(cost="x.cost", condition=f"x.share {test}") for test in kinds.values())
    sql = f"""
        SELECT coalesce(sum(x.cost), 0), {_SUM.format(cost="x.cost", condition="x.basis = 'estimated'")}, {shares},
            {_SUM.format(cost="x.cost", condition="x.is_unpriced")}, bool_or(x.is_unpriced)
        FROM (SELECT {scoped.cost} AS cost, d.basis, d.is_unpriced, {SHARE} AS share
              {scoped.source()} AND d.is_current) x"""
    *amounts, is_unpriced = fetch(sql, scoped.parameters)[0]
    return SpendTotal(*(*amounts, _unpriced_requests(scope) if is_unpriced else 0))


def estimated_versus_billed(*, scope: SpendScope) -> list[EstimateLine]:
    """By provider and model, for the days that are billed: the bill, the estimate it replaced, and its bypass."""
    scoped = books(scope)
    sql = f"""
        SELECT d.provider_name, d.model,
            {_SUM.format(cost=scoped.cost, condition="d.basis = 'billed' AND d.is_current")} AS billed,
            {_SUM.format(cost=scoped.cost, condition="d.basis = 'estimated' AND NOT d.is_current")},
            {_SUM.format(cost=scoped.cost, condition="d.basis = 'billed' AND d.share_kind <> 'direct' AND d.is_current")}
        {scoped.source()} AND d.model <> '' AND d.method IN ('tie_out', 'usage', 'charge')
        GROUP BY 1, 2
        HAVING count(*) FILTER (WHERE d.basis = 'billed' AND d.is_current) > 0
        ORDER BY 3 DESC, 1, 2"""
    return [EstimateLine(*row) for row in fetch(sql, scoped.parameters)]


def movers(*, scope: SpendScope, compare: SpendScope, dimension: str, limit: int = 10) -> list[Mover]:
    """The values of `dimension` that changed most between `compare` and `scope`, largest change first, up or down."""
    now = {row.keys[0]: row.cost for row in spend(scope=scope, group_by=[dimension])}
    then = {row.keys[0]: row.cost for row in spend(scope=compare, group_by=[dimension])}
    zero = Decimal(0)
    rows = [Mover(key, now.get(key, zero), then.get(key, zero)) for key in {*now, *then}]
    moved = [row for row in rows if row.change != 0]
    return sorted(moved, key=lambda row: (-abs(row.change), row.key))[:limit]


def dimension_values(
    *, scope: SpendScope, dimension: str, search: str = "", limit: int = 50
) -> list[tuple[str, Decimal]]:
    """The values of a dimension in scope with their spend, largest first; `search` is any part, in any case."""
    wanted = search.casefold()
    rows = spend(scope=scope, group_by=[dimension])
    return [(row.keys[0], row.cost) for row in rows if wanted in row.keys[0].casefold()][:limit]


def other_currencies(*, scope: SpendScope) -> list[str]:
    """Currencies that have spend in the same scope and are not in its numbers."""
    scoped = books(scope)
    source = scoped.source().replace("d.currency = %(currency)s", "d.currency <> %(currency)s")
    return [
        row[0] for row in fetch(f"SELECT DISTINCT d.currency {source} AND d.is_current ORDER BY 1", scoped.parameters)
    ]


def _unpriced_requests(scope: SpendScope) -> int:
    scoped = usage(scope)
    joined = scoped.source().replace(" d ", " d JOIN ingest_unitprice p ON p.id = d.price_id AND p.is_conservative ", 1)
    return int(fetch(f"SELECT coalesce(sum(d.requests), 0) {joined} AND d.is_current", scoped.parameters)[0][0])


def _group(keys: Sequence[str]) -> str:
    return f"GROUP BY {', '.join(str(index + 1) for index in range(len(keys)))}" if keys else ""
