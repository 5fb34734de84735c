"""GPU telemetry of NVIDIA's DCGM: from Prometheus, from an exporter directly, or from files of either."""

from collections.abc import Mapping
from typing import ClassVar

from ingest.sources.formats.telemetry import dcgm_samples
from ingest.sources.formats.telemetry.gpu_readings import Vocabulary
from ingest.sources.formats.telemetry.telemetry import TelemetryConfig, TelemetrySource

_ADD = "Add this line to the counters file of dcgm-exporter: "


# Its columns, for `queries`, are those of dcgm_samples.METRICS.
DcgmConfig = TelemetryConfig


class Dcgm(TelemetrySource):
    """Activity, power, energy and memory of NVIDIA GPUs and MIG slices, with the workload that held them.

    `mode` "prometheus" asks a Prometheus server for ranges; "scrape" reads a dcgm-exporter's page directly. Files may
    hold either form. The deployment of a GPU is `deployment_label` if that label is set, else what `deployments` says
    about the pod or workload, else the pod's name without its hashes; of a GPU without a pod it is what `deployments`
    says about node/GPU or the node. Example configuration:

        {"mode": "prometheus", "url": "http://prometheus:9090", "step_seconds": 60, "late_minutes": 5,
         "deployments": {"serving/chat-small": "chat-small"}, "nodes": {"10.0.1.7:9400": "gpu-7"},
         "deployment_label": "", "queries": {"gr_engine_active": "DCGM_FI_PROF_GR_ENGINE_ACTIVE{cluster=\\"a\\"}"}}

    Credentials: bearer_token, or username and password.

    How busy a GPU is comes from the activity of its graphics engine, else from GPU_UTIL, which is coarser and absent
    under MIG; every sample says which. Where pods share a GPU in time, it belongs to the first of them by name.
    """

    kind: ClassVar[str] = "dcgm"
    title: ClassVar[str] = "NVIDIA DCGM"
    Config: ClassVar[type[TelemetryConfig]] = TelemetryConfig
    vocabulary: ClassVar[Vocabulary] = dcgm_samples.VOCABULARY
    exporter: ClassVar[str] = "dcgm-exporter"
    lacks: ClassVar[Mapping[str, tuple[str, str]]] = {
        column: (why, _ADD + dcgm_samples.COUNTER_LINES[column])
        for column, why in {
            "gr_engine_active": "",
            "sm_active": "How many of its multiprocessors a busy GPU uses cannot be told.",
            "tensor_active": "How much a GPU computes cannot be told.",
            "dram_active": "How busy its memory is cannot be told.",
            "power_watts": "The power that a GPU draws is not known.",
            "energy_millijoules": "The energy of the GPUs is not known.",
            "memory_used_mib": "The memory in use is not known.",
        }.items()
    }
