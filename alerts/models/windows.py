"""What holds every ladder back: the break-glass pause, windows, protected scopes."""

from django.db import models
from django.db.models import Q


class LadderPause(models.Model):
    """Break glass: nothing fires and nothing holds, in any budget, until somebody resumes or its time is over."""

    reason = models.TextField()
    until = models.DateTimeField()
    started_at = models.DateTimeField()
    started_by = models.TextField()
    ended_at = models.DateTimeField(null=True)  # when somebody resumed; null: not, or its time was over first
    ended_by = models.TextField(db_default="", default="")

    class Meta:
        indexes = [models.Index(fields=["until"], name="ladder_pause_open", condition=Q(ended_at__isnull=True))]


class HoldWindow(models.Model):
    """When something must not start: enforcing actions in maintenance, notices in quiet hours. Weekly or once."""

    kind = models.TextField()  # maintenance, quiet
    name = models.TextField()
    weekly = models.TextField(db_default="", default="")  # mon-fri 22:00-06:00; empty: once
    zone = models.TextField(db_default="UTC", default="UTC")
    starts_at = models.DateTimeField(null=True)  # of one that is open once
    ends_at = models.DateTimeField(null=True)
    scope = models.JSONField(default=dict)  # the budgets it is about are those that may count the same; {} = all
    created_at = models.DateTimeField()
    created_by = models.TextField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(weekly="") | Q(starts_at__isnull=False, ends_at__isnull=False), name="hold_window_when"
            )
        ]


class ProtectedScope(models.Model):
    """Requests that no action of any budget touches."""

    scope = models.JSONField(unique=True)  # dimension of a gate -> list of values
    reason = models.TextField(db_default="", default="")
    created_at = models.DateTimeField()
    created_by = models.TextField()


class RunApproval(models.Model):
    """One person let a waiting action run; a person counts once."""

    run = models.ForeignKey("alerts.ActionRun", models.CASCADE, related_name="approvals")
    by = models.TextField()
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "by"], name="run_approval_once")]


class RungLevel(models.Model):
    """What the trigger of a rung measured last; only of triggers that ask more than the evaluation knows."""

    rung = models.OneToOneField("alerts.Rung", models.CASCADE, primary_key=True, related_name="measured")
    level = models.DecimalField(max_digits=12, decimal_places=2, null=True)  # percent; null: not known
    config = models.JSONField(default=dict)  # what it was measured with
    measured_at = models.DateTimeField()
