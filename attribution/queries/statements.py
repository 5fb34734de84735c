"""Chargeback: what a month costs each cost centre and team, and how that ties to the invoices."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from attribution.queries import extents, statement_terms
from attribution.queries.conversions import Conversion, conversions
from attribution.queries.scoped import SHARE, books, fetch
from attribution.queries.statement_terms import MarkupLine
from costobs.kernel import money
from costobs.kernel.scope import SpendScope

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One team's month, in the scope's cost column: direct + shared + idle + overhead + unallocated + adjustments + tax = total.

    `team` "" is spend nobody owns. `billed_cost` is the same rows as the invoices have them; `total` minus it is commitment
    timing (and, in the cost column `list`, discounts). What is charged is the total, what other currencies come to, and the
    markup.
    """

    cost_centre: str
    team: str
    direct_cost: Decimal
    shared_cost: Decimal
    idle_cost: Decimal
    overhead_cost: Decimal
    unallocated_cost: Decimal
    adjustment_cost: (
        Decimal  # corrections, adjustments and credits, whoever they belong to, and what changed after a close
    )
    tax_cost: Decimal
    total_cost: Decimal
    billed_cost: Decimal
    estimated_cost: Decimal  # of total: not billed yet
    converted_cost: Decimal = _ZERO  # spend in other currencies, at the rates of their days
    converted_tax_cost: Decimal = _ZERO  # the tax in it
    markup: MarkupLine | None = None

    @property
    def timing_cost(self) -> Decimal:
        """What ties the total to the invoices: total minus billed."""
        return self.total_cost - self.billed_cost

    @property
    def markup_cost(self) -> Decimal:
        """The percentage on everything but tax, with every digit."""
        if self.markup is None:
            return _ZERO
        tax = money.EXACT.add(self.tax_cost, self.converted_tax_cost)
        base = money.EXACT.subtract(money.EXACT.add(self.total_cost, self.converted_cost), tax)
        return money.EXACT.multiply(base, self.markup.percent).scaleb(-2, money.EXACT)

    @property
    def charged_cost(self) -> Decimal:
        """What the cost centre is charged for this line."""
        return money.total([self.total_cost, self.converted_cost, self.markup_cost])


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
    """A month by cost centre and team. `reconciliation` is empty for someone who may not see everything.

    `state` is open while days still arrive, provisional once every day is billed, then reviewed and closed; `version` counts
    how often the month was closed.
    """

    month: date
    currency: str
    cost: str
    is_final: bool
    lines: tuple[StatementLine, ...]
    reconciliation: tuple[Reconciliation, ...]
    state: str = "open"
    version: int = 0
    closed_at: datetime | None = None
    conversions: tuple[Conversion, ...] = ()

    @property
    def is_chargeback(self) -> bool:
        """Only closed books move cost; everything else is showback, a report."""
        return self.state == "closed"

    @property
    def total_cost(self) -> Decimal:
        """The exact sum of the lines."""
        return money.total(line.total_cost for line in self.lines)

    @property
    def charged_cost(self) -> Decimal:
        """The exact sum of what is charged."""
        return money.total(line.charged_cost for line in self.lines)

    @property
    def cost_centres(self) -> list[str]:
        """The cost centres, in the order of the lines."""
        return list(dict.fromkeys(line.cost_centre for line in self.lines))


_ADJUSTED = (
    "(x.charge_class = 'Correction' OR x.charge_category IN ('Adjustment', 'Credit') OR x.origin_day IS NOT NULL)"
)
_TAX = f"(x.charge_category = 'Tax' AND NOT {_ADJUSTED})"
_PARTS = {
    "direct": "= 'direct'",
    "shared": "= 'shared'",
    "idle": "IN ('idle_workload', 'idle_infrastructure')",
    "overhead": "= 'overhead'",
    "unallocated": "= 'unallocated'",
}
_KEPT = ("basis", "charge_class", "charge_category", "origin_day")
# How much of a row belongs to each part of a line; the caller's rows are aliased x, their cost x.cost.
PARTS_SQL = ", ".join(
    [
        f"coalesce(sum(x.cost) FILTER (WHERE NOT {_ADJUSTED} AND NOT {_TAX} AND x.share {test}), 0)"
        for test in _PARTS.values()
    ]
    + [f"coalesce(sum(x.cost) FILTER (WHERE {test}), 0)" for test in (_ADJUSTED, _TAX)]
)


def statement(*, scope: SpendScope) -> Statement:
    """The statement of `scope.days` (a calendar month), narrowed by filters such as team or cost centre."""
    scoped = books(scope, ["cost_centre", "team", "share_kind"], folded=True, kept=_KEPT)
    scoped.sums = sorted({*scoped.sums, "billed_cost"})
    centre, team, _ = scoped.keys()
    sql = f"""
        SELECT x.cost_centre, x.team, {PARTS_SQL}, sum(x.cost),
            coalesce(sum(x.billed_cost) FILTER (WHERE x.basis = 'billed'), 0),
            coalesce(sum(x.cost) FILTER (WHERE x.basis = 'estimated'), 0)
        FROM (SELECT {centre} AS cost_centre, {team} AS team, {SHARE} AS share, {scoped.cost} AS cost, d.billed_cost, d.basis,
                  d.charge_class, d.charge_category, d.origin_day
              {scoped.source()} AND d.is_current) x
        GROUP BY 1, 2 ORDER BY x.cost_centre = '', 1, x.team = '', 2"""
    own = [StatementLine(*row) for row in fetch(sql, scoped.parameters)]
    book = statement_terms.book(scope.days.start)
    others = conversions(scope=scope, book=book)
    final = extents.last_final_day()
    is_final = final is not None and len(scope.days) > 0 and scope.days.last <= final
    state = book.state if book and book.state in {"reviewed", "closed"} else "provisional" if is_final else "open"
    return Statement(
        scope.days.start,
        scope.currency,
        scope.cost,
        is_final or state == "closed",
        _charged(own, others, statement_terms.markups(scope.days.start)),
        tuple(reconciliation(scope=scope)),
        state,
        book.version if book else 0,
        book.closed_at if book and state == "closed" else None,
        others,
    )


def _charged(
    own: list[StatementLine], others: tuple[Conversion, ...], markups: dict[str, MarkupLine]
) -> tuple[StatementLine, ...]:
    """The lines with what other currencies come to, and the markup of their cost centre or of all."""
    lines = {(line.cost_centre, line.team): line for line in own}
    for one in others:
        line = lines.setdefault((one.cost_centre, one.team), _empty(one))
        if one.converted_cost is not None and one.converted_tax_cost is not None:
            lines[one.cost_centre, one.team] = replace(
                line,
                converted_cost=money.EXACT.add(line.converted_cost, one.converted_cost),
                converted_tax_cost=money.EXACT.add(line.converted_tax_cost, one.converted_tax_cost),
            )
    # Nobody can be charged for what has no cost centre, so nothing is put on top of it.
    found = [
        replace(line, markup=markups.get(line.cost_centre, markups.get("")) if line.cost_centre else None)
        for line in lines.values()
    ]
    found.sort(key=lambda line: (line.cost_centre == "", line.cost_centre, line.team == "", line.team))
    return tuple(found)


def _empty(one: Conversion) -> StatementLine:
    zero = _ZERO
    return StatementLine(one.cost_centre, one.team, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero)


def reconciliation(*, scope: SpendScope) -> list[Reconciliation]:
    """The vendors' deliveries of the scope's days against the books, by issuer and provider, largest first.

    An open month is held against the deliveries that count now, a closed one against those it was closed with. What corrects a
    closed month belongs to the invoices of that month, not to those of the month it is booked in.
    """
    if scope.teams is not None:
        return []
    book = statement_terms.book(scope.days.start)
    is_pinned = book is not None and book.state == "closed" and bool(book.deliveries)
    counts = "v.id = ANY(%(deliveries)s)" if is_pinned else "v.state = 'current'"
    sql = f"""
        WITH invoiced AS (
            SELECT c.invoice_issuer_name, c.service_provider_name AS provider_name, sum(c.billed_cost) AS cost,
                array_agg(DISTINCT c.invoice_id) FILTER (WHERE c.invoice_id <> '') AS invoices
            FROM ingest_charge c JOIN ingest_delivery v ON v.id = c.delivery_id AND {counts}
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
    parameters: dict[str, object] = {"deliveries": list(book.deliveries) if book else []}
    parameters |= {"start": days.start, "end": days.end, "start_at": days.start_at, "end_at": days.end_at}
    rows = fetch(sql, parameters | {"currency": scope.currency})
    return [Reconciliation(issuer, provider, tuple(invoices), *rest) for issuer, provider, invoices, *rest in rows]
