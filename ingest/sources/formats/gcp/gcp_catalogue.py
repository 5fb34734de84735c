"""Google's own price list and the billing accounts one may see, through google-cloud-billing."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from ingest.sources.stores import google_login

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud.billing_v1 import CloudBillingClient, CloudCatalogClient
    from google.cloud.billing_v1.types import Sku

_HINTS = {
    "401": "make a new key of the service account",
    "403": "grant roles/billing.viewer (billing.accounts.get) on the billing account and enable the Cloud Billing API",
    "404": "check billing_endpoint_url",
    "429": "too many requests were made; it is asked again next time",
}
_TIMEOUT = 30.0
_BILLION = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True)
class Account:
    """A billing account: its id, its name, and whether it may be charged."""

    id: str
    name: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class SkuPrice:
    """One tier of a SKU's list price: money for `quantity` of `unit`, from `tier_start` units of a month on."""

    sku_id: str
    description: str
    service: str
    regions: tuple[str, ...]
    currency: str
    unit: str
    quantity: Decimal
    tier_start: Decimal
    price: Decimal

    @property
    def sku_price_id(self) -> str:
        """The name that charges of the export have for this price."""
        return f"{self.sku_id}/{self.tier_start:f}"


def accounts(own: "Credentials", endpoint_url: str) -> list[Account]:
    """The billing accounts that these credentials may see, by name. SourceUnavailable when none may be."""
    with google_login.told("list billing accounts", _HINTS):
        listed = _accounts(own, endpoint_url).list_billing_accounts(timeout=_TIMEOUT)
        found = [Account(each.name.rpartition("/")[2], each.display_name, each.open_) for each in listed]
    return sorted(found, key=lambda each: (each.name, each.id))


def services(own: "Credentials", endpoint_url: str) -> dict[str, str]:
    """Every service that has a public price: its id and name."""
    with google_login.told("list services", _HINTS):
        listed = _catalogue(own, endpoint_url).list_services(timeout=_TIMEOUT)
        return {each.service_id: each.display_name for each in listed}


def prices(own: "Credentials", endpoint_url: str, *, service_id: str, currency: str = "USD") -> Iterator[SkuPrice]:
    """The list prices of a service's SKUs as they are now, tier by tier, exact to the nano that Google states."""
    from google.cloud.billing_v1.types import ListSkusRequest

    request = ListSkusRequest(parent=f"services/{service_id}", currency_code=currency)
    with google_login.told(f"list the prices of service {service_id}", _HINTS):
        for sku in _catalogue(own, endpoint_url).list_skus(request=request, timeout=_TIMEOUT):
            yield from _tiers(sku)


def _tiers(sku: "Sku") -> Iterator[SkuPrice]:
    # The last is the one that holds now.
    for info in list(sku.pricing_info)[-1:]:
        expression = info.pricing_expression
        for tier in expression.tiered_rates:
            money = tier.unit_price
            yield SkuPrice(
                sku_id=sku.sku_id,
                description=sku.description,
                service=sku.category.service_display_name,
                regions=tuple(sku.service_regions),
                currency=money.currency_code,
                unit=expression.usage_unit,
                quantity=Decimal(repr(expression.display_quantity or 1)).normalize(),
                tier_start=Decimal(repr(tier.start_usage_amount)).normalize(),
                price=Decimal(money.units) + Decimal(money.nanos) / _BILLION,
            )


def _accounts(own: "Credentials", endpoint_url: str) -> "CloudBillingClient":
    from google.cloud import billing_v1

    made = billing_v1.CloudBillingClient(credentials=own, transport="rest", client_options=_options(endpoint_url))
    google_login.stay(made.transport._session)  # type: ignore[attr-defined]  # only the REST transport has one
    return made


def _catalogue(own: "Credentials", endpoint_url: str) -> "CloudCatalogClient":
    from google.cloud import billing_v1

    made = billing_v1.CloudCatalogClient(credentials=own, transport="rest", client_options=_options(endpoint_url))
    google_login.stay(made.transport._session)  # type: ignore[attr-defined]  # only the REST transport has one
    return made


def _options(endpoint_url: str) -> dict[str, str]:
    return {"api_endpoint": endpoint_url} if endpoint_url else {}
