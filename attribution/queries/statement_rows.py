"""What a statement is made of: a cost centre's lines by feature, model and service, and the vendors' rows behind each."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from attribution.queries import statement_terms
from attribution.queries.scoped import SHARE, Scoped, books, fetch
from attribution.queries.statements import PARTS_SQL
from costobs.kernel.scope import SpendScope

DIMENSIONS = ("cost_centre", "team", "feature", "model", "service_name")
_BATCH = 2000


@dataclass(frozen=True, slots=True)
class DetailLine:
    """One team, feature, model and service of a cost centre, in the scope's cost column; the parts add to the total."""

    cost_centre: str
    team: str
    feature: str
    model: str
    service_name: str
    direct_cost: Decimal
    shared_cost: Decimal
    idle_cost: Decimal
    overhead_cost: Decimal
    unallocated_cost: Decimal
    adjustment_cost: Decimal
    tax_cost: Decimal
    total_cost: Decimal


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """One row of a vendor's delivery, charged as it came."""

    source: str
    file: str
    row_number: int
    charge_period_start: datetime
    charge_period_end: datetime
    charge_category: str
    charge_description: str
    service_name: str
    resource_id: str
    team: str
    billed_cost: Decimal
    effective_cost: Decimal


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part of a split: of which pool, by which method and rule, with which weight, and what the whole pool was."""

    day: date
    source: str
    pool: str
    method: str
    rule: str
    ruleset_version: int
    share_kind: str
    team: str
    weight: Decimal
    is_estimated_weight: bool
    billed_cost: Decimal
    effective_cost: Decimal
    pool_charges: int | None  # how many charges the pool held
    pool_billed_cost: Decimal | None
    pool_effective_cost: Decimal | None


@dataclass(frozen=True, slots=True)
class BookRow:
    """A row of the books that is no charge and no part: an estimate from usage, or a correction of a closed month."""

    day: date
    origin_day: date | None  # the closed day it corrects
    source: str
    method: str
    model: str
    deployment: str
    token_kind: str
    team: str
    billed_cost: Decimal
    effective_cost: Decimal


Rows = list[ChargeRow] | list[PartRow] | list[BookRow]


@dataclass(frozen=True, slots=True)
class Counted:
    """How many rows of one kind there are, and what they come to."""

    rows: int
    billed_cost: Decimal
    effective_cost: Decimal


def statement_detail(*, scope: SpendScope) -> list[DetailLine]:
    """The lines behind the scope's statement lines, largest first; they add to them exactly."""
    kept = ("basis", "charge_class", "charge_category", "origin_day")
    scoped = books(scope, [*DIMENSIONS, "share_kind"], folded=True, kept=kept)
    keys = scoped.keys()[:-1]
    named = ", ".join(f"{key} AS {name}" for key, name in zip(keys, DIMENSIONS, strict=True))
    grouped = ", ".join(f"x.{name}" for name in DIMENSIONS)
    sql = f"""
        SELECT {grouped}, {PARTS_SQL}, sum(x.cost)
        FROM (SELECT {named}, {SHARE} AS share, {scoped.cost} AS cost, d.charge_class, d.charge_category, d.origin_day
              {scoped.source()} AND d.is_current) x
        GROUP BY {grouped} ORDER BY sum(x.cost) DESC, {grouped}"""
    return [DetailLine(*row) for row in fetch(sql, scoped.parameters)]


def counted(*, scope: SpendScope, kind: str) -> Counted:
    """How many rows of `kind` (charges, parts, books) stand behind the scope."""
    scoped, _, joined, _ = _query(scope, kind)
    sql = f"SELECT count(*), coalesce(sum(d.billed_cost), 0), coalesce(sum(d.effective_cost), 0) {scoped.source()} {joined}"
    return Counted(*fetch(sql, scoped.parameters)[0])


def statement_rows(*, scope: SpendScope, kind: str, limit: int, offset: int = 0) -> Rows:
    """The rows of `kind` behind the scope's statement lines, in a lasting order. The scope's own parts of a pool only."""
    scoped, columns, joined, order = _query(scope, kind)
    values = scoped.parameters
    body = f"{scoped.source()} {joined} ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s"
    made: Any = {"charges": ChargeRow, "parts": PartRow, "books": BookRow}[kind]
    return [made(*row) for row in fetch(f"SELECT {columns} {body}", values | {"limit": limit, "offset": offset})]


def every_row(*, scope: SpendScope, kind: str) -> Iterator[ChargeRow | PartRow | BookRow]:
    """All of them, fetched in pieces."""
    offset = 0
    while found := statement_rows(scope=scope, kind=kind, limit=_BATCH, offset=offset):
        yield from found
        offset += len(found)


def _query(scope: SpendScope, kind: str) -> tuple[Scoped, str, str, str]:
    """The rows of a kind, the columns to read, further conditions, and the order."""
    made = {"charges": _charges, "parts": _parts, "books": _books}
    return made[kind](scope)


_TABLE = """(SELECT (c.charge_period_start AT TIME ZONE 'UTC')::date AS day, c.billing_currency AS currency,
    c.service_provider_name AS provider_name, c.sub_account_id AS sub_account, c.region_id AS region, c.service_name,
    c.invoice_issuer_name, c.charge_category, c.charge_class, c.cost_kind, c.purchase_option, c.attribute_set_id, c.model,
    c.token_kind, ''::text AS deployment, c.source_id, c.delivery_id, c.file_index, c.row_number, c.charge_period_start,
    c.charge_period_end, c.charge_description, c.resource_id, c.billed_cost, c.effective_cost, c.list_cost, c.contracted_cost,
    v.files, b.share_kind, b.basis
  FROM ingest_charge c JOIN ingest_delivery v ON v.id = c.delivery_id AND {counts}
  JOIN LATERAL (SELECT b.share_kind, b.basis FROM attribution_dailycost b
    WHERE b.day = (c.charge_period_start AT TIME ZONE 'UTC')::date AND b.is_current AND b.method = 'charge'
      AND b.source_id = c.source_id AND b.attribute_set_id = c.attribute_set_id AND b.currency = c.billing_currency
      AND b.provider_name = c.service_provider_name AND b.sub_account = c.sub_account_id AND b.service_name = c.service_name
      AND b.region = c.region_id AND b.invoice_issuer_name = c.invoice_issuer_name AND b.charge_category = c.charge_category
      AND b.charge_class = c.charge_class AND b.cost_kind = c.cost_kind AND b.purchase_option = c.purchase_option
      AND b.model = c.model AND b.token_kind = c.token_kind LIMIT 1) b ON TRUE
  WHERE c.charge_period_start >= %(start_at)s AND c.charge_period_start < %(end_at)s)"""


def _charges(scope: SpendScope) -> tuple[Scoped, str, str, str]:
    """A closed month rests on the deliveries it was closed with, an open one on those that count now."""
    book = statement_terms.book(scope.days.start)
    is_pinned = book is not None and book.state == "closed" and bool(book.deliveries)
    counts = "v.id = ANY(%(deliveries)s)" if is_pinned else "v.state = 'current'"
    scoped = Scoped(scope, table=_TABLE.format(counts=counts), dimensions=["source", "team"])
    scoped.parameters |= {"start_at": scope.days.start_at, "end_at": scope.days.end_at}
    if book is not None and is_pinned:
        scoped.parameters["deliveries"] = list(book.deliveries)
    source, team = scoped.keys()
    # A file is told by its name alone: what stands before it is the address of the store.
    file = "coalesce(regexp_replace(d.files->>d.file_index::int, '^.*/', ''), '')"
    columns = f"""{source}, {file}, d.row_number, d.charge_period_start, d.charge_period_end, d.charge_category,
        d.charge_description, d.service_name, d.resource_id, {team}, d.billed_cost, d.effective_cost"""
    return scoped, columns, "", f"d.charge_period_start, {source}, d.delivery_id, d.file_index, d.row_number"


def _parts(scope: SpendScope) -> tuple[Scoped, str, str, str]:
    table = """(SELECT p.*, ''::text AS basis FROM attribution_allocatedcharge p
        WHERE p.day >= %(start)s AND p.day < %(end)s)"""
    scoped = Scoped(scope, table=table, dimensions=["source", "team", "share_kind"])
    source, team, share = scoped.keys()
    # What a whole pool was is about all teams: somebody with a part of it sees the own part.
    pool = ", ".join(map(_of_pool, _POOL)) if scope.teams is None else "NULL, NULL, NULL"
    columns = f"""d.day, {source}, d.pool, d.method, coalesce((SELECT r.name FROM attribution_rule r WHERE r.id = d.rule_id), ''),
        d.ruleset_id, {share}, {team}, d.weight, d.is_estimated_weight, d.billed_cost, d.effective_cost, {pool}"""
    return scoped, columns, "", f"d.day, {source}, d.pool, d.id"


_POOL = ("charges", "billed_cost", "effective_cost")


def _of_pool(column: str) -> str:
    return f"""(SELECT o.{column} FROM attribution_pool o WHERE o.day = d.day AND o.source_id = d.source_id AND o.pool = d.pool
        AND o.currency = d.currency)"""


def _books(scope: SpendScope) -> tuple[Scoped, str, str, str]:
    scoped = books(scope, ["source", "team"])
    source, team = scoped.keys()
    columns = f"""d.day, d.origin_day, {source}, d.method, d.model, d.deployment, d.token_kind, {team}, d.billed_cost,
        d.effective_cost"""
    joined = "AND d.is_current AND (d.basis = 'estimated' OR d.origin_day IS NOT NULL)"
    return scoped, columns, joined, f"d.day, {source}, d.method, d.model, d.token_kind, d.id"
