"""What the fields of NVIDIA's DCGM say: their units, the blanks among them, and which GPU or slice they are about."""

import polars as pl

from ingest.sources.formats.telemetry.gpu_readings import Identity, Labels, Reading, Vocabulary

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
# The lines that dcgm-exporter's file of counters needs for them (default-counters.csv of 4.8.3; the second is not in it).
COUNTER_LINES = {
    "gr_engine_active": "DCGM_FI_PROF_GR_ENGINE_ACTIVE, gauge, Ratio of time the graphics engine is active.",
    "sm_active": "DCGM_FI_PROF_SM_ACTIVE, gauge, The ratio of cycles an SM has at least 1 warp assigned.",
    "tensor_active": "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE, gauge, Ratio of cycles the tensor (HMMA) pipe is active.",
    "dram_active": "DCGM_FI_PROF_DRAM_ACTIVE, gauge, Ratio of cycles the device memory interface is active.",
    "power_watts": "DCGM_FI_DEV_POWER_USAGE, gauge, Power draw (in W).",
    "energy_millijoules": "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION, counter, Total energy consumption since boot (in mJ).",
    "memory_used_mib": "DCGM_FI_DEV_FB_USED, gauge, Framebuffer memory used (in MiB).",
    "memory_free_mib": "DCGM_FI_DEV_FB_FREE, gauge, Framebuffer memory free (in MiB).",
}

# What DCGM writes where it has no reading: blanks of 64 and 32 bits and of doubles, all of them absurd as readings. The
# energy counter is one of 64 bits, and comes past the sentinels of smaller numbers.
_IS_BLANK = (pl.col("value") >= 10**18) | (
    (pl.col("column") != "energy_millijoules")
    & (pl.col("value").is_between(2**47, 2**47 + 15) | pl.col("value").is_between(2**31 - 16, 2**31 - 1))
)


def _identify(labels: Labels) -> Identity | None:
    uuid = labels.get("UUID") or labels.get("uuid")
    if not uuid:
        return None
    return Identity(
        uuid,
        labels.get("GPU_I_ID", ""),
        labels.get("GPU_I_PROFILE", ""),
        labels.get("gpu", ""),
        labels.get("modelName", ""),
    )


VOCABULARY = Vocabulary(
    readings={metric: Reading(column, 100 if column == "gpu_util" else 1) for column, metric in METRICS.items()},
    queries=METRICS,
    identify=_identify,
    is_blank=_IS_BLANK,
    # GPU_UTIL is absent under MIG and coarser: 100 as soon as any kernel runs.
    activities={"gr_engine_active": "gr_engine_active", "gpu_util": "gpu_util"},
    exporters=("dcgm-exporter",),
)
