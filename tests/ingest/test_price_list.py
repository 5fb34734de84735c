"""List prices against prices worked out by hand from vendors' pages, and their history, tiers and fallbacks."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ingest import price_list, price_tiers
from ingest.price_list import PRICED
from ingest.price_usage import PROMPT_KINDS
from ingest.rows import DISJOINT_TOKEN_KINDS

GOLDEN = Path(__file__).parent.parent / "golden"
BY_HAND = json.loads((GOLDEN / "prices" / "cases.json").read_text())
MILLION = Decimal(1_000_000)


def cost(provider: str, model: str, tier: str, day: date, tokens: dict[str, int]) -> Decimal:
    """What a request costs by the list, as the ledger computes it: tokens times price of the step that holds."""
    period = price_list.period_on(provider, model, tier, day)
    assert period is not None, f"{provider}/{model} has no list price on {day}"
    prompt = sum(tokens.get(kind, 0) for kind in PROMPT_KINDS)
    step = [step for step in period.steps if step.context_from <= prompt][-1]
    return sum((step.prices[kind] * tokens.get(kind, 0) for kind in DISJOINT_TOKEN_KINDS), Decimal(0))


@pytest.mark.parametrize("case", BY_HAND, ids=lambda case: f"{case['model']}: {case['what']}")
def test_it_costs_what_the_vendors_page_says(case: dict[str, Any]) -> None:
    published = {kind: Decimal(price) for kind, price in case["published_per_1m"].items()}

    found = cost(case["provider"], case["model"], case["service_tier"], date.fromisoformat(case["day"]), case["tokens"])

    by_hand = sum((published.get(kind, Decimal(0)) * count for kind, count in case["tokens"].items()), Decimal(0))
    assert by_hand == Decimal(case["cost"]) * MILLION
    assert found == Decimal(case["cost"])


def _price(provider: str, model: str, tier: str, day: date, kind: str) -> Decimal:
    period = price_list.period_on(provider, model, tier, day)
    assert period is not None
    return period.steps[0].prices[kind] * MILLION


def test_it_has_enough_prices_by_hand_to_mean_something() -> None:
    assert len(BY_HAND) >= 20
    assert len({case["provider"] for case in BY_HAND}) >= 8
    assert all(case["address"].startswith("https://") and date.fromisoformat(case["read_on"]) for case in BY_HAND)


def test_it_covers_all_time_without_gaps_or_overlaps() -> None:
    found = price_list.periods("deepseek", "deepseek-v4-flash", "standard")

    assert found[0].valid_from == price_list.ALWAYS
    assert [one.valid_to for one in found[:-1]] == [one.valid_from for one in found[1:]]
    assert found[-1].valid_to is None


def test_it_takes_the_dearest_hour_of_the_day_from_the_day_that_hours_have_prices() -> None:
    before, peak = date(2026, 9, 9), date(2026, 9, 10)

    assert _price("deepseek", "deepseek-v4-flash", "standard", before, "output") == Decimal("0.66")
    assert _price("deepseek", "deepseek-v4-flash", "standard", peak, "output") == Decimal("1.2")
    period = price_list.period_on("deepseek", "deepseek-v4-flash", "standard", peak)
    assert period is not None
    assert period.provenance.endswith("deepseek/deepseek-v4-flash at the dearest hour of the day")


@pytest.mark.parametrize(
    ("kind", "part_of"),
    [
        ("cache_read", "input_uncached"),
        ("cache_write_5m", "input_uncached"),
        ("cache_write_1h", "cache_write_5m"),
        ("audio_input", "input_uncached"),
        ("audio_output", "output"),
        ("image_input", "input_uncached"),
    ],
)
def test_it_prices_a_kind_without_a_price_as_what_it_is_a_part_of(kind: str, part_of: str) -> None:
    day = date(2026, 11, 10)

    assert _price("groq", "llama-3.3-70b-versatile", "", day, kind) == _price(
        "groq", "llama-3.3-70b-versatile", "", day, part_of
    )


def test_it_has_no_price_per_token_for_speech_by_the_hour() -> None:
    assert price_list.periods("openai", "whisper-1", "standard") == ()


def test_it_prices_a_free_model_at_zero_and_one_without_a_price_not_at_all() -> None:
    free = price_list.period_on("openrouter", "qwen/qwq-32b:free", "standard", date(2026, 11, 10))

    assert free is not None
    assert set(free.steps[0].prices.values()) == {Decimal(0)}
    assert price_list.periods("cerebras", "qwen-3-coder-480b", "standard") == ()


def test_it_counts_the_output_of_an_image_model_at_the_image_price() -> None:
    assert _price("google", "gemini-2.5-flash-image", "", date(2026, 11, 10), "output") == 30


@pytest.mark.parametrize("spelling", ["", "standard", "Default", "auto", "on_demand"])
def test_it_knows_the_names_of_the_standard_tier(spelling: str) -> None:
    assert price_tiers.canonical("openai", spelling) == price_tiers.STANDARD


@pytest.mark.parametrize("tier", ["batch", "flex"])
def test_it_keeps_tiers_apart_only_where_their_price_is_known(tier: str) -> None:
    assert price_tiers.canonical("openai", tier) == tier
    assert price_tiers.canonical("deepseek", tier) == price_tiers.STANDARD
    assert not price_tiers.is_known("deepseek", tier)


def test_it_leaves_the_cache_at_the_standard_price_where_the_vendor_does() -> None:
    day = date(2026, 1, 10)

    assert _price("gcp.gemini", "gemini-2.5-flash", "batch", day, "input_uncached") == Decimal("0.15")
    assert _price("gcp.gemini", "gemini-2.5-flash", "batch", day, "cache_read") == Decimal("0.03")


def test_it_names_a_page_and_a_date_for_every_multiplier() -> None:
    for known in price_tiers._MULTIPLIERS.values():
        assert known.address.startswith("https://")
        assert known.read_on <= date(2026, 11, 21)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "aws.bedrock", "azure.ai.openai", "mistral_ai"])
def test_it_calls_no_price_dearest_that_is_below_another(provider: str) -> None:
    dearest, whose = price_list.dearest(provider)

    assert whose == provider
    for name in price_list._with_fallbacks(price_list._provider(provider)):
        for known in price_list._text_prices(name):
            assert all(dearest[kind] >= known[kind] for kind in PRICED)


def test_it_never_rounds_a_listed_price() -> None:
    assert _price("openai", "gpt-5-nano", "", date(2026, 11, 10), "cache_read") / MILLION == Decimal("0.000000005")
