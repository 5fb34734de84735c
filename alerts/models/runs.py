"""What the ladders did."""

from django.db import models
from django.db.models import Q

from alerts.models.budgets import Budget, Rung


class ActionRun(models.Model):
    """One firing of a rung.

    States: waiting_approval -> running -> in_force -> ended | undone;
    or done (notify), declined, expired, failed, superseded.
    """

    budget = models.ForeignKey(Budget, models.CASCADE)
    rung = models.ForeignKey(Rung, models.CASCADE)
    target = models.TextField()  # team:search, or * for a whole budget
    period_start = models.DateField()
    episode = models.IntegerField(db_default=1, default=1)
    action = models.TextField()
    state = models.TextField()
    plan = models.JSONField(default=dict)
    before = models.JSONField(default=dict)
    reason = models.TextField()
    asked_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.TextField(db_default="", default="")
    applied_at = models.DateTimeField(null=True)
    verified_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.TextField(db_default="", default="")
    error = models.TextField(db_default="", default="")
    under_since = models.DateTimeField(null=True)  # spend is back under the rung since then
    rearmed_at = models.DateTimeField(null=True)  # back under for the cooldown: the rung may fire once more
    version = models.IntegerField(db_default=1, default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rung", "target", "period_start", "episode"], name="action_run_once")
        ]
        indexes = [
            models.Index(fields=["state"], name="action_run_open", condition=Q(state__in=["running", "in_force"]))
        ]
