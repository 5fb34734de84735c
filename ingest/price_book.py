"""The price book as people read it: what is believed now, what was believed at any time, and what changed."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from ingest import price_tiers
from ingest.models import Offering, UnitPrice


@dataclass(frozen=True, slots=True)
class PriceKey:
    """One priced thing: a provider, a model and a service tier."""

    provider: str
    model: str
    service_tier: str


def current(*, provider: str = "", search: str = "") -> list[UnitPrice]:
    """The price rows that are believed now; `search` finds words in provider, model, tier, provenance and who set it."""
    rows = UnitPrice.objects.filter(known_to=None)
    rows = rows.filter(provider=provider) if provider else rows
    for word in search.split():
        rows = rows.filter(
            Q(provider__icontains=word)
            | Q(model__icontains=word)
            | Q(service_tier__icontains=word)
            | Q(provenance__icontains=word)
            | Q(set_by__icontains=word)
        )
    return list(rows.order_by("provider", "model", "service_tier", "is_conservative", "context_from", "valid_from"))


def believed(*, at: datetime, provider: str = "", model: str = "") -> list[UnitPrice]:
    """The price rows that were believed at a moment. A list price counts as known since it was valid."""
    rows = UnitPrice.objects.filter(known_from__lte=at).filter(Q(known_to=None) | Q(known_to__gt=at))
    rows = rows.filter(provider=provider) if provider else rows
    rows = rows.filter(model=model) if model else rows
    return list(rows.order_by("provider", "model", "service_tier", "is_conservative", "context_from", "valid_from"))


def history(*, key: PriceKey) -> list[UnitPrice]:
    """Every belief about one price, the newest first."""
    rows = UnitPrice.objects.filter(provider=key.provider, model=key.model, service_tier=key.service_tier)
    return list(rows.order_by("-known_from", "-valid_from", "context_from", "-id"))


def changed(*, since: datetime) -> list[UnitPrice]:
    """The prices that people set, and those of the list that took another's place, since a moment; the newest first."""
    given_up = UnitPrice.objects.filter(known_to__gte=since).values_list("known_to", flat=True).distinct()
    rows = UnitPrice.objects.filter(known_from__gte=since, known_to=None)
    rows = rows.filter(Q(set_by__gt="") | Q(change_id__isnull=False) | Q(known_from__in=list(given_up)))
    # What is left of a price around another one says nothing new.
    rows = rows.exclude(change_id__isnull=False, set_by="")
    return list(rows.order_by("-known_from", "provider", "model", "service_tier", "context_from", "valid_from")[:500])


def providers() -> list[str]:
    """The providers of the price book."""
    return list(
        UnitPrice.objects.filter(known_to=None).values_list("provider", flat=True).distinct().order_by("provider")
    )


def unknown_tiers() -> list[tuple[str, str]]:
    """Providers and tiers found on usage that are counted at the standard price because we know of none for them."""
    found = Offering.objects.values_list("provider", "service_tier").distinct().order_by("provider", "service_tier")
    return [(provider, tier) for provider, tier in found if not price_tiers.is_known(provider, tier)]
