"""Fine-tune runs of a real MLflow tracking server."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from ingest import configure, load, queries
from ingest.sources.base import SourceUnavailable, Window
from ingest.sources.mlflow import MLflow, MLflowConfig
from tests.servers import mlflow as server

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
PARAMS = {
    "model_name_or_path": "meta-llama/Llama-3.1-8B",
    "lora_r": "16",
    "load_in_4bit": "True",
    "output_dir": "answers-v3",
}
TAGS = {"costobs.node": "gpu-7", "costobs.team": "search", "costobs.gpu_uuids": "GPU-2, GPU-1"}


def millis(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Tracking]:
    with server.started(tmp_path_factory.mktemp("mlflow")) as found:
        yield found


def runs() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT name, base_model, method, state, artefact, node, gpu_uuids, trained_tokens, ended_at
               FROM ingest_finetunerun ORDER BY name"""
        )
        return list(cursor.fetchall())


@pytest.mark.django_db
def test_it_follows_a_run_until_it_ends_and_passes_over_what_is_no_fine_tuning(tracking: server.Tracking) -> None:
    experiment = tracking.post("experiments/create", name="answers-sft")["experiment_id"]
    run_id = tracking.run(experiment, name="answers v3", start=millis(START), params=PARAMS, tags=TAGS)
    tracking.run(experiment, name="a sweep of prompts", start=millis(START), params={"temperature": "0.2"}, tags={})
    config = {"url": tracking.url, "experiments": ["answers-sft"]}
    source_id = configure.create_source(kind="mlflow", name="tracking", config=config, now=NOW)

    (first,) = load.sync(source_id=source_id, now=NOW)
    (again,) = load.sync(source_id=source_id, now=NOW)

    assert (first.state, first.rows_read, first.rows_loaded, first.rows_skipped) == ("succeeded", 2, 1, 1)
    assert again.state == "unchanged"
    running = ("answers v3", "llama-3.1-8b", "qlora", "running", "answers-v3", "gpu-7", "GPU-1,GPU-2", None, None)
    assert [row[:1] + row[2:] for row in runs()] == [running[:1] + running[2:]]
    assert "llama-3.1-8b" in runs()[0][1]

    tracking.post(
        "runs/log-metric", run_id=run_id, key="num_input_tokens_seen", value=8_000_000, timestamp=millis(START)
    )
    ended = datetime(2026, 11, 20, 11, 30, tzinfo=UTC)
    tracking.post("runs/update", run_id=run_id, status="FINISHED", end_time=millis(ended))
    (last,) = load.sync(source_id=source_id, now=NOW)

    assert (last.state, last.rows_loaded) == ("succeeded", 1)
    ((*_, state, _artefact, _node, _gpus, tokens, end),) = runs()
    assert (state, tokens, end) == ("succeeded", 8_000_000, ended)
    assert [str(day) for day in queries.days_of(source_id=source_id)] == ["2026-11-20", "2026-11-21"]


def test_it_tells_preempted_from_killed_and_reads_all_pages(
    tracking: server.Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.sources.mlflow._PAGE", 2)
    experiment = tracking.post("experiments/create", name="preemptions")["experiment_id"]
    for number in range(5):
        tags = {"costobs.state": "preempted"} if number == 0 else {}
        start = millis(START) + number
        run_id = tracking.run(experiment, name=f"run {number}", start=start, params=PARAMS, tags=tags)
        tracking.post("runs/update", run_id=run_id, status="KILLED", end_time=start + 60_000)
    source = MLflow(MLflowConfig(url=tracking.url, experiments=("preemptions",)))

    (raw,) = source.read({}, Window(datetime(2026, 11, 1, tzinfo=UTC), NOW))
    (found,) = source.normalize(raw)

    rows = found.batch.to_pylist()
    assert [row["name"] for row in rows] == [f"run {number}" for number in range(5)]
    assert [row["state"] for row in rows] == ["preempted", *["cancelled"] * 4]


def test_it_names_an_experiment_that_is_not_there(tracking: server.Tracking) -> None:
    source = MLflow(MLflowConfig(url=tracking.url, experiments=("nowhere",)))

    with pytest.raises(SourceUnavailable, match=r"no experiment 'nowhere'.*READ"):
        list(source.read({}, Window(START, NOW)))

    (finding,) = source.probe(Window(START, NOW))
    assert (finding.state, finding.remedy) == ("missing", "READ on the experiments")
