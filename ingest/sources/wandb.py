"""Fine-tune runs tracked in Weights & Biases."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from ingest.sources.base import Cursor, Normalized, Produces, Raw, Secret, Source, SourceUnavailable, Window, setting
from ingest.sources.formats import instants, tuning_runs
from ingest.sources.formats.admin import admin_api
from ingest.sources.formats.pushed_rows import Invalid, Row

_STATES = {
    "running": "running",
    "pending": "running",
    "preempting": "running",
    "finished": "succeeded",
    "failed": "failed",
    "crashed": "failed",
    "killed": "cancelled",
    "preempted": "preempted",
}
# The fields of a run that the public API's own client asks for (wandb 0.31, wandb.apis.public.runs), as known 2026-11-28.
_QUERY = """query Runs($entity: String!, $project: String!, $after: String, $filters: JSONString) {
  project(name: $project, entityName: $entity) {
    runs(first: 200, after: $after, order: "+createdAt", filters: $filters) {
      pageInfo { hasNextPage endCursor }
      edges { node { name displayName state createdAt heartbeatAt config summaryMetrics tags host } }
    }
  }
}"""


@dataclass(frozen=True, slots=True)
class WandbConfig:
    """Which project's runs, and where the API is."""

    entity: str = setting("", hint="The user or team that owns the project", required=True)
    project: str = setting("", hint="The project whose runs are fine-tuning", required=True)
    base_url: str = setting("https://api.wandb.ai", hint="Only for a server of your own")


class Wandb(Source):
    """Runs of one Weights & Biases project that name a base model; the others are passed over and counted.

    Base model, method and artefact come from the run's config as trainers write it, or from keys with `costobs.` before
    them; a crashed run counts as failed, and ends with its last heartbeat. Runs that were created in the last 30 days are
    followed until they end. Example configuration:

        {"entity": "acme", "project": "answers-sft", "base_url": "https://api.wandb.ai"}

    Credential `api_key`.
    """

    kind: ClassVar[str] = "wandb"
    title: ClassVar[str] = "Weights & Biases runs"
    produces: ClassVar[Produces] = "fine_tunes"
    Config: ClassVar[type[WandbConfig]] = WandbConfig
    secrets: ClassVar[Sequence[Secret]] = (
        Secret("api_key", "User settings, API keys; a service account's key is best."),
    )
    grants: ClassVar[Sequence[str]] = ("read on the project",)
    restatement_days: ClassVar[int] = 30
    poll_seconds: ClassVar[int] = 300

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """The runs created in the window, as one unit."""
        if not self.config.project:
            return
        key = self.credentials.get("api_key", "")
        pair = base64.b64encode(f"api:{key}".encode()).decode()
        access = admin_api.Access(
            "W&B",
            self.config.base_url,
            {"Authorization": f"Basic {pair}"},
            key,
            "Give the key read access to the project.",
        )
        with admin_api.AdminApi(access) as api:
            found = list(self._runs(api, window))
        if found:
            yield tuning_runs.unit(name=f"{self.config.project}: runs since {window.start:%Y-%m-%d}", found=found)

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The runs of a project; one that cannot be a run is rejected by its field."""
        yield tuning_runs.normalize(raw, _run)

    def _runs(self, api: admin_api.AdminApi, window: Window) -> Iterator[Mapping[str, Any]]:
        between = {"$gte": window.start.isoformat(), "$lt": window.end.isoformat()}
        asked = {"entity": self.config.entity, "project": self.config.project}
        filters = orjson.dumps({"createdAt": between}).decode()

        def ask(after: str) -> Mapping[str, Any]:
            variables = {**asked, "filters": filters, "after": after or None}
            return self._runs_of(api.post("/graphql", {"query": _QUERY, "variables": variables}))

        for runs in api.follow("/graphql", ask, _following):
            yield from (edge["node"] for edge in runs["edges"])

    def _runs_of(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        if answer.get("errors"):
            raise SourceUnavailable(f"W&B refused the question: {str(answer['errors'])[:300]}")
        project = (answer.get("data") or {}).get("project")
        if not project:
            name = f"{self.config.entity}/{self.config.project}"
            raise SourceUnavailable(f"W&B shows no project {name}; check its name, and grant the key read")
        found: Mapping[str, Any] = project["runs"]
        return found


def _following(runs: Mapping[str, Any]) -> str:
    return str(runs["pageInfo"]["endCursor"]) if runs["pageInfo"]["hasNextPage"] else ""


def _run(run: Mapping[str, Any]) -> Sequence[Row] | str:
    config = {
        key: each.get("value") if isinstance(each, dict) else each for key, each in _object(run, "config").items()
    }
    told = tuning_runs.logged({"host": run.get("host"), **config}, _object(run, "summaryMetrics"))
    if not told["base_model"]:
        return "no base model in its config"
    state = _STATES.get(str(run.get("state")))
    if state is None:
        raise Invalid("state", f"expected one of {', '.join(_STATES)}, found {run.get('state')!r}")
    started = instants.one(str(run.get("createdAt") or ""))
    return [
        tuning_runs.row(
            external_id=str(run.get("name") or ""),
            name=str(run.get("displayName") or ""),
            state=state,
            started_at=started,
            ended_at=instants.one(str(run.get("heartbeatAt") or "")) or started,
            **told,
        )
    ]


def _object(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """W&B sends these as JSON inside JSON."""
    value = run.get(name)
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as problem:
            raise Invalid(name, f"is no JSON: {problem}") from problem
    return value if isinstance(value, dict) else {}
