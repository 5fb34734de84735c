"""Columns of AWS Cost and Usage Reports, found in headers of CUR 2.0 and of legacy CSV and Parquet reports."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.sources.formats import openings

# The columns that are read, by their CUR 2.0 names. Headers are compared without case and separators: lineItem/UnblendedCost,
# line_item_unblended_cost and savings_plan_savings_plan_a_r_n (savingsPlan/SavingsPlanARN) are all met that way.
NAMES = (
    "bill_bill_type",
    "bill_billing_entity",
    "bill_billing_period_end_date",
    "bill_billing_period_start_date",
    "bill_invoice_id",
    "bill_invoicing_entity",
    "bill_payer_account_id",
    "bill_payer_account_name",
    "line_item_availability_zone",
    "line_item_currency_code",
    "line_item_iam_principal",
    "line_item_legal_entity",
    "line_item_line_item_description",
    "line_item_line_item_type",
    "line_item_net_unblended_cost",
    "line_item_operation",
    "line_item_product_code",
    "line_item_resource_id",
    "line_item_unblended_cost",
    "line_item_usage_account_id",
    "line_item_usage_account_name",
    "line_item_usage_amount",
    "line_item_usage_end_date",
    "line_item_usage_start_date",
    "line_item_usage_type",
    "pricing_public_on_demand_cost",
    "pricing_rate_id",
    "pricing_unit",
    "product_instance_type",
    "product_product_name",
    "product_region",
    "product_region_code",
    "product_sku",
    "reservation_effective_cost",
    "reservation_net_effective_cost",
    "reservation_net_unused_amortized_upfront_fee_for_billing_period",
    "reservation_net_unused_recurring_fee",
    "reservation_reservation_arn",
    "reservation_unused_amortized_upfront_fee_for_billing_period",
    "reservation_unused_recurring_fee",
    "savings_plan_net_savings_plan_effective_cost",
    "savings_plan_savings_plan_arn",
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
    "split_line_item_net_split_cost",
    "split_line_item_net_unused_cost",
    "split_line_item_parent_resource_id",
    "split_line_item_public_on_demand_split_cost",
    "split_line_item_public_on_demand_unused_cost",
    "split_line_item_split_cost",
    "split_line_item_split_usage",
    "split_line_item_unused_cost",
)
# Maps of CUR 2.0: JSON objects in CSV.
MAPS = ("product", "resource_tags", "cost_category", "tags")
MANDATORY = (
    "line_item_line_item_type",
    "line_item_unblended_cost",
    "line_item_usage_end_date",
    "line_item_usage_start_date",
)
_OF_SPLIT = (
    *("line_item_line_item_type", "line_item_usage_", "line_item_resource_id", "line_item_currency_code"),
    *(
        "line_item_unblended_cost",
        "line_item_net_unblended_cost",
        "pricing_public",
        "split_",
        "savings_plan_",
        "reservation_",
    ),
)
# What sku_id does not say of a product. The other product columns are its price list's attributes, some ninety of them.
_PRODUCT_KEPT = re.compile(
    r"capacitystatus|databaseengine|edition|feature|fromregioncode|gpu|gpumemory|inferencetype|instancefamily|instancetype"
    r"|licensemodel|marketoption|model|modelname|operatingsystem|productfamily|provider|storageclass|tenancy|toregioncode"
    r"|transfertype|usagefamily|volumeapiname|volumetype"
)
# Said by another column, or nothing: blended costs average the whole organisation, rates are cost by quantity, and line item
# ids change from one version of a report to the next (docs.aws.amazon.com/cur/latest/userguide, read 2026-11-28).
_SAID_ELSEWHERE = re.compile(
    r"identity(?:lineitemid|timeinterval)|lineitem(?:net)?blended(?:cost|rate)|lineitem(?:net)?unblendedrate|pricingpublicondemandrate"
    r"|lineitemnormalizedusageamount|pricing(?:currency|ratecode)|billingperiod|product"
)
_TAG = re.compile(r"(?i)^resource_?tags[/_](?:user[:_])?(.+)$")
_CATEGORY = re.compile(r"(?i)^cost_?category[/_](.+)$")
_NOT_PLAIN = re.compile(r"[^a-z0-9]")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def _plain(title: str) -> str:
    return _NOT_PLAIN.sub("", title.lower())


_BY_PLAIN = {_plain(name): name for name in (*NAMES, *MAPS)}


@dataclass(frozen=True, slots=True)
class Columns:
    """Where things are in a file, by position: columns we read, tags and cost categories by key, and the rest by name."""

    found: dict[str, int]
    tags: dict[str, int]
    categories: dict[str, int]
    extra: dict[str, int]


def is_report(header: Sequence[str]) -> bool:
    """Whether a header, or the columns a manifest lists, is one of a Cost and Usage Report."""
    known = {_plain(title) for title in header}
    return _plain("line_item_unblended_cost") in known or _plain("line_item_usage_start_date") in known


def is_wanted(title: str) -> bool:
    """Whether a column is read at all."""
    plain = _plain(title)
    if plain in _BY_PLAIN or _TAG.match(title) or _CATEGORY.match(title):
        return True
    if plain.startswith("product"):
        return is_kept(title[len("product") :])
    return not _SAID_ELSEWHERE.fullmatch(plain)


def is_of_split(title: str) -> bool:
    """Whether a column is one that the split of a machine's costs is worked out from."""
    name = _BY_PLAIN.get(_plain(title), "")
    return name.startswith(_OF_SPLIT)


def is_kept(product_key: str) -> bool:
    """Whether an attribute of a product is kept in `extra`."""
    return bool(_PRODUCT_KEPT.fullmatch(_plain(product_key)))


def match(header: Sequence[str], *, file: str, default_currency: str = "") -> Columns:
    """The columns of a header. BadDelivery names a mandatory column that is missing, and the closest names."""
    columns = Columns({}, {}, {}, {})
    for position, title in enumerate(header):
        name = _BY_PLAIN.get(_plain(title), "")
        if name and name not in columns.found:
            columns.found[name] = position
        elif not name and (tag := _TAG.match(title)):
            columns.tags.setdefault(tag.group(1), position)
        elif not name and (category := _CATEGORY.match(title)):
            columns.categories.setdefault(category.group(1), position)
        elif not name and is_wanted(title):
            columns.extra.setdefault(_snake(title), position)
    mandatory = MANDATORY if default_currency else (*MANDATORY, "line_item_currency_code")
    for name in mandatory:
        if name not in columns.found:
            close = difflib.get_close_matches(name, header, n=2, cutoff=0.6)
            closest = f"; closest are {', '.join(close)}" if close else ""
            reason = f"the column {name} is missing{closest}; add it to the export"
            raise openings.broken(file, reason, field=name)
    return columns


def _snake(title: str) -> str:
    return _HUMP.sub("_", title).replace("/", "_").replace(":", "_").lower()
