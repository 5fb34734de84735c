"""Rows of LiteLLM's spend logs as usage events: its tokens are taken, its prices and margins are kept beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from ingest.sources.formats import classify
from ingest.sources.formats.usage.foreign_lines import USAGE, Event, LeftOut, inside, text, whole
from ingest.sources.formats.usage.usage_bodies import Unreadable

# What is read of a row. Never its messages, response and proxy_server_request.
COLUMNS = (
    "request_id",
    "call_type",
    "api_key",
    "spend",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
    "startTime",
    "endTime",
    "completionStartTime",
    "request_duration_ms",
    "model",
    "model_group",
    "custom_llm_provider",
    "api_base",
    "user",
    "cache_hit",
    "request_tags",
    "team_id",
    "organization_id",
    "end_user",
    "session_id",
    "status",
    "mcp_namespaced_tool_name",
    "agent_id",
)
METADATA = (
    "usage_object",
    "cost_breakdown",
    "error_information",
    "spend_logs_metadata",
    "user_api_key_alias",
    "user_api_key_team_alias",
    "user_api_key_project_id",
)
_ATTRIBUTES = ("team", "feature", "environment", "project", "cost_centre")

_OPERATIONS = {
    "completion": "chat",
    "responses": "chat",
    "anthropic_messages": "chat",
    "generate_content": "generate_content",
    "generate_content_stream": "generate_content",
    "text_completion": "text_completion",
    "embedding": "embeddings",
    "image_generation": "image_generation",
    "image_edit": "image_generation",
    "transcription": "transcription",
    "speech": "speech",
    "rerank": "rerank",
    "moderation": "moderation",
    "realtime": "chat",
}
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_text": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "sagemaker": "aws.sagemaker",
    "sagemaker_chat": "aws.sagemaker",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "text-completion-openai": "openai",
    "cohere_chat": "cohere",
}
# Servers that the company runs itself.
_OWN = frozenset(
    (
        "hosted_vllm",
        "vllm",
        "ollama",
        "ollama_chat",
        "lm_studio",
        "llamafile",
        "xinference",
        "triton",
        "openai_like",
        "infinity",
    )
)

NO_CALL = "no call of a model: another operation of the proxy"
TOOL = "no call of a model: a tool or an agent behind the proxy"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source says about the rows it reads."""

    team_by: str = "alias"


def reduced(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row is read: some columns, and some keys of its metadata, which may be JSON or JSON as text."""
    metadata = _object(row.get("metadata"))
    kept = {name: row.get(name) for name in COLUMNS}
    return {**kept, "metadata": {name: metadata[name] for name in METADATA if metadata.get(name) is not None}}


def event(row: Mapping[str, Any], reading: Reading) -> Event:
    """The event of a reduced row. Raises LeftOut and Unreadable."""
    metadata = _object(row.get("metadata"))
    operation = _operation(row)
    if not (request_id := text(row.get("request_id"))):
        raise Unreadable("request_id", "the row has no request_id")
    is_own = (said := text(row.get("custom_llm_provider")).lower()) in _OWN
    model = _model(text(row.get("model")), said)
    counts, known = _counts(row, metadata)
    told = _told(row, metadata)
    if text(row.get("cache_hit")).lower() == "true" or row.get("cache_hit") is True:
        # LiteLLM answered out of its own cache: nothing was asked of the provider, so nothing was used. What a call
        # would have used is kept beside it.
        told |= {"cache_hit": True, "saved_tokens": {name: count for name, count in counts.items() if count}}
        counts, known = {f"{USAGE}input_tokens": 0, f"{USAGE}output_tokens": 0}, True
    return {
        "event_id": request_id,
        "occurred_at": text(row.get("startTime")),
        "gen_ai.provider.name": "self_hosted" if is_own else _PROVIDERS.get(said, said) or classify.maker(model),
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.operation.name": operation,
        "deployment": (text(row.get("model_group")) or model) if is_own else "",
        "service_tier": text(inside(metadata, "cost_breakdown", "service_tier"))
        or text(inside(metadata, "usage_object", "service_tier")),
        "session_id": text(row.get("session_id")),
        "usage_known": known,
        "attributes": _owner(row, metadata, reading),
        **_times(row),
        **_outcome(row, metadata),
        **counts,
        "extra": told,
    }


def _operation(row: Mapping[str, Any]) -> str:
    said = text(row.get("call_type"))
    named = said.removeprefix("_").removeprefix("a") if said not in _OPERATIONS else said
    if text(row.get("mcp_namespaced_tool_name")) or "mcp" in said or named in {"send_message", "end_message"}:
        raise LeftOut(TOOL)
    if found := _OPERATIONS.get(said) or _OPERATIONS.get(named):
        return found
    # Files, batches, stores: they cost nothing themselves. What has tokens or a price counts, whatever it is called.
    if not any(row.get(name) for name in ("total_tokens", "prompt_tokens", "completion_tokens", "spend")):
        raise LeftOut(NO_CALL)
    return said


def _model(name: str, provider: str) -> str:
    """The model as the provider names it: LiteLLM puts its own name of the provider before some."""
    head, _, tail = name.partition("/")
    return tail if tail and head in {provider, "bedrock", "vertex_ai", "azure", "hosted_vllm"} else name


def _counts(row: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    usage = _object(metadata.get("usage_object"))
    within, without = _object(usage.get("prompt_tokens_details")), _object(usage.get("completion_tokens_details"))
    written = (within.get("cache_creation_tokens"), within.get("cache_write_tokens"))
    found = {
        f"{USAGE}input_tokens": whole("prompt_tokens", row.get("prompt_tokens")),
        f"{USAGE}output_tokens": whole("completion_tokens", row.get("completion_tokens")),
        f"{USAGE}cache_read.input_tokens": _first(within.get("cached_tokens"), usage.get("cache_read_input_tokens")),
        f"{USAGE}cache_creation.input_tokens": _first(*written, usage.get("cache_creation_input_tokens")),
        f"{USAGE}cache_creation_1h.input_tokens": _first(
            inside(within, "cache_creation_token_details", "ephemeral_1h_input_tokens")
        ),
        f"{USAGE}reasoning.output_tokens": _first(without.get("reasoning_tokens")),
        f"{USAGE}audio.input_tokens": _first(within.get("audio_tokens")),
        f"{USAGE}image.input_tokens": _first(within.get("image_tokens")),
        f"{USAGE}audio.output_tokens": _first(without.get("audio_tokens")),
    }
    # The columns are 0 where nothing is known: of calls that failed, and of streams that were cut.
    known = bool(usage) or any(found[name] for name in (f"{USAGE}input_tokens", f"{USAGE}output_tokens"))
    return (found if known else dict.fromkeys(found)), known


def _first(*values: object) -> int | None:
    return next((whole("usage_object", value) for value in values if value is not None), None)


def _times(row: Mapping[str, Any]) -> Event:
    start, end, first = (_moment(row.get(name)) for name in ("startTime", "endTime", "completionStartTime"))
    latency = whole("request_duration_ms", row.get("request_duration_ms"))
    if latency is None and start and end:
        latency = max(round((end - start).total_seconds() * 1000), 0)
    # Of an answer that did not stream, completionStartTime is its end: that is no time to a first token.
    is_streamed = start and first and first != end and first >= start
    ttft = round((first - start).total_seconds() * 1000) if is_streamed and start and first else None
    return {"latency_ms": latency, "ttft_ms": ttft}


def _moment(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text(value)) if value else None
    except ValueError:
        return None


def _outcome(row: Mapping[str, Any], metadata: Mapping[str, Any]) -> Event:
    if text(row.get("status")).lower() != "failure":
        return {"outcome": "ok", "http.response.status_code": 200}
    code = text(inside(metadata, "error_information", "error_code"))
    return {"outcome": "error", "http.response.status_code": int(code) if code.isdecimal() and len(code) == 3 else None}


def _owner(row: Mapping[str, Any], metadata: Mapping[str, Any], reading: Reading) -> dict[str, str]:
    tags = [each for each in _listed(row.get("request_tags")) if isinstance(each, str)]
    # "feature:answers" is an attribute; LiteLLM itself adds "User-Agent: …".
    named = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in tags)}
    given = _object(metadata.get("spend_logs_metadata"))
    team, alias = text(row.get("team_id")), text(metadata.get("user_api_key_team_alias"))
    found = {name: text(given.get(name)) or named.get(name, "") for name in _ATTRIBUTES}
    found["team"] = (alias if reading.team_by == "alias" else "") or team or found["team"]
    found["project"] = text(metadata.get("user_api_key_project_id")) or found["project"]
    others = {
        "key": text(row.get("api_key")),
        "account": text(row.get("organization_id")),
        "user_agent": named.get("user-agent", ""),
        "tags": ", ".join(each for each in tags if not each.lower().startswith("user-agent:")),
    }
    return {name: value for name, value in (found | others).items() if value}


def _told(row: Mapping[str, Any], metadata: Mapping[str, Any]) -> Event:
    """What is kept beside the columns. LiteLLM's spend holds margins and discounts of its own: it is never a cost here."""
    parts = _object(metadata.get("cost_breakdown"))
    spend, margin = exact(row.get("spend")), exact(parts.get("margin_total_amount"))
    found: Event = {
        "litellm_spend": spend,
        "litellm_margin": margin,
        "litellm_discount": exact(parts.get("discount_amount")),
        "litellm_list_cost": exact(parts.get("original_cost")),
        "litellm_provider_cost": _without(spend, margin),
        "key_alias": text(metadata.get("user_api_key_alias")),
        "team_id": text(row.get("team_id")),
        "end_user": text(row.get("end_user")),
        "user": text(row.get("user")),
        "model_group": text(row.get("model_group")),
        "error_type": text(inside(metadata, "error_information", "error_class"))[:200],
    }
    return {name: value for name, value in found.items() if value}


def exact(value: object) -> str:
    """A number of a vendor's JSON as text with every digit; a binary one by its shortest text. "" for what is none."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        return ""
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except ArithmeticError:
        return ""
    return format(found, "f") if found.is_finite() and abs(found.adjusted()) < 40 else ""


def _without(spend: str, margin: str) -> str:
    return format(Decimal(spend) - Decimal(margin), "f") if spend and margin else ""


def _object(value: object) -> Mapping[str, Any]:
    found = _unpacked(value)
    return found if isinstance(found, dict) else {}


def _listed(value: object) -> list[Any]:
    found = _unpacked(value)
    return found if isinstance(found, list) else []


def _unpacked(value: object) -> object:
    """JSON, out of text where it is packed into text, once or twice."""
    for _ in range(2):
        if not isinstance(value, str):
            return value
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return value
