"""Rows of the books in the columns of FOCUS 1.2, with the owner in tags and in columns of our own."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar

import orjson

from attribution.exports import plain
from attribution.exports.base import Document, Export, guarded
from attribution.queries import FocusRow
from costobs.kernel import money
from costobs.kernel.period import month

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SubAccountId",
    "Tags",
    "x_Team",
    "x_Feature",
    "x_CostCentre",
    "x_Environment",
    "x_Model",
    "x_Deployment",
    "x_ShareKind",
    "x_CostKind",
    "x_PurchaseOption",
    "x_Basis",
)
AMOUNTS = {"BilledCost", "ContractedCost", "EffectiveCost", "ListCost"}
MOMENTS = {"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"}
_AI = "AI and Machine Learning"
# https://focus.finops.org/focus-specification/v1-2/ (read 2026-11-28), ServiceCategory.
_CATEGORIES = {
    _AI,
    "Analytics",
    "Business Applications",
    "Compute",
    "Databases",
    "Developer Tools",
    "Identity",
    "Integration",
    "Internet of Things",
    "Management and Governance",
    "Media",
    "Migration",
    "Mobile",
    "Multicloud",
    "Networking",
    "Other",
    "Security",
    "Storage",
    "Web",
}
_SHARES = {
    "direct": "direct use",
    "shared": "part of a shared charge",
    "idle_workload": "idle time of a deployment",
    "idle_infrastructure": "idle time of a node",
    "overhead": "overhead of a node",
    "unallocated": "no owner",
}


class Focus(Export):
    """The rows of the books in the month as FOCUS 1.2 charges, all four costs with every digit, the owner in tags."""

    kind: ClassVar = "focus"
    title: ClassVar = "FOCUS 1.2 CSV"
    extension: ClassVar = "focus.csv"
    media_type: ClassVar = "text/csv; charset=utf-8"
    needs_focus: ClassVar = True
    version: ClassVar = 2

    def write(self, document: Document) -> Iterator[bytes]:
        return plain.lines(COLUMNS, map(_kept_text, rows(document)))

    def basis(self, document: Document) -> Iterator[bytes]:
        return basis(document)


def rows(document: Document) -> Iterator[tuple[str, ...]]:
    """One row of COLUMNS for each row of the books; amounts keep every digit."""
    for row in document.focus_rows:
        yield _row(row, document.statement.currency, document.categories)


def _kept_text(row: tuple[str, ...]) -> tuple[str, ...]:
    """Names come from vendors and from whoever calls: a spreadsheet must not run them. Amounts may begin with a minus."""
    return tuple(value if name in AMOUNTS else guarded(value) for name, value in zip(COLUMNS, row, strict=True))


def basis(document: Document) -> Iterator[bytes]:
    """A finer grain than the statement: a feature may change its owner while every line stays what it was."""
    yield repr(sorted(document.categories.items())).encode()
    for row in document.focus_rows:
        yield repr(row).encode()


def _row(row: FocusRow, currency: str, categories: Mapping[tuple[str, str], str]) -> tuple[str, ...]:
    period = month(row.day)
    category, subcategory = _category(row, categories)
    return (
        money.text(row.billed_cost),
        row.source,
        row.source,
        currency,
        _moment(period.end),
        _moment(period.start),
        row.charge_category or "Usage",
        row.charge_class,
        f"{row.model or row.service_name}: {_SHARES.get(row.share_kind, row.share_kind)}",
        "Usage-Based" if row.charge_category in {"", "Usage"} else "One-Time",
        _moment(row.day + timedelta(days=1)),
        _moment(row.day),
        money.text(row.contracted_cost),
        money.text(row.effective_cost),
        row.invoice_issuer_name or row.provider_name,
        money.text(row.list_cost),
        "",
        "",
        row.provider_name,
        row.provider_name,
        row.region,
        category,
        row.service_name or row.provider_name,
        subcategory,
        row.sub_account,
        _tags(row),
        row.team,
        row.feature,
        row.cost_centre,
        row.environment,
        row.model,
        row.deployment,
        row.share_kind,
        row.cost_kind,
        row.purchase_option,
        row.basis,
    )


def _category(row: FocusRow, categories: Mapping[tuple[str, str], str]) -> tuple[str, str]:
    """As the bill names it, if FOCUS knows the name. One service has one subcategory, so it follows from the category."""
    named = categories.get((row.provider_name, row.service_name)) or (_AI if row.model else "Other")
    category = named if named in _CATEGORIES else "Other"
    return category, "Generative AI" if category == _AI else f"Other ({category})"


def _tags(row: FocusRow) -> str:
    tags = {
        "team": row.team,
        "feature": row.feature,
        "cost_centre": row.cost_centre,
        "environment": row.environment,
    }
    return orjson.dumps({name: value for name, value in tags.items() if value}).decode()


def _moment(day: date) -> str:
    return f"{datetime(day.year, day.month, day.day, tzinfo=UTC):%Y-%m-%dT%H:%M:%SZ}"
