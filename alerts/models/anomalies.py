"""What costs more than it should, and what people said about it."""

from django.db import models
from django.db.models import Q

from costobs.kernel.fields import MoneyField


class Anomaly(models.Model):
    """A scope that costs more than expected, by day or by hour; open until it is back or somebody closes it."""

    scope = models.JSONField(default=dict)  # {"team": "search", "key": "k-1"}; {} is all spend
    scope_key = models.TextField()  # the same as one text: team=search|key=k-1
    currency = models.TextField()
    grain = models.TextField()  # day, hour
    state = models.TextField(db_default="open", default="open")  # open, closed
    outcome = models.TextField(
        db_default="", default=""
    )  # back, new_level, restated, merged, expected, not_anomaly, ignored; "" while open
    started_at = models.DateTimeField()
    last_at = models.DateTimeField()  # the start of the newest odd day or hour
    periods = models.IntegerField()  # odd days or hours
    actual_cost = MoneyField()  # of the odd periods
    expected_cost = MoneyField()
    impact_cost = MoneyField()  # actual - expected
    newest_cost = MoneyField()  # of the newest odd period, and what was expected of it
    newest_expected_cost = MoneyField()
    score = models.DecimalField()
    series = models.JSONField(default=list)  # what the chart shows: [at, cost, expected, low, high, odd]
    drivers = models.JSONField(default=dict)
    where = models.JSONField(default=list)  # [dimension, value, excess, share]
    coincidences = models.JSONField(default=list)  # [at, kind, text, path]
    absorbed = models.JSONField(default=list)  # scope keys that are odd for the same cause
    complete_through = models.DateTimeField(null=True)
    detected_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    told_cost = MoneyField(null=True)  # the impact that people were told of last; null: nobody was told
    acknowledged_by = models.TextField(db_default="", default="")
    acknowledged_at = models.DateTimeField(null=True)
    muted_until = models.DateTimeField(null=True)
    is_sample = models.BooleanField(db_default=False, default=False)
    version = models.IntegerField(db_default=1, default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["scope_key", "currency"], condition=Q(state="open"), name="anomaly_one_open"
            ),
            models.UniqueConstraint(fields=["scope_key", "currency", "grain", "started_at"], name="anomaly_once"),
        ]
        indexes = [models.Index(fields=["state", "last_at"], name="anomaly_state")]


class AnomalyFeedback(models.Model):
    """What somebody said, with its effect on a scope; undone ones have none. Nothing is deleted."""

    anomaly = models.ForeignKey(Anomaly, models.CASCADE, null=True)  # null: a planned event
    scope = models.JSONField(default=dict)
    scope_key = models.TextField()
    kind = models.TextField()  # expected, not_anomaly, ignore, sensitivity, planned
    starts_at = models.DateTimeField(null=True)  # expected, ignore, planned: what happens in between is not odd
    ends_at = models.DateTimeField(null=True)
    value = models.TextField(db_default="", default="")  # sensitivity: low, normal, high
    note = models.TextField(db_default="", default="")
    by = models.TextField()
    at = models.DateTimeField()
    undone_by = models.TextField(db_default="", default="")
    undone_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["scope_key"], name="anomaly_feedback_scope")]


class AnomalyCheck(models.Model):
    """When a grain was last looked at, how far, and why no further."""

    grain = models.TextField(unique=True)  # day, hour
    checked_at = models.DateTimeField()
    judged_until = models.DateTimeField(null=True)  # exclusive; null: nothing could be judged
    waits_for = models.TextField(db_default="", default="")  # the source that is late, in words
    known_days = models.IntegerField(db_default=0, default=0)
    scopes = models.IntegerField(db_default=0, default=0)
    # By day, what cost next to nothing of late: [scope, since, days, cost, expected], the dearest first. Nobody is told.
    falls = models.JSONField(db_default=[], default=list)
