"""Fine-tune runs that are jobs of a Slurm cluster, from slurmrestd or from the output of sacct."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import orjson

from ingest.sources.base import (
    BadDelivery,
    Cursor,
    Normalized,
    Produces,
    Raw,
    Secret,
    Source,
    SourceUnavailable,
    Window,
    setting,
)
from ingest.sources.formats import classify, openings, tuning_runs
from ingest.sources.formats.admin import admin_api
from ingest.sources.formats.pushed_rows import Invalid, Row

_STATES = {
    "PENDING": "running",
    "RUNNING": "running",
    "SUSPENDED": "running",
    "REQUEUED": "running",
    "COMPLETED": "succeeded",
    "FAILED": "failed",
    "TIMEOUT": "failed",
    "OUT_OF_MEMORY": "failed",
    "DEADLINE": "failed",
    "BOOT_FAIL": "failed",
    "NODE_FAIL": "failed",
    "PREEMPTED": "preempted",
    "REVOKED": "preempted",
    "CANCELLED": "cancelled",
}
_RANGE = re.compile(r"^(\d+)-(\d+)$")
_MOST_NODES = 4096


@dataclass(frozen=True, slots=True)
class SlurmJobsConfig:
    """Where slurmrestd is, and which jobs are fine-tuning."""

    url: str = setting("", hint="slurmrestd, such as http://slurm:6820; empty when files of sacct --json are loaded")
    api_version: str = setting("v0.0.41", hint="The version your slurmrestd speaks")
    user: str = setting("", hint="The Slurm user of the token")
    label: str = setting("costobs", hint="The word in a job's comment that makes it a fine-tune run", required=True)


class SlurmJobs(Source):
    """Jobs whose comment begins with the label, read from slurmrestd, or from files of `sacct --json` (`costobs load`).

    The comment describes the run: `#SBATCH --comment="costobs base_model=llama-3.1-8b method=lora artefact=answers-v3
    trained_tokens=8000000 useful_seconds=12000 team=search"`. A job on several nodes is one run on each. Without
    `useful_seconds` the time of a job that completed is useful, of any other in vain. Example configuration:

        {"url": "http://slurm:6820", "api_version": "v0.0.41", "user": "costobs", "label": "costobs"}

    Credential `token`: of `scontrol token`.
    """

    kind: ClassVar[str] = "slurm_jobs"
    title: ClassVar[str] = "Slurm jobs"
    produces: ClassVar[Produces] = "fine_tunes"
    Config: ClassVar[type[SlurmJobsConfig]] = SlurmJobsConfig
    secrets: ClassVar[Sequence[Secret]] = (Secret("token", "scontrol token username=costobs lifespan=31536000"),)
    grants: ClassVar[Sequence[str]] = ("a Slurm user that sees all jobs (AdminLevel=Operator), and a token of it",)
    restatement_days: ClassVar[int] = 30
    poll_seconds: ClassVar[int] = 120

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """The jobs that ran in the window, as one unit."""
        if not self.config.url:
            return
        token = self.credentials.get("token", "")
        headers = {"X-SLURM-USER-NAME": self.config.user, "X-SLURM-USER-TOKEN": token}
        access = admin_api.Access("Slurm", self.config.url, headers, token, f"Needed: {self.grants[0]}.")
        between = [("start_time", str(int(window.start.timestamp()))), ("end_time", str(int(window.end.timestamp())))]
        with admin_api.AdminApi(access) as api:
            answer = api.get(f"/slurmdb/{self.config.api_version}/jobs/", between)
        if found := _jobs(answer, "Slurm jobs"):
            yield tuning_runs.unit(name=f"jobs since {window.start:%Y-%m-%d}", found=found)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file of `sacct --json`."""
        broken: BadDelivery | None = None
        for path in paths:
            if not Path(path).is_file():
                raise SourceUnavailable(f"{path} is no file; write one with: sacct --allusers --json > jobs.json")
            try:
                yield self.open_bytes(name=Path(path).name, content=Path(path).read_bytes())
            except BadDelivery as problem:  # the others are read first
                broken = broken or problem
        if broken is not None:
            raise broken

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """The output of `sacct --json`, plain or gzip."""
        with openings.stream(openings.Part(name=name, content=content)) as stream:
            try:
                answer = orjson.loads(stream.read())
            except orjson.JSONDecodeError as problem:
                raise openings.broken(name, f"expected the output of sacct --json: {problem}") from problem
        return tuning_runs.unit(name=name, found=_jobs(answer, name))

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The jobs of one answer; one that cannot be a run is rejected by its field."""
        yield tuning_runs.normalize(raw, self._runs)

    def _runs(self, job: Mapping[str, Any]) -> Sequence[Row] | str:
        words = _comment(job).split()
        if not words or words[0].rstrip(":") != self.config.label:
            return f"no comment that begins with {self.config.label}"
        told = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        time = job.get("time") or {}
        started = _moment(time.get("start"))
        if started is None:
            return "not started yet"
        state = _STATES.get(_word(job))
        if state is None:
            raise Invalid("state", f"expected one of {', '.join(_STATES)}, found {_word(job)!r}")
        ended = _moment(time.get("end")) or started
        nodes = nodes_of(str(job.get("nodes") or "")) or [""]
        given = tuning_runs.said(told, tuning_runs.USEFUL_KEYS)
        useful = (
            tuning_runs.whole(given) if given else round((ended - started).total_seconds()) * (state == "succeeded")
        )
        return [
            tuning_runs.row(
                external_id=str(job.get("job_id") or "") if len(nodes) == 1 else f"{job.get('job_id')}/{node}",
                name=str(job.get("name") or ""),
                state=state,
                started_at=started,
                ended_at=ended,
                node=node,
                base_model=classify.canonical_model("self_hosted", tuning_runs.said(told, tuning_runs.BASE_MODEL_KEYS)),
                method=tuning_runs.method(told),
                artefact=tuning_runs.said(told, tuning_runs.ARTEFACT_KEYS),
                trained_tokens=tuning_runs.whole(tuning_runs.said(told, tuning_runs.TOKEN_KEYS)),
                useful_seconds=None if state == "running" else useful,
                **{**tuning_runs.attributes(told), "attr_account": str(job.get("account") or "")},
            )
            for node in nodes
        ]


def nodes_of(text: str) -> list[str]:
    """The names in Slurm's short form: gpu-[01-03,7],login1 is gpu-01, gpu-02, gpu-03, gpu-7 and login1. Raises Invalid."""
    if text in ("", "None assigned", "(null)"):
        return []
    found: list[str] = []
    for name, listed, rest in re.findall(r"([^,\[\]]+)(?:\[([^\]]*)\])?([^,\[\]]*)", text):
        for one in listed.split(",") if listed else [""]:
            span = _RANGE.match(one)
            if span is None:
                found.append(f"{name}{one}{rest}")
            elif int(span[2]) - int(span[1]) >= _MOST_NODES:
                raise Invalid("nodes", f"{text[:60]!r} names more than {_MOST_NODES} nodes")
            else:
                width = len(span[1])
                found += [f"{name}{number:0{width}}{rest}" for number in range(int(span[1]), int(span[2]) + 1)]
    return found


def _jobs(answer: Any, name: str) -> list[Mapping[str, Any]]:
    jobs = answer.get("jobs") if isinstance(answer, dict) else None
    if not isinstance(jobs, list):
        raise openings.broken(name, "expected a JSON object with a list of jobs", field="jobs")
    return [job for job in jobs if isinstance(job, dict)]


def _comment(job: Mapping[str, Any]) -> str:
    """Since Slurm 23.02 the comments of job, system and administrator are apart."""
    comment = job.get("comment")
    return str((comment.get("job") if isinstance(comment, dict) else comment) or "")


def _word(job: Mapping[str, Any]) -> str:
    """The state, in its older forms too: a text, a list, or an object with `current`; CANCELLED may say by whom."""
    state = job.get("state")
    if isinstance(state, dict):
        state = state.get("current")
    if isinstance(state, list):
        state = state[0] if state else ""
    return str(state or "").upper().split(" ")[0]


def _moment(seconds: Any) -> datetime | None:
    """Seconds since 1970; newer versions wrap numbers as {"set": true, "number": …}. 0 says nothing."""
    if isinstance(seconds, dict):
        seconds = seconds.get("number") if seconds.get("set") else None
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) and 0 < seconds < 2**33 else None
