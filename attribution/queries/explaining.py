"""Where a number comes from: its sources, deliveries, prices, rules and methods, with the rows behind each."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from attribution import periods
from attribution.queries.ownership import TEAM
from attribution.queries.scoped import books, fetch, usage
from attribution.splitting import COSTS
from costobs.kernel.scope import SpendScope


@dataclass(frozen=True, slots=True)
class FromSource:
    """What one source brings to the number, by basis. `is_current` False: known, and not counted."""

    source: str
    kind: str
    basis: str
    is_current: bool
    rows: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class FromMethod:
    """What one way of arriving at rows brings: charge, usage, duplicate, tie_out, gpu_share, or the kind of a split rule."""

    method: str
    share_kind: str
    rows: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class FromRule:
    """What one ownership rule gave an owner; `position` None: no rule took it."""

    position: int | None
    name: str
    kind: str
    rows: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class FromSplit:
    """What the pools of one kind brought, by the rule that split them; `position` None: no rule did, bills met usage or runs.

    `origin` is the kind of pool these parts were taken from, "" where they were charges.
    """

    position: int | None
    name: str
    method: str
    pool_kind: str
    origin: str
    ruleset_version: int
    rows: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class FromPrice:
    """One price row behind the estimates: prices are per single token."""

    provider: str
    model: str
    service_tier: str
    provenance: str
    valid_from: datetime
    valid_to: datetime | None
    input_uncached_price: Decimal
    cache_read_price: Decimal
    output_price: Decimal
    is_conservative: bool
    requests: int


@dataclass(frozen=True, slots=True)
class FromDelivery:
    """One current delivery that has charges in the scope's days."""

    source: str
    export: str
    billing_period_start: date
    run_id: str
    rows: int
    delivered_at: datetime
    complete_through: datetime | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything behind the total of a scope. `rows` counts rows of the books."""

    rows: int
    cost: Decimal
    ruleset_version: int | None
    sources: tuple[FromSource, ...]
    methods: tuple[FromMethod, ...]
    rules: tuple[FromRule, ...]
    prices: tuple[FromPrice, ...]
    deliveries: tuple[FromDelivery, ...]
    splits: tuple[FromSplit, ...] = ()


_PARTS = f"""(SELECT p.day, p.source_id, p.currency, p.provider_name, p.sub_account, p.service_name, p.region,
    p.invoice_issuer_name, p.charge_category, p.cost_kind, p.purchase_option, p.attribute_set_id, p.model, p.deployment,
    p.token_kind, p.share_kind, p.method, p.rule_id, p.ruleset_id, p.pool_kind, 'billed' AS basis,
    CASE split_part(p.origin, ':', 1) WHEN 'gpu' THEN 'node' WHEN 'cell' THEN 'usage' ELSE '' END AS origin,
    {", ".join(f"p.{cost}" for cost in COSTS)} FROM attribution_allocatedcharge p WHERE p.passed_to = '')"""


def explain(*, scope: SpendScope) -> Explanation:
    """What made the total of `scope`; the current sources add to it exactly, and so do the methods and the rules."""
    sources = _sources(scope)
    current = [one for one in sources if one.is_current]
    return Explanation(
        rows=sum(one.rows for one in current),
        cost=sum((one.cost for one in current), Decimal(0)),
        ruleset_version=_ruleset_version(scope),
        sources=tuple(sources),
        methods=tuple(_methods(scope)),
        rules=tuple(_rules(scope)),
        prices=tuple(_prices(scope)),
        deliveries=tuple(_deliveries(scope)) if scope.teams is None else (),
        splits=tuple(_splits(scope)),
    )


def _ruleset_version(scope: SpendScope) -> int | None:
    """The rules in force on the last day of the scope: those of its closed month, else the current ones."""
    pinned = periods.ruleset_of(scope.days.last) if len(scope.days) else None
    current = fetch("SELECT id FROM attribution_rulesetversion WHERE is_current")
    return pinned or next((row[0] for row in current), None)


def _sources(scope: SpendScope) -> list[FromSource]:
    scoped = books(scope, ["source"])
    sql = f"""SELECT s.name, s.kind, d.basis, d.is_current, count(*), sum({scoped.cost}) {scoped.source()}
              GROUP BY 1, 2, 3, 4 ORDER BY 4 DESC, 6 DESC, 1"""
    return [FromSource(*row) for row in fetch(sql, scoped.parameters)]


def _methods(scope: SpendScope) -> list[FromMethod]:
    scoped = books(scope, ["share_kind"])
    (share,) = scoped.keys()
    sql = f"""SELECT d.method, {share}, count(*), sum({scoped.cost}) {scoped.source()} AND d.is_current
              GROUP BY 1, 2 ORDER BY 4 DESC, 1, 2"""
    return [FromMethod(*row) for row in fetch(sql, scoped.parameters)]


def _rules(scope: SpendScope) -> list[FromRule]:
    scoped = books(scope, ["team"])
    rule = f"CASE WHEN {TEAM} = '' THEN NULL WHEN own_model.team IS NOT NULL THEN own_model.rule_id ELSE own_any.rule_id END"
    sql = f"""SELECT r.position, coalesce(r.name, ''), coalesce(r.kind, ''), x.n, x.cost
              FROM (SELECT {rule} AS rule_id, count(*) AS n, sum({scoped.cost}) AS cost {scoped.source()} AND d.is_current
                    GROUP BY 1) x LEFT JOIN attribution_rule r ON r.id = x.rule_id ORDER BY r.position NULLS LAST"""
    return [FromRule(*row) for row in fetch(sql, scoped.parameters)]


def _splits(scope: SpendScope) -> list[FromSplit]:
    """The parts of splits in the scope; parts that were split further stand with those they were split into."""
    scoped = books(scope)
    scoped.table = _PARTS
    sql = f"""SELECT r.position, coalesce(r.name, ''), x.*
              FROM (SELECT d.rule_id, d.method, d.pool_kind, d.origin, d.ruleset_id, count(*) AS n, sum({scoped.cost}) AS cost
                    {scoped.source()} GROUP BY 1, 2, 3, 4, 5) x
              LEFT JOIN attribution_rule r ON r.id = x.rule_id ORDER BY r.position NULLS LAST, x.cost DESC, 4, 5, 6"""
    return [FromSplit(position, name, *row) for position, name, _, *row in fetch(sql, scoped.parameters)]


def _prices(scope: SpendScope) -> list[FromPrice]:
    scoped = usage(scope)
    sql = f"""
        SELECT p.provider, p.model, p.service_tier, p.provenance, p.valid_from, p.valid_to, p.input_uncached_price,
            p.cache_read_price, p.output_price, p.is_conservative, x.requests::bigint
        FROM (SELECT d.price_id, sum(d.requests) AS requests {scoped.source()} AND d.is_current GROUP BY 1) x
        JOIN ingest_unitprice p ON p.id = x.price_id ORDER BY x.requests DESC, p.id LIMIT 200"""
    return [FromPrice(*row) for row in fetch(sql, scoped.parameters)]


def _deliveries(scope: SpendScope) -> list[FromDelivery]:
    sql = """
        SELECT s.name, v.export, v.billing_period_start, v.run_id, v.rows, v.delivered_at, v.complete_through
        FROM ingest_delivery v JOIN ingest_source s ON s.id = v.source_id
        WHERE v.state = 'current' AND v.billing_period_start < %(end)s
            AND (v.billing_period_start + interval '1 month') > %(start)s
        ORDER BY v.delivered_at DESC LIMIT 100"""
    return [FromDelivery(*row) for row in fetch(sql, {"start": scope.days.start, "end": scope.days.end})]
