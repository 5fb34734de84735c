"""Prices of the recorded responses of many vendors: a regression check against what genai-prices made of them."""

import gzip
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from ingest import price_list
from ingest.price_usage import PROMPT_KINDS
from ingest.rows import DISJOINT_TOKEN_KINDS
from ingest.sources.formats.usage import token_usage

RESPONSES = Path(__file__).parent.parent / "golden" / "llm_usage" / "usages.json.gz"

# Provider and model whose listed price we do not reach, how many records, and why.
EXCEPTIONS = {
    # Images made are output tokens to us: the few text tokens beside them count at the image price too.
    ("google", "gemini-2.5-flash-image"): 2,
    # Cached audio has a price of its own; to us a cached token is a cached token.
    ("google", "gemini-2.5-flash"): 2,
    # The set was priced before the list learned that Google charges more above 200,000 tokens, as Anthropic does.
    ("google", "claude-sonnet-4-5-20250929"): 1,
    # The set was priced by a price that the list no longer carries.
    ("mistral", "ministral-8b-latest"): 1,
    # The list has no price, which the set writes as zero; with us it is quarantined.
    ("cerebras", "qwen-3-coder-480b"): 2,
}


def _costs(provider: str, model: str, usage: dict[str, int]) -> list[Decimal]:
    """What the tokens cost in each period of the model's history; the set does not say when it was priced."""
    tokens = token_usage.disjoint(usage)
    prompt = sum(getattr(tokens, kind) for kind in PROMPT_KINDS)
    found = []
    for period in price_list.periods(provider, model, "standard"):
        step = [step for step in period.steps if step.context_from <= prompt][-1]
        found.append(sum((step.prices[kind] * getattr(tokens, kind) for kind in DISJOINT_TOKEN_KINDS), Decimal(0)))
    return found


def _priced() -> list[tuple[str, str, dict[str, int], Decimal]]:
    records = json.loads(gzip.decompress(RESPONSES.read_bytes()))
    return [
        (provider, _model(record), each["usage"], Decimal(listed[0]) + Decimal(listed[1]))
        for record in records
        for each in record["extracted"]
        for provider, _flavor, *listed in each["pairs"]
        if listed
    ]


def _model(record: dict[str, Any]) -> str:
    body = record["body"]
    return body.get("model") or body["modelVersion"]


def test_it_prices_recorded_responses_as_listed_but_for_named_exceptions() -> None:
    priced = _priced()

    missed = Counter(
        (provider, model) for provider, model, usage, listed in priced if listed not in _costs(provider, model, usage)
    )

    assert len(priced) == 1718
    assert dict(missed) == EXCEPTIONS
