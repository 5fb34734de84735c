"""Which model a name or a line of a bill means, and which kind of token a line of a bill charges for."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from genai_prices import data_snapshot
from genai_prices.types import Provider

# OpenTelemetry gen_ai.provider.name (and names in common use) -> the provider's id in genai-prices.
_PRICE_PROVIDERS = {
    "aws.bedrock": "aws",
    "bedrock": "aws",
    "amazon": "aws",
    "az.ai.openai": "azure",
    "az.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure_openai": "azure",
    "gcp.vertex_ai": "google",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "vertex_ai": "google",
    "vertex": "google",
    "gemini": "google",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
}

# Names in common use -> OpenTelemetry's.
_OTEL_PROVIDERS = {
    "aws": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "amazon": "aws.bedrock",
    "az.ai.openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "google": "gcp.gemini",
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "xai": "x_ai",
    "x-ai": "x_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
}

_BILL_PROVIDERS = (
    ("bedrock", "aws"),
    ("sagemaker", "aws"),
    ("amazon web services", "aws"),
    ("aws", "aws"),
    ("azure", "azure"),
    ("microsoft", "azure"),
    ("vertex", "google"),
    ("google", "google"),
    ("openai", "openai"),
    ("anthropic", "anthropic"),
    ("mistral", "mistral"),
    ("cohere", "cohere"),
    ("groq", "groq"),
    ("deepseek", "deepseek"),
)

# A cheap test that keeps the matcher away from the millions of lines that have nothing to do with a model.
# Written for both Python's and Rust's regular expressions (no look-around).
FAMILY_PATTERN = (
    r"(?i)gpt[-\s]?\d|\bo[134](?:[-\s](?:mini|pro|preview)|$|[\s,_])|claude|gemini|llama|mi[sx]tral|codestral|magistral"
    r"|ministral|devstral|pixtral|command[-\s]?[ar]|nova[-\s2]|nova(?:lite|pro|micro|premier|sonic)|titan|deepseek|qwen|gemma"
    r"|grok|kimi|\bglm|embedding|embed-|whisper|\btts-|dall-?e|phi-?\d|jamba|gpt-?oss"
)
_FAMILY = re.compile(FAMILY_PATTERN)
_ANTHROPIC_SQUEEZED = re.compile(r"claude[-\s]?(\d(?:[.\-]\d)?)[-\s]?(opus|sonnet|haiku|instant)", re.IGNORECASE)
_NOVA_SQUEEZED = re.compile(r"nova[-\s]?(\d)(?:\.0)?[-\s]?(lite|micro|premier|pro|sonic)", re.IGNORECASE)
_WORDS_AROUND = re.compile(
    r"\b(?:(?:un)?cached|cache|inputs?|in|inp|outputs?|out|outp|opt|prompt|completion|response|tokens?|tok|count|batch|global|glbl|gl|"
    r"regional|regnl|data\s?zone|dzone|dz|standard|std|priority|flex|on-?demand|provisioned|cross-region|inference|"
    r"read|write|writes|1h|5m|1k|1m|per|units?|usage|text|audio|image|aud|img|txt|cd|cchd|latency-optimized|lctx|long|context|"
    r"million|thousand|ft|az|us|eu|apac|azure|openai|amazon|bedrock|vertex|ai|api|model|models|use\d|usw\d|euw\d|euc\d|apn\d|aps\d)\b",
    re.IGNORECASE,
)
_GLOBAL = re.compile(r"(?<![a-z])global(?![a-z])", re.IGNORECASE)
_BEDROCK_REGION = re.compile(r"^[A-Z]{2,4}\d-", re.ASCII)

_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]")
_SHORTEST = 7

_CACHE_READ = re.compile(
    r"cache[-_\s]?(?:read|hit)|cached|cd[-_\s]?inp|cchd|context[-_\s]?cach(?!.*(?:stor|writ))|caching", re.IGNORECASE
)
_CACHE_WRITE = re.compile(r"cache[-_\s]?(?:write|creat|stor)|cachewrite|input[-_\s]?write", re.IGNORECASE)
_ONE_HOUR = re.compile(r"(?<![\da-z])(?:1[-_\s]?h(?:r|our)?|1-hour|60m)(?![a-z])|1h", re.IGNORECASE)
# Google keeps caches for money: "Text Input Caching Storage", "Cached content storage token hours". Those are no tokens.
_CACHE_STORAGE = re.compile(r"(?:caching|cached content)[-_\s]storage", re.IGNORECASE)
# "Generate content input token count gemini 2.5 flash" is input.
_OUTPUT = re.compile(
    r"outp?(?:ut)?|opt(?![a-z])|completion|generat(?!e[-_\s]content)|response[-_\s]?tok", re.IGNORECASE
)
_INPUT = re.compile(r"inp(?:ut)?|prompt|(?<![a-z])in(?![a-z])|embed", re.IGNORECASE)
_AUDIO = re.compile(r"audio|(?<![a-z])aud(?![a-z])|speech", re.IGNORECASE)
_IMAGE = re.compile(r"image|(?<![a-z])img(?![a-z])", re.IGNORECASE)
_TOKENS = re.compile(
    r"token|tok(?![a-z])|(?<![a-z])(?:in|out|input|output|inp|outp)(?![a-z])|cache|cached|prompt|completion",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Line:
    """What a line of a bill charges for; both are "" when it is not about a model."""

    model: str = ""
    token_kind: str = ""


NOTHING = Line()


def price_provider(provider: str) -> str:
    """The genai-prices id of a provider, from its OpenTelemetry name or a name in common use."""
    name = provider.strip().lower()
    return _PRICE_PROVIDERS.get(name, name)


def otel_provider(provider: str) -> str:
    """The OpenTelemetry gen_ai.provider.name of a provider; a name that is not known stays as it is, in lower case."""
    name = provider.strip().lower()
    return _OTEL_PROVIDERS.get(name, name)


@lru_cache(maxsize=65_536)
def canonical_model(provider: str, name: str) -> str:
    """The genai-prices model id of a vendor's model name; a name it does not know stays, in lower case."""
    reference = name.strip().lower()
    if not reference:
        return ""
    known = _provider(price_provider(provider))
    return (known and _match(known, reference)) or reference


def bill_provider(texts: Iterable[str]) -> str:
    """The genai-prices provider that the names on a bill (service, provider, publisher) mean, "" if none."""
    joined = " ".join(texts).lower()
    return next((provider for word, provider in _BILL_PROVIDERS if word in joined), "")


@lru_cache(maxsize=65_536)
def line(provider: str, text: str) -> Line:
    """What one text of a bill (SKU, meter, description, usage type) charges for."""
    if not _FAMILY.search(text):
        return NOTHING
    model = next((found for name in _names_in(text) if (found := _find(provider, name))), "")
    return Line(model, token_kind(text)) if model else NOTHING


def first_line(provider: str, texts: Sequence[str]) -> Line:
    """The first text that names a model; its token kind comes from the first text that tells one."""
    found = [line(provider, text) for text in texts if text]
    model = next((each.model for each in found if each.model), "")
    if not model:
        return NOTHING
    kinds = (each.token_kind or token_kind(text) for each, text in zip(found, filter(None, texts), strict=True))
    return Line(_routed(model, texts), next((kind for kind in kinds if kind), ""))


def _routed(model: str, texts: Sequence[str]) -> str:
    """The global id of a Bedrock model where a line says that it was called across all regions, which costs less."""
    worldwide = model.replace("regional.", "global.", 1)
    if not model.startswith("regional.") or not any(_GLOBAL.search(text) for text in texts):
        return model
    return worldwide if any(held == worldwide for held, _ in _plain_ids("aws")) else model


@lru_cache(maxsize=65_536)
def token_kind(text: str) -> str:
    """The kind of token a text speaks of, "" when it speaks of none (hours, requests, images made)."""
    if not _TOKENS.search(text.replace("_", "-")):
        return ""
    if _CACHE_STORAGE.search(text):
        return ""
    if _CACHE_WRITE.search(text):
        return "cache_write_1h" if _ONE_HOUR.search(text) else "cache_write_5m"
    if _CACHE_READ.search(text) and not _OUTPUT.search(text):
        return "cache_read"
    if _OUTPUT.search(text):
        return "audio_output" if _AUDIO.search(text) else "output"
    if not _INPUT.search(text):
        return ""
    if _AUDIO.search(text):
        return "audio_input"
    return "image_input" if _IMAGE.search(text) else "input_uncached"


def _names_in(text: str) -> list[str]:
    """Candidates for a model's name inside a bill's text, the likeliest first."""
    lowered = _BEDROCK_REGION.sub("", text).strip().lower()
    head = re.split(r"[,;|(]| - ", lowered)[0].strip()
    if "/" in lowered:
        lowered = re.sub(r"arn:[^/]*/", "", lowered)
    candidates = [lowered, head]
    if squeezed := _ANTHROPIC_SQUEEZED.search(lowered):
        version, tier = squeezed.group(1).replace(".", "-"), squeezed.group(2)
        candidates += [f"claude-{tier}-{version}", f"claude-{version}-{tier}"]
    if nova := _NOVA_SQUEEZED.search(lowered):  # Amazon's usage types say Nova2.0Lite, its models nova-2-lite
        candidates.append(f"nova-{nova.group(1)}-{nova.group(2)}")
    spaced = re.sub(r"[_\s]+", " ", _WORDS_AROUND.sub(" ", re.sub(r"[-_/](?=(?:in|out|cache)[a-z]*\b)", " ", lowered)))
    words = [word for word in re.split(r"[^a-z0-9.:]+", spaced) if word.strip(".:")]
    for length in range(min(len(words), 8), 0, -1):
        for start in range(len(words) - length + 1):
            joined = "-".join(words[start : start + length])
            if _FAMILY.search(joined):
                candidates += [joined, joined.replace(".", "-")]
    return list(dict.fromkeys(candidates))


def _find(provider: str, name: str) -> str:
    """The id of a model that is really listed, asked first of the provider that bills, then of whoever makes it."""
    known = _provider(provider) if provider else None
    if known and (found := _match(known, name) or _squeezed(provider, name)):
        return found
    try:
        _, model = data_snapshot.get_snapshot().find_provider_model(name, None, None, None)
    except LookupError:
        return ""
    return (known and _squeezed(provider, model.id)) or model.id


@lru_cache(maxsize=65_536)
def _squeezed(provider: str, name: str) -> str:
    """The provider's model whose id holds the name when both are reduced to letters and digits: bills leave out dots,
    dashes and dates. Regional ids come before global ones, as the usage of a region is what bills name."""
    wanted = _NOT_ALPHANUMERIC.sub("", name.lower())
    known = _provider(provider)
    if known is None or len(wanted) < _SHORTEST or not any(each.isdigit() or each in "v" for each in wanted):
        return ""
    for name_held in (provider, *(known.fallback_model_providers or ())):
        held = [found for found, plain in _plain_ids(name_held) if wanted in plain]
        if held:
            return min(held, key=lambda found: (found.startswith("global."), len(found), found))
    return ""


@lru_cache(maxsize=256)
def _plain_ids(provider: str) -> tuple[tuple[str, str], ...]:
    known = _provider(provider)
    return tuple((model.id, _NOT_ALPHANUMERIC.sub("", model.id.lower())) for model in (known.models if known else ()))


def _match(provider: Provider, reference: str) -> str:
    model = provider.find_model(reference, all_providers=data_snapshot.get_snapshot().providers)
    return model.id if model else ""


@lru_cache(maxsize=256)
def _provider(name: str) -> Provider | None:
    return data_snapshot.find_provider_by_id(data_snapshot.get_snapshot().providers, name)


@lru_cache(maxsize=65_536)
def maker(model: str) -> str:
    """The OpenTelemetry name of the provider whose own model this name is ("openai/gpt-5-mini" too), or ""."""
    name = model.lower()
    candidates = [name, name.rpartition("/")[2]] if "/" in name else [name]
    for candidate in candidates:
        try:
            if candidate:
                return otel_provider(data_snapshot.get_snapshot().find_provider(candidate, None, None).id)
        except LookupError:
            continue
    return ""
