"""Alerts and where they go."""

from django.db import models

from alerts.models.budgets import Budget
from alerts.models.runs import ActionRun
from costobs.kernel.fields import EncryptedField


class Channel(models.Model):
    """Where alerts go."""

    kind = models.TextField()  # email, slack
    name = models.TextField(unique=True)
    config = models.JSONField(default=dict)
    credentials = EncryptedField(null=True)
    is_active = models.BooleanField(db_default=True, default=True)
    is_sample = models.BooleanField(db_default=False, default=False)


class Alert(models.Model):
    """Something people are told once. The payload is a snapshot: what was true when it was raised."""

    dedupe_key = models.TextField(unique=True)
    thread = models.TextField(db_default="", default="")  # alerts of one open item share it: budget:7:2026-11-01
    kind = (
        models.TextField()
    )  # budget_threshold, action_waiting, action_done, action_failed, action_undone, action_ended, drift, drift_ended
    budget = models.ForeignKey(Budget, models.CASCADE, null=True)
    action_run = models.ForeignKey(ActionRun, models.CASCADE, null=True)
    title = models.TextField()
    payload = models.JSONField(default=dict)
    raised_at = models.DateTimeField()


class AlertDelivery(models.Model):
    """One alert on one channel; claimed by conditional update."""

    alert = models.ForeignKey(Alert, models.CASCADE)
    channel = models.ForeignKey(Channel, models.CASCADE)
    state = models.TextField(db_default="waiting", default="waiting")  # waiting, sending, sent, failed, expired
    attempts = models.IntegerField(db_default=0, default=0)
    next_attempt_at = models.DateTimeField()  # while sending: when the claim of a lost worker ends
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(db_default="", default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["alert", "channel"], name="alert_delivery_once")]
