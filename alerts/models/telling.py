"""Alerts and where they go."""

from django.db import models

from alerts.models.budgets import Budget
from alerts.models.runs import ActionRun
from costobs.kernel.fields import EncryptedField, MoneyField


class Channel(models.Model):
    """Where alerts go."""

    kind = models.TextField()  # email, pagerduty, slack, slack_app, webhook
    name = models.TextField(unique=True)
    config = models.JSONField(default=dict)
    credentials = EncryptedField(null=True)
    is_active = models.BooleanField(db_default=True, default=True)
    is_sample = models.BooleanField(db_default=False, default=False)
    last_error = models.TextField(db_default="", default="")
    last_error_at = models.DateTimeField(null=True)
    last_sent_at = models.DateTimeField(null=True)
    heard_at = models.DateTimeField(null=True)  # when the process that hears its buttons was last connected


class Alert(models.Model):
    """Something people are told once. The payload is a snapshot: what was true when it was raised."""

    dedupe_key = models.TextField(unique=True)
    thread = models.TextField(db_default="", default="")  # alerts of one open item share it: budget:7:2026-11-01
    kind = models.TextField()  # one of alerts.topics.KINDS
    severity = models.TextField(db_default="warning", default="warning")  # info, warning, high, critical
    audience = models.TextField(db_default="", default="")  # what it is about: one of alerts.topics.TOPICS
    state = models.TextField(db_default="", default="")  # what it says; "": each alert says something new
    impact_cost = MoneyField(null=True)  # how much it is about, to repeat it when that has grown
    budget = models.ForeignKey(Budget, models.CASCADE, null=True)
    action_run = models.ForeignKey(ActionRun, models.CASCADE, null=True)
    title = models.TextField()
    payload = models.JSONField(default=dict)
    raised_at = models.DateTimeField()


class AlertDelivery(models.Model):
    """One alert on one channel; claimed by conditional update."""

    alert = models.ForeignKey(Alert, models.CASCADE)
    channel = models.ForeignKey(Channel, models.CASCADE)
    # waiting, sending, sent, failed, expired, muted, folded (the channel has said the same already)
    state = models.TextField(db_default="waiting", default="waiting")
    reason = models.TextField(db_default="", default="")  # why this channel: in words, for people
    attempts = models.IntegerField(db_default=0, default=0)
    next_attempt_at = models.DateTimeField()  # while sending: when the claim of a lost worker ends
    asked_at = models.DateTimeField(null=True)  # when somebody asked to send it once more
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(db_default="", default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["alert", "channel"], name="alert_delivery_once")]
