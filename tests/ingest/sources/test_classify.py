"""Which model and kind of token the texts of bills and logs mean."""

import pytest

from ingest.sources.formats import classify


@pytest.mark.parametrize(
    ("provider", "text", "model", "kind"),
    [
        ("openai", "gpt-5-mini-2025-08-07, input", "gpt-5-mini", "input_uncached"),
        ("openai", "gpt-5-mini-2025-08-07, cached input", "gpt-5-mini", "cache_read"),
        ("openai", "gpt-4o-2024-08-06, output", "gpt-4o", "output"),
        ("openai", "text-embedding-3-small, input", "text-embedding-3-small", "input_uncached"),
        ("anthropic", "claude-sonnet-4-5 Input Tokens", "claude-sonnet-4-5", "input_uncached"),
        ("anthropic", "Claude Sonnet 4.5 Usage - Output Tokens", "claude-sonnet-4-5", "output"),
        ("anthropic", "Claude Sonnet 4.5 Usage - Cache Write 1h", "claude-sonnet-4-5", "cache_write_1h"),
        (
            "aws",
            "USE1-Claude4.5Sonnet-input-tokens",
            "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "input_uncached",
        ),
        (
            "aws",
            "USE1-Claude4.5Sonnet-cache-read-input-token-count",
            "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "cache_read",
        ),
        (
            "aws",
            "USE1-Claude4.5Sonnet-cache-write-input-token-count",
            "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "cache_write_5m",
        ),
        ("aws", "USE1-NovaPro-input-tokens", "amazon.nova-pro-v1:0", "input_uncached"),
        ("aws", "USE1-Llama3-3-70B-output-tokens", "meta.llama3-3-70b-instruct-v1:0", "output"),
        ("azure", "gpt 4o 0806 Inp glbl Tokens", "gpt-4o", "input_uncached"),
        ("azure", "gpt-4o-mini-0718-Outp-regnl Tokens", "gpt-4o-mini", "output"),
        ("azure", "gpt 4.1 mini cached Inp Data Zone Tokens", "gpt-4.1-mini", "cache_read"),
        ("azure", "Azure OpenAI GPT5 mini input Data Zone", "gpt-5-mini", "input_uncached"),
        ("google", "Gemini 2.5 Flash Input Text Token Count", "gemini-2.5-flash", "input_uncached"),
        ("google", "Gemini 2.0 Flash audio input token count", "gemini-2.0-flash", "audio_input"),
        ("aws", "$0.40 per million Amazon SQS standard requests in Tier1", "", ""),
        ("azure", "Standard D2s v3", "", ""),
        ("aws", "$0.000 per GB - data transfer in per month", "", ""),
    ],
)
def test_it_reads_the_texts_of_bills(provider: str, text: str, model: str, kind: str) -> None:
    assert classify.line(provider, text) == classify.Line(model, kind)


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("openai", "gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("azure.ai.openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("gcp.vertex_ai", "gemini-2.5-flash", "gemini-2.5-flash"),
        ("self_hosted", "Qwen/Qwen3-8B", "qwen/qwen3-8b"),
        ("openai", "my-own", "my-own"),
        ("openai", "", ""),
    ],
)
def test_it_gives_one_name_to_each_model(provider: str, name: str, model: str) -> None:
    assert classify.canonical_model(provider, name) == model


def test_it_gives_bills_and_logs_of_bedrock_the_same_name() -> None:
    logged = classify.canonical_model("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")

    assert classify.line("aws", "USE1-Claude4.5Sonnet-output-tokens").model == logged


def test_it_joins_the_texts_of_a_line() -> None:
    found = classify.first_line("openai", ["output tokens", "gpt-5-mini"])

    assert found == classify.Line("gpt-5-mini", "output")
