"""Fine-tune runs tracked in MLflow."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ingest.sources.base import Cursor, Normalized, Produces, Raw, Secret, Source, SourceUnavailable, Window, setting
from ingest.sources.formats import tuning_runs
from ingest.sources.formats.admin import admin_api
from ingest.sources.formats.pushed_rows import Invalid, Row

_STATES = {
    "RUNNING": "running",
    "SCHEDULED": "running",
    "FINISHED": "succeeded",
    "FAILED": "failed",
    "KILLED": "cancelled",
}
_PAGE = 1000
_API = "/api/2.0/mlflow"


@dataclass(frozen=True, slots=True)
class MLflowConfig:
    """Where the tracking server is, and which of its experiments are fine-tuning."""

    url: str = setting("", hint="The tracking server, such as https://mlflow.example.com", required=True)
    experiments: Sequence[str] = setting(tuple, hint="Names of experiments; empty: all of them")


class MLflow(Source):
    """Runs of MLflow experiments that name a base model; the others are passed over and counted.

    Base model, method and artefact come from parameters as trainers log them (Hugging Face, PEFT, Axolotl, LLaMA-Factory),
    or from tags that win over them: `costobs.base_model`, `costobs.method`, `costobs.artefact`, `costobs.node`,
    `costobs.gpu_uuids`, `costobs.state` (preempted), `costobs.useful_seconds`, `costobs.team` and every other attribute.
    Runs that started in the last 30 days are followed until they end. Example configuration:

        {"url": "https://mlflow.example.com", "experiments": ["answers-sft"]}

    Credentials: bearer_token, or username and password.
    """

    kind: ClassVar[str] = "mlflow"
    title: ClassVar[str] = "MLflow runs"
    produces: ClassVar[Produces] = "fine_tunes"
    Config: ClassVar[type[MLflowConfig]] = MLflowConfig
    secrets: ClassVar[Sequence[Secret]] = (
        Secret("bearer_token", "An access token of the tracking server, if it asks for one."),
        Secret("username", "With basic authentication."),
        Secret("password", "With basic authentication."),
    )
    grants: ClassVar[Sequence[str]] = ("READ on the experiments",)
    restatement_days: ClassVar[int] = 30
    poll_seconds: ClassVar[int] = 300

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """The runs that started in the window, as one unit for each experiment."""
        if not self.config.url:
            return
        with admin_api.AdminApi(self._access()) as api:
            for experiment_id, name in self._experiments(api):
                if found := _runs(api, experiment_id, window):
                    yield tuning_runs.unit(name=f"{name}: runs since {window.start:%Y-%m-%d}", found=found)

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The runs of one experiment; one that cannot be a run is rejected by its field."""
        yield tuning_runs.normalize(raw, _run)

    def _access(self) -> admin_api.Access:
        headers: dict[str, str] = {}
        secret = self.credentials.get("bearer_token") or self.credentials.get("password", "")
        if token := self.credentials.get("bearer_token"):
            headers["Authorization"] = f"Bearer {token}"
        elif user := self.credentials.get("username"):
            pair = base64.b64encode(f"{user}:{self.credentials.get('password', '')}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        remedy = "Grant the user READ on the experiment."
        return admin_api.Access("MLflow", self.config.url, headers, secret, remedy)

    def _experiments(self, api: admin_api.AdminApi) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for answer in _pages(api, f"{_API}/experiments/search", {"max_results": _PAGE}):
            found += [(str(each["experiment_id"]), str(each["name"])) for each in answer.get("experiments", ())]
        wanted = set(self.config.experiments)
        missing = wanted - {name for _, name in found}
        if missing:
            raise SourceUnavailable(
                f"MLflow has no experiment {sorted(missing)[0]!r} that may be read; {'; '.join(self.grants)}"
            )
        return [(key, name) for key, name in found if not wanted or name in wanted]


def _runs(api: admin_api.AdminApi, experiment_id: str, window: Window) -> list[Mapping[str, Any]]:
    start, end = (int(moment.timestamp()) * 1000 for moment in (window.start, window.end))
    question = {
        "experiment_ids": [experiment_id],
        "filter": f"attributes.start_time >= {start} AND attributes.start_time < {end}",
        "order_by": ["attributes.start_time ASC"],
        "max_results": _PAGE,
    }
    return [run for answer in _pages(api, f"{_API}/runs/search", question) for run in answer.get("runs", ())]


def _pages(api: admin_api.AdminApi, path: str, question: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return api.follow(
        path,
        lambda token: api.post(path, {**question, **({"page_token": token} if token else {})}),
        lambda answer: str(answer.get("next_page_token") or ""),
    )


def _run(run: Mapping[str, Any]) -> Sequence[Row] | str:
    info, data = run.get("info") or {}, run.get("data") or {}
    parameters = {each["key"]: each.get("value", "") for each in data.get("params", ())}
    tags = {each["key"]: each.get("value", "") for each in data.get("tags", ())}
    figures = {each["key"]: each.get("value") for each in data.get("metrics", ())}
    named = {**parameters, **tags}
    told = tuning_runs.logged(named, figures)
    if not told["base_model"]:
        return "no base model among its parameters and tags"
    state = _STATES.get(str(info.get("status")))
    if state is None:
        raise Invalid("status", f"expected one of {', '.join(_STATES)}, found {info.get('status')!r}")
    if state in ("failed", "cancelled") and tags.get("costobs.state", "").lower() == "preempted":
        state = "preempted"
    started = tuning_runs.of_millis(info.get("start_time"))
    return [
        tuning_runs.row(
            external_id=str(info.get("run_id") or ""),
            name=str(info.get("run_name") or ""),
            state=state,
            started_at=started,
            ended_at=tuning_runs.of_millis(info.get("end_time")) or started,
            **told,
        )
    ]
