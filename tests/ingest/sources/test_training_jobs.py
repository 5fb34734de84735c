"""Fine-tune runs of OpenAI, Weights & Biases, Kubernetes and Slurm: all but the first against written-down answers."""

import copy
import gzip
from datetime import UTC, datetime
from typing import Any

import openai
import orjson
import pytest
from django.db import connection

from ingest import configure, load
from ingest.rows import FINE_TUNE
from ingest.sources import slurm_jobs
from ingest.sources.base import BadDelivery, Source, SourceUnavailable, Window
from ingest.sources.formats import tuning_runs
from ingest.sources.kubernetes_jobs import KubernetesJobs, KubernetesJobsConfig
from ingest.sources.wandb import Wandb, WandbConfig
from tests.servers import recorded

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
WINDOW = Window(datetime(2026, 10, 22, 12, 0, tzinfo=UTC), NOW)


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def rows_of(source: Source) -> tuple[list[dict[str, Any]], Any]:
    (raw,) = source.read({}, WINDOW)
    (found,) = source.normalize(raw)
    assert found.batch.schema.equals(FINE_TUNE)
    return found.batch.to_pylist(), found


# --- OpenAI: the real client reads the same server ------------------------------------------------------------------
def job(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job",
        "id": f"ftjob-{number}",
        "created_at": int(at(20, 8).timestamp()) - number * 3600,
        "finished_at": int(at(20, 11, 30).timestamp()),
        "model": "gpt-4o-mini-2024-07-18",
        "fine_tuned_model": f"ft:gpt-4o-mini:acme:answers:{number}",
        "organization_id": "org-1",
        "status": "succeeded",
        "trained_tokens": 8_000_000,
        "user_provided_suffix": "answers",
        "hyperparameters": {"n_epochs": 3},
        "training_file": "file-1",
        "validation_file": None,
        "result_files": [],
        "seed": 1,
        "error": None,
        **changes,
    }


class Jobs:
    """The list of jobs, the newest first, two on a page."""

    def __init__(self) -> None:
        self.jobs = [
            job(0, status="running", finished_at=None, trained_tokens=None, fine_tuned_model=None),
            job(1),
            job(2),
        ]
        self.jobs += [job(3, created_at=int(datetime(2026, 9, 1, tzinfo=UTC).timestamp()))]

    def __call__(self, asked: recorded.Asked) -> tuple[int, Any]:
        if asked.headers.get("authorization") != "Bearer sk-right":
            return 401, {"error": {"message": "Incorrect API key provided: sk-wrong"}}
        ids = [one["id"] for one in self.jobs]
        first = ids.index(asked.query["after"][0]) + 1 if "after" in asked.query else 0
        return 200, {"object": "list", "data": self.jobs[first : first + 2], "has_more": first + 2 < len(ids)}


@pytest.mark.django_db
def test_it_follows_openai_jobs_until_they_end() -> None:
    answers = Jobs()
    with recorded.started(answers) as server:
        source_id = configure.create_source(
            kind="openai_fine_tunes",
            name="acme",
            config={"base_url": server.url, "team": "search"},
            credentials={"api_key": "sk-right"},
            now=NOW,
        )

        (first,) = load.sync(source_id=source_id, now=NOW)
        (again,) = load.sync(source_id=source_id, now=NOW)
        answers.jobs[0] = job(0, status="failed", trained_tokens=100)
        (ended,) = load.sync(source_id=source_id, now=NOW)
        told = list(openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-right").fine_tuning.jobs.list(limit=2))

    assert (first.rows_loaded, again.state, ended.rows_loaded, ended.rows_duplicate) == (3, "unchanged", 1, 2)
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT r.external_id, r.state, r.base_model, r.trained_tokens, a.attributes->>'team'
               FROM ingest_finetunerun r JOIN ingest_attributeset a ON a.id = r.attribute_set_id ORDER BY 1"""
        )
        stored = cursor.fetchall()
    assert stored == [
        ("ftjob-0", "failed", "gpt-4o-mini", 100, "search"),
        ("ftjob-1", "succeeded", "gpt-4o-mini", 8_000_000, "search"),
        ("ftjob-2", "succeeded", "gpt-4o-mini", 8_000_000, "search"),
    ]
    # The vendor's own client finds the same jobs, and the one that is too old.
    assert [(one.id, one.trained_tokens) for one in told[:3]] == [(row[0], row[3]) for row in stored]
    assert told[3].id == "ftjob-3"


@pytest.mark.django_db
def test_it_says_what_to_grant_and_not_the_key() -> None:
    with recorded.started(Jobs()) as server:
        source_id = configure.create_source(
            kind="openai_fine_tunes",
            name="acme",
            config={"base_url": server.url},
            credentials={"api_key": "sk-wrong"},
            now=NOW,
        )

        (result,) = load.sync(source_id=source_id, now=NOW)

    assert result.state == "failed"
    assert "Grant the key read access to fine-tuning" in result.error
    assert "sk-wrong" not in result.error


# --- Weights & Biases (written down after the public client's query) ------------------------------------------------
WANDB_RUN: dict[str, Any] = {
    "name": "8f3k2",
    "displayName": "answers v3",
    "state": "finished",
    "createdAt": "2026-11-20T08:00:00Z",
    "heartbeatAt": "2026-11-20T11:30:00Z",
    "config": orjson.dumps(
        {
            "_wandb": {"value": {"cli_version": "0.31.0"}},
            "model_name_or_path": {"value": "Qwen/Qwen2.5-7B"},
            "peft_type": {"value": "LORA"},
            "costobs.team": {"value": "search"},
        }
    ).decode(),
    "summaryMetrics": orjson.dumps({"train/num_input_tokens_seen": 8.0e6, "loss": 0.41}).decode(),
    "tags": [],
    "host": "gpu-7",
}


def wandb(*pages: list[dict[str, Any]]) -> Any:
    def answer(asked: recorded.Asked) -> tuple[int, Any]:
        variables = asked.body["variables"]
        assert orjson.loads(variables["filters"]) == {
            "createdAt": {"$gte": "2026-10-22T12:00:00+00:00", "$lt": "2026-11-21T12:00:00+00:00"}
        }
        if variables["project"] != "sft":
            return 200, {"data": {"project": None}}
        number = int(variables["after"] or 0)
        info = {"hasNextPage": number + 1 < len(pages), "endCursor": str(number + 1)}
        return 200, {
            "data": {"project": {"runs": {"pageInfo": info, "edges": [{"node": run} for run in pages[number]]}}}
        }

    return answer


def test_it_reads_runs_of_wandb_over_all_pages() -> None:
    crashed = {**WANDB_RUN, "name": "9a", "state": "crashed"}
    no_model = {**WANDB_RUN, "name": "x", "config": "{}"}
    strange = {**WANDB_RUN, "name": "y", "state": "dreaming"}
    broken = {**WANDB_RUN, "name": "z", "config": "{"}
    with recorded.started(wandb([WANDB_RUN, crashed], [no_model, strange, broken])) as server:
        source = Wandb(WandbConfig(entity="acme", project="sft", base_url=server.url), {"api_key": "k"})

        rows, found = rows_of(source)

    assert server.asked[0].headers["authorization"] == "Basic YXBpOms="
    assert [(row["external_id"], row["state"]) for row in rows] == [("8f3k2", "succeeded"), ("9a", "failed")]
    first = rows[0]
    assert (first["method"], first["node"], first["trained_tokens"], first["attr_team"]) == (
        "lora",
        "gpu-7",
        8_000_000,
        "search",
    )
    assert (first["started_at"], first["ended_at"]) == (at(20, 8), at(20, 11, 30))
    assert dict(found.skipped) == {"no base model in its config": 1}
    assert [(one.row, one.field) for one in found.rejected] == [(4, "state"), (5, "config")]


def test_it_names_a_wandb_project_that_is_not_there() -> None:
    with recorded.started(wandb([])) as server:
        source = Wandb(WandbConfig(entity="acme", project="other", base_url=server.url), {"api_key": "k"})

        with pytest.raises(SourceUnavailable, match="acme/other"):
            list(source.read({}, WINDOW))


# --- Kubernetes (written down after the API reference of batch/v1 and v1) -------------------------------------------
JOB: dict[str, Any] = {
    "metadata": {
        "name": "answers-sft",
        "namespace": "training",
        "uid": "u-1",
        "creationTimestamp": "2026-11-20T07:59:00Z",
        "labels": {"costobs.io/fine-tune": "true", "costobs.io/team": "search", "costobs.io/method": "qlora"},
        "annotations": {"costobs.io/base-model": "meta-llama/Llama-3.1-8B", "costobs.io/trained-tokens": "8000000"},
    },
    "status": {
        "startTime": "2026-11-20T08:00:00Z",
        "completionTime": "2026-11-20T12:00:00Z",
        "conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-20T12:00:00Z"}],
    },
}


def pod(phase: str, start: str, end: str, *, node: str = "gpu-7", reason: str = "") -> dict[str, Any]:
    return {
        "metadata": {"ownerReferences": [{"kind": "Job", "uid": "u-1"}]},
        "spec": {"nodeName": node, "containers": [{"env": [{"name": "HF_TOKEN", "value": "hf_secret"}]}]},
        "status": {
            "phase": phase,
            "startTime": f"2026-11-20T{start}:00Z",
            "reason": reason,
            "containerStatuses": [{"state": {"terminated": {"finishedAt": f"2026-11-20T{end}:00Z"}}}],
        },
    }


def cluster(jobs: list[dict[str, Any]], pods: list[dict[str, Any]]) -> Any:
    def answer(asked: recorded.Asked) -> tuple[int, Any]:
        if asked.headers.get("authorization") != "Bearer right":
            return 403, {"message": "jobs.batch is forbidden", "code": 403}
        assert asked.path in ("/apis/batch/v1/namespaces/training/jobs", "/api/v1/namespaces/training/pods")
        items = jobs if asked.path.endswith("jobs") else pods
        number = int(asked.query.get("continue", ["0"])[0])
        following = str(number + 1) if number + 1 < len(items) else ""
        return 200, {"metadata": {"continue": following}, "items": items[number : number + 1]}

    return answer


def kubernetes(url: str, token: str = "right") -> KubernetesJobs:
    return KubernetesJobs(KubernetesJobsConfig(url=url, namespace="training"), {"bearer_token": token})


def test_it_tells_useful_time_of_a_job_from_the_time_of_pods_that_failed_before() -> None:
    pods = [pod("Failed", "08:00", "09:00"), pod("Succeeded", "09:05", "12:00")]
    with recorded.started(cluster([JOB], pods)) as server:
        ((row,), _found) = rows_of(kubernetes(server.url))
        (raw,) = kubernetes(server.url).read({}, WINDOW)

    assert (row["external_id"], row["name"], row["node"], row["state"]) == (
        "u-1",
        "training/answers-sft",
        "gpu-7",
        "succeeded",
    )
    assert (row["started_at"], row["ended_at"], row["useful_seconds"]) == (at(20, 8), at(20, 12), (2 * 60 + 55) * 60)
    assert (row["method"], row["trained_tokens"], row["attr_team"], row["attr_namespace"]) == (
        "qlora",
        8_000_000,
        "search",
        "training",
    )
    assert "hf_secret" not in repr(raw.payload)


def test_it_makes_one_run_of_a_job_on_each_of_its_nodes_and_knows_preemption() -> None:
    lost = copy.deepcopy(JOB)
    lost["status"]["conditions"] = [{"type": "Failed", "status": "True", "lastTransitionTime": "2026-11-20T09:00:00Z"}]
    pods = [pod("Failed", "08:00", "09:00", node=node, reason="Preempted") for node in ("gpu-7", "gpu-8")]
    with recorded.started(cluster([lost], pods)) as server:
        rows, _found = rows_of(kubernetes(server.url))

    assert [(row["external_id"], row["state"], row["useful_seconds"]) for row in rows] == [
        ("u-1/gpu-7", "preempted", 0),
        ("u-1/gpu-8", "preempted", 0),
    ]


def test_it_passes_over_jobs_that_name_no_model_or_have_not_begun() -> None:
    nameless, waiting, going = copy.deepcopy(JOB), copy.deepcopy(JOB), copy.deepcopy(JOB)
    del nameless["metadata"]["annotations"]
    waiting["status"] = {}
    going["status"] = {"startTime": "2026-11-20T08:00:00Z", "active": 1}
    with recorded.started(cluster([nameless, waiting, going], [])) as server:
        ((row,), found) = rows_of(kubernetes(server.url))

    assert (row["state"], row["ended_at"], row["useful_seconds"]) == ("running", None, None)
    assert dict(found.skipped) == {"no label or annotation costobs.io/base-model": 1, "not started yet": 1}


def test_it_says_which_role_the_service_account_needs() -> None:
    with recorded.started(cluster([], [])) as server:
        (finding,) = kubernetes(server.url, "wrong").probe(WINDOW)

    assert finding.state == "missing"
    assert "list on jobs (batch) and pods" in finding.remedy


def test_it_refuses_a_certificate_that_is_none() -> None:
    source = KubernetesJobs(KubernetesJobsConfig(url="https://127.0.0.1:6443"), {"ca_certificate": "not PEM"})

    with pytest.raises(SourceUnavailable, match="PEM"):
        list(source.read({}, WINDOW))


# --- Slurm (written down after the schema of slurmdb v0.0.41 and older forms) ---------------------------------------
SLURM_JOB: dict[str, Any] = {
    "job_id": 812,
    "name": "answers-sft",
    "account": "research",
    "comment": {"job": "costobs base_model=llama-3.1-8b method=lora team=search trained_tokens=8000000", "system": ""},
    "nodes": "gpu-[01-02]",
    "state": {"current": ["COMPLETED"], "reason": "None"},
    "time": {"start": int(at(20, 8).timestamp()), "end": int(at(20, 12).timestamp()), "elapsed": 14400},
}


def slurm(**config: Any) -> slurm_jobs.SlurmJobs:
    return slurm_jobs.SlurmJobs(slurm_jobs.SlurmJobsConfig(**config), {"token": "right"})


def test_it_reads_slurmrestd_and_makes_one_run_on_each_node() -> None:
    def answer(asked: recorded.Asked) -> tuple[int, Any]:
        assert (asked.path, asked.headers["x-slurm-user-token"]) == ("/slurmdb/v0.0.41/jobs/", "right")
        return 200, {"jobs": [SLURM_JOB, {**SLURM_JOB, "job_id": 813, "comment": {"job": "a sweep"}}], "errors": []}

    with recorded.started(answer) as server:
        rows, found = rows_of(slurm(url=server.url, user="costobs"))

    assert [(row["external_id"], row["node"], row["useful_seconds"]) for row in rows] == [
        ("812/gpu-01", "gpu-01", 14400),
        ("812/gpu-02", "gpu-02", 14400),
    ]
    assert (rows[0]["method"], rows[0]["attr_team"], rows[0]["attr_account"]) == ("lora", "search", "research")
    assert dict(found.skipped) == {"no comment that begins with costobs": 1}


@pytest.mark.parametrize(
    ("state", "expected", "useful"),
    [
        ("CANCELLED by 1000", "cancelled", 0),
        (["PREEMPTED"], "preempted", 0),
        ({"current": ["NODE_FAIL"]}, "failed", 0),
        ({"current": "RUNNING"}, "running", None),
    ],
)
def test_it_knows_the_states_in_old_and_new_forms(state: Any, expected: str, useful: int | None) -> None:
    wrapped = {
        "start": {"set": True, "number": SLURM_JOB["time"]["start"]},
        "end": {"set": True, "number": SLURM_JOB["time"]["end"]},
    }
    told = {
        "jobs": [
            {**SLURM_JOB, "nodes": "gpu-7", "state": state, "time": wrapped, "comment": SLURM_JOB["comment"]["job"]}
        ]
    }
    source = slurm()

    (found,) = source.normalize(source.open_bytes(name="sacct", content=gzip.compress(orjson.dumps(told))))

    (row,) = found.batch.to_pylist()
    assert (row["external_id"], row["state"], row["useful_seconds"]) == ("812", expected, useful)


def test_it_rejects_a_state_it_does_not_know_and_a_file_that_is_something_else() -> None:
    source = slurm()

    (found,) = source.normalize(
        source.open_bytes(name="sacct", content=orjson.dumps({"jobs": [{**SLURM_JOB, "state": "ODD"}]}))
    )

    assert [(one.row, one.field) for one in found.rejected] == [(1, "state")]
    for content in (b"[]", b"{}", b"not json"):
        with pytest.raises(BadDelivery, match="sacct"):
            source.open_bytes(name="sacct", content=content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu-[01-03,7],login1", ["gpu-01", "gpu-02", "gpu-03", "gpu-7", "login1"]),
        ("rack1gpu[9-11]x", ["rack1gpu9x", "rack1gpu10x", "rack1gpu11x"]),
        ("None assigned", []),
    ],
)
def test_it_spells_out_short_node_lists(text: str, expected: list[str]) -> None:
    assert slurm_jobs.nodes_of(text) == expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"lora_r": 8}, "lora"),
        ({"use_peft": "True", "load_in_4bit": "True"}, "qlora"),
        ({"adapter": "qlora"}, "qlora"),
        ({"finetuning_type": "full", "lora_rank": 8}, "full"),
        ({"use_peft": "False", "load_in_4bit": True}, "full"),
        ({"costobs.method": "lora"}, "lora"),
        ({}, "full"),
    ],
)
def test_it_tells_the_method_from_what_trainers_log(parameters: dict[str, Any], expected: str) -> None:
    assert tuning_runs.method(parameters) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8000000", 8_000_000),
        ("8e6", 8_000_000),
        ("1.5E+3", 1500),
        ("8000000.0", 8_000_000),
        ("1.23e1", None),
        ("many", None),
    ],
)
def test_it_reads_counts_as_trackers_write_them(text: str, expected: int | None) -> None:
    assert tuning_runs.whole(text) == expected
