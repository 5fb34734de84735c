"""Columns of Azure cost files, found in headers of every agreement, language and spelling."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.sources.formats import openings

# Our word for a column -> the names it has in files of EA, MCA, MPA and pay-as-you-go, the best first. Compared without case
# and separators. https://learn.microsoft.com/azure/cost-management-billing/dataset-schema/schema-index (read 2026-11-28)
NAMES: dict[str, tuple[str, ...]] = {
    "date": ("Date", "UsageDate", "UsageDateTime", "UsageStartDate"),
    "cost": ("CostInBillingCurrency", "PreTaxCost", "Cost", "ExtendedCost"),
    "currency": ("BillingCurrency", "BillingCurrencyCode", "Currency"),
    "list_cost": ("PaygCostInBillingCurrency",),
    "quantity": ("Quantity", "UsageQuantity", "ConsumedQuantity"),
    "unit": ("UnitOfMeasure",),
    "charge_type": ("ChargeType",),
    "pricing_model": ("PricingModel",),
    "frequency": ("Frequency",),
    "billing_account_id": ("BillingAccountId", "EnrollmentNumber"),
    "billing_account_name": ("BillingAccountName",),
    "sub_account_id": ("SubscriptionId", "SubscriptionGuid"),
    "sub_account_name": ("SubscriptionName",),
    "resource_group": ("ResourceGroup", "ResourceGroupName"),
    "resource_id": ("ResourceId", "InstanceId"),
    "resource_name": ("ResourceName", "InstanceName"),
    "region": ("ResourceLocation", "ResourceLocationNormalized", "Location"),
    "meter_category": ("MeterCategory", "ServiceName"),
    "meter_subcategory": ("MeterSubCategory",),
    "meter_id": ("MeterId", "ResourceGuid"),
    "meter_name": ("MeterName", "Meter"),
    "product": ("ProductName", "Product"),
    "product_id": ("ProductId", "PartNumber"),
    "consumed_service": ("ConsumedService",),
    "reservation_id": ("ReservationId",),
    "benefit_id": ("BenefitId",),
    "publisher_type": ("PublisherType",),
    "publisher_name": ("PublisherName", "PartnerName"),
    "invoice_id": ("InvoiceId", "InvoiceNumber"),
    "cost_centre": ("CostCenter", "CostCentre"),
    "tags": ("Tags",),
    "additional_info": ("AdditionalInfo", "AdditionalInformation"),
}
_MANDATORY = ("date", "cost")
# Columns that say more than what we take from them: they stay in `extra` too.
_KEPT = frozenset(
    {
        "charge_type",
        "pricing_model",
        "resource_group",
        "meter_category",
        "meter_subcategory",
        "product_id",
        "consumed_service",
        "publisher_type",
        "cost_centre",
        "additional_info",
    }
)
_IGNORED = re.compile(r"[^a-z0-9]")
_BRACKETS = re.compile(r"^(.*?)\s*[(\[（]\s*([^()\[\]（）]+?)\s*[)\]）]\s*$")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each of our columns is in a file (by position), and which positions are kept under their own title."""

    found: dict[str, int]
    extra: dict[str, int]


def match(header: Sequence[str], *, file: str, default_currency: str = "") -> Columns:
    """The columns of a header. BadDelivery names a mandatory column that is missing, and the closest titles."""
    titles = [_title(each) for each in header]
    positions: dict[str, int] = {}
    for position, title in enumerate(titles):
        positions.setdefault(_plain(title), position)
    found = {}
    for column, names in NAMES.items():
        if known := [positions[_plain(name)] for name in names if _plain(name) in positions]:
            found[column] = known[0]
    for column in _MANDATORY if default_currency else (*_MANDATORY, "currency"):
        if column not in found:
            raise _missing(NAMES[column][0], header, file)
    silent = {position for column, position in found.items() if column not in _KEPT}
    extra: dict[str, int] = {}
    for position, title in enumerate(titles):
        if position in silent:
            continue
        name = title or f"column {position + 1}"
        extra[name if name not in extra else f"{name} ({position + 1})"] = position
    return Columns(found, extra)


def _title(text: str) -> str:
    """A title without mark and spaces: of "Kosten (CostInBillingCurrency)" what the brackets hold, if it is a column."""
    text = text.lstrip("\ufeff").strip().strip('"').strip()
    if bracketed := _BRACKETS.match(text):
        outside, inside = bracketed.groups()
        for candidate in (inside, outside):
            if _plain(candidate) in _KNOWN:
                return candidate.strip()
        if not _plain(outside):
            return inside
    return text


def _missing(name: str, header: Sequence[str], file: str) -> Exception:
    by_plain = {_plain(_title(title)): title.strip() for title in header}
    close = difflib.get_close_matches(_plain(name), by_plain, n=3, cutoff=0.6)
    hint = f"; the closest are {', '.join(by_plain[each] for each in close)}" if close else ""
    found = ", ".join(title.strip() for title in header[:8]) + (", …" if len(header) > 8 else "")
    return openings.broken(file, f"mandatory column {name} is missing; found {found}{hint}", field=name)


def _plain(title: str) -> str:
    return _IGNORED.sub("", title.casefold())


_KNOWN = frozenset(_plain(name) for names in NAMES.values() for name in names)
