"""One request's tokens as kinds that do not overlap, from any vendor's usage block."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ingest.sources.formats import classify
from ingest.sources.formats.usage import token_paths

_LIMIT = 2**31 - 1


class Contradiction(ValueError):
    """The numbers of a usage block cannot all be true; `field` is the one that is too large."""

    def __init__(self, found: str, reason: str) -> None:
        self.field = found
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Disjoint token kinds (reasoning is part of output). `other` is what the vendor counted besides."""

    input_uncached: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    other: Mapping[str, int] = field(default_factory=dict)

    def inclusive(self) -> dict[str, int]:
        """The same numbers in the inclusive form of OpenTelemetry and genai-prices."""
        written = self.cache_write_5m + self.cache_write_1h
        inputs = self.input_uncached + self.cache_read + written + self.audio_input + self.image_input
        return {
            "input_tokens": inputs,
            "output_tokens": self.output + self.audio_output,
            "cache_read_tokens": self.cache_read,
            "cache_write_tokens": written,
            "cache_write_1h_tokens": self.cache_write_1h,
            "output_reasoning_tokens": self.reasoning,
            "input_audio_tokens": self.audio_input + self.other.get("cache_audio_read_tokens", 0),
            "input_image_tokens": self.image_input + self.other.get("cache_image_read_tokens", 0),
            "output_audio_tokens": self.audio_output,
        }


# Pairs whose responses are not known to report cache writes; the recorded responses count them as plain input there.
_READS_NO_CACHE_WRITES = {("azure", "chat"), ("azure", "responses"), ("moonshotai", "chat")}

# What a body looks like -> flavours to try with the stated provider, then the (provider, flavour) that defined it.
_SHAPES: tuple[tuple[str, tuple[str, ...], tuple[str, str]], ...] = (
    ("gemini", ("default",), ("google", "default")),
    ("converse", ("default",), ("aws", "default")),
    ("anthropic", ("anthropic", "default"), ("anthropic", "default")),
    ("chat", ("chat", "default"), ("openai", "chat")),
    ("embeddings", ("embeddings",), ("openai", "embeddings")),
    ("responses", ("responses",), ("openai", "responses")),
    ("cohere", ("default", "tokens", "embeddings"), ("cohere", "default")),
)
_SHAPE = {name: (flavors, family) for name, flavors, family in _SHAPES}

_DISJOINT_SOURCES = {
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
}


def decompose(provider: str, api_flavor: str, body: Mapping[str, Any]) -> TokenUsage:
    """The tokens of a response body of this provider and API flavour ("" = told by the body's shape).

    Raises Contradiction when parts exceed their total, and ValueError when the body holds no usage of that flavour.
    """
    if own := _invocation(body):
        return disjoint(own)
    if api_flavor:
        return disjoint(_extract(provider, api_flavor, body))
    problem: ValueError = ValueError("no usage block of a known shape")
    for candidate, flavor in _candidates(provider, shape(body)):
        try:
            found = _extract(candidate, flavor, body)
        except LookupError:
            continue
        except ValueError as refused:
            problem = refused
            continue
        return disjoint(found)
    raise problem


def shape(body: Mapping[str, Any]) -> str:
    """Which shape of usage block a response carries, by the names in _SHAPES, or ""."""
    if isinstance(body.get("usageMetadata"), Mapping):
        return "gemini"
    if isinstance(body.get("meta"), Mapping):
        return "cohere"
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return ""
    if "inputTokens" in usage or "outputTokens" in usage:
        return "converse"
    if "billed_units" in usage or "tokens" in usage:
        return "cohere"
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        return "chat" if "completion_tokens" in usage else "embeddings"
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage or body.get("type") == "message":
        return "anthropic"
    return "responses" if "input_tokens" in usage else ""


def disjoint(reported: Mapping[str, int], *, limit: int = _LIMIT) -> TokenUsage:
    """Kinds that do not overlap, from totals that contain their parts (the form of genai-prices and OpenTelemetry). `limit` is
    what one count may be: of one call, unless a vendor has summed them.
    """
    for name, count in reported.items():
        if count < 0 or count > limit:
            raise Contradiction(name, f"{name} is {count}; expected 0 to {limit}")
    total_input, total_output = reported.get("input_tokens", 0), reported.get("output_tokens", 0)
    read = reported.get("cache_read_tokens", 0)
    short, long = reported.get("cache_write_5m_tokens", 0), reported.get("cache_write_1h_tokens", 0)
    written = reported.get("cache_write_tokens", short + long)
    audio = _less(reported, "input_audio_tokens", "cache_audio_read_tokens")
    image = _less(reported, "input_image_tokens", "cache_image_read_tokens")
    audio_output, reasoning = reported.get("output_audio_tokens", 0), reported.get("output_reasoning_tokens", 0)
    if short + long > written:
        raise Contradiction("cache_write_tokens", f"cache writes by lifetime are {short + long}, in total {written}")
    uncached = total_input - read - written - audio - image
    if uncached < 0:
        raise Contradiction(
            "input_tokens",
            f"{read} cache reads + {written} cache writes + {audio} audio + {image} image "
            f"exceed {total_input} input tokens",
        )
    if audio_output > total_output or reasoning > total_output:
        raise Contradiction(
            "output_tokens", f"{reasoning} reasoning or {audio_output} audio tokens exceed {total_output} output tokens"
        )
    return TokenUsage(
        input_uncached=uncached,
        cache_read=read,
        cache_write_5m=written - long,
        cache_write_1h=long,
        output=total_output - audio_output,
        reasoning=reasoning,
        audio_input=audio,
        audio_output=audio_output,
        image_input=image,
        other={name: count for name, count in reported.items() if count and name not in _DISJOINT_SOURCES},
    )


def _less(reported: Mapping[str, int], total: str, part: str) -> int:
    left = reported.get(total, 0) - reported.get(part, 0)
    if left < 0:
        raise Contradiction(total, f"{part} ({reported[part]}) exceeds {total} ({reported.get(total, 0)})")
    return left


def _extract(provider: str, api_flavor: str, body: Mapping[str, Any]) -> dict[str, int]:
    name = classify.price_provider(provider)
    paths = token_paths.of(name, api_flavor)
    if paths is None:
        raise LookupError(f"provider {provider!r} has no API flavour {api_flavor!r}")
    counts = paths.counts(body)
    hits = _mapping(body, "usage").get("prompt_cache_hit_tokens")
    if "cache_read_tokens" not in counts and type(hits) is int:  # DeepSeek's own name for it
        counts["cache_read_tokens"] = hits
    if (name, api_flavor) in _READS_NO_CACHE_WRITES:
        counts.pop("cache_write_tokens", None)
    if "cache_write_tokens" not in counts:  # only the lifetimes are told, by vendors whose input excludes cache writes
        lifetimes = counts.get("cache_write_5m_tokens", 0) + counts.get("cache_write_1h_tokens", 0)
        counts["input_tokens"] = counts.get("input_tokens", 0) + lifetimes
    return counts


def _candidates(provider: str, body_shape: str) -> Iterator[tuple[str, str]]:
    if not body_shape:
        return
    flavors, family = _SHAPE[body_shape]
    name = classify.price_provider(provider)
    for flavor in flavors:
        if _reads(name, flavor, body_shape):
            yield name, flavor
    yield family


@lru_cache(maxsize=512)
def _reads(provider: str, flavor: str, body_shape: str) -> bool:
    """Whether a provider's flavour is this shape: `default` means another thing at each of them."""
    table = token_paths.extractor(provider, flavor)
    if table is None or (body_shape == "gemini" and provider != "google"):
        return False
    if flavor != "default" or body_shape in {"gemini", "converse", "cohere"}:
        return True
    wanted = {"anthropic": "cache_read_input_tokens", "chat": "prompt_tokens"}[body_shape]
    return any(mapping.path == wanted for mapping in table.mappings)


def _invocation(body: Mapping[str, Any]) -> dict[str, int] | None:
    """The counts of Bedrock InvokeModel bodies that carry no usage block: metrics of the stream, Titan, Llama."""
    metrics = body.get("amazon-bedrock-invocationMetrics")
    if isinstance(metrics, Mapping):
        read, write = _count(metrics, "cacheReadInputTokenCount"), _count(metrics, "cacheWriteInputTokenCount")
        return {
            "input_tokens": _count(metrics, "inputTokenCount") + read + write,
            "cache_read_tokens": read,
            "cache_write_tokens": write,
            "output_tokens": _count(metrics, "outputTokenCount"),
        }
    if "prompt_token_count" in body:
        return {
            "input_tokens": _count(body, "prompt_token_count"),
            "output_tokens": _count(body, "generation_token_count"),
        }
    if "inputTextTokenCount" in body:
        results = body.get("results") or ()
        return {
            "input_tokens": _count(body, "inputTextTokenCount"),
            "output_tokens": sum(_count(result, "tokenCount") for result in results),
        }
    return None


def _mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _count(block: Mapping[str, Any], name: str) -> int:
    value = block.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Contradiction(name, f"expected a whole number, found {value!r}")
    return value
