"""AMD GPUs, NeuronCores and TPU chips: recorded pages, the same through a real Prometheus, and what is odd about each."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest import configure, load
from ingest.models import GpuHour
from ingest.rows import GPU_SAMPLE
from ingest.sources import KINDS
from ingest.sources.accelerators import AmdGpu, AwsNeuron, GoogleTpu
from ingest.sources.base import Finding, Window
from ingest.sources.formats.telemetry.telemetry import TelemetryConfig, TelemetrySource
from tests.servers import pages
from tests.servers import prometheus as server

GOLDEN = Path(__file__).parents[2] / "golden" / "accelerators"
HOUR = datetime(2026, 10, 1, 10, tzinfo=UTC)
NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
RECORDED = [(AmdGpu, "amd"), (AwsNeuron, "neuron"), (GoogleTpu, "tpu")]


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.prom.txt").read_text()


def read(kind: type[TelemetrySource], text: str, **config: Any) -> list[dict[str, Any]]:
    source = kind(TelemetryConfig(**config))
    (found,) = source.normalize(source.open_bytes(name="page@2026-10-01T10:00:00Z", content=text.encode()))
    assert found.batch.schema.equals(GPU_SAMPLE)
    assert found.rejected == []
    return found.batch.to_pylist()


def scraped(text: str, *, minutes: int) -> str:
    """What a Prometheus knows after it scraped a page each minute."""
    names = dict.fromkeys(re.findall(r"^([a-z_]+)\{", text, re.MULTILINE))
    lines = []
    for name in names:
        lines.append(f"# TYPE {name} gauge")
        for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE):
            for minute in range(minutes):
                lines.append(f"{name}{{{labels}}} {value} {(HOUR + timedelta(minutes=minute)).timestamp()}")
    return "\n".join([*lines, ""])


def test_it_reads_activity_power_energy_and_memory_of_amd_gpus() -> None:
    by_index = {row["gpu_index"]: row for row in read(AmdGpu, golden("amd"))}

    used, idle = by_index["0"], by_index["1"]

    assert (used["node"], used["gpu_uuid"], used["gpu_model"]) == ("mi300-1", "692400000001", "AMD Instinct MI300X OAM")
    assert (used["deployment"], used["namespace"]) == ("chat-large", "serving")
    assert (used["activity"], used["activity_source"], used["dram_active"]) == (0.87, "gpu_gfx_activity", 0.31)
    assert (used["power_watts"], used["memory_used_mib"], used["memory_total_mib"]) == (612, 183265, 196592)
    assert (idle["deployment"], idle["activity"]) == ("", 0)


def test_t199_it_drops_the_all_ones_of_amd() -> None:
    row = next(row for row in read(AmdGpu, golden("amd")) if row["gpu_index"] == "2")

    assert (row["activity"], row["power_watts"], row["energy_millijoules"]) == (None, None, None)


@pytest.mark.parametrize("name", ["gpu_gfx_activity", "GPU_GFX_ACTIVITY", "amd_gpu_gfx_activity"])
def test_t200_it_knows_amd_names_in_every_spelling(name: str) -> None:
    (row,) = read(AmdGpu, f'{name}{{gpu_id="0",serial_number="1",hostname="n"}} 12\n')

    assert row["activity"] == 0.12


def test_t201_it_takes_the_parts_of_a_partitioned_amd_gpu_for_gpus_and_their_energy_once() -> None:
    parts = [row for row in read(AmdGpu, golden("amd")) if row["gpu_uuid"].startswith("692400000009")]

    assert [(row["gpu_uuid"], row["mig_instance"], row["activity"]) for row in parts] == [
        ("692400000009/8", "", 0.5),
        ("692400000009/9", "", 0.51),
    ]
    assert [(row["energy_millijoules"], row["power_watts"]) for row in parts] == [(12_000_000_000, 580), (None, None)]
    assert [row["deployment"] for row in parts] == ["embed", "embed"]


def test_t202_it_reads_the_energy_of_amd_in_microjoules() -> None:
    used = next(row for row in read(AmdGpu, golden("amd")) if row["gpu_index"] == "0")

    assert used["energy_millijoules"] == 41_250_000_123


def test_it_takes_amd_gpus_labelled_with_their_exporter_for_idle() -> None:
    line = 'gpu_gfx_activity{gpu_id="47",serial_number="7",node="tw009",pod="default-metrics-exporter-vvvkm"} 0\n'

    (row,) = read(AmdGpu, line)

    assert (row["node"], row["pod"], row["deployment"]) == ("tw009", "", "")


def test_it_reads_activity_and_memory_of_neuron_cores() -> None:
    first, second = read(AwsNeuron, golden("neuron"))

    assert (first["node"], first["gpu_uuid"], first["gpu_index"], first["gpu_model"]) == (
        "i-09db9b55e00956000",
        "i-09db9b55e00956000/0",
        "0",
        "trn1.2xlarge",
    )
    assert (first["activity"], first["activity_source"]) == (0.8633101879976985, "neuroncore_utilization")
    assert (second["activity"], second["power_watts"], second["energy_millijoules"]) == (0, None, None)


def test_t203_it_sums_the_memory_of_a_neuron_core_by_what_it_is_used_for() -> None:
    assert [row["memory_used_mib"] for row in read(AwsNeuron, golden("neuron"))] == [104, 4]


def test_t204_it_names_a_neuron_core_by_the_tag_of_its_process_and_never_by_its_number() -> None:
    rows = read(AwsNeuron, golden("neuron"))
    placed = read(AwsNeuron, golden("neuron"), deployments={"i-09db9b55e00956000/1": "batch", "chat-trn": "chat"})

    assert [row["deployment"] for row in rows] == ["chat-trn", ""]
    assert [row["deployment"] for row in placed] == ["chat", "batch"]


def test_it_does_not_take_neuron_monitor_for_the_workload() -> None:
    line = (
        'neuroncore_utilization_ratio{instance_id="i-1",neuroncore="0",runtime_tag="9",pod="neuron-monitor-x7k2p",'
        'namespace="neuron-monitor",container="neuron-monitor"} 0.5\n'
    )

    (row,) = read(AwsNeuron, line)

    assert (row["pod"], row["deployment"], row["activity"]) == ("", "", 0.5)


def test_t205_it_leaves_out_nvidia_gpus_that_gke_reports_under_the_names_of_tpus() -> None:
    rows = read(GoogleTpu, golden("tpu"))

    assert {row["gpu_model"] for row in rows} == {"tpu-v6e-slice"}


def test_t206_it_takes_one_sample_of_a_chip_from_the_series_of_its_pod_and_of_its_node() -> None:
    held, idle = read(GoogleTpu, golden("tpu"))

    assert (held["gpu_index"], held["deployment"], held["namespace"]) == ("0", "gemma-tpu", "serving")
    assert (idle["gpu_index"], idle["deployment"], idle["activity"]) == ("1", "", 0)


def test_t207_it_takes_the_duty_cycle_for_busy_and_the_cores_for_how_hard() -> None:
    held, _ = read(GoogleTpu, golden("tpu"))
    without = read(GoogleTpu, re.sub(r"(?m)^duty_cycle.*$", "", golden("tpu")))

    assert (held["activity"], held["activity_source"]) == (0.92, "duty_cycle")
    assert (held["tensor_active"], held["dram_active"]) == (0.41, 0.63)
    assert held["memory_used_mib"] == 19811000320 / 2**20
    assert (without[0]["activity"], without[0]["activity_source"]) == (0.41, "tensorcore_utilization")


@pytest.mark.django_db
@pytest.mark.parametrize(("kind", "name"), RECORDED)
def test_it_reads_the_same_through_a_real_prometheus(kind: type[TelemetrySource], name: str, tmp_path: Path) -> None:
    direct = read(kind, golden(name))

    with server.started(tmp_path, scraped(golden(name), minutes=30)) as url:
        source = configure.create_source(kind=kind.kind, name="x", config={"url": url}, now=NOW)
        span = Window(HOUR, HOUR + timedelta(minutes=30))
        (raw,) = load.connect(source).read({}, span)
        (normalized,) = load.connect(source).normalize(raw)
        loaded = list(load.sync(source_id=source, window=span, now=NOW))
        known = [load.run_unit(source_id=source, raw=one, now=NOW) for one in load.connect(source).read({}, span)]

    first = [row for row in normalized.batch.to_pylist() if row["sampled_at"] == HOUR]
    assert [{**row, "row_number": 0} for row in first] == [{**row, "row_number": 0} for row in direct]
    assert [(one.state, one.rows_loaded) for one in loaded] == [("succeeded", 30 * len(direct))]
    assert [one.state for one in known] == ["unchanged"]
    hours = GpuHour.objects.order_by("gpu_uuid")
    assert [hour.samples for hour in hours] == [30] * len(direct)
    assert [hour.deployment for hour in hours] == [
        row["deployment"] for row in sorted(direct, key=lambda r: r["gpu_uuid"])
    ]
    assert [hour.busy_ms for hour in hours] == [
        30 * round((row["activity"] or 0) * 60_000) for row in sorted(direct, key=lambda r: r["gpu_uuid"])
    ]


def probed(kind: type[TelemetrySource], text: str) -> dict[str, Finding]:
    with pages.serving(text) as url:
        source = kind(TelemetryConfig(mode="scrape", url=url))
        return {one.subject: one for one in source.probe(Window(HOUR, NOW))}


@pytest.mark.parametrize(("kind", "name"), RECORDED)
def test_it_says_what_it_sees_on_a_page(kind: type[TelemetrySource], name: str) -> None:
    found = probed(kind, golden(name))

    assert found[kind.exporter].state == "ok"
    assert found["GPUs"].state == "ok"
    assert all(one.state != "missing" for one in found.values())


@pytest.mark.parametrize("kind", [kind for kind, _ in RECORDED])
def test_it_says_when_a_page_has_nothing_of_it(kind: type[TelemetrySource]) -> None:
    found = probed(kind, "# HELP up\nup 1\n")

    assert (found["GPUs"].state, kind.exporter in found["GPUs"].remedy) == ("missing", True)


def test_it_says_what_amd_needs_to_report() -> None:
    found = probed(AmdGpu, 'gpu_used_vram{gpu_id="0",serial_number="1",hostname="n"} 12\n')

    assert (found["gfx_activity"].state, "GPU_GFX_ACTIVITY" in found["gfx_activity"].remedy) == ("missing", True)
    assert "GPU_ENERGY_CONSUMED" in found["energy_millijoules"].remedy


def test_it_lists_these_kinds() -> None:
    assert {"amd_gpu", "aws_neuron", "google_tpu"} <= set(KINDS.names())
