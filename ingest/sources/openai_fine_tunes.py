"""Fine-tuning jobs that OpenAI ran."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from ingest.sources.base import Cursor, Normalized, Produces, Raw, Secret, Source, Window, setting
from ingest.sources.formats import classify, tuning_runs
from ingest.sources.formats.admin import admin_api
from ingest.sources.formats.pushed_rows import Invalid, Row

_STATES = {
    "validating_files": "running",
    "queued": "running",
    "running": "running",
    "paused": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True)
class OpenAIFineTunesConfig:
    """Where the API is, and whose jobs these are."""

    base_url: str = setting("https://api.openai.com", hint="Only to go through a proxy")
    team: str = setting("", hint="The team that owns the jobs of this key")


class OpenAIFineTunes(Source):
    """Fine-tuning jobs of one OpenAI project: base model, artefact, trained tokens, and how they ended.

    Jobs created in the last 30 days are followed until they end. OpenAI's bill names no job: training is charged by day and
    model, and falls to the jobs of that day. Example configuration:

        {"base_url": "https://api.openai.com", "team": "search"}

    Credential `api_key`: a key of the project with read access to fine-tuning.
    """

    kind: ClassVar[str] = "openai_fine_tunes"
    title: ClassVar[str] = "OpenAI fine-tuning jobs"
    produces: ClassVar[Produces] = "fine_tunes"
    Config: ClassVar[type[OpenAIFineTunesConfig]] = OpenAIFineTunesConfig
    secrets: ClassVar[Sequence[Secret]] = (
        Secret("api_key", "platform.openai.com, Project, API keys: restricted, fine-tuning read."),
    )
    grants: ClassVar[Sequence[str]] = ("api.fine_tuning.jobs.read on the project",)
    restatement_days: ClassVar[int] = 30
    poll_seconds: ClassVar[int] = 600

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """The jobs created in the window, as one unit. The API lists the newest first."""
        key = self.credentials.get("api_key", "")
        remedy = "Grant the key read access to fine-tuning, or make a new one."
        access = admin_api.Access("OpenAI", self.config.base_url, {"Authorization": f"Bearer {key}"}, key, remedy)
        found: list[Mapping[str, Any]] = []
        with admin_api.AdminApi(access) as api:
            for job in api.objects("/v1/fine_tuning/jobs", [("limit", "100")], after="after"):
                created = _moment(job.get("created_at"))
                if created is not None and created < window.start:
                    break
                if created is None or created < window.end:
                    found.append(job)
        if found:
            yield tuning_runs.unit(name=f"fine-tuning jobs since {window.start:%Y-%m-%d}", found=found)

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The jobs of one answer; one that cannot be a run is rejected by its field."""
        yield tuning_runs.normalize(raw, self._job)

    def _job(self, job: Mapping[str, Any]) -> Sequence[Row] | str:
        state = _STATES.get(str(job.get("status")))
        if state is None:
            raise Invalid("status", f"expected one of {', '.join(_STATES)}, found {job.get('status')!r}")
        tokens = job.get("trained_tokens")
        run = tuning_runs.row(
            external_id=str(job.get("id") or ""),
            name=str(job.get("user_provided_suffix") or ""),
            state=state,
            started_at=_moment(job.get("created_at")),
            ended_at=_moment(job.get("finished_at")) or _moment(job.get("created_at")),
            provider="openai",
            base_model=classify.canonical_model("openai", str(job.get("model") or "")),
            artefact=str(job.get("fine_tuned_model") or ""),
            provider_job=str(job.get("id") or ""),
            trained_tokens=tokens if isinstance(tokens, int) else None,
            attr_team=self.config.team,
            attr_account=str(job.get("organization_id") or ""),
        )
        return [run]


def _moment(seconds: Any) -> datetime | None:
    """From seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) and 0 < seconds < 2**33 else None
