"""Fine-tune runs, pushed as JSON: what was trained on what, where, and whether it was of use."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ingest.rows import FINE_TUNE
from ingest.sources.base import Normalized, Produces, Raw, Source, setting
from ingest.sources.formats import classify, pushed_rows, tuning_runs


@dataclass(frozen=True, slots=True)
class FineTunesConfig:
    """What to fill in where a run is silent."""

    provider: str = setting("self_hosted", hint="Of runs that name none, such as openai")


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
        yield pushed_rows.normalize(raw.payload, FINE_TUNE, self._run)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file."""
        yield from pushed_rows.open_paths(paths)

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed batch, plain or gzip."""
        return pushed_rows.pushed(name, content)

    def _run(self, parsed: Mapping[str, Any], row: int) -> pushed_rows.Row:
        provider = classify.otel_provider(pushed_rows.text(parsed, "provider") or self.config.provider)
        external_id = pushed_rows.text(parsed, "external_id", required=True)
        found = {
            "row_number": row,
            "external_id": external_id,
            "name": pushed_rows.text(parsed, "name") or external_id,
            "provider": provider,
            "base_model": classify.canonical_model(provider, pushed_rows.text(parsed, "base_model", required=True)),
            "artefact": pushed_rows.text(parsed, "artefact"),
            "method": pushed_rows.one_of(parsed, "method", tuning_runs.METHODS, "full"),
            "state": pushed_rows.one_of(parsed, "state", tuning_runs.STATES, "running"),
            "started_at": pushed_rows.moment(parsed, "started_at", required=True),
            "ended_at": pushed_rows.moment(parsed, "ended_at"),
            "node": pushed_rows.text(parsed, "node"),
            "gpu_uuids": _uuids(parsed),
            "provider_job": pushed_rows.text(parsed, "provider_job"),
            "useful_seconds": pushed_rows.count(parsed, "useful_seconds"),
            "trained_tokens": pushed_rows.count(parsed, "trained_tokens"),
            **pushed_rows.attributes(parsed),
        }
        tuning_runs.check(found)
        return found


def _uuids(parsed: Mapping[str, Any]) -> str:
    value = parsed.get("gpu_uuids")
    if isinstance(value, list):
        if not all(isinstance(each, str) for each in value):
            raise pushed_rows.Invalid("gpu_uuids", "expected a list of texts")
        return ",".join(sorted(each.strip() for each in value))
    return pushed_rows.text(parsed, "gpu_uuids", most=100_000).replace(" ", "")
