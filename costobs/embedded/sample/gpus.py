"""The sample's GPU telemetry, in the form in which Prometheus answers a range query for DCGM's series."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

import orjson
import polars as pl

from costobs.embedded.sample import cloud_bill, organisation, story, traces
from costobs.embedded.sample.organisation import Node
from costobs.embedded.sample.story import Run, Story

_MINUTES = 1440
# The share of a deployment's work that each node does.
_WORK = {"gpu-node-1": 0.7, "gpu-node-2": 0.3, "gpu-node-3": 1.0}
_FULL = 0.97
_Point = tuple[int, str]


@dataclass(slots=True)
class _Series:
    """The readings of one GPU with one workload."""

    labels: dict[str, str]
    points: dict[str, list[_Point]]


def query_range(told: Story, *, since: datetime, until: datetime, step_seconds: int, work: pl.DataFrame) -> bytes:
    """The samples of [since, until) at whole steps, as one answer of the Prometheus API.

    `work` is `usage.by_hour` of at least the days touched. A node's energy counter begins anew each midnight, when the
    node is recycled.
    """
    hourly = {
        (row["hour"], row["deployment"]): (row["input_uncached"], row["output"]) for row in work.iter_rows(named=True)
    }
    series: dict[tuple[str, int, str], _Series] = {}
    for day in story.span(since, until):
        for node in organisation.NODES:
            for gpu in range(node.gpus):
                _gpu_day(told, node, gpu, day, hourly, (since, until, step_seconds), series)
    result = [
        {"metric": one.labels | {"__name__": metric}, "values": points}
        for one in series.values()
        for metric, points in one.points.items()
        if points
    ]
    return orjson.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


def uuid(told: Story, node: Node, gpu: int) -> str:
    """The name of a GPU."""
    return f"GPU-{UUID(int=told.random('gpu', node.name, gpu).getrandbits(128), version=4)}"


def busy(node: Node, tokens: tuple[int, int]) -> float:
    """The share of an hour that a node's serving GPUs need for so many prompt and output tokens of their deployment."""
    prompt_rate, output_rate = organisation.THROUGHPUT[node.deployment]
    seconds = _WORK[node.name] * (tokens[0] / prompt_rate + tokens[1] / output_rate)
    # Two GPUs of four do half of the work in the same time.
    return min(_FULL, seconds / 3600 * node.gpus / node.serving)


def _gpu_day(
    told: Story,
    node: Node,
    gpu: int,
    day: date,
    hourly: Mapping[tuple[datetime, str], tuple[int, int]],
    asked: tuple[datetime, datetime, int],
    series: dict[tuple[str, int, str], _Series],
) -> None:
    since, until, step = asked
    chance = told.random("telemetry", node.name, gpu, day)
    begin = story.midnight(day)
    idle_share = traces.idle_power()[(gpu + len(node.name)) % len(traces.idle_power())]
    needs = [busy(node, hourly.get((begin + timedelta(hours=hour), node.deployment), (0, 0))) for hour in range(24)]
    runs = [run for run in story.RUNS if run.node == node.name and gpu in run.gpus]
    energy, epoch = 0.0, int(begin.timestamp())
    lower, upper = int(since.timestamp()), int(until.timestamp())
    for minute in range(_MINUTES):
        noise = chance.random()
        workload, active = _state(told, node, gpu, day, minute, needs, runs, noise)
        if active is None:
            continue  # the node is off: no reading, which is not the same as idle
        share = _power_share(workload, active, idle_share)
        at = epoch + 60 * minute
        if lower <= at < upper and at % step == 0:
            known = series.setdefault((node.name, gpu, workload), _series(told, node, gpu, workload))
            _add(known, at, node, active, share, energy, is_loaded=bool(workload))
        energy += share * node.watts * 60_000  # millijoules of a minute


def _state(
    told: Story,
    node: Node,
    gpu: int,
    day: date,
    minute: int,
    needs: list[float],
    runs: Iterable[Run],
    noise: float,
) -> tuple[str, float | None]:
    """What runs on a GPU in a minute ("" for nothing) and how active it is; None when the node is off."""
    hour = minute // 60
    if cloud_bill.is_off(told, node, day, hour):
        return "", None
    if gpu < node.serving:
        # Calls come in bursts: the busy share of an hour is not that of each of its minutes.
        swing = 1 + 0.45 * math.sin(minute / 7 + gpu) + 0.5 * (noise - 0.5)
        return f"{node.deployment}-{_replica(node, gpu)}", min(_FULL, max(0.0, needs[hour] * swing))
    for run in runs:
        passed = (told.index(day) - run.day) * 24 + minute / 60 - run.start_hour
        if 0 <= passed < run.hours:
            return f"finetune-{run.external_id}-0", 0.86 + 0.11 * noise
    return "", 0.0


def _replica(node: Node, gpu: int) -> int:
    """The replica a GPU belongs to: one per node for a model that spans its GPUs, else one per GPU."""
    return {"gpu-node-1": 0, "gpu-node-2": 1}.get(node.name, gpu)


def _power_share(workload: str, active: float, idle_share: float) -> float:
    if not workload:
        return idle_share
    loaded = traces.loaded_power()
    return loaded + (0.92 - loaded) * active


def _series(told: Story, node: Node, gpu: int, workload: str) -> _Series:
    namespace, exporter = traces.exporter()
    if workload:
        namespace = "training" if workload.startswith("finetune-") else "llm-serving"
    labels = {
        "Hostname": node.name,
        "UUID": uuid(told, node, gpu),
        # A free GPU carries the exporter's own labels, as in a real Prometheus.
        "container": "main" if workload else exporter,
        "device": f"nvidia{gpu}",
        "gpu": str(gpu),
        "job": exporter,
        "modelName": node.gpu_model,
        "namespace": namespace,
        "pod": workload or f"{exporter}-{node.name[-1]}wqqn",
    }
    return _Series(labels, {})


def _add(series: _Series, at: int, node: Node, active: float, share: float, energy: float, *, is_loaded: bool) -> None:
    used = node.loaded_mib if is_loaded else 0
    for metric, text in _readings(node, active, share, energy, used):
        series.points.setdefault(metric, []).append((at, text))


def _readings(node: Node, active: float, share: float, energy: float, used: int) -> Iterator[tuple[str, str]]:
    yield "DCGM_FI_PROF_GR_ENGINE_ACTIVE", f"{active:.4f}"
    yield "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", f"{active * 0.41:.4f}"
    yield "DCGM_FI_DEV_POWER_USAGE", f"{share * node.watts:.2f}"
    yield "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", f"{energy:.0f}"
    yield "DCGM_FI_DEV_FB_USED", str(used)
    yield "DCGM_FI_DEV_FB_FREE", str(node.memory_mib - used)
