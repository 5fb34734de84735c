"""Model servers, the processes of their gates, and the keys of clients."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


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
    inflight = models.IntegerField(null=True)  # requests it was answering when last seen; null: it does not say

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
    created_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    is_sample = models.BooleanField(db_default=False, default=False)
