"""The books as charges: all four cost columns at the grain of a day, for files in the FOCUS format."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from attribution.queries import closed_months
from attribution.queries.scoped import books, fetch
from costobs.kernel.scope import SpendScope

_DIMENSIONS = (
    "source",
    "provider_name",
    "invoice_issuer_name",
    "service_name",
    "sub_account",
    "region",
    "charge_category",
    "cost_kind",
    "purchase_option",
    "model",
    "deployment",
    "team",
    "feature",
    "cost_centre",
    "environment",
    "share_kind",
    "basis",
)


@dataclass(frozen=True, slots=True)
class FocusRow:
    """One day of one combination. The rows of a scope add to its spend in each of the four cost columns."""

    day: date
    charge_class: str
    source: str
    provider_name: str
    invoice_issuer_name: str
    service_name: str
    sub_account: str
    region: str
    charge_category: str
    cost_kind: str
    purchase_option: str
    model: str
    deployment: str
    team: str
    feature: str
    cost_centre: str
    environment: str
    share_kind: str
    basis: str
    billed_cost: Decimal
    effective_cost: Decimal
    list_cost: Decimal
    contracted_cost: Decimal


def focus_rows(*, scope: SpendScope) -> list[FocusRow]:
    """The rows of the scope by day; `scope.cost` plays no part. Ordered by day, then by name."""
    scoped = books(scope, _DIMENSIONS)
    sums = ", ".join(f"sum(d.{name}_cost)" for name in ("billed", "effective", "list", "contracted"))
    grouped = ", ".join(str(index + 1) for index in range(len(_DIMENSIONS) + 2))
    sql = f"""
        SELECT d.day, d.charge_class, {", ".join(scoped.keys())}, {sums}
        {scoped.source()} AND d.is_current GROUP BY {grouped} ORDER BY {grouped}"""
    return [FocusRow(*row) for row in fetch(sql, scoped.parameters)]


def service_categories(*, scope: SpendScope) -> dict[tuple[str, str], str]:
    """The FOCUS service category of (provider, service) as the bills of the scope's days name it."""
    delivered, kept = closed_months.deliveries(days=scope.days)
    sql = f"""
        SELECT DISTINCT ON (service_provider_name, service_name) service_provider_name, service_name, service_category
        FROM ingest_charge c JOIN ingest_delivery v ON v.id = c.delivery_id AND {delivered}
        WHERE charge_period_start >= %(start_at)s AND charge_period_start < %(end_at)s AND service_category <> ''
        ORDER BY service_provider_name, service_name, service_category"""
    rows = fetch(sql, {"start_at": scope.days.start_at, "end_at": scope.days.end_at, "kept": kept})
    return {(provider, service): category for provider, service, category in rows}
