"""FOCUS column names of all versions, and what other vendors call them, found in headers however they are written."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingest.sources.formats import openings
from ingest.sources.formats.focus import foreign_columns

# Our column -> the names it has had in FOCUS, the newest first. Compared without case and separators.
NAMES: dict[str, tuple[str, ...]] = {
    "charge_period_start": ("ChargePeriodStart",),
    "charge_period_end": ("ChargePeriodEnd",),
    "billing_period_start": ("BillingPeriodStart",),
    "billing_period_end": ("BillingPeriodEnd",),
    "billing_account_id": ("BillingAccountId",),
    "billing_account_name": ("BillingAccountName",),
    "sub_account_id": ("SubAccountId",),
    "sub_account_name": ("SubAccountName",),
    "billing_currency": ("BillingCurrency",),
    "billed_cost": ("BilledCost",),
    "effective_cost": ("EffectiveCost",),
    "list_cost": ("ListCost",),
    "contracted_cost": ("ContractedCost",),
    "charge_category": ("ChargeCategory", "ChargeType"),
    "charge_class": ("ChargeClass",),
    "charge_description": ("ChargeDescription",),
    "charge_frequency": ("ChargeFrequency",),
    "service_provider_name": ("ServiceProviderName", "ProviderName", "Provider"),
    "host_provider_name": ("HostProviderName", "PublisherName", "Publisher"),
    "invoice_issuer_name": ("InvoiceIssuerName", "InvoiceIssuer"),
    "invoice_id": ("InvoiceId",),
    "service_category": ("ServiceCategory",),
    "service_subcategory": ("ServiceSubcategory",),
    "service_name": ("ServiceName",),
    "sku_id": ("SkuId",),
    "sku_meter": ("SkuMeter",),
    "sku_price_id": ("SkuPriceId",),
    "resource_id": ("ResourceId",),
    "resource_name": ("ResourceName",),
    "resource_type": ("ResourceType",),
    "region_id": ("RegionId", "Region"),
    "pricing_category": ("PricingCategory",),
    "pricing_quantity": ("PricingQuantity",),
    "pricing_unit": ("PricingUnit",),
    "consumed_quantity": ("ConsumedQuantity", "UsageQuantity"),
    "consumed_unit": ("ConsumedUnit", "UsageUnit"),
    "commitment_discount_id": ("CommitmentDiscountId",),
    "commitment_discount_status": ("CommitmentDiscountStatus",),
    "tags": ("Tags",),
}
MANDATORY = ("billed_cost", "charge_period_start", "charge_period_end")
_IGNORED = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each of our columns is in a file (by position), and which positions hold what has no column of ours."""

    found: dict[str, int]
    extra: dict[str, int]
    is_focus: bool = True


def match(
    header: Sequence[str], *, file: str, default_currency: str = "", told: Mapping[str, str] | None = None
) -> Columns:
    """The columns of a header: as `told` (our column -> the title), by FOCUS's names, else by the names of other vendors.

    BadDelivery names a mandatory column that is missing, and the closest names. Where only foreign names fit, a period may
    have no end: a bare date means its whole day.
    """
    positions: dict[str, int] = {}
    for position, title in enumerate(header):
        positions.setdefault(_plain(title), position)
    found = _told(told or {}, positions, header, file)
    is_focus = _plain("BilledCost") in positions
    for names in (NAMES,) if is_focus else (NAMES, foreign_columns.NAMES):
        for column, titles in names.items():
            known = [positions[_plain(name)] for name in titles if _plain(name) in positions]
            free = [position for position in known if names is NAMES or position not in found.values()]
            if column not in found and free:
                found[column] = free[0]
    mandatory = [name for name in MANDATORY if is_focus or name != "charge_period_end"]
    for column in mandatory if default_currency else [*mandatory, "billing_currency"]:
        if column not in found:
            raise _missing(NAMES[column][0], header, file)
    used, extra = set(found.values()), {}
    for position, title in enumerate(header):
        if position in used:
            continue
        name = title.lstrip("\ufeff").strip() or f"column {position + 1}"
        extra[name if name not in extra else f"{name} ({position + 1})"] = position
    return Columns(found, extra, is_focus)


def _told(told: Mapping[str, str], positions: Mapping[str, int], header: Sequence[str], file: str) -> dict[str, int]:
    """What the settings say of a file's titles; a FOCUS name may be written in either way."""
    by_plain = {_plain(column): column for column in NAMES}
    found = {}
    for name, title in told.items():
        column = by_plain.get(_plain(name))
        if column is None:
            raise openings.broken(file, f"the settings name a column {name!r}, which FOCUS does not have", field=name)
        if _plain(title) not in positions:
            raise _missing(title, header, file)
        found[column] = positions[_plain(title)]
    return found


def _missing(name: str, header: Sequence[str], file: str) -> Exception:
    by_plain = {_plain(title): title.strip() for title in header}
    close = difflib.get_close_matches(_plain(name), by_plain, n=3, cutoff=0.6)
    hint = f"; the closest are {', '.join(by_plain[each] for each in close)}" if close else ""
    found = ", ".join(title.strip() for title in header[:8]) + (", …" if len(header) > 8 else "")
    said = "; or say in the settings which title it has" if not close else ""
    return openings.broken(file, f"mandatory column {name} is missing; found {found}{hint}{said}", field=name)


def _plain(title: str) -> str:
    return _IGNORED.sub("", title.lower())
