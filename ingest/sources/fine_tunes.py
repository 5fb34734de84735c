"""Fine-tune runs, pushed as JSON: what was trained on what, where, and whether it was of use."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, ClassVar

import orjson
import pyarrow as pa

from ingest.rows import ATTRIBUTES, FINE_TUNE, Rejected
from ingest.sources.base import Normalized, Produces, Raw, Source, SourceUnavailable
from ingest.sources.formats import classify, instants, lines, openings

METHODS = ("full", "lora", "qlora")
STATES = ("running", "succeeded", "failed", "preempted", "cancelled")
_COUNT_LIMIT = 2**62
_MAX_BYTES = 64_000_000


class _Invalid(ValueError):
    def __init__(self, found: str, reason: str) -> None:
        self.field = found
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class FineTunesConfig:
    """What to fill in where a run is silent."""

    provider: str = "self_hosted"


class FineTunes(Source):
    """Fine-tune runs, one JSON object or one per line; a later row with the same external_id replaces the earlier one.

    A run names its GPU time (`node`, `gpu_uuids`, `started_at`, `ended_at`) or the provider's job that the bill names
    (`provider_job`). Example configuration:

        {"provider": "self_hosted"}

    Example run:

        {"external_id": "run-17", "name": "answers v3", "base_model": "llama-3.1-8b", "artefact": "answers-v3",
         "method": "lora", "state": "succeeded", "started_at": "2026-11-20T08:00:00Z",
         "ended_at": "2026-11-20T11:30:00Z", "node": "gpu-7", "gpu_uuids": ["GPU-1", "GPU-2"],
         "useful_seconds": 12000, "trained_tokens": 8000000,
         "attributes": {"team": "search", "project": "answers"}}
    """

    kind: ClassVar[str] = "fine_tunes"
    title: ClassVar[str] = "Fine-tune runs"
    produces: ClassVar[Produces] = "fine_tunes"
    Config: ClassVar[type[FineTunesConfig]] = FineTunesConfig
    is_pushed: ClassVar[bool] = True

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The runs of a batch in order; a run with a wrong field is rejected by that field's name."""
        part: openings.Part = raw.payload
        kept: list[dict[str, Any]] = []
        rejected: list[Rejected] = []
        with openings.stream(part) as stream:
            for block in _objects(stream, part.name):
                rejected += block.rejected
                rows = block.rows.to_list()
                for index, row in enumerate(rows):
                    try:
                        kept.append(self._run(block.line(index), row))
                    except _Invalid as problem:
                        rejected.append(Rejected(part.name, row, problem.field, str(problem), block.head(index)))
        yield Normalized(pa.RecordBatch.from_pylist(kept, schema=FINE_TUNE), tuple(rejected))

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file."""
        for path in paths:
            part = openings.Part(name=path.rsplit("/", 1)[-1], path=path)
            try:
                found, size = openings.digest([part])
            except OSError as problem:
                raise SourceUnavailable(f"{path} cannot be read: {problem}") from problem
            yield Raw(name=part.name, payload=part, content_hash=found, size_bytes=size, files=(part.name,))

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed batch, plain or gzip."""
        part = openings.Part(name=name, content=content)
        found, size = openings.digest([part])
        return Raw(name=name, payload=part, content_hash=found, size_bytes=size, files=(name,))

    def _run(self, line: bytes, row: int) -> dict[str, Any]:
        try:
            parsed = orjson.loads(line)
        except orjson.JSONDecodeError as problem:
            raise _Invalid("line", f"not valid JSON: {problem}") from problem
        if not isinstance(parsed, dict):
            raise _Invalid("line", f"expected a JSON object, found {type(parsed).__name__}")
        provider = classify.otel_provider(_text(parsed, "provider") or self.config.provider)
        found = {
            "row_number": row,
            "external_id": _text(parsed, "external_id", required=True),
            "name": _text(parsed, "name") or _text(parsed, "external_id"),
            "provider": provider,
            "base_model": classify.canonical_model(provider, _text(parsed, "base_model", required=True)),
            "artefact": _text(parsed, "artefact"),
            "method": _one_of(parsed, "method", METHODS, "full"),
            "state": _one_of(parsed, "state", STATES, "running"),
            "started_at": _moment(parsed, "started_at", required=True),
            "ended_at": _moment(parsed, "ended_at"),
            "node": _text(parsed, "node"),
            "gpu_uuids": _uuids(parsed),
            "provider_job": _text(parsed, "provider_job"),
            "useful_seconds": _count(parsed, "useful_seconds"),
            "trained_tokens": _count(parsed, "trained_tokens"),
            **_attributes(parsed),
        }
        _consistent(found)
        return found


def _objects(stream: IO[bytes], name: str) -> Iterator[lines.Block]:
    """One object for each line; a single object may be spread over several of them."""
    content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise openings.broken(name, f"a batch of runs has at most {_MAX_BYTES:,} bytes; send it in parts")
    if _is_object(content):
        content = orjson.dumps(orjson.loads(content))
    yield from lines.blocks(io.BytesIO(content), name=name)


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _consistent(run: Mapping[str, Any]) -> None:
    start, end = run["started_at"], run["ended_at"]
    if run["state"] != "running" and end is None:
        raise _Invalid("ended_at", f"a run that is {run['state']} has an end")
    if end is not None and end < start:
        raise _Invalid("ended_at", f"ends {end.isoformat()} before it starts {start.isoformat()}")
    useful = run["useful_seconds"]
    if useful is not None and end is not None and useful > (end - start).total_seconds():
        raise _Invalid("useful_seconds", f"{useful} useful seconds in a run of {(end - start).total_seconds():.0f}")


def _text(parsed: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    value = parsed.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise _Invalid(name, f"expected text, found {type(value).__name__}")
    if required and not (value or "").strip():
        raise _Invalid(name, "is mandatory")
    return (value or "").strip()


def _one_of(parsed: Mapping[str, Any], name: str, allowed: Sequence[str], default: str) -> str:
    value = _text(parsed, name).lower() or default
    if value not in allowed:
        raise _Invalid(name, f"expected one of {', '.join(allowed)}, found {value!r}")
    return value


def _moment(parsed: Mapping[str, Any], name: str, *, required: bool = False) -> datetime | None:
    value = _text(parsed, name, required=required)
    found = instants.one(value) if value else None
    if value and (found is None or not instants.EARLIEST_USAGE <= found < instants.LATEST):
        raise _Invalid(name, f"expected a moment between 2015 and 2100, found {value!r}")
    return found


def _count(parsed: Mapping[str, Any], name: str) -> int | None:
    value = parsed.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _COUNT_LIMIT:
        raise _Invalid(name, f"expected a whole number of at least 0, found {value!r}")
    return value


def _uuids(parsed: Mapping[str, Any]) -> str:
    value = parsed.get("gpu_uuids")
    if isinstance(value, list):
        if not all(isinstance(each, str) for each in value):
            raise _Invalid("gpu_uuids", "expected a list of texts")
        return ",".join(sorted(each.strip() for each in value))
    return _text(parsed, "gpu_uuids").replace(" ", "")


def _attributes(parsed: Mapping[str, Any]) -> dict[str, str]:
    given = parsed.get("attributes") or {}
    if not isinstance(given, dict):
        raise _Invalid("attributes", f"expected an object, found {type(given).__name__}")
    return {f"attr_{name}": _shown(given.get(name)) for name in ATTRIBUTES}


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
