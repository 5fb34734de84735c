"""Model servers, the processes of their gates, and the keys of clients."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

KEY_LIMITS = ("requests_per_minute", "tokens_per_minute", "max_inflight", "max_tokens", "priority")


class Gate(models.Model):
    """One model server with a gate in it; its bearer token is an API token of `costobs.access`."""

    name = models.TextField(unique=True)
    provider = models.TextField(db_default="self_hosted", default="self_hosted")
    deployment = models.TextField()
    source_id = models.BigIntegerField()  # where its usage goes
    last_seen_at = models.DateTimeField(null=True)
    seen_policy_version = models.TextField(db_default="", default="")
    is_sample = models.BooleanField(db_default=False, default=False)


class GateProcess(models.Model):
    """One process of a gate, and the newest policy it proved to hold by asking whether there is a newer one."""

    gate = models.ForeignKey(Gate, models.CASCADE, related_name="processes")
    name = models.TextField(db_default="", default="")  # X-Costobs-Gate-Instance; empty for a gate of one process
    last_seen_at = models.DateTimeField()
    policy_version = models.TextField(db_default="", default="")
    rules = ArrayField(models.TextField(), default=list)
    # What the process says of itself, since it started.
    software = models.TextField(db_default="", default="")
    is_draining = models.BooleanField(db_default=False, default=False)
    inflight = models.IntegerField(null=True)
    admitted = models.BigIntegerField(null=True)
    refused = models.BigIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["gate", "name"], name="gate_process_once")]


class GateKey(models.Model):
    """A key that clients of gates use; only its hash is stored. It binds team and features."""

    key_id = models.TextField(unique=True)
    sha256 = models.TextField(unique=True)
    name = models.TextField()
    team = models.TextField()
    features = ArrayField(models.TextField(), null=True)  # null: no header counts
    models_allowed = ArrayField(models.TextField(), null=True)  # null: all
    # Limits at each gate; null: none.
    requests_per_minute = models.IntegerField(null=True)
    tokens_per_minute = models.IntegerField(null=True)
    max_inflight = models.IntegerField(null=True)
    max_tokens = models.IntegerField(null=True)
    priority = models.IntegerField(null=True)
    created_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    is_sample = models.BooleanField(db_default=False, default=False)

    @property
    def limits(self) -> dict[str, int]:
        """The limits it has."""
        found = {name: getattr(self, name) for name in KEY_LIMITS}
        return {name: value for name, value in found.items() if value is not None}
