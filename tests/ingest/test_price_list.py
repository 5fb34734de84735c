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
