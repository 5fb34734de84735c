"""GPU telemetry: real captures, a real Prometheus, an exporter's page, and what DCGM readings must not be taken for."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest.rows import GPU_SAMPLE, Rejected
from ingest.sources import dcgm
from ingest.sources.base import BadDelivery, SourceUnavailable, Window
from ingest.sources.formats.telemetry import gpu_readings
from tests import servers
from tests.servers import pages
from tests.servers import prometheus as server

GOLDEN = Path(__file__).parents[2] / "golden" / "dcgm"
AT = "2026-11-21T10:00:00Z"


def read(
    content: str | bytes, *, name: str = f"gpu@{AT}", **config: Any
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    source = dcgm.Dcgm(dcgm.DcgmConfig(**config))
    raw = source.open_bytes(name=name, content=content.encode() if isinstance(content, str) else content)
    (found,) = source.normalize(raw)
    assert found.batch.schema.equals(GPU_SAMPLE)
    return found.batch.to_pylist(), list(found.rejected)


def golden(name: str) -> list[dict[str, Any]]:
    rows, rejected = read((GOLDEN / name).read_bytes())
    assert rejected == []
    return rows


def series(metric: str, value: object, **labels: str) -> str:
    told = {"gpu": "0", "UUID": "GPU-1", "modelName": "NVIDIA H100 80GB HBM3", "Hostname": "node-1"} | labels
    return f"{metric}{{{','.join(f'{name}="{text}"' for name, text in told.items() if text != '-')}}} {value}\n"


def test_it_reads_a_real_page_of_eight_h100s() -> None:
    rows = golden("aicr_h100_dcgm_exporter_sample.prom.txt")

    assert len(rows) == 8
    busy = [row for row in rows if row["deployment"]]
    assert [(row["gpu_index"], row["power_watts"], row["activity_source"]) for row in busy] == [
        ("0", 113.611, "gpu_util")
    ]
    assert busy[0]["namespace"].startswith("dynamo")
    assert {row["sampled_at"] for row in rows} == {datetime(2026, 11, 21, 10, tzinfo=UTC)}


def test_t27_it_takes_gpus_labelled_with_the_exporter_for_idle() -> None:
    rows = golden("aicr_prometheus_api_gpu_power_draw_dcgm_fi_dev_power_usage.json")

    assert len(rows) == 16
    assert [row["pod"] for row in rows if row["pod"]] == [row["pod"] for row in rows if row["deployment"]]
    assert sum(row["deployment"] == "" for row in rows) == 15
    assert {row["namespace"] for row in rows} & {"gpu-operator"} == set()


@pytest.mark.parametrize(
    ("name", "instances"),
    [
        ("mig_4_Active_Workloads.prom.txt", ["5", "7", "8", "9"]),
        ("mig_Active_2_1g.5gb___2g.10gb.prom.txt", ["5", "7", "9"]),
        ("mig_Active_1g.5gb.prom.txt", ["9"]),
        ("mig_Idle_1g.5gb_allocated.prom.txt", ["8"]),
        ("mig_Emtpy_MIG_enabled.prom.txt", [""]),
        ("mig_Empty_mig_disabled.prom.txt", [""]),
    ],
)
def test_t32_it_tells_mig_slices_of_one_board_apart(name: str, instances: list[str]) -> None:
    rows = golden(name)

    assert sorted(row["mig_instance"] for row in rows) == instances
    assert len({row["gpu_uuid"] for row in rows}) == 1
    assert {row["activity_source"] for row in rows} == {"gr_engine_active"}


def test_it_measures_activity_of_the_slice_that_works() -> None:
    active = {row["mig_instance"]: row for row in golden("mig_Active_2_1g.5gb___2g.10gb.prom.txt")}

    assert active["9"]["activity"] == 0.999917
    assert (active["9"]["mig_profile"], active["5"]["mig_profile"]) == ("1g.5gb", "2g.10gb")
    assert active["7"]["power_watts"] == active["9"]["power_watts"] == 116.043  # the board's, on every slice


def test_t31_it_falls_back_to_gpu_util_and_says_so() -> None:
    coarse, _ = read(series("DCGM_FI_DEV_GPU_UTIL", 40))
    both, _ = read(series("DCGM_FI_DEV_GPU_UTIL", 100) + series("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0.25))

    assert (coarse[0]["activity"], coarse[0]["activity_source"]) == (0.4, "gpu_util")
    assert (both[0]["activity"], both[0]["activity_source"]) == (0.25, "gr_engine_active")


def test_t35_it_passes_over_the_title_line_of_a_capture() -> None:
    titled = (GOLDEN / "mig_Active_1g.5gb.prom.txt").read_bytes()

    rows, rejected = read(titled)

    assert not titled.startswith((b"#", b"DCGM"))
    assert (len(rows), rejected) == (1, [])


def test_t198_it_takes_a_loaded_model_that_does_nothing_for_idle_time_of_its_deployment() -> None:
    (loaded,) = (row for row in golden("aicr_h100_dcgm_exporter_sample.prom.txt") if row["deployment"])
    (same,) = (
        row for row in golden("aicr_prometheus_api_gpu_memory_used_dcgm_fi_dev_fb_used.json") if row["deployment"]
    )

    assert (loaded["activity"], loaded["power_watts"]) == (0, 113.611)
    assert (same["deployment"], same["memory_used_mib"] > 0) == (loaded["deployment"], True)


def test_t193_it_takes_one_sample_of_a_gpu_that_two_jobs_scrape() -> None:
    by_address = series("DCGM_FI_DEV_POWER_USAGE", 100, Hostname="-", instance="10.0.0.7:9400")
    by_name = series("DCGM_FI_DEV_POWER_USAGE", 100, instance="10.0.0.7:9400", job="again")

    rows, _ = read(by_address + by_name)

    assert [(row["node"], row["power_watts"]) for row in rows] == [("node-1", 100.0)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_t194_it_names_a_gpu_shared_in_time_after_the_same_workload_each_time(order: tuple[int, int]) -> None:
    pods = [series("DCGM_FI_DEV_GPU_UTIL", 30, pod=pod, namespace="ml", container="c") for pod in ("a-0", "b-0")]

    rows, _ = read("".join(pods[index] for index in order))

    assert [(row["deployment"], row["activity"]) for row in rows] == [("a", 0.3)]


def test_it_names_a_gpu_without_pods_by_its_place() -> None:
    line = series("DCGM_FI_DEV_GPU_UTIL", 30) + series("DCGM_FI_DEV_GPU_UTIL", 30, gpu="1", UUID="GPU-2")

    rows, _ = read(line, deployments={"node-1/1": "chat", "node-1": "batch"})

    assert [row["deployment"] for row in rows] == ["batch", "chat"]


def test_it_does_not_take_a_long_energy_counter_for_a_blank() -> None:
    rows, _ = read(series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 2147483632))

    assert rows[0]["energy_millijoules"] == 2147483632


@pytest.mark.parametrize(
    "value", ["9223372036854775794", "9223372036854775807", "140737488355328", "NaN", "+Inf", "2147483632"]
)
def test_t30_it_drops_blanks_and_sentinels(value: str) -> None:
    rows, _ = read(series("DCGM_FI_DEV_GPU_UTIL", 40) + series("DCGM_FI_DEV_POWER_USAGE", value))

    assert rows[0]["power_watts"] is None
    assert read(series("DCGM_FI_DEV_POWER_USAGE", value))[0] == []


@pytest.mark.parametrize("label", ["Hostname", "hostname"])
def test_t28_it_knows_the_host_by_both_labels(label: str) -> None:
    rows, _ = read(series("DCGM_FI_DEV_GPU_UTIL", 1, **({"Hostname": "-"} | {label: "n7"})), nodes={"n7": "gpu-7"})

    assert rows[0]["node"] == "gpu-7"


def test_t29_it_takes_the_workload_from_exported_labels() -> None:
    line = series(
        "DCGM_FI_DEV_GPU_UTIL",
        1,
        namespace="monitoring",
        pod="nvidia-dcgm-exporter-x",
        exported_namespace="serving",
        exported_pod="chat-6d4cf56db6-bzx2k",
    )

    row = read(line)[0][0]

    assert (row["namespace"], row["pod"], row["deployment"]) == ("serving", "chat-6d4cf56db6-bzx2k", "chat")


def test_t34_it_counts_a_reading_of_several_series_once() -> None:
    text = series("DCGM_FI_DEV_POWER_USAGE", 100) + series(
        "DCGM_FI_DEV_POWER_USAGE", 100, namespace="ml", pod="train-0", hpc_job="17"
    )

    rows, _ = read(text)

    assert [(row["power_watts"], row["deployment"]) for row in rows] == [(100.0, "train")]


@pytest.mark.parametrize(
    ("pod", "name"),
    [
        ("chat-6d4cf56db6-bzx2k", "chat"),
        ("vllm-decode-0", "vllm-decode"),
        ("daemon-x7k2p", "daemon"),
        ("qwen-3", "qwen"),
        ("plain", "plain"),
    ],
)
def test_it_names_the_workload_without_hashes(pod: str, name: str) -> None:
    assert gpu_readings.workload_name(pod) == name


def test_it_prefers_the_configured_deployment() -> None:
    line = series("DCGM_FI_DEV_GPU_UTIL", 1, namespace="serving", pod="chat-6d4cf56db6-bzx2k", app="by-label")

    assert read(line, deployments={"serving/chat": "chat-small"})[0][0]["deployment"] == "chat-small"
    assert read(line, deployment_label="app")[0][0]["deployment"] == "by-label"


def test_it_keeps_the_energy_counter_raw() -> None:
    assert (
        read(series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 123456789012345))[0][0]["energy_millijoules"]
        == 123456789012345
    )


def test_it_rejects_a_broken_series_and_keeps_the_rest() -> None:
    rows, rejected = read(series("DCGM_FI_DEV_GPU_UTIL", 1) + 'DCGM_FI_DEV_POWER_USAGE{gpu="0" oops\n')

    assert len(rows) == 1
    assert [(each.row, each.field) for each in rejected] == [(2, "line")]


def test_t38_it_does_not_invent_a_time() -> None:
    with pytest.raises(BadDelivery, match="the text has no times"):
        read(series("DCGM_FI_DEV_GPU_UTIL", 1), name="page.prom")


START = datetime(2026, 10, 1, tzinfo=UTC)
HOURS = 50


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus with 50 hours of two GPUs, a point each minute."""
    moments = [START + timedelta(minutes=minute) for minute in range(60 * HOURS)]
    labels = 'gpu="{0}",UUID="GPU-{0}",Hostname="node-1",modelName="H100",{1}'
    gpus = (
        labels.format(0, 'namespace="serving",pod="chat-6d4cf56db6-bzx2k"'),
        labels.format(1, 'namespace="gpu-operator",pod="nvidia-dcgm-exporter-abcde"'),
    )
    text = "".join(
        server.metric(metric, "gauge", {gpu: [(at, (i % 100) / 100) for i, at in enumerate(moments)] for gpu in gpus})
        for metric in ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_POWER_USAGE")
    )
    with server.started(tmp_path_factory.mktemp("prometheus"), text) as url:
        yield url


def test_t36_it_reads_a_real_prometheus_in_spans_without_gap_or_overlap(prometheus: str) -> None:
    source = dcgm.Dcgm(dcgm.DcgmConfig(url=prometheus))
    window = Window(START, START + timedelta(hours=HOURS))

    raws = list(source.read({}, window))
    rows = [row for raw in raws for each in source.normalize(raw) for row in each.batch.to_pylist()]

    assert len(raws) == 2  # 3,000 points, at most 2,880 in a span
    assert len(rows) == 2 * 60 * HOURS
    assert len({(row["sampled_at"], row["gpu_uuid"]) for row in rows}) == len(rows)
    busy = [row for row in rows if row["gpu_uuid"] == "GPU-0"]
    assert [row["sampled_at"] for row in busy] == [START + timedelta(minutes=minute) for minute in range(60 * HOURS)]
    assert [row["activity"] for row in busy[:3]] == [0.0, 0.01, 0.02]
    assert {row["deployment"] for row in busy} == {"chat"}
    assert {row["deployment"] for row in rows if row["gpu_uuid"] == "GPU-1"} == {""}


def test_t197_it_goes_on_shortly_before_the_last_span_ended(prometheus: str) -> None:
    source = dcgm.Dcgm(dcgm.DcgmConfig(url=prometheus))
    first = next(source.read({}, Window(START, START + timedelta(hours=1))))

    (second,) = source.read(first.cursor, Window(START, START + timedelta(hours=2)))
    (again,) = source.read(first.cursor, Window(START, START + timedelta(hours=2)))

    rows = next(source.normalize(second)).batch.to_pylist()
    assert (rows[0]["sampled_at"], len(rows)) == (START + timedelta(minutes=55), 130)
    assert again.content_hash == second.content_hash != first.content_hash


def test_t37_it_knows_that_prometheus_goes_on_for_five_minutes_after_a_series_ends(prometheus: str) -> None:
    source = dcgm.Dcgm(dcgm.DcgmConfig(url=prometheus))
    last = START + timedelta(hours=HOURS, minutes=-1)

    (raw,) = source.read({}, Window(last, last + timedelta(minutes=30)))

    rows = next(source.normalize(raw)).batch.to_pylist()
    # Version 3 of Prometheus leaves out the very end of the five minutes.
    assert timedelta(minutes=4) <= max(row["sampled_at"] for row in rows) - last <= timedelta(minutes=5)


def test_it_passes_on_what_prometheus_says_is_wrong_with_a_query(prometheus: str) -> None:
    source = dcgm.Dcgm(dcgm.DcgmConfig(url=prometheus, queries={"power_watts": "sum("}))

    with pytest.raises(SourceUnavailable, match=r"answered 400: .*parse error"):
        list(source.read({}, Window(START, START + timedelta(hours=1))))


@pytest.fixture
def exporter() -> Iterator[str]:
    """A page as dcgm-exporter serves it: the real capture."""
    with pages.serving((GOLDEN / "aicr_h100_dcgm_exporter_sample.prom.txt").read_text()) as url:
        yield url


def test_it_scrapes_an_exporter_once_for_each_step(exporter: str) -> None:
    source = dcgm.Dcgm(dcgm.DcgmConfig(mode="scrape", url=exporter, step_seconds=30))
    window = Window(START, START + timedelta(seconds=95))

    (raw,) = source.read({}, window)

    rows = next(source.normalize(raw)).batch.to_pylist()
    assert len(rows) == 8
    assert {(row["sampled_at"], row["interval_seconds"]) for row in rows} == {(START + timedelta(seconds=90), 30)}
    assert list(source.read(raw.cursor, window)) == []


def test_it_does_not_call_addresses_inside_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSTOBS_PRIVATE_HOSTS")
    source = dcgm.Dcgm(dcgm.DcgmConfig(url="http://127.0.0.1:9090"))

    with pytest.raises(SourceUnavailable, match="COSTOBS_PRIVATE_HOSTS"):
        list(source.read({}, Window(START, START + timedelta(hours=1))))


def test_it_says_when_nobody_answers() -> None:
    source = dcgm.Dcgm(dcgm.DcgmConfig(url=f"http://127.0.0.1:{servers.free_port()}"))

    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        list(source.read({}, Window(START, START + timedelta(hours=1))))


def test_it_refuses_an_answer_that_is_not_prometheus() -> None:
    with pytest.raises(BadDelivery, match=r"data\.result"):
        read(orjson.dumps({"status": "error"}))
