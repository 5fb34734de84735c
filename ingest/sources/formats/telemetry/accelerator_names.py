"""What the exporters of AMD, AWS Neuron and Google TPU call their readings; where it is documented stands beside each."""

from collections.abc import Mapping

import polars as pl

from ingest.sources.formats.telemetry.gpu_readings import Identity, Labels, Reading, Vocabulary

_MIB = 1024 * 1024


# --- AMD: device-metrics-exporter (docs/configuration/metricslist.md at 0778d3a, read 2026-11-28) ---
# Names are lower case on the page; its configuration may put a prefix before them ("amd_"), and the documentation and some
# dashboards write them in capitals. Energy is in microjoules, memory in MB, activity in percent of an unpartitioned GPU.
_AMD: Mapping[str, Reading] = {
    "gpu_gfx_activity": Reading("gfx_activity", 100),
    "gpu_umc_activity": Reading("dram_active", 100),
    "gpu_package_power": Reading("power_watts", rank=0),  # of the socket now (MI3xx)
    "gpu_average_package_power": Reading("power_watts", rank=1),  # of the socket on average (MI2xx)
    "gpu_power_usage": Reading("power_watts", rank=2),
    "gpu_energy_consumed": Reading("energy_millijoules", 1000),
    "gpu_used_vram": Reading("memory_used_mib"),
    "gpu_total_vram": Reading("memory_total_mib"),
}
# What the driver writes where it has no reading: all ones, of 16, 32 and 64 bits.
_AMD_BLANK = (
    (pl.col("value") >= 1.8e19)
    | (pl.col("column").is_in(["gfx_activity", "dram_active"]) & (pl.col("value") > 100))
    | ((pl.col("column") != "energy_millijoules") & pl.col("value").is_in([2.0**16 - 1, 2.0**32 - 1]))
)
_UNPARTITIONED = ("", "spx", "na", "none")


def _amd(labels: Labels) -> Identity | None:
    """A GPU by its serial number. The parts of a partitioned GPU share it: each is a GPU of its own, of equal size, and the
    first of them has the power and energy of all.
    """
    index = labels.get("gpu_id", "")
    found = labels.get("serial_number") or labels.get("gpu_uuid") or ""
    if not found and not index:
        return None
    found = found or f"{labels.get('hostname') or labels.get('instance', '')}/{index}"
    is_board = True
    if labels.get("gpu_compute_partition_type", "").lower() not in _UNPARTITIONED:
        found = f"{found}/{index or labels.get('gpu_partition_id', '')}"
        is_board = labels.get("gpu_partition_id", "") in ("", "0")
    model = labels.get("card_series") or labels.get("card_model", "")
    return Identity(found, index=index, model=model, is_board=is_board)


def _spellings(names: Mapping[str, Reading]) -> dict[str, Reading]:
    found = {}
    for name, reading in names.items():
        found.update({name: reading, name.upper(): reading, f"amd_{name}": reading})
    return found


def _queries(names: Mapping[str, Reading]) -> dict[str, str]:
    """For each column the metrics that tell it, in every spelling."""
    found: dict[str, list[str]] = {}
    for name, reading in names.items():
        found.setdefault(reading.column, []).append(name)
    return {column: f'{{__name__=~"{"|".join(sorted(known))}"}}' for column, known in found.items()}


AMD = Vocabulary(
    readings=_spellings(_AMD),
    queries=_queries(_spellings(_AMD)),
    identify=_amd,
    is_blank=_AMD_BLANK,
    activities={"gfx_activity": "gpu_gfx_activity"},
    exporters=("metrics-exporter",),
)

# --- AWS: neuron-monitor-prometheus.py (Neuron Monitor User Guide and the k8s-neuron-monitor tutorial, read 2026-11-28) ---
# A NeuronCore is what is given to a process, so it is our unit. A core's memory is the sum of what it is used for; the memory
# of a runtime is not by core. The page knows no pods: a runtime may name itself (NEURON_PROCESS_TAG), else it is a number.
_CORE_MEMORY = ("constants", "model_code", "model_shared_scratchpad", "runtime_memory", "tensors")
_NEURON: Mapping[str, Reading] = {
    "neuroncore_utilization_ratio": Reading("neuroncore_utilization"),
    **{f"neuroncore_memory_usage_{use}": Reading("memory_used_mib", _MIB, is_part=True) for use in _CORE_MEMORY},
}


def _neuron(labels: Labels) -> Identity | None:
    core, instance = labels.get("neuroncore", ""), labels.get("instance_id") or labels.get("instance", "")
    if not core or not instance:
        return None
    return Identity(f"{instance}/{core}", index=core, model=labels.get("instance_type", ""))


NEURON = Vocabulary(
    readings=_NEURON,
    queries=_queries(_NEURON),
    identify=_neuron,
    is_blank=(pl.col("column") == "neuroncore_utilization") & (pl.col("value") > 1.01),
    activities={"neuroncore_utilization": "neuroncore_utilization"},
    exporters=("neuron-monitor",),
    tag_label="runtime_tag",
)

# --- Google: the TPU device plugin of GKE, port 2112 (read 2026-11-28 in the documentation of llm-d and in the parser and the
# tests of Ray), and the system metrics of GKE as Google's Prometheus API names them (from memory, not read) ---
# Of a container while one holds the chip, of the node ("_node") always. NVIDIA GPUs on GKE have the same names.
_TPU_COLUMNS: Mapping[str, Reading] = {
    "duty_cycle": Reading("duty_cycle", 100),
    "tensorcore_utilization": Reading("tensor_active", 100),
    "memory_bandwidth_utilization": Reading("dram_active", 100),
    "memory_used": Reading("memory_used_mib", _MIB),
    "memory_total": Reading("memory_total_mib", _MIB),
}
_TPU = {
    spelling: reading
    for name, reading in _TPU_COLUMNS.items()
    for spelling in (name, f"{name}_node", f"kubernetes_io:node_accelerator_{name}")
}
_PERCENT = ("duty_cycle", "tensor_active", "dram_active")


def _tpu(labels: Labels) -> Identity | None:
    chip, make = labels.get("accelerator_id", ""), labels.get("make", "").lower()
    if not chip or (make and "tpu" not in make):
        return None
    return Identity(chip, index=chip.rsplit("-", 1)[-1], model=labels.get("model", ""))


TPU = Vocabulary(
    readings=_TPU,
    queries=_queries(_TPU),
    identify=_tpu,
    is_blank=pl.col("column").is_in(_PERCENT) & (pl.col("value") > 100),
    # The duty cycle is the time the chip worked; the utilisation of its cores is how hard, and less.
    activities={"duty_cycle": "duty_cycle", "tensor_active": "tensorcore_utilization"},
    exporters=("tpu-device-plugin", "tpu-metrics-exporter"),
)
