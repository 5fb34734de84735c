"""What every fine-tune run must keep, whoever tells of it, and how trackers and schedulers say it."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa

from ingest.rows import ATTRIBUTES, FINE_TUNE, Rejected
from ingest.sources.base import Normalized, Raw
from ingest.sources.formats import classify
from ingest.sources.formats.pushed_rows import Invalid, Row

METHODS = ("full", "lora", "qlora")
STATES = ("running", "succeeded", "failed", "preempted", "cancelled")

# Names in use for the same thing: Hugging Face Trainer and PEFT, Axolotl, LLaMA-Factory, torchtune, TRL. Compared in lower case.
BASE_MODEL_KEYS = (
    "costobs.base_model",
    "base_model",
    "model_name_or_path",
    "_name_or_path",
    "base_model_name_or_path",
    "model_id",
    "model_name",
    "model",
)
ARTEFACT_KEYS = ("costobs.artefact", "artefact", "output_model", "hub_model_id", "fine_tuned_model", "output_dir")
TOKEN_KEYS = (
    "costobs.trained_tokens",
    "trained_tokens",
    "num_input_tokens_seen",
    "train/num_input_tokens_seen",
    "total_tokens",
)
NODE_KEYS = ("costobs.node", "node", "hostname", "host")
GPU_KEYS = ("costobs.gpu_uuids", "gpu_uuids")
USEFUL_KEYS = ("costobs.useful_seconds", "useful_seconds")
_FOUR_BITS = ("load_in_4bit", "bnb_4bit", "quantization_bit", "use_qlora", "qlora")
_LORA = ("lora_r", "lora_rank", "lora_alpha", "use_peft", "peft_type", "use_lora", "finetuning_type", "adapter", "r")
_OFF = {"", "false", "none", "0", "null", "full"}
_ATTRIBUTE = re.compile(r"^(?:costobs[./])?(" + "|".join(ATTRIBUTES) + r")$")


def check(run: Mapping[str, Any]) -> None:
    """Raises Invalid where the times of a run contradict its state or each other."""
    start, end = run["started_at"], run["ended_at"]
    if run["state"] != "running" and end is None:
        raise Invalid("ended_at", f"a run that is {run['state']} has an end")
    if end is not None and end < start:
        raise Invalid("ended_at", f"ends {end.isoformat()} before it starts {start.isoformat()}")
    useful = run["useful_seconds"]
    if useful is not None and end is not None and timedelta(seconds=useful) > end - start + timedelta(seconds=1):
        raise Invalid("useful_seconds", f"{useful} useful seconds in a run of {(end - start).total_seconds():.0f}")


def said(named: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """The first of `keys` that says something, as text; names are compared in lower case."""
    lowered = {key.lower(): value for key, value in named.items()}
    return next((str(lowered[key]).strip() for key in keys if lowered.get(key) not in (None, "")), "")


def method(named: Mapping[str, Any]) -> str:
    """full, lora or qlora, from the parameters a trainer logs: an adapter on a model held in 4 bits is QLoRA."""
    lowered = {key.lower(): str(value).strip().lower() for key, value in named.items()}
    told = lowered.get("costobs.method") or lowered.get("method") or lowered.get("finetuning_type") or ""
    if told in METHODS:
        return told
    has_adapter = any(lowered.get(key, "") not in _OFF for key in _LORA)
    has_four_bits = any(value not in _OFF for key, value in lowered.items() if key.startswith(_FOUR_BITS))
    if has_adapter and ("qlora" in lowered.get("adapter", "") or has_four_bits):
        return "qlora"
    return "lora" if has_adapter else "full"


def whole(text: str) -> int | None:
    """A count that a tracker wrote as 8000000, 8000000.0 or 8e6; None where it says none."""
    if not text:
        return None
    digits = re.fullmatch(r"(\d+)(?:\.0*)?", text)
    if digits:
        return int(digits[1])
    exponent = re.fullmatch(r"(\d+)(?:\.(\d+))?[eE]\+?(\d{1,2})", text)
    if not exponent:
        return None
    fraction = exponent[2] or ""
    places = int(exponent[3])
    if len(fraction.rstrip("0")) > places:
        return None
    return int(exponent[1] + fraction[:places].ljust(places, "0"))


def attributes(named: Mapping[str, Any]) -> dict[str, str]:
    """The attribution attributes among labels or tags: by their own name, or with costobs. or costobs/ before it."""
    found = dict.fromkeys((f"attr_{name}" for name in ATTRIBUTES), "")
    for key in sorted(named):
        match = _ATTRIBUTE.match(key.lower().replace("costobs.io/", "costobs/"))
        if match and (not found[f"attr_{match[1]}"] or key.lower().startswith("costobs")):
            found[f"attr_{match[1]}"] = str(named[key] or "").strip()
    return found


def of_millis(value: Any) -> datetime | None:
    """A moment from milliseconds since 1970, None for nothing and for 0, which trackers write for it."""
    if not isinstance(value, int | str) or not str(value).isdigit() or int(value) == 0:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(value))


def unit(*, name: str, found: Sequence[Mapping[str, Any]]) -> Raw:
    """What a tracker or scheduler says of its runs, as one unit; the same said again has the same hash."""
    content = orjson.dumps(found, option=orjson.OPT_SORT_KEYS, default=str)
    return Raw(
        name=name, payload=tuple(found), content_hash=hashlib.sha256(content).hexdigest(), size_bytes=len(content)
    )


def normalize(raw: Raw, shape: Callable[[Mapping[str, Any]], Sequence[Row] | str]) -> Normalized:
    """The runs of a unit. `shape` gives the rows of one of them, or says why it is no fine-tune run; what it raises
    Invalid about is rejected by that field.
    """
    kept: list[Row] = []
    rejected: list[Rejected] = []
    skipped: Counter[str] = Counter()
    for number, one in enumerate(raw.payload, start=1):
        try:
            rows = shape(one)
            if isinstance(rows, str):
                skipped[rows] += 1
                continue
            for row in rows:
                check(row)
                kept.append({**row, "row_number": number})
        except (Invalid, LookupError, AttributeError, TypeError) as problem:
            problem = (
                problem
                if isinstance(problem, Invalid)
                else Invalid("answer", f"is not laid out as expected: {problem}")
            )
            told = orjson.dumps(one, default=str)[:2000].decode("utf-8", "replace")
            rejected.append(Rejected(raw.name, number, problem.field, str(problem), told))
    return Normalized(pa.RecordBatch.from_pylist(kept, schema=FINE_TUNE), tuple(rejected), raw.name, skipped)


def row(
    *, external_id: str, name: str, state: str, started_at: datetime | None, ended_at: datetime | None, **more: Any
) -> Row:
    """A run with what is not said left empty. Raises Invalid when it has no id or no start."""
    if not external_id:
        raise Invalid("external_id", "is mandatory")
    if started_at is None:
        raise Invalid("started_at", f"run {external_id} does not say when it started")
    silent = {
        **dict.fromkeys(("base_model", "artefact", "node", "gpu_uuids", "provider_job"), ""),
        "provider": "self_hosted",
        "method": "full",
        "useful_seconds": None,
        "trained_tokens": None,
        **dict.fromkeys((f"attr_{attribute}" for attribute in ATTRIBUTES), ""),
    }
    if unknown := sorted(set(more) - set(silent)):
        raise TypeError(f"a run has no {unknown[0]}")
    ended = None if state == "running" else ended_at
    return {
        **silent,
        "external_id": external_id,
        "name": name or external_id,
        "state": state,
        "started_at": started_at,
        "ended_at": ended,
        **more,
    }


def logged(named: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """What parameters, tags and final figures of a tracked run say of it, as keywords of `row`."""
    return {
        "base_model": classify.canonical_model("self_hosted", said(named, BASE_MODEL_KEYS)),
        "artefact": said(named, ARTEFACT_KEYS),
        "method": method(named),
        "node": said(named, NODE_KEYS),
        "gpu_uuids": ",".join(sorted(filter(None, re.split(r"[,\s]+", said(named, GPU_KEYS))))),
        "trained_tokens": whole(said({**named, **figures}, TOKEN_KEYS)),
        "useful_seconds": whole(said({**named, **figures}, USEFUL_KEYS)),
        **attributes(named),
    }
