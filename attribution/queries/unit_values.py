"""What one unit of business value costs: figures of whole periods against the spend of the same owner on the same days."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from attribution.queries.scoped import BOOKS, Scoped, books, fetch
from costobs.kernel.period import Days
from costobs.kernel.scope import DIMENSIONS, BadScope, SpendScope

PERIODS = ("day", "week", "month")
_PLACES = Decimal("1e-12")
_OWNED = ("team", "feature", "cost_centre", "environment", "key", "source")
# A unit that is a currency is revenue. ISO 4217, those in which software is sold.
CURRENCIES = frozenset({
    "AED", "ARS", "AUD", "BDT", "BGN", "BHD", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK",
    "EGP", "EUR", "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "ISK", "JOD", "JPY", "KES", "KRW", "KWD",
    "KZT", "LKR", "MAD", "MXN", "MYR", "NGN", "NOK", "NZD", "OMR", "PEN", "PHP", "PKR", "PLN", "QAR",
    "RON", "RSD", "SAR", "SEK", "SGD", "THB", "TND", "TRY", "TWD", "UAH", "USD", "UYU", "VND", "ZAR",
})  # fmt: skip

# A figure knows its owner, and nothing of bills.
EXPRESSIONS = {**dict.fromkeys(DIMENSIONS, "''"), **{name: BOOKS[name] for name in _OWNED}}
FIGURES = """(SELECT m.*, (m.period_start AT TIME ZONE 'UTC')::date AS day, '' AS model, a.digest,
        coalesce(a.attributes->>'tags', '') AS tags
    FROM ingest_businessmetric m JOIN ingest_attributeset a ON a.id = m.attribute_set_id
    WHERE m.period_end <= (%(end)s::date)::timestamp AT TIME ZONE 'UTC')"""
_BUCKETS = {
    **{name: (f"date_trunc('{name}', f.period_start, 'UTC')", f"interval '1 {name}'") for name in PERIODS},
    "all": ("(%(start)s::date)::timestamp AT TIME ZONE 'UTC'", "interval '10000 years'"),
}
# Of figures that tell of the same time twice (a week beside its days, two sources), the shortest counts, then the oldest
# source's. A figure counts where the figures of its bucket fill every day it touches: spend is known by whole UTC days.
_MATCHED = """
WITH figure AS (
    SELECT d.id, d.source_id, d.name, d.unit, d.digest, d.period_start, d.period_end, d.value, {team} AS team,
        {feature} AS feature {source}
), first_told AS (
    SELECT f.* FROM figure f WHERE NOT EXISTS (
        SELECT FROM figure o WHERE o.name = f.name AND o.unit = f.unit AND o.digest = f.digest
            AND o.period_start < f.period_end AND o.period_end > f.period_start
            AND (o.period_end - o.period_start, o.source_id, o.id) < (f.period_end - f.period_start, f.source_id, f.id))
), placed AS (
    SELECT f.*, {bucket} AS bucket, f.period_end <= {bucket} + {length} AS fits,
        tstzrange(date_trunc('day', f.period_start, 'UTC'),
            date_trunc('day', f.period_end - interval '1 microsecond', 'UTC') + interval '1 day') AS touched
    FROM first_told f
), filled AS (
    SELECT name, unit, team, feature, bucket, range_agg(tstzrange(period_start, period_end)) AS whole
    FROM placed WHERE fits GROUP BY 1, 2, 3, 4, 5
), counted AS (
    SELECT p.name, p.unit, p.team, p.feature, p.bucket, p.value, p.touched
    FROM placed p JOIN filled w USING (name, unit, team, feature, bucket) WHERE p.fits AND p.touched <@ w.whole
)
SELECT c.name, c.unit, c.team, c.feature, sum(c.value), count(*),
    ARRAY(SELECT DISTINCT g::date FROM unnest(range_agg(c.touched)) r,
        generate_series(lower(r), upper(r) - interval '1 day', interval '1 day') g ORDER BY 1)
FROM counted c GROUP BY c.name, c.unit, c.team, c.feature, c.bucket ORDER BY 1, 2, 3, 4, c.bucket
"""
_PART = """CASE WHEN d.share_kind IN ('idle_workload', 'idle_infrastructure') THEN 'idle'
    WHEN d.share_kind IN ('shared', 'overhead') THEN 'shared'
    WHEN d.cost_kind IN ('api_inference', 'serverless_inference') THEN 'api'
    WHEN d.cost_kind = 'gpu_compute' THEN 'gpu' ELSE 'other' END"""


@dataclass(frozen=True, slots=True)
class CostParts:
    """Spend by what it is for; the parts add to `cost`. `estimated` is in them, and not billed yet."""

    api: Decimal = Decimal(0)
    gpu: Decimal = Decimal(0)
    shared: Decimal = Decimal(0)  # split by rule, and busy GPU time without a request
    idle: Decimal = Decimal(0)
    other: Decimal = Decimal(0)
    estimated: Decimal = Decimal(0)

    @property
    def cost(self) -> Decimal:
        """All parts together."""
        return self.api + self.gpu + self.shared + self.idle + self.other


@dataclass(frozen=True, slots=True)
class UnitValue:
    """How much of one unit there was in whole periods, and what the spend of its owner was on the same days.

    `cost_per_unit` is None where nothing was done. A unit that is the scope's currency is revenue: then there is a margin;
    in another currency it is not known.
    """

    value: Decimal
    parts: CostParts
    days: tuple[date, ...]  # that the figures fill; the spend of these days counts
    unit: str
    currency: str

    @property
    def cost(self) -> Decimal:
        """The spend of the owner on these days."""
        return self.parts.cost

    @property
    def cost_per_unit(self) -> Decimal | None:
        """Cut to 12 decimals."""
        return (self.cost / self.value).quantize(_PLACES) if self.value > 0 else None

    @property
    def margin(self) -> Decimal | None:
        """Revenue less cost."""
        return self.value - self.cost if self.unit.upper() == self.currency else None

    @property
    def margin_rate(self) -> Decimal | None:
        """Of revenue, 0.4 is 40 %."""
        return (self.margin / self.value).quantize(_PLACES) if self.margin is not None and self.value > 0 else None

    @property
    def span(self) -> Days:
        """From the first of the days to the last."""
        return Days(self.days[0], self.days[-1] + timedelta(days=1))


@dataclass(frozen=True, slots=True)
class UnitValues:
    """One unit in a scope: in all, by period and by owner (team, feature). Spend of a day counts once in `whole` and in a
    period, whatever owners' figures name it. `left_out` figures lie in the scope and do not count: they tell of a time that
    another one tells of, do not fill whole UTC days, or are longer than the period."""

    name: str
    unit: str
    by: str
    whole: UnitValue | None
    periods: list[UnitValue]
    owners: list[tuple[str, str, UnitValue]]
    left_out: int

    @property
    def is_revenue(self) -> bool:
        """Whether its unit is a currency."""
        return self.unit.upper() in CURRENCIES


@dataclass(frozen=True, slots=True)
class DefinedUnit:
    """A unit somebody has told figures of, with the days of the first and the last."""

    name: str
    unit: str
    figures: int
    first: date
    last: date
    by: str  # the shortest period that holds every one of its figures


@dataclass(frozen=True, slots=True)
class BusinessValue:
    """What the business did in whole periods inside the scope, what its owner's spend was, and the cost of one unit.

    `cost_per_unit` is None where nothing was done.
    """

    name: str
    unit: str
    team: str
    feature: str
    value: Decimal
    cost: Decimal
    cost_per_unit: Decimal | None


@dataclass(frozen=True, slots=True)
class _Counted:
    name: str
    unit: str
    team: str
    feature: str
    value: Decimal
    figures: int
    days: list[date]


_Spent = Mapping[date, Sequence[tuple[tuple[str, str], CostParts]]]


def business_values(*, scope: SpendScope) -> list[BusinessValue]:
    """Figures by name and owner, with the spend of the same owner on the same days.

    A figure that names a feature stands against the spend of that feature (of its team, where it names one), else against
    the team's, else against all spend of the scope. Only periods that lie wholly inside the scope's days count.
    """
    rows = _counted(scope, "all", None)
    spent = _spent(scope) if rows else {}
    found = []
    for row in rows:
        made = _value([row], spent, row.unit, scope)
        found.append(
            BusinessValue(row.name, row.unit, row.team, row.feature, made.value, made.cost, made.cost_per_unit)
        )
    return found


def unit_values(*, scope: SpendScope, name: str, unit: str = "", by: str = "") -> UnitValues:
    """One unit by period (day, week, month; without `by` the shortest that holds every figure) and by owner.

    A name with figures in several units is several; without `unit` the most told one is meant. Raises BadScope.
    """
    if by not in ("", *PERIODS):
        raise BadScope(f"unknown period {by!r}; known: {', '.join(PERIODS)}")
    told = [one for one in defined_units(scope=scope, inside=True) if one.name == name and unit in ("", one.unit)]
    if not told:
        return UnitValues(name, unit, by or "day", None, [], [], 0)
    chosen = max(told, key=lambda one: (one.figures, one.unit))
    by = by or chosen.by
    rows = [row for row in _counted(scope, by, name) if row.unit == chosen.unit]
    spent = _spent(scope) if rows else {}
    buckets: dict[date, list[_Counted]] = {}
    owners: dict[tuple[str, str], list[_Counted]] = {}
    for row in rows:
        buckets.setdefault(_bucket(row.days[0], by), []).append(row)
        owners.setdefault((row.team, row.feature), []).append(row)
    return UnitValues(
        name=name,
        unit=chosen.unit,
        by=by,
        whole=_value(rows, spent, chosen.unit, scope) if rows else None,
        periods=[_value(buckets[start], spent, chosen.unit, scope) for start in sorted(buckets)],
        owners=[(*owner, _value(owners[owner], spent, chosen.unit, scope)) for owner in sorted(owners)],
        left_out=chosen.figures - sum(row.figures for row in rows),
    )


def defined_units(*, scope: SpendScope, inside: bool = False) -> list[DefinedUnit]:
    """The units with figures the viewer may see: of all time, or `inside` the scope's days with its filters."""
    asked = scope if inside else replace(scope, filters=(), days=Days(date(2000, 1, 1), date(2200, 1, 1)))
    scoped = Scoped(asked, table=FIGURES, expressions=EXPRESSIONS, dimensions=())
    fits = ", ".join(
        f"bool_and(d.period_end <= date_trunc('{name}', d.period_start, 'UTC') + interval '1 {name}')"
        for name in PERIODS
    )
    sql = f"""SELECT d.name, d.unit, count(*), min(d.day),
            ((max(d.period_end) - interval '1 microsecond') AT TIME ZONE 'UTC')::date, {fits}
        {scoped.source()} GROUP BY 1, 2 ORDER BY 1, 2"""
    return [
        DefinedUnit(name, unit, figures, first, last, "day" if days else "week" if weeks else "month")
        for name, unit, figures, first, last, days, weeks, _months in fetch(sql, scoped.parameters)
    ]


def _counted(scope: SpendScope, by: str, name: str | None) -> list[_Counted]:
    scoped = Scoped(scope, table=FIGURES, expressions=EXPRESSIONS, dimensions=("team", "feature"))
    team, feature = scoped.keys()
    bucket, length = _BUCKETS[by]
    source = scoped.source()
    if name is not None:
        source += " AND d.name = %(name)s"
        scoped.parameters["name"] = name
    sql = _MATCHED.format(team=team, feature=feature, source=source, bucket=bucket, length=length)
    return [_Counted(*row) for row in fetch(sql, scoped.parameters)]


def _spent(scope: SpendScope) -> dict[date, list[tuple[tuple[str, str], CostParts]]]:
    """Spend by day and owner."""
    scoped = books(scope, ["team", "feature"])
    team, feature = scoped.keys()
    sql = f"""SELECT d.day, {team}, {feature}, {_PART}, sum({scoped.cost}),
            coalesce(sum({scoped.cost}) FILTER (WHERE d.basis = 'estimated'), 0)
        {scoped.source()} AND d.is_current GROUP BY 1, 2, 3, 4"""
    gathered: dict[tuple[date, tuple[str, str]], dict[str, Decimal]] = {}
    for day, *owner, part, cost, estimated in fetch(sql, scoped.parameters):
        parts = gathered.setdefault((day, (owner[0], owner[1])), {})
        parts[part] = parts.get(part, Decimal(0)) + cost
        parts["estimated"] = parts.get("estimated", Decimal(0)) + estimated
    found: dict[date, list[tuple[tuple[str, str], CostParts]]] = {}
    for (day, who), parts in gathered.items():
        found.setdefault(day, []).append((who, CostParts(**parts)))
    return found


def _value(rows: Sequence[_Counted], spent: _Spent, unit: str, scope: SpendScope) -> UnitValue:
    """Figures of one unit together. Where owners hold each other (a team and its feature), spend counts once."""
    asked: dict[date, set[tuple[str, str]]] = {}
    for row in rows:
        for day in row.days:
            asked.setdefault(day, set()).add((row.team, row.feature))
    parts = [
        one
        for day, owners in asked.items()
        for who, one in spent.get(day, ())
        if any(_holds(owner, who) for owner in owners)
    ]
    return UnitValue(
        sum((row.value for row in rows), Decimal(0)), _added(parts), tuple(sorted(asked)), unit, scope.currency
    )


def _holds(owner: tuple[str, str], who: tuple[str, str]) -> bool:
    return all(not wanted or wanted == found for wanted, found in zip(owner, who, strict=True))


def _added(parts: Iterable[CostParts]) -> CostParts:
    columns = zip(*((one.api, one.gpu, one.shared, one.idle, one.other, one.estimated) for one in parts), strict=True)
    return CostParts(*(sum(column, Decimal(0)) for column in columns))


def _bucket(day: date, by: str) -> date:
    if by == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if by == "month" else day
