"""Chargeback: what a month costs each cost centre and team, and how that ties to the invoices."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from attribution.queries import closed_months, extents
from attribution.queries.scoped import SHARE, books, fetch
from costobs.kernel import money
from costobs.kernel.scope import SpendScope


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One team's month, in the scope's cost column: direct + shared + idle + overhead + unallocated + adjustments = total.

    `team` "" is spend nobody owns. `billed_cost` is the same rows as the invoices have them; `total` minus it is commitment
    timing (and, in the cost column `list`, discounts).
    """

    cost_centre: str
    team: str
    direct_cost: Decimal
    shared_cost: Decimal
    idle_cost: Decimal
    overhead_cost: Decimal
    unallocated_cost: Decimal
    adjustment_cost: Decimal  # corrections, adjustments and credits, whoever they belong to
    total_cost: Decimal
    billed_cost: Decimal
    estimated_cost: Decimal  # of total: not billed yet

    @property
    def timing_cost(self) -> Decimal:
        """What ties the total to the invoices: total minus billed."""
        return self.total_cost - self.billed_cost


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One issuer's invoices of the month against the books, in billed cost. A difference is a failure."""

    invoice_issuer_name: str
    provider_name: str
    invoices: tuple[str, ...]
    invoiced_cost: Decimal  # what the vendor's current deliveries say
    in_books_cost: Decimal
    other_authority_cost: Decimal  # in the books and not counted: another source's, or a day whose bill is not complete

    @property
    def difference(self) -> Decimal:
        """Invoiced minus what is in the books."""
        return self.invoiced_cost - self.in_books_cost - self.other_authority_cost


@dataclass(frozen=True, slots=True)
class Statement:
    """A month by cost centre and team. `reconciliation` is empty for someone who may not see everything."""

    month: date
    currency: str
    cost: str
    is_final: bool
    lines: tuple[StatementLine, ...]
    reconciliation: tuple[Reconciliation, ...]
    book: str = ""  # reviewed or closed, once somebody did

    @property
    def total_cost(self) -> Decimal:
        """The exact sum of the lines."""
        return money.total(line.total_cost for line in self.lines)


_ADJUSTED = "(x.charge_class = 'Correction' OR x.charge_category IN ('Adjustment', 'Credit'))"
_PARTS = {
    "direct": "= 'direct'",
    "shared": "= 'shared'",
    "idle": "IN ('idle_workload', 'idle_infrastructure')",
    "overhead": "= 'overhead'",
    "unallocated": "= 'unallocated'",
}
_KEPT = ("basis", "charge_class", "charge_category")


def statement(*, scope: SpendScope) -> Statement:
    """The statement of `scope.days` (a calendar month), narrowed by filters such as team or cost centre."""
    scoped = books(scope, ["cost_centre", "team", "share_kind"], folded=True, kept=_KEPT)
    scoped.sums = sorted({*scoped.sums, "billed_cost"})
    centre, team, _ = scoped.keys()
    parts = [f"coalesce(sum(x.cost) FILTER (WHERE NOT {_ADJUSTED} AND x.share {test}), 0)" for test in _PARTS.values()]
    sql = f"""
        SELECT x.cost_centre, x.team, {", ".join(parts)}, coalesce(sum(x.cost) FILTER (WHERE {_ADJUSTED}), 0), sum(x.cost),
            coalesce(sum(x.billed_cost) FILTER (WHERE x.basis = 'billed'), 0),
            coalesce(sum(x.cost) FILTER (WHERE x.basis = 'estimated'), 0)
        FROM (SELECT {centre} AS cost_centre, {team} AS team, {SHARE} AS share, {scoped.cost} AS cost, d.billed_cost, d.basis,
                  d.charge_class, d.charge_category
              {scoped.source()} AND d.is_current) x
        GROUP BY 1, 2 ORDER BY x.cost_centre = '', 1, x.team = '', 2"""
    lines = tuple(StatementLine(*row) for row in fetch(sql, scoped.parameters))
    final = extents.last_final_day()
    is_final = final is not None and len(scope.days) > 0 and scope.days.last <= final
    reconciled = tuple(reconciliation(scope=scope))
    book = closed_months.state(month=scope.days.start)
    return Statement(scope.days.start, scope.currency, scope.cost, is_final, lines, reconciled, book)


def reconciliation(*, scope: SpendScope) -> list[Reconciliation]:
    """The vendors' current deliveries of the scope's days against the books, by issuer and provider, largest first.

    A closed month is compared with the deliveries it rests on; what later ones brought is in its restatement.
    """
    if scope.teams is not None:
        return []
    delivered, kept = closed_months.deliveries(days=scope.days)
    sql = f"""
        WITH invoiced AS (
            SELECT c.invoice_issuer_name, c.service_provider_name AS provider_name, sum(c.billed_cost) AS cost,
                array_agg(DISTINCT c.invoice_id) FILTER (WHERE c.invoice_id <> '') AS invoices
            FROM ingest_charge c JOIN ingest_delivery v ON v.id = c.delivery_id AND {delivered}
            WHERE c.charge_period_start >= %(start_at)s AND c.charge_period_start < %(end_at)s
                AND c.billing_currency = %(currency)s
            GROUP BY 1, 2
        ), booked AS (
            SELECT invoice_issuer_name, provider_name, coalesce(sum(billed_cost) FILTER (WHERE is_current), 0) AS cost,
                coalesce(sum(billed_cost) FILTER (WHERE NOT is_current), 0) AS other
            FROM attribution_dailycost
            WHERE day >= %(start)s AND day < %(end)s AND currency = %(currency)s AND basis = 'billed'
                AND origin_day IS NULL
            GROUP BY 1, 2
        )
        SELECT invoice_issuer_name, provider_name, coalesce(invoices, '{{}}'), coalesce(i.cost, 0), coalesce(b.cost, 0),
            coalesce(b.other, 0)
        FROM invoiced i FULL JOIN booked b USING (invoice_issuer_name, provider_name) ORDER BY 4 DESC, 1, 2"""
    days = scope.days
    parameters = {"start": days.start, "end": days.end, "start_at": days.start_at, "end_at": days.end_at}
    rows = fetch(sql, parameters | {"currency": scope.currency, "kept": kept})
    return [Reconciliation(issuer, provider, tuple(invoices), *rest) for issuer, provider, invoices, *rest in rows]
