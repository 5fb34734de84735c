"""The cloud's bill apart from tokens: GPU nodes and a reservation, services, support, tax, credit, a correction."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import orjson

from costobs.embedded.sample import organisation, story, traces
from costobs.embedded.sample.organisation import Node
from costobs.embedded.sample.story import Story

Row = dict[str, str]

_PLATFORM = ("441200000029", "quillfern-platform")
_RESERVATION = "arn:aws:ec2:us-east-1:441200000029:reserved-instances/5c1e8f0a-quillfern"
_CREDIT = Decimal("-640.00")
_SUPPORT_SHARE = Decimal("0.03")
_TAX_SHARE = Decimal("0.0125")
_CORRECTED_GIGABYTES = Decimal("-2360")
# What a day uses of each service of the excerpt, in its pricing unit, and how the resource is tagged.
_DAILY: tuple[tuple[str, int, dict[str, str]], ...] = (
    ("requests", 38_000_000, {"team": "data-platform", "environment": "prod"}),
    ("volumes", 410, {"team": "data-platform", "environment": "prod"}),
    ("egress", 118, {"team": "search", "environment": "prod"}),
    ("nat-gateway", 240, {}),
    ("logs", 19, {}),
    ("load-balancer", 48, {"team": "search", "environment": "prod"}),
    ("snapshots", 96, {"team": "research", "environment": "dev"}),
    ("between-zones", 870, {"environment": "prod"}),
)


def rows(told: Story, *, days: list[date], month: date, is_closed: bool, is_first: bool) -> list[Row]:
    """The charges of these days of a month; of a closed month also support and tax, later than its first delivery."""
    found = [row for day in days for row in _of_day(told, day)]
    found += _reservation_fee(month, days)
    found.append(_once(month, "Credit", "Activate credit", "AWS Activate", _CREDIT))
    if is_closed and not is_first:
        usage = sum((Decimal(row["BilledCost"]) for row in found if row["ChargeCategory"] != "Credit"), Decimal(0))
        support = (usage * _SUPPORT_SHARE).quantize(Decimal("0.01"))
        found.append(_once(month, "Purchase", "AWS Support (Business)", "AWS Support", support, frequency="Recurring"))
        found.append(
            _once(month, "Tax", "Sales tax", "Tax", ((usage + support) * _TAX_SHARE).quantize(Decimal("0.01")))
        )
        found.append(_correction(days[-1]))
    return found


def _of_day(told: Story, day: date) -> Iterator[Row]:
    for node in organisation.NODES:
        for hour in range(24):
            yield _node_hour(told, node, day, hour)
    chance = told.random("services", day)
    for (resource, usual, tags), service in zip(_DAILY, traces.services(), strict=True):
        quantity = Decimal(str(round(usual * chance.uniform(0.86, 1.12), 4)))
        yield _service(day, service, resource, quantity, tags)


def is_off(told: Story, node: Node, day: date, hour: int) -> bool:
    """Whether a node is switched off in an hour."""
    return node.reserved_price is not None and told.index(day) == story.MAINTENANCE and hour in (2, 3)


def _node_hour(told: Story, node: Node, day: date, hour: int) -> Row:
    start = story.midnight(day) + timedelta(hours=hour)
    row = {
        "ChargePeriodStart": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "ChargePeriodEnd": f"{start + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ServiceCategory": "Compute",
        "ServiceSubcategory": "Virtual Machines",
        "ServiceName": "Amazon Elastic Compute Cloud",
        "ChargeDescription": f"${node.hourly_price} per On Demand Linux {node.instance_type} Instance Hour",
        "PricingCategory": "Standard",
        "PricingQuantity": "1",
        "PricingUnit": "Hours",
        "ConsumedQuantity": "1",
        "ConsumedUnit": "Hours",
        "ListUnitPrice": f"{node.hourly_price}",
        "ListCost": f"{node.hourly_price}",
        "ContractedUnitPrice": f"{node.hourly_price}",
        "ContractedCost": f"{node.hourly_price}",
        "BilledCost": f"{node.hourly_price}",
        "EffectiveCost": f"{node.hourly_price}",
        "RegionId": "us-east-1",
        "ResourceId": node.name,
        "ResourceName": node.name,
        "ResourceType": "EC2 Instance",
        "SkuId": f"BoxUsage-{node.instance_type}",
        "SkuMeter": f"BoxUsage:{node.instance_type}",
        "SkuPriceId": f"BoxUsage-{node.instance_type}-OnDemand",
        "Tags": _tags(node.tags),
        **_account(),
    }
    if node.reserved_price is None:
        return row
    row |= {
        "ChargeDescription": f"{node.instance_type} Linux, covered by a reservation",
        "PricingCategory": "Committed",
        "CommitmentDiscountId": _RESERVATION,
        "CommitmentDiscountStatus": "Used",
        "BilledCost": "0",
        "EffectiveCost": f"{node.reserved_price}",
        "ContractedUnitPrice": f"{node.reserved_price}",
        "ContractedCost": f"{node.reserved_price}",
    }
    if is_off(told, node, day, hour):
        # Nothing ran: the hour is lost, and belongs to the reservation instead of the node.
        row |= {"CommitmentDiscountStatus": "Unused", "ConsumedQuantity": "", "ConsumedUnit": "", "ListCost": "0"}
        row |= {"ResourceId": _RESERVATION, "ResourceName": "", "ResourceType": "Reserved Instance", "Tags": ""}
        row |= {"ChargeDescription": f"{node.instance_type} Linux, unused reservation"}
    return row


def _reservation_fee(month: date, days: list[date]) -> Iterator[Row]:
    """The month's fee of the reservation, billed on its first day: what the covered hours spread is paid here."""
    if days[0] != month:
        return
    following = (month + timedelta(days=32)).replace(day=1)
    for node in organisation.NODES:
        if node.reserved_price is None:
            continue
        hours = (following - month).days * 24
        fee = node.reserved_price * hours
        row = _once(
            month,
            "Purchase",
            f"{node.instance_type} Linux reservation, monthly fee",
            "Amazon Elastic Compute Cloud",
            fee,
        )
        row |= {
            "ChargeFrequency": "Recurring",
            "EffectiveCost": "0",
            # The covered hours carry list and contracted cost; here they would count the same money twice.
            "ListCost": "0",
            "ContractedCost": "0",
            "ServiceCategory": "Compute",
            "PricingCategory": "Committed",
            "CommitmentDiscountId": _RESERVATION,
            "ResourceId": _RESERVATION,
            "ResourceType": "Reserved Instance",
        }
        yield row


def _service(day: date, service: dict[str, str], resource: str, quantity: Decimal, tags: dict[str, str]) -> Row:
    cost = quantity * Decimal(service["list_unit_price"])
    return {
        "ChargePeriodStart": f"{day}T00:00:00Z",
        "ChargePeriodEnd": f"{day + timedelta(days=1)}T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeDescription": service["charge_description"],
        "ServiceCategory": service["service_category"],
        "ServiceName": service["service_name"],
        "PricingCategory": "Standard",
        "PricingQuantity": f"{quantity:f}",
        "PricingUnit": service["pricing_unit"],
        "ConsumedQuantity": f"{quantity:f}",
        "ConsumedUnit": service["pricing_unit"],
        "ListUnitPrice": service["list_unit_price"],
        "ContractedUnitPrice": service["list_unit_price"],
        **dict.fromkeys(("ListCost", "ContractedCost", "BilledCost", "EffectiveCost"), f"{cost:f}"),
        "RegionId": service["region_id"],
        "ResourceId": f"arn:aws:sample:{service['region_id']}:{_PLATFORM[0]}:{resource}",
        "ResourceName": resource,
        "SkuId": service["sku_id"],
        "SkuPriceId": service["sku_price_id"],
        "Tags": _tags(tags),
        **_account(),
    }


def _correction(day: date) -> Row:
    """What the vendor found it had charged too much, a few days after the month had closed."""
    egress = next(service for service in traces.services() if "data transfer out" in service["charge_description"])
    row = _service(day, egress, "egress", _CORRECTED_GIGABYTES, {"team": "search", "environment": "prod"})
    return row | {"ChargeClass": "Correction", "ChargeDescription": "Correction of data transfer out, charged twice"}


def _once(
    month: date, category: str, description: str, service: str, cost: Decimal, *, frequency: str = "One-Time"
) -> Row:
    following = (month + timedelta(days=32)).replace(day=1)
    return {
        "ChargePeriodStart": f"{month}T00:00:00Z",
        "ChargePeriodEnd": f"{following}T00:00:00Z",
        "ChargeCategory": category,
        "ChargeFrequency": frequency,
        "ChargeDescription": description,
        "ServiceCategory": "Other",
        "ServiceName": service,
        **dict.fromkeys(("ListCost", "ContractedCost", "BilledCost", "EffectiveCost"), f"{cost:f}"),
        **_account(),
    }


def _account() -> Row:
    return {"SubAccountId": _PLATFORM[0], "SubAccountName": _PLATFORM[1]}


def _tags(tags: dict[str, str]) -> str:
    return orjson.dumps(tags, option=orjson.OPT_SORT_KEYS).decode() if tags else ""
