"""GPU samples from DCGM series: which GPU, which workload, and what a reading really says."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from ingest.rows import GPU_SAMPLE

# Our column -> the DCGM field it is read from, in its own unit.
METRICS = {
    "gr_engine_active": "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "gpu_util": "DCGM_FI_DEV_GPU_UTIL",
    "sm_active": "DCGM_FI_PROF_SM_ACTIVE",
    "tensor_active": "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
    "dram_active": "DCGM_FI_PROF_DRAM_ACTIVE",
    "power_watts": "DCGM_FI_DEV_POWER_USAGE",
    "energy_millijoules": "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "memory_used_mib": "DCGM_FI_DEV_FB_USED",
    "memory_free_mib": "DCGM_FI_DEV_FB_FREE",
    "memory_reserved_mib": "DCGM_FI_DEV_FB_RESERVED",
}
COLUMNS = {metric: column for column, metric in METRICS.items()}

# What DCGM writes where it has no reading: blanks of 64 and 32 bits and of doubles, all of them absurd as readings.
_BLANK_DOUBLE = 140737488355328
_BLANK = 10**18
_BLANK_INT32 = 2147483632
_EXPORTER_NAMESPACES = {"gpu-operator", "nvidia-gpu-operator"}
_EXPORTER_POD = "nvidia-dcgm-exporter"
_HASHES = re.compile(r"-[bcdf-hj-np-tv-z2456789]{5}$")
_REPLICA_SET = re.compile(r"-[bcdf-hj-np-tv-z2456789]{8,10}$")
_ORDINAL = re.compile(r"-\d+$")


@dataclass(frozen=True, slots=True)
class Naming:
    """How series are named after the fleet's own words: our deployment for a pod, our node for a host name."""

    deployments: Mapping[str, str] = field(default_factory=dict)  # pod, namespace/workload or workload -> deployment
    nodes: Mapping[str, str] = field(default_factory=dict)
    deployment_label: str = ""


@dataclass(slots=True)
class Sample:
    """One reading of one GPU or slice, gathered from several series. Not frozen: each series adds its column."""

    labels: Mapping[str, str]
    values: dict[str, float] = field(default_factory=dict)


Key = tuple[int, str, str, str]


class Gathering:
    """Series come one by one; samples go out by time and GPU. The same reading delivered twice counts once."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._samples: dict[Key, Sample] = {}

    def add(self, *, metric: str, labels: Mapping[str, str], at_millis: int, value: float) -> None:
        """One reading; blanks and metrics that are not ours are left out."""
        column = COLUMNS.get(metric)
        uuid = labels.get("UUID") or labels.get("uuid") or ""
        if column is None or not uuid or is_blank(value):
            return
        key = (at_millis, _node(labels), uuid, labels.get("GPU_I_ID", ""))
        sample = self._samples.get(key)
        if sample is None:
            sample = self._samples[key] = Sample(labels)
        elif not workload(sample.labels)[1] and workload(labels)[1]:
            sample.labels = (
                labels  # of two series of one GPU (time-slicing, hpc_job) the one that names a workload speaks
            )
        sample.values[column] = max(value, sample.values.get(column, value))

    def rows(self, *, interval_seconds: int) -> Iterator[dict[str, object]]:
        """The samples in order of time, node and GPU, as rows of the GPU_SAMPLE schema."""
        for number, key in enumerate(sorted(self._samples), start=1):
            yield self._row(number, key, self._samples[key], interval_seconds)

    def batch(self, *, interval_seconds: int) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist(list(self.rows(interval_seconds=interval_seconds)), schema=GPU_SAMPLE)

    def _row(self, number: int, key: Key, sample: Sample, interval_seconds: int) -> dict[str, object]:
        at_millis, node, uuid, instance = key
        labels, values = sample.labels, sample.values
        namespace, pod, container = workload(labels)
        activity, source = _activity(values)
        energy = values.get("energy_millijoules")
        return {
            "row_number": number,
            "sampled_at": datetime.fromtimestamp(at_millis // 1000, tz=UTC).replace(
                microsecond=at_millis % 1000 * 1000
            ),
            "interval_seconds": interval_seconds,
            "node": self._naming.nodes.get(node, node),
            "gpu_index": labels.get("gpu", ""),
            "gpu_uuid": uuid,
            "mig_instance": instance,
            "mig_profile": labels.get("GPU_I_PROFILE", ""),
            "gpu_model": labels.get("modelName", ""),
            "namespace": namespace,
            "pod": pod,
            "container": container,
            "deployment": self._deployment(labels, namespace, pod),
            "activity": activity,
            "activity_source": source,
            **{name: values.get(name) for name in ("sm_active", "tensor_active", "dram_active", "power_watts")},
            "energy_millijoules": None if energy is None else int(energy),
            "memory_used_mib": values.get("memory_used_mib"),
            "memory_total_mib": _total_memory(values),
        }

    def _deployment(self, labels: Mapping[str, str], namespace: str, pod: str) -> str:
        if not pod:
            return ""
        if named := labels.get(self._naming.deployment_label, "") if self._naming.deployment_label else "":
            return named
        name = workload_name(pod)
        known = self._naming.deployments
        return known.get(pod) or known.get(f"{namespace}/{name}") or known.get(name) or name


def workload(labels: Mapping[str, str]) -> tuple[str, str, str]:
    """Namespace, pod and container of what runs on a GPU, all "" when nothing does.

    With honor_labels off, Prometheus renames the exporter's own labels to exported_*, and the plain ones name the
    exporter itself; with it on, idle GPUs carry the exporter's labels because it sent none. Either way a GPU that is
    labelled with the exporter is idle.
    """
    prefix = "exported_" if any(name in labels for name in ("exported_pod", "exported_namespace")) else ""
    found = tuple(labels.get(f"{prefix}{name}", "") for name in ("namespace", "pod", "container"))
    namespace, pod, container = found
    if not pod or pod.startswith(_EXPORTER_POD) or container == _EXPORTER_POD:
        return "", "", ""
    if namespace in _EXPORTER_NAMESPACES and "dcgm-exporter" in pod:
        return "", "", ""
    return namespace, pod, container


def workload_name(pod: str) -> str:
    """The workload a pod belongs to: its name without the hashes of replica sets and the ordinals of stateful sets."""
    name = _HASHES.sub("", pod)
    if name != pod:
        return _REPLICA_SET.sub("", name)
    return _ORDINAL.sub("", pod)


def is_blank(value: float) -> bool:
    """Whether a value is none: not a number, or one of the sentinels of DCGM."""
    return (
        math.isnan(value) or math.isinf(value) or value >= _BLANK or value in (_BLANK_DOUBLE, _BLANK_INT32) or value < 0
    )


def metrics(overrides: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Each metric with the query that gives it, the configured one if there is."""
    for column, metric in METRICS.items():
        yield metric, overrides.get(column, metric)


def _node(labels: Mapping[str, str]) -> str:
    # The label was renamed in dcgm-exporter on 2026-05-12 (commit d5e5f51).
    for name in (
        "hostname",
        "Hostname",
        "exported_hostname",
        "exported_Hostname",
        "node",
        "kubernetes_node",
        "instance",
    ):
        if labels.get(name):
            return labels[name]
    return ""


def _activity(values: Mapping[str, float]) -> tuple[float | None, str]:
    """Activity 0..1: of the graphics engine, else GPU_UTIL, which is absent under MIG and coarser."""
    if (engine := values.get("gr_engine_active")) is not None:
        return min(engine, 1.0), "gr_engine_active"
    if (util := values.get("gpu_util")) is not None:
        return min(util / 100, 1.0), "gpu_util"
    return None, ""


def _total_memory(values: Mapping[str, float]) -> float | None:
    used, free = values.get("memory_used_mib"), values.get("memory_free_mib")
    if used is None or free is None:
        return None
    return used + free + values.get("memory_reserved_mib", 0)
