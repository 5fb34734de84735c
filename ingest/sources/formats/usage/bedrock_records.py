"""Records of Amazon Bedrock's model invocation logs as usage events: counts and names, never what the bodies say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingest.rows import ATTRIBUTES
from ingest.sources.formats.usage.foreign_lines import USAGE, Event, LeftOut, inside, text, whole
from ingest.sources.formats.usage.usage_bodies import Unreadable

_PROFILE = re.compile(r"^arn:aws[\w-]*:bedrock:[^:]*:\d*:([\w-]+)/(.+)$")
_SESSION = re.compile(r"^(arn:aws[\w-]*:sts::\d+:assumed-role/[^/]+)/(.+)$")
# What an ARN stands for that names its model itself.
_NAMES_MODEL = frozenset({"inference-profile", "foundation-model"})
_STATUS = {
    "ThrottlingException": 429,
    "ModelNotReadyException": 429,
    "ServiceQuotaExceededException": 429,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "ValidationException": 400,
    "ModelTimeoutException": 408,
    "ModelErrorException": 424,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}
_BY_MODEL = (
    ("embed", "embeddings"),
    ("rerank", "rerank"),
    ("image", "image_generation"),
    ("canvas", "image_generation"),
    ("stability.", "image_generation"),
)
NO_RECORD = "no invocation: another type of record"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source says about the records it reads. `profiles` names the model of a profile, by its ARN or its id."""

    profiles: Mapping[str, str] = field(default_factory=dict)
    attribute_map: Mapping[str, str] = field(default_factory=dict)
    key_by: str = "role"


def event(record: Mapping[str, Any], reading: Reading) -> Event:
    """The event of one record. Raises LeftOut and Unreadable."""
    if text(record.get("schemaType") or "ModelInvocationLog") != "ModelInvocationLog":
        raise LeftOut(NO_RECORD)
    if not (request_id := text(record.get("requestId"))):
        raise Unreadable("requestId", "the record has no requestId")
    asked = text(record.get("modelId"))
    model, deployment = _model(asked, reading.profiles)
    tier = "provisioned" if ":provisioned-model/" in asked else ""  # paid by the hour, not by the token
    counts, known = _counts(record)
    key, session = _caller(text(inside(record, "identity", "arn")), reading.key_by)
    failed = text(record.get("errorCode"))
    told = {
        "region": text(record.get("region")),
        "inference_region": text(record.get("inferenceRegion")),
        "bedrock_operation": text(record.get("operation")),
        "error_type": failed[:200],
        "role_session": session,
    }
    owner = _owner(record.get("requestMetadata"), reading.attribute_map)
    return {
        "event_id": request_id,
        "occurred_at": text(record.get("timestamp")),
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": asked,
        "gen_ai.response.model": model,
        "gen_ai.operation.name": next((name for part, name in _BY_MODEL if part in model.lower()), "chat"),
        "deployment": deployment,
        "service_tier": text(record.get("serviceTier")) or text(inside(record, "serviceTier", "type")) or tier,
        "usage_known": known,
        "outcome": "error" if failed else "ok",
        "http.response.status_code": _STATUS.get(failed) if failed else 200,
        "attributes": {**owner, "key": key, "account": text(record.get("accountId"))},
        **counts,
        "extra": {name: value for name, value in told.items() if value},
    }


def _model(asked: str, profiles: Mapping[str, str]) -> tuple[str, str]:
    """The model behind an id, and the profile, provisioned model or import by which it was called."""
    found = _PROFILE.match(asked)
    kind, own = found.groups() if found else ("", asked)
    mapped = profiles.get(asked) or profiles.get(own)
    if not found or kind in _NAMES_MODEL:
        return mapped or own, ""
    return mapped or asked, own


def _counts(record: Mapping[str, Any]) -> tuple[dict[str, int | None], bool]:
    """Bedrock leaves cached tokens out of inputTokenCount; here they are part of it. Whether a write lasts five minutes or an
    hour is not told: it counts as the former."""
    names = ("inputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")
    fresh, read, write = (whole(f"input.{name}", inside(record, "input", name)) for name in names)
    output = whole("output.outputTokenCount", inside(record, "output", "outputTokenCount"))
    for name, count in zip(names, (fresh, read, write), strict=True):
        if count is not None and count < 0:
            raise Unreadable(f"input.{name}", f"{count} is no count of tokens")
    found = {
        f"{USAGE}input_tokens": sum(count or 0 for count in (fresh, read, write)) if fresh is not None else None,
        f"{USAGE}cache_read.input_tokens": read,
        f"{USAGE}cache_creation.input_tokens": write,
        f"{USAGE}output_tokens": output,
    }
    known = fresh is not None or output is not None
    return (found if known else dict.fromkeys(found)), known


def _caller(arn: str, key_by: str) -> tuple[str, str]:
    """The identity that called, and its session. A session's name is often one of a machine or a minute."""
    found = _SESSION.match(arn)
    if not found:
        return arn, ""
    return (arn, "") if key_by == "session" else (found.group(1), found.group(2)[:200])


def _owner(metadata: object, asked: Mapping[str, str]) -> dict[str, str]:
    """What the caller says in X-Amzn-Bedrock-Request-Metadata, of what is an attribute of ours; its word, not AWS's."""
    if not isinstance(metadata, dict):
        return {}
    found = {name: text(metadata.get(asked.get(name, name))) or text(metadata.get(name)) for name in ATTRIBUTES}
    return {name: value for name, value in found.items() if value and name not in {"key", "account"}}
