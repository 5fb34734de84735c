"""Service tiers: what a vendor charges for batch, flex and priority processing, relative to its standard price.

The list names many tier prices itself; this table serves the models and dates for which it does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ingest.sources.formats import classify

STANDARD = "standard"

# How the list names what we call a tier.
CONTEXTS: Mapping[str, Mapping[str, str]] = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}

# What vendors write for the standard tier: OpenAI `default` and, on a request, `auto`; Groq and Bedrock `on_demand`;
# Bedrock's and Anthropic's priority asked for but not given is answered with `standard`.
_STANDARD = frozenset({"", "standard", "default", "auto", "on_demand", "on-demand", "ondemand", "standard_only"})


@dataclass(frozen=True, slots=True)
class Multiplier:
    """What a tier costs as a share of the standard price; caches may be left at the standard price."""

    factor: Decimal
    address: str
    read_on: date
    has_cache_discount: bool = True

    def apply(self, prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """Prices of the tier from the standard ones. A flat price of a request is not scaled."""
        kept = {"request"} if self.has_cache_discount else {"request", "cache_read", "cache_write_5m", "cache_write_1h"}
        return {kind: price if kind in kept else price * self.factor for kind, price in prices.items()}


_HALF = Decimal("0.5")
_READ_ON = date(2026, 11, 21)
_OPENAI = "https://platform.openai.com/docs/pricing"
_ANTHROPIC = "https://docs.claude.com/en/docs/about-claude/pricing"
_GOOGLE = "https://ai.google.dev/gemini-api/docs/pricing"
_BEDROCK = "https://aws.amazon.com/bedrock/pricing/"
_AZURE = "https://azure.microsoft.com/en-us/pricing/details/cognitive-services/openai-service/"
_GROQ = "https://console.groq.com/docs/service-tiers"

# How they were checked on that date: OpenAI, Anthropic, Google, Groq batch, Mistral and xAI as the ratio that the tier
# prices of genai-prices, copied from these pages, have to the standard ones; Anthropic's batch on its page too;
# Bedrock in readings of AWS's price list (the page draws its prices by script). Azure batch and Groq flex are as the
# pages were known, and could not be looked at again.
_MULTIPLIERS: Mapping[tuple[str, str], Multiplier] = {
    ("openai", "batch"): Multiplier(_HALF, _OPENAI, _READ_ON),
    ("openai", "flex"): Multiplier(_HALF, _OPENAI, _READ_ON),
    # 1.7 to 2.5 by model; 2 is what most pay, and what the list does not name is a new model.
    ("openai", "priority"): Multiplier(Decimal(2), _OPENAI, _READ_ON),
    ("openai", "fast"): Multiplier(Decimal(2), _OPENAI, _READ_ON),
    ("anthropic", "batch"): Multiplier(_HALF, _ANTHROPIC, _READ_ON),
    # Fast mode as it was introduced (Opus 4.6: 30 and 150 USD per 1M); later models are named by the list.
    ("anthropic", "fast"): Multiplier(Decimal(6), _ANTHROPIC, _READ_ON),
    ("google", "batch"): Multiplier(_HALF, _GOOGLE, _READ_ON, has_cache_discount=False),
    ("google", "flex"): Multiplier(_HALF, _GOOGLE, _READ_ON, has_cache_discount=False),
    ("google", "priority"): Multiplier(Decimal("1.8"), _GOOGLE, _READ_ON),
    ("aws", "batch"): Multiplier(_HALF, _BEDROCK, _READ_ON),
    ("aws", "flex"): Multiplier(_HALF, _BEDROCK, _READ_ON),
    ("aws", "priority"): Multiplier(Decimal("1.75"), _BEDROCK, _READ_ON),
    ("azure", "batch"): Multiplier(_HALF, _AZURE, _READ_ON),
    ("mistral", "batch"): Multiplier(_HALF, "https://docs.mistral.ai/capabilities/batch/", _READ_ON),
    ("groq", "batch"): Multiplier(_HALF, "https://console.groq.com/docs/batch", _READ_ON),
    ("x-ai", "batch"): Multiplier(Decimal("0.8"), "https://docs.x.ai/docs/models", _READ_ON),
    # Groq's flex and performance tiers change limits, not prices.
    ("groq", "flex"): Multiplier(Decimal(1), _GROQ, _READ_ON),
}


def canonical(provider: str, service_tier: str) -> str:
    """The tier whose price counts; one we know no price for counts as standard, and `is_known` tells so."""
    tier = service_tier.strip().lower()
    if tier in _STANDARD or not is_known(provider, tier):
        return STANDARD
    return tier


def is_known(provider: str, service_tier: str) -> bool:
    """False where a tier is priced as standard only because nobody told what it costs: a finding to show."""
    tier = service_tier.strip().lower()
    return tier in _STANDARD or multiplier(provider, tier) is not None


def multiplier(provider: str, service_tier: str) -> Multiplier | None:
    """The multiplier of a vendor's tier, None when we know of none."""
    return _MULTIPLIERS.get((classify.price_provider(provider), service_tier))
