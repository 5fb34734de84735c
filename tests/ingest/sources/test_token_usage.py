"""Token usage of real responses, against the recorded oracle and against numbers worked out by hand."""
# the bodies are a table, one line each

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.rows import DISJOINT_TOKEN_KINDS
from ingest.sources.formats.usage import token_paths, token_usage

GOLDEN = Path(__file__).parents[2] / "golden" / "llm_usage" / "usages.json.gz"


def recorded() -> list[dict[str, Any]]:
    return orjson.loads(gzip.decompress(GOLDEN.read_bytes()))


def in_oracle_form(usage: token_usage.TokenUsage, expected: dict[str, int]) -> dict[str, int]:
    """Our disjoint kinds back in the inclusive form, with the 5-minute writes only where the oracle splits writes."""
    found = usage.inclusive() | dict(usage.other)
    found["cache_write_5m_tokens"] = usage.cache_write_5m if "cache_write_5m_tokens" in expected else 0
    if "cache_write_1h_tokens" not in expected:
        found.pop("cache_write_1h_tokens")
    return {name: count for name, count in found.items() if count}


def test_it_gives_the_recorded_usage_for_every_provider_and_flavour_of_every_response() -> None:
    compared, wrong = 0, []

    for response in recorded():
        for extracted in response["extracted"]:
            expected = {name: count for name, count in extracted["usage"].items() if count}
            for provider, flavor, *_ in extracted["pairs"]:
                found = token_usage.decompose(provider, flavor, response["body"])
                compared += 1
                if in_oracle_form(found, expected) != expected:
                    wrong.append((provider, flavor, response["body"], found, expected))

    assert compared == 9637
    assert wrong == []


def test_it_reads_counts_as_the_library_does() -> None:
    for response in recorded():
        for extracted in response["extracted"]:
            for provider, flavor, *_ in extracted["pairs"]:
                table, paths = token_paths.extractor(provider, flavor), token_paths.of(provider, flavor)
                assert table is not None and paths is not None
                assert paths.counts(response["body"]) == vars(table.extract(response["body"])[1])


# Worked out by hand from each vendor's description of its usage block: (provider, flavour, body, kinds that are not zero).
BY_HAND: list[tuple[str, str, dict[str, Any], dict[str, int]]] = [
    (
        "openai",
        "",
        {"usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}},
        {"input_uncached": 100, "output": 20},
    ),
    (
        "openai",
        "chat",
        {
            "usage": {
                "prompt_tokens": 2006,
                "completion_tokens": 300,
                "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 128},
            }
        },
        {"input_uncached": 86, "cache_read": 1920, "output": 300, "reasoning": 128},
    ),
    (
        "openai",
        "chat",
        {
            "usage": {
                "prompt_tokens": 500,
                "completion_tokens": 90,
                "prompt_tokens_details": {"audio_tokens": 400},
                "completion_tokens_details": {"audio_tokens": 70},
            }
        },
        {"input_uncached": 100, "audio_input": 400, "output": 20, "audio_output": 70},
    ),
    (
        "openai",
        "chat",
        {
            "usage": {
                "prompt_tokens": 4020,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cache_write_tokens": 4012, "cached_tokens": 0},
            }
        },
        {"input_uncached": 8, "cache_write_5m": 4012, "output": 4},
    ),
    (
        "openai",
        "",
        {
            "object": "response",
            "usage": {
                "input_tokens": 75,
                "input_tokens_details": {"cached_tokens": 64},
                "output_tokens": 1186,
                "output_tokens_details": {"reasoning_tokens": 1024},
            },
        },
        {"input_uncached": 11, "cache_read": 64, "output": 1186, "reasoning": 1024},
    ),
    ("openai", "", {"object": "list", "usage": {"prompt_tokens": 8, "total_tokens": 8}}, {"input_uncached": 8}),
    (
        "azure.ai.openai",
        "",
        {"usage": {"prompt_tokens": 50, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 40}}},
        {"input_uncached": 10, "cache_read": 40, "output": 5},
    ),
    (
        "anthropic",
        "",
        {
            "type": "message",
            "usage": {
                "input_tokens": 10,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 100,
                "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
                "output_tokens": 7,
            },
        },
        {"input_uncached": 10, "cache_read": 1000, "cache_write_5m": 60, "cache_write_1h": 40, "output": 7},
    ),
    (
        "anthropic",
        "",
        {
            "type": "message",
            "usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 1956,
                "cache_read_input_tokens": 9511,
                "output_tokens": 44,
            },
        },
        {"input_uncached": 3, "cache_read": 9511, "cache_write_5m": 1956, "output": 44},
    ),
    (
        "anthropic",
        "",
        {"type": "message", "usage": {"input_tokens": 2743, "output_tokens": 4}},
        {"input_uncached": 2743, "output": 4},
    ),
    (
        "anthropic",
        "default",
        {
            "usage": {
                "input_tokens": 5,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 30},
                "output_tokens": 1,
            }
        },
        {"input_uncached": 5, "cache_write_1h": 30, "output": 1},
    ),
    (
        "anthropic",
        "default",
        {"usage": {"input_tokens": 9, "output_tokens": 50, "output_tokens_details": {"thinking_tokens": 30}}},
        {"input_uncached": 9, "output": 50, "reasoning": 30},
    ),
    (
        "aws.bedrock",
        "",
        {"usage": {"inputTokens": 30, "outputTokens": 6, "totalTokens": 36}},
        {"input_uncached": 30, "output": 6},
    ),
    (
        "aws.bedrock",
        "",
        {
            "usage": {
                "inputTokens": 3,
                "cacheReadInputTokens": 500,
                "cacheWriteInputTokens": 2074,
                "cacheDetails": [{"inputTokens": 2074, "ttl": "5m"}],
                "outputTokens": 288,
                "totalTokens": 2865,
            }
        },
        {"input_uncached": 3, "cache_read": 500, "cache_write_5m": 2074, "output": 288},
    ),
    (
        "aws.bedrock",
        "",
        {
            "usage": {
                "inputTokens": 3,
                "cacheReadInputTokens": 0,
                "cacheWriteInputTokens": 50,
                "cacheDetails": [{"inputTokens": 50, "ttl": "1h"}],
                "outputTokens": 1,
            }
        },
        {"input_uncached": 3, "cache_write_1h": 50, "output": 1},
    ),
    (
        "aws.bedrock",
        "",
        {"type": "message", "usage": {"input_tokens": 12, "cache_read_input_tokens": 90, "output_tokens": 4}},
        {"input_uncached": 12, "cache_read": 90, "output": 4},
    ),
    (
        "aws.bedrock",
        "",
        {"prompt_token_count": 25, "generation_token_count": 200, "generation": "…"},
        {"input_uncached": 25, "output": 200},
    ),
    (
        "aws.bedrock",
        "",
        {"inputTextTokenCount": 11, "results": [{"tokenCount": 40}, {"tokenCount": 2}]},
        {"input_uncached": 11, "output": 42},
    ),
    (
        "aws.bedrock",
        "",
        {
            "amazon-bedrock-invocationMetrics": {
                "inputTokenCount": 10,
                "outputTokenCount": 5,
                "cacheReadInputTokenCount": 100,
                "cacheWriteInputTokenCount": 20,
            }
        },
        {"input_uncached": 10, "cache_read": 100, "cache_write_5m": 20, "output": 5},
    ),
    (
        "gcp.gemini",
        "",
        {"usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 8, "totalTokenCount": 28}},
        {"input_uncached": 20, "output": 8},
    ),
    (
        "gcp.vertex_ai",
        "",
        {
            "usageMetadata": {
                "promptTokenCount": 1000,
                "cachedContentTokenCount": 800,
                "candidatesTokenCount": 50,
                "thoughtsTokenCount": 150,
            }
        },
        {"input_uncached": 200, "cache_read": 800, "output": 200, "reasoning": 150},
    ),
    (
        "gcp.gemini",
        "",
        {
            "usageMetadata": {
                "promptTokenCount": 300,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 20},
                    {"modality": "IMAGE", "tokenCount": 258},
                    {"modality": "AUDIO", "tokenCount": 22},
                ],
                "candidatesTokenCount": 9,
            }
        },
        {"input_uncached": 20, "image_input": 258, "audio_input": 22, "output": 9},
    ),
    (
        "gcp.gemini",
        "",
        {
            "usageMetadata": {
                "promptTokenCount": 100,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 100}],
                "cachedContentTokenCount": 60,
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}],
                "candidatesTokenCount": 3,
            }
        },
        {"cache_read": 60, "audio_input": 40, "output": 3},
    ),
    (
        "gcp.gemini",
        "",
        {
            "usageMetadata": {
                "promptTokenCount": 15,
                "toolUsePromptTokenCount": 70,
                "candidatesTokenCount": 30,
                "thoughtsTokenCount": 5,
            }
        },
        {"input_uncached": 85, "output": 35, "reasoning": 5},
    ),
    (
        "groq",
        "",
        {"usage": {"prompt_tokens": 43, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 10}}},
        {"input_uncached": 33, "cache_read": 10, "output": 9},
    ),
    (
        "mistral_ai",
        "",
        {"usage": {"prompt_tokens": 31, "completion_tokens": 8, "total_tokens": 39}},
        {"input_uncached": 31, "output": 8},
    ),
    (
        "deepseek",
        "",
        {
            "usage": {
                "prompt_tokens": 20,
                "completion_tokens": 6,
                "prompt_cache_hit_tokens": 12,
                "prompt_cache_miss_tokens": 8,
            }
        },
        {"input_uncached": 8, "cache_read": 12, "output": 6},
    ),
    (
        "x_ai",
        "",
        {"usage": {"prompt_tokens": 60, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 50}}},
        {"input_uncached": 10, "cache_read": 50, "output": 2},
    ),
    (
        "cohere",
        "",
        {
            "usage": {
                "billed_units": {"input_tokens": 5, "output_tokens": 9},
                "tokens": {"input_tokens": 70, "output_tokens": 9},
            }
        },
        {"input_uncached": 5, "output": 9},
    ),
    (
        "openrouter",
        "",
        {
            "usage": {
                "prompt_tokens": 41,
                "completion_tokens": 1457,
                "completion_tokens_details": {"reasoning_tokens": 704},
            }
        },
        {"input_uncached": 41, "output": 1457, "reasoning": 704},
    ),
    (
        "self_hosted",
        "",
        {"usage": {"prompt_tokens": 640, "completion_tokens": 12, "prompt_tokens_details": {"cached_tokens": 512}}},
        {"input_uncached": 128, "cache_read": 512, "output": 12},
    ),
]


@pytest.mark.parametrize(("provider", "flavor", "body", "kinds"), BY_HAND)
def test_it_agrees_with_numbers_worked_out_by_hand(
    provider: str, flavor: str, body: dict[str, Any], kinds: dict[str, int]
) -> None:
    found = token_usage.decompose(provider, flavor, body)

    assert {
        kind: getattr(found, kind) for kind in (*DISJOINT_TOKEN_KINDS, "reasoning") if getattr(found, kind)
    } == kinds


def test_it_has_enough_numbers_worked_out_by_hand() -> None:
    assert len(BY_HAND) >= 25


def test_t21_it_names_the_contradiction_when_parts_exceed_their_total() -> None:
    body = {"usage": {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 11}}}

    with pytest.raises(token_usage.Contradiction, match=r"11 cache reads .* exceed 10 input tokens"):
        token_usage.decompose("openai", "chat", body)


def test_it_does_not_call_a_body_without_usage_free() -> None:
    with pytest.raises(ValueError, match="no usage block"):
        token_usage.decompose("openai", "", {"choices": []})


counts = st.integers(min_value=-5, max_value=2**31 + 5)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            (
                "input_tokens",
                "output_tokens",
                "cache_read_tokens",
                "cache_write_tokens",
                "cache_write_5m_tokens",
                "cache_write_1h_tokens",
                "output_reasoning_tokens",
                "input_audio_tokens",
                "input_image_tokens",
                "output_audio_tokens",
                "cache_audio_read_tokens",
            ),
            counts,
        ),
    )
)
def test_it_never_yields_a_negative_kind_and_its_sums_recombine(reported: dict[str, int]) -> None:
    try:
        found = token_usage.disjoint(reported)
    except token_usage.Contradiction:
        return

    assert all(getattr(found, kind) >= 0 for kind in (*DISJOINT_TOKEN_KINDS, "reasoning"))
    inclusive = found.inclusive()
    for name in ("input_tokens", "output_tokens", "cache_read_tokens", "output_reasoning_tokens", "input_audio_tokens"):
        assert inclusive[name] == reported.get(name, 0)


@given(st.lists(st.integers(min_value=0, max_value=10**6), min_size=9, max_size=9))
def test_it_gets_back_the_kinds_it_was_given(parts: list[int]) -> None:
    read, short, long, uncached, audio, image, output, audio_output, reasoning = parts
    reported = {
        "input_tokens": read + short + long + uncached + audio + image,
        "cache_read_tokens": read,
        "cache_write_tokens": short + long,
        "cache_write_1h_tokens": long,
        "input_audio_tokens": audio,
        "input_image_tokens": image,
        "output_tokens": output + audio_output,
        "output_audio_tokens": audio_output,
        "output_reasoning_tokens": min(reasoning, output),
    }

    found = token_usage.disjoint(reported)

    assert (found.input_uncached, found.cache_read, found.cache_write_5m, found.cache_write_1h) == (
        uncached,
        read,
        short,
        long,
    )
    assert (found.audio_input, found.image_input, found.output, found.audio_output) == (
        audio,
        image,
        output,
        audio_output,
    )
