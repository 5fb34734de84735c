"""How kinds of sources are told to people: what they deliver, their manual, and where pushed rows are sent."""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings
from django.urls import NoReverseMatch, URLPattern, get_resolver, reverse

from ingest.sources import KINDS, config
from ingest.sources.base import Source

_DELIVERS = {
    "charges": "Charges of bills",
    "usage": "Calls of models, one by one",
    "usage_buckets": "Calls of models, summed by the vendor",
    "gpu_samples": "What GPUs did, minute by minute",
    "fine_tunes": "Fine-tune runs",
    "quality_scores": "Scores of answers",
    "business_metrics": "Figures of the business",
    "markers": "Events for the charts",
}
_GROUPS = (
    ("Bills", "What vendors charge. One is enough to begin with.", {"charges"}),
    ("GPUs", "Whether the GPUs you pay for are busy, hour by hour.", {"gpu_samples"}),
    ("Usage", "Who called which model: teams, features, keys, unit costs within minutes.", {"usage", "usage_buckets"}),
    (
        "Quality, value and events",
        "What stands beside cost: was it good, what was it for, what happened.",
        {"quality_scores", "business_metrics", "markers"},
    ),
    ("Fine-tune runs", "What training cost, and how much of it was useful.", {"fine_tunes"}),
)
_REST = ("More", "")
# Where the first sentence of a manual is about its rows rather than about what they tell.
_SENTENCES = {
    "usage_log": "Calls as JSON lines: our own event, or a provider's response with the time it came.",
    "quality_scores": "What evaluations and people say about answers.",
    "business_metrics": "Tickets resolved, documents read: what the spend was for, so that one has a cost.",
    "markers": "Deploys, releases and incidents as marks on charts; also the webhook of GitHub and GitLab.",
    "fine_tunes": "Runs of your own trainers: base model, method, GPU time and how they ended.",
    "slurm_jobs": "Slurm jobs whose comment says that they fine-tune, with their nodes.",
}
# What people look for that a manual does not name.
_ALSO = {
    "focus_export": "csv parquet spreadsheet invoice other vendor",
    "aws_cur": "amazon web services bedrock sagemaker ec2 eks s3",
    "azure_costs": "azure openai azure ml foundry",
    "gcp_billing": "gcp vertex ai gemini",
    "openai_costs": "gpt chatgpt",
    "openai_usage": "gpt chatgpt",
    "anthropic_costs": "claude",
    "anthropic_usage": "claude",
    "owned_capacity": "on-prem on-premises colocation data center licence license staff salary vector database",
    "usage_log": "ndjson jsonl gateway",
    "gate": "proxy budget vllm",
    "otlp": "opentelemetry otel tracing langfuse traceloop openllmetry openinference phoenix",
    "dcgm": "h100 a100 l40s gpu-operator prometheus",
    "amd_gpu": "mi300 rocm prometheus",
    "aws_neuron": "trn1 inf2 prometheus",
    "markers": "deployment release incident annotation",
    "business_metrics": "ticket kpi revenue",
    "quality_scores": "evaluation eval judge feedback",
}
_API = "/api/v1/"
# Names of addresses that do not say their kind themselves.
_PUSHED_TO = {"usage_log": "api_usage_events", "gate": "api_usage_events", "otlp": "otlp_traces"}


@dataclass(frozen=True, slots=True)
class KindLine:
    """One kind as the list of kinds shows it; `note` is what its group does not say already."""

    kind: str
    title: str
    delivers: str
    sentence: str
    note: str


@dataclass(frozen=True, slots=True)
class About:
    """What a template may know of a kind; the class itself it would try to call."""

    kind: str
    title: str
    grants: Sequence[str]
    is_pushed: bool
    has_secrets: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph of a manual, or an example; the pieces of a paragraph are text and code in turn."""

    is_example: bool
    text: str = ""
    pieces: Sequence[tuple[bool, str]] = ()


@dataclass(frozen=True, slots=True)
class Push:
    """Where rows are sent, and how."""

    url: str
    token_command: str
    example: str
    webhook_url: str = ""
    has_webhook: bool = False


def groups(sought: str = "") -> list[tuple[str, str, list[KindLine]]]:
    """Every kind that has all words of `sought` in its manual, by what it is about; of a new sort in the last group."""
    kinds = [kind for kind in KINDS if _matches(kind, sought)]
    told = {name for _title, _words, produces in _GROUPS for name in produces}
    found = [
        (title, words, [_line(kind, is_mixed=len(own) > 1) for kind in kinds if kind.produces in own])
        for title, words, own in _GROUPS
    ]
    rest = [_line(kind, is_mixed=True) for kind in kinds if kind.produces not in told]
    return [group for group in [*found, (*_REST, rest)] if group[2]]


def delivers(produces: str) -> str:
    """What rows of that sort are."""
    return _DELIVERS.get(produces) or produces.replace("_", " ").capitalize()


def about(kind: type[Source]) -> About:
    """A kind for a template."""
    return About(kind.kind, kind.title, kind.grants, kind.is_pushed, bool(kind.secrets))


def manual(kind: type[object]) -> list[Block]:
    """The manual of a kind, block by block."""
    blocks = []
    for part in re.split(r"\n\s*\n", inspect.cleandoc(kind.__doc__ or "")):
        if part.startswith("    "):
            blocks.append(Block(is_example=True, text=inspect.cleandoc(part)))
        else:
            pieces = [(index % 2 == 1, piece) for index, piece in enumerate(" ".join(part.split()).split("`")) if piece]
            blocks.append(Block(is_example=False, pieces=pieces))
    return blocks


def example(kind: type[Source]) -> dict[str, Any]:
    """The configuration that the manual shows, {} where it shows none."""
    for block in manual(kind):
        if block.is_example:
            try:
                found = orjson.loads(block.text)
            except orjson.JSONDecodeError:
                continue
            return (
                found if isinstance(found, dict) and set(found) <= {one.name for one in config.fields_of(kind)} else {}
            )
    return {}


def takes_pushed(kind: type[Source]) -> bool:
    """Whether rows of a kind may be sent to an address."""
    return kind.is_pushed or kind.kind in _PUSHED_TO


def reads_files(kind: type[Source]) -> bool:
    """Whether a setting of the kind may name a file of this machine."""
    return any(
        "path" in f"{one.name} {one.hint}".lower().split() or one.name == "path" for one in config.fields_of(kind)
    )


def push(kind: type[Source], *, name: str, source_id: int | None = None) -> Push | None:
    """How rows of a source are sent; None when a kind is only read, or has no address that is known here."""
    if not takes_pushed(kind):
        return None
    address = _address(kind)
    if not address:
        return None
    url = f"{settings.COSTOBS_URL}{address}"
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-") or "app"
    token = (
        f"costobs token create {safe} --grant ingest --source-kind {kind.kind} --source-name {_quoted(name or safe)}"
    )
    hook = next((one for one in _api() if str(one.pattern) == _route(address) + "/webhook/<int:source_id>"), None)
    webhook = reverse(hook.name, args=[source_id]) if hook is not None and hook.name and source_id else ""
    told = f"{settings.COSTOBS_URL}{webhook}" if webhook else ""
    return Push(url, token, _example(kind, url), told, has_webhook=hook is not None)


def _example(kind: type[Source], url: str) -> str:
    if kind.kind == "otlp":
        return "\n".join(
            [
                f"export OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={url}",
                'export OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20$COSTOBS_TOKEN"',
                "export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            ]
        )
    file, media = ("rows.json", "application/json")
    if kind.produces == "usage":
        file, media = ("events.ndjson", "application/x-ndjson")
    return (
        f'curl -H "Authorization: Bearer $COSTOBS_TOKEN" -H "Content-Type: {media}" \\\n  --data-binary @{file} {url}'
    )


def _address(kind: type[Source]) -> str:
    """The path that takes rows of this kind: it is named above, its view says so, or it is called like the kind."""
    names = [_PUSHED_TO.get(kind.kind, "")]
    for pattern in _api():
        view = getattr(pattern.callback, "cls", None)
        is_own = getattr(view, "kind", None) == kind.kind or _route(str(pattern.pattern)) == kind.kind.replace("_", "-")
        if is_own and "<" not in str(pattern.pattern):
            names.append(pattern.name or "")
    for name in filter(None, names):
        try:
            return reverse(name)
        except NoReverseMatch:  # an address of another version of the API
            continue
    return ""


def _api() -> list[URLPattern]:
    """The addresses of the API, as they are installed."""
    found = [one for one in get_resolver().url_patterns if f"/{one.pattern}" == _API and hasattr(one, "url_patterns")]
    return [pattern for one in found for pattern in one.url_patterns if isinstance(pattern, URLPattern)]


def _route(address: str) -> str:
    return address.removeprefix(_API).strip("/")


def _matches(kind: type[Source], sought: str) -> bool:
    told = (kind.kind, kind.title, delivers(kind.produces), kind.__doc__ or "", _ALSO.get(kind.kind, ""))
    text = " ".join(told).casefold()
    return all(word in text for word in sought.casefold().split())


def _line(kind: type[Source], *, is_mixed: bool) -> KindLine:
    text = " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())
    sentence = _SENTENCES.get(kind.kind) or re.split(r"(?<=[.!?])\s", text.replace("`", ""), maxsplit=1)[0]
    how = "Pushed" if kind.is_pushed else ("Read, or pushed" if takes_pushed(kind) else "Read on schedule")
    note = f"{delivers(kind.produces)} · {how}" if is_mixed else how
    return KindLine(kind.kind, kind.title, delivers(kind.produces), sentence, note)


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_.-]+", text) else "'" + text.replace("'", "'\\''") + "'"
