"""Telemetry of accelerators that are not NVIDIA's, through the same samples: AMD, AWS Neuron, Google TPU."""

from collections.abc import Mapping
from typing import ClassVar

from ingest.sources.formats.telemetry import accelerator_names
from ingest.sources.formats.telemetry.gpu_readings import Vocabulary
from ingest.sources.formats.telemetry.telemetry import TelemetrySource


class AmdGpu(TelemetrySource):
    """Activity, power, energy and memory of AMD Instinct GPUs, as AMD's device-metrics-exporter reports them.

    Through Prometheus, or from the exporter's page (port 5000). The parts of a partitioned GPU are GPUs of their own.
    The deployment of a GPU is what `deployments` says about its pod or workload, else the pod's name without its
    hashes; without pods it is what `deployments` says about node/GPU or node, or the label `deployment_label` (for
    Slurm: job_id). Example configuration:

        {"mode": "prometheus", "url": "http://prometheus:9090", "step_seconds": 60, "nodes": {"tw038": "mi300-1"},
         "deployments": {"serving/chat-large": "chat-large", "mi300-2/7": "embeddings"}}

    Credentials: bearer_token, or username and password.
    """

    kind: ClassVar[str] = "amd_gpu"
    title: ClassVar[str] = "AMD GPUs"
    vocabulary: ClassVar[Vocabulary] = accelerator_names.AMD
    exporter: ClassVar[str] = "AMD's device-metrics-exporter"
    lacks: ClassVar[Mapping[str, tuple[str, str]]] = {
        "gfx_activity": ("", 'Add "GPU_GFX_ACTIVITY" to GPUConfig.Fields in the exporter\'s config.json.'),
        "power_watts": (
            "The power that a GPU draws is not known.",
            'Add "GPU_PACKAGE_POWER" (MI3xx) or "GPU_AVERAGE_PACKAGE_POWER" (MI2xx) to GPUConfig.Fields.',
        ),
        "energy_millijoules": (
            "The energy of the GPUs is not known.",
            'Add "GPU_ENERGY_CONSUMED" to GPUConfig.Fields.',
        ),
        "memory_used_mib": ("The memory in use is not known.", 'Add "GPU_USED_VRAM" to GPUConfig.Fields.'),
    }


class AwsNeuron(TelemetrySource):
    """Activity and memory of the NeuronCores of Inferentia and Trainium, as neuron-monitor reports them.

    Through Prometheus, or from the page of neuron-monitor-prometheus.py (port 8000). A node is its instance id; each
    NeuronCore is one accelerator. The exporter knows no pods: a deployment is the tag that a process gave itself
    (NEURON_PROCESS_TAG), else what `deployments` says about instance/core or instance. Neither power nor energy is
    reported. Example configuration:

        {"mode": "prometheus", "url": "http://prometheus:9090", "step_seconds": 60,
         "deployments": {"i-09db9b55e0095612f": "chat-trn", "i-0823d657f57057590/0": "embeddings"}}

    Credentials: bearer_token, or username and password.
    """

    kind: ClassVar[str] = "aws_neuron"
    title: ClassVar[str] = "AWS Neuron"
    vocabulary: ClassVar[Vocabulary] = accelerator_names.NEURON
    exporter: ClassVar[str] = "neuron-monitor"
    lacks: ClassVar[Mapping[str, tuple[str, str]]] = {
        "neuroncore_utilization": ("", 'Add {"type": "neuroncore_counters"} to the metrics of neuron-monitor\'s file.'),
        "memory_used_mib": (
            "The memory of the cores is not known.",
            'Add {"type": "memory_used"} to the metrics of neuron-monitor\'s file.',
        ),
    }


class GoogleTpu(TelemetrySource):
    """Duty cycle, tensor core use and memory of Cloud TPU chips on GKE, as its device plugin reports them.

    Through Prometheus (also Google's own), or from the plugin's page (port 2112). A chip belongs to the pod that holds
    it, and is idle while none does. How busy it is comes from its duty cycle, else from the utilisation of its tensor
    cores, which is less. Neither power nor energy is reported. Example configuration:

        {"mode": "prometheus", "url": "http://prometheus:9090", "step_seconds": 60,
         "deployments": {"serving/gemma-tpu": "gemma"}, "nodes": {"10.4.0.12:2112": "tpu-node-1"}}

    Credentials: bearer_token, or username and password.
    """

    kind: ClassVar[str] = "google_tpu"
    title: ClassVar[str] = "Google TPU"
    vocabulary: ClassVar[Vocabulary] = accelerator_names.TPU
    exporter: ClassVar[str] = "the TPU device plugin"
    lacks: ClassVar[Mapping[str, tuple[str, str]]] = {
        "duty_cycle": ("", "Runtime metrics need a workload that reports them: JAX, or PyTorch with XLA."),
        "memory_used_mib": (
            "The memory in use is not known.",
            "Runtime metrics need a workload that reports them: JAX, or PyTorch with XLA.",
        ),
    }
