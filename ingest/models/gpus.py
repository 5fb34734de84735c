"""GPU telemetry and fine-tune runs."""

from django.db import models

from ingest.models.attributes import AttributeSet
from ingest.models.deliveries import Source


class GpuSample(models.Model):
    """One reading of one GPU or MIG slice; kept for 14 days, folded into GpuHour before."""

    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False, db_index=False)
    gpu_uuid = models.TextField()
    mig_instance = models.TextField()
    sampled_at = models.DateTimeField()
    interval_seconds = models.IntegerField()
    node = models.TextField()
    gpu_index = models.TextField()
    mig_profile = models.TextField()
    gpu_model = models.TextField()
    namespace = models.TextField()
    pod = models.TextField()
    container = models.TextField()
    deployment = models.TextField()
    activity = models.FloatField(null=True)
    activity_source = models.TextField()
    sm_active = models.FloatField(null=True)
    tensor_active = models.FloatField(null=True)
    dram_active = models.FloatField(null=True)
    power_watts = models.FloatField(null=True)
    energy_millijoules = models.BigIntegerField(null=True)
    memory_used_mib = models.FloatField(null=True)
    memory_total_mib = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "gpu_uuid", "mig_instance", "sampled_at"], name="gpu_sample_once")
        ]
        indexes = [models.Index(fields=["sampled_at"], name="gpu_sample_time")]


class GpuHour(models.Model):
    """What one GPU or MIG slice did in one hour, for one deployment; durations are whole milliseconds."""

    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False, db_index=False)
    hour = models.DateTimeField()
    node = models.TextField()
    gpu_uuid = models.TextField()
    mig_instance = models.TextField()
    mig_profile = models.TextField()
    gpu_index = models.TextField()
    gpu_model = models.TextField()
    deployment = models.TextField()  # "" = nothing ran there
    namespace = models.TextField()
    samples = models.IntegerField()
    covered_ms = models.BigIntegerField()  # time that has a measured activity
    busy_ms = models.BigIntegerField()
    energy_millijoules = models.BigIntegerField(null=True)
    memory_used_mib = models.FloatField(null=True)
    memory_total_mib = models.FloatField(null=True)
    activity_source = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "hour", "gpu_uuid", "mig_instance", "deployment"], name="gpu_hour_key"
            )
        ]
        indexes = [models.Index(fields=["hour", "node"], name="gpu_hour_node")]


class FineTuneRun(models.Model):
    """One fine-tune run, ours or a provider's."""

    source = models.ForeignKey(Source, models.CASCADE)
    external_id = models.TextField()
    attribute_set = models.ForeignKey(AttributeSet, models.CASCADE)
    name = models.TextField()
    provider = models.TextField()
    base_model = models.TextField()
    artefact = models.TextField()
    method = models.TextField()
    state = models.TextField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    node = models.TextField()
    gpu_uuids = models.TextField()
    provider_job = models.TextField()
    useful_seconds = models.BigIntegerField(null=True)
    trained_tokens = models.BigIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "external_id"], name="fine_tune_once")]
