"""The tables of alerts: budgets and their ladder, what was done, and who was told."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from costobs.kernel.fields import EncryptedField, MoneyField


class Budget(models.Model):
    """An amount for a scope and a period, with a ladder of rungs."""

    name = models.TextField(unique=True)
    scope = models.JSONField(default=dict)  # dimension -> list of values; {} = everything
    amount = MoneyField()
    currency = models.TextField(db_default="USD", default="USD")
    period = models.TextField()  # day, week, month, quarter
    owner_email = models.TextField(db_default="", default="")
    is_active = models.BooleanField(db_default=True, default=True)
    paused_until = models.DateTimeField(null=True)
    is_sample = models.BooleanField(db_default=False, default=False)
    created_at = models.DateTimeField()
    created_by = models.TextField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="budget_amount_positive")]


class Rung(models.Model):
    """A step of the ladder: at `percent` of the budget, do `action`."""

    budget = models.ForeignKey(Budget, models.CASCADE, related_name="rungs")
    percent = models.DecimalField(max_digits=7, decimal_places=2)
    action = models.TextField()  # notify, throttle, shutdown
    config = models.JSONField(default=dict)
    approval = models.TextField(db_default="automatic", default="automatic")  # automatic, one
    expires_after_hours = models.IntegerField(null=True)  # null: until the period ends
    is_active = models.BooleanField(db_default=True, default=True)  # a removed rung keeps its history

    class Meta:
        constraints = [models.UniqueConstraint(fields=["budget", "percent", "action"], name="rung_once")]


class BudgetState(models.Model):
    """The last evaluation of a budget in a period."""

    budget = models.ForeignKey(Budget, models.CASCADE)
    period_start = models.DateField()
    period_end = models.DateField()
    evaluated_at = models.DateTimeField()
    complete_through = models.DateTimeField(null=True)
    spend_cost = MoneyField()  # billed and estimated, blended
    estimated_cost = MoneyField()  # the part of it that is estimated
    unpriced_cost = MoneyField(db_default=0, default=0)  # the part of it that is counted at a conservative price
    forecast_cost = MoneyField(null=True)
    forecast_method = models.TextField(db_default="", default="")
    used_percent = models.DecimalField(max_digits=12, decimal_places=2)
    state = models.TextField()  # on_track, watch, throttled, over, stopped, unknown, paused
    is_stale = models.BooleanField(db_default=False, default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["budget", "period_start"], name="budget_state_period")]


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


class DriftItem(models.Model):
    """Estimates of a provider that are too far from its bills of a month; open until they are back under the threshold."""

    provider = models.TextField()
    month = models.DateField()
    currency = models.TextField()
    episode = models.IntegerField()  # how often it was opened in this month
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["provider", "month", "currency", "episode"], name="drift_item_once"),
            models.UniqueConstraint(
                fields=["provider", "month", "currency"],
                condition=Q(closed_at__isnull=True),
                name="drift_item_one_open",
            ),
        ]


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
