"""Deliveries of statements."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from costobs.kernel.fields import EncryptedField


class StatementSchedule(models.Model):
    """Which statements go where, and when: once a month closes, or on a day of each month as showback."""

    name = models.TextField(unique=True)
    trigger = models.TextField()  # closed, monthly
    day_of_month = models.IntegerField(null=True)  # of the month after; monthly only
    cost_centres = ArrayField(models.TextField(), default=list)  # [] = the whole statement
    formats = ArrayField(models.TextField())
    cost = models.TextField(db_default="effective", default="effective")
    destination = models.TextField()  # email, s3, gcs, blob, webhook
    config = models.JSONField(default=dict)
    credentials = EncryptedField(null=True)
    is_active = models.BooleanField(db_default=True, default=True)
    active_from = models.DateTimeField()  # months that closed, and days that passed, before it are not sent
    created_by = models.TextField()
    created_at = models.DateTimeField()


class StatementDispatch(models.Model):
    """One month of a schedule, sent once for each version of the month; claimed by conditional update."""

    schedule = models.ForeignKey(StatementSchedule, models.CASCADE, related_name="dispatches")
    month = models.DateField()
    version = models.IntegerField()  # of the closed month; 0 = as showback
    state = models.TextField(db_default="waiting", default="waiting")  # waiting, sending, sent, failed
    attempts = models.IntegerField(db_default=0, default=0)
    next_attempt_at = models.DateTimeField()  # while sending: when the claim of a lost worker ends
    planned_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    files = models.JSONField(default=list)  # what was sent: {"name", "sha256", "bytes"}
    receipt = models.TextField(db_default="", default="")  # what the destination answered
    error = models.TextField(db_default="", default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["schedule", "month", "version"], name="statement_dispatch_once")]
