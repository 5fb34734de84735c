"""From a SpendScope to SQL: which rows of the books and of usage it means, and what each dimension is called there.

The owner of a row is joined when it is read: by attribute set and model where a rule names one, else by attribute set, from
the current ruleset, or that of the closed month the row belongs to, valid on the row's day.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from attribution.dimensions import provider_name_sql, service_name_sql, usage_cost_kind_sql
from attribution.queries import ownership
from attribution.queries.ownership import TEAM
from costobs.kernel.scope import DIMENSIONS, BadScope, Filter, SpendScope

SHARE = f"CASE WHEN d.share_kind IN ('direct', 'shared') AND {TEAM} = '' THEN 'unallocated' ELSE d.share_kind END"

_OWNED = {
    "team": TEAM,
    "feature": ownership.owner("feature"),
    "cost_centre": f"coalesce(nullif({ownership.owner('cost_centre')}, ''), team.cost_centre, '')",
    "environment": ownership.owner("environment"),
}
_KEY = {"key": "coalesce(a.attributes->>'key', '')"}

BOOKS = {
    "provider_name": "d.provider_name",
    "sub_account": "d.sub_account",
    "service_name": "d.service_name",
    "model": "d.model",
    "deployment": "d.deployment",
    "region": "d.region",
    "charge_category": "d.charge_category",
    "cost_kind": "d.cost_kind",
    "purchase_option": "d.purchase_option",
    "basis": "d.basis",
    "invoice_issuer_name": "d.invoice_issuer_name",
    "share_kind": SHARE,
    "source": "s.name",
    **_OWNED,
    **_KEY,
}
# Usage knows no region, invoice, charge category or purchase; asked for those, it has nothing to divide by, and that is the answer.
USAGE = {
    "provider_name": provider_name_sql("f.provider"),
    "sub_account": "coalesce(nullif(a.attributes->>'account', ''), a.attributes->>'project', '')",
    "service_name": service_name_sql("f.provider"),
    "model": "f.model",
    "deployment": "f.deployment",
    "region": "''",
    "charge_category": "'Usage'",
    "cost_kind": usage_cost_kind_sql("f.provider"),
    "purchase_option": "''",
    "basis": "''",
    "invoice_issuer_name": "''",
    "share_kind": f"CASE WHEN {TEAM} = '' THEN 'unallocated' ELSE 'direct' END",
    "source": "s.name",
    **_OWNED,
    **_KEY,
}

_DAILY = "attribution_dailycost"
_SET_JOIN = "JOIN ingest_attributeset a ON a.id = d.attribute_set_id"
_SOURCE_JOIN = "JOIN ingest_source s ON s.id = d.source_id"
_NEEDS_SET = {"key"}
# The columns behind each dimension, where they are not called the same.
_COLUMNS = {
    **dict.fromkeys(_OWNED, ("attribute_set_id",)),
    "key": ("attribute_set_id",),
    "source": ("source_id",),
    "share_kind": ("share_kind", "attribute_set_id"),
}


@dataclass(slots=True)
class Scoped:
    """FROM and WHERE of one scope over one table aliased `d`, with the parameters they use.

    `expressions` says what each dimension is there. Only the joins that are needed are made. With `sums`, rows are folded
    over the days before they are joined: `sums` are added up, `kept` are the further columns that must stay apart.
    """

    scope: SpendScope
    table: str = _DAILY
    expressions: dict[str, str] = field(default_factory=lambda: BOOKS)
    dimensions: Sequence[str] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    sums: Sequence[str] = ()
    kept: Sequence[str] = ()
    _owner_day: str = "d.day"
    _is_folded: bool = False
    _pins: ownership.Pins | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.dimensions if name not in DIMENSIONS]
        if unknown:
            raise BadScope(f"unknown dimension {unknown[0]!r}; known: {', '.join(DIMENSIONS)}")

    @property
    def cost(self) -> str:
        """The cost column of the scope."""
        return f"d.{self.scope.cost}_cost"

    def keys(self) -> list[str]:
        """The SQL of the dimensions asked for, in their order."""
        return [self.expressions[name] for name in self.dimensions]

    def source(self) -> str:
        """FROM … WHERE … : the rows of the scope that the viewer may see."""
        rows = self._rows()  # decides what the owner day is called
        return f"FROM {rows} d {self._joins()} WHERE {' AND '.join(self._conditions())}"

    def pins(self) -> ownership.Pins:
        """The closed months that decide about owners here."""
        if self._pins is None:
            self._pins = ownership.pins(
                self.scope.days, with_origins=self.table == _DAILY, with_changes=bool(self.sums)
            )
        return self._pins

    def _rows(self) -> str:
        if not self._is_owned():
            return self.table
        self._is_folded = False
        pins, days = self.pins(), self.scope.days
        # A row that corrects a closed month belongs to the owners of that month.
        own_day = "coalesce(d.origin_day, d.day)" if self.table == _DAILY and pins.books else "d.day"
        self._owner_day = own_day
        # Whose owner changes inside a period cannot be told from rows folded over its days.
        if not self.sums or ownership.changes(pins, days):
            return self.table
        self._is_folded = True
        listed = ", ".join(sorted(self._columns()))
        totals = ", ".join(f"sum({name}) AS {name}" for name in self.sums)
        current = " AND d.is_current" if "is_current" in self._columns() else ""
        day = ", min(d.day) AS day"
        by_pin = ""
        if pins.books:
            self._owner_day = "d.owner_day"
            day += f", min({own_day}) AS owner_day"
            apart = pins.apart(own_day, by_month="cost_centre" in self._used())
            by_pin = f", {apart}" if apart else ""
        return f"""(SELECT {listed}{day}, {totals} FROM {self.table} d
            WHERE d.day >= %(start)s AND d.day < %(end)s{current} GROUP BY {listed}{by_pin})"""

    def _columns(self) -> set[str]:
        """What rows folded over their days are told apart by."""
        is_usage = self.expressions is USAGE
        columns = {"attribute_set_id", *(("offering_id",) if is_usage else ("model", "currency")), *self.kept}
        for name in self._used():
            columns.update(_COLUMNS.get(name, () if is_usage else (name,)))
        return columns - {"share_kind"} if is_usage else columns

    def _used(self) -> set[str]:
        return {*self.dimensions, *(one.dimension for one in self.scope.filters)}

    def _is_owned(self) -> bool:
        return bool(self._used() & {*_OWNED, "share_kind"}) or self.scope.teams is not None

    def _joins(self) -> str:
        used = self._used()
        is_usage = self.expressions is USAGE
        joins = []
        if is_usage:
            joins.append("JOIN ingest_offering f ON f.id = d.offering_id")
        if used & _NEEDS_SET or (is_usage and "sub_account" in used):
            joins.append(_SET_JOIN)
        if "source" in used:
            joins.append(_SOURCE_JOIN)
        if self._is_owned():
            model = "f.model" if is_usage else "d.model"
            joins.append(ownership.owner_join(self.pins(), model=model, day=self._owner_day))
        if "cost_centre" in used:
            joins.append(ownership.team_join(self.pins(), day=self._owner_day))
        return " ".join(joins)

    def _conditions(self) -> Iterable[str]:
        self.parameters |= {"start": self.scope.days.start, "end": self.scope.days.end}
        # Folded rows lie in these days already; asked once more, the planner would expect hardly any of them.
        yield "TRUE" if self._is_folded else "d.day >= %(start)s AND d.day < %(end)s"
        if self.expressions is BOOKS:
            self.parameters["currency"] = self.scope.currency
            yield "d.currency = %(currency)s"
        if self.scope.teams is not None:
            self.parameters["viewer_teams"] = [team for team in self.scope.teams if team]
            yield f"{TEAM} = ANY(%(viewer_teams)s)"
        for index, one in enumerate(self.scope.filters):
            yield self._condition(one, f"filter_{index}")

    def _condition(self, one: Filter, name: str) -> str:
        expression = self.expressions[one.dimension]
        if one.op == "contains":
            self.parameters[name] = [f"%{_escaped(value)}%" for value in one.values]
            return f"{expression} ILIKE ANY(%({name})s)"
        self.parameters[name] = list(one.values)
        return f"({expression} = ANY(%({name})s)) IS {'NOT TRUE' if one.op == 'is_not' else 'TRUE'}"


def books(
    scope: SpendScope, dimensions: Sequence[str] = (), *, folded: bool = False, kept: Sequence[str] = ()
) -> Scoped:
    """The rows of the books in a scope; `folded` over their days with the scope's cost added up, current ones only."""
    sums = [f"{scope.cost}_cost"] if folded else []
    return Scoped(scope, dimensions=dimensions, sums=sums, kept=["is_current", *kept])


def usage(
    scope: SpendScope,
    dimensions: Sequence[str] = (),
    *,
    table: str = "ingest_usageday",
    sums: Sequence[str] = (),
    kept: Sequence[str] = (),
) -> Scoped:
    """The rows of a usage rollup in a scope."""
    return Scoped(scope, table=table, expressions=USAGE, dimensions=dimensions, sums=sums, kept=kept)


def fetch(sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
