"""Budgets and the steps of their ladders, and where they stand."""

from django.db import models
from django.db.models import Q

from costobs.kernel.fields import MoneyField


class Budget(models.Model):
    """An amount for a scope and a period, with a ladder of rungs."""

    name = models.TextField(unique=True)
    scope = models.JSONField(default=dict)  # dimension -> list of values; {} = everything
    amount = MoneyField()
    currency = models.TextField(db_default="USD", default="USD")
    period = models.TextField()  # day, week, month, quarter, rolling
    rolling_days = models.IntegerField(null=True)  # of a rolling period
    zone = models.TextField(db_default="UTC", default="UTC")  # IANA name; its days begin at midnight there
    parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="children")
    starts_on = models.DateField(null=True)  # null: always
    ends_on = models.DateField(null=True)  # the first day that is not its own any more
    is_prorated = models.BooleanField(db_default=False, default=False)  # a period it has only in part gets its part
    rollover = models.TextField(db_default="none", default="none")  # none, unused, overrun, both
    rollover_cap_percent = models.DecimalField(max_digits=7, decimal_places=2, null=True)  # of the amount; null: no cap
    borrow_percent = models.DecimalField(max_digits=7, decimal_places=2, null=True)  # of the next period's amount
    is_hard = models.BooleanField(db_default=False, default=False)  # leases hold it; gates refuse what would pass it
    on_unreachable = models.TextField(db_default="closed", default="closed")  # open: within the last lease; closed
    default_max_tokens = models.IntegerField(null=True)  # output of a request that names no max_tokens
    aborts_running = models.BooleanField(db_default=False, default=False)  # a hard stop ends what runs, too
    criticality = models.TextField(db_default="normal", default="normal")  # low, normal, high, critical
    protected = models.JSONField(default=list)  # scopes that no action of this budget touches
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
    trigger = models.TextField(
        db_default="actual", default="actual"
    )  # actual, forecast, burn_rate, trend, schedule, idleness
    percent = models.DecimalField(max_digits=7, decimal_places=2)
    action = models.TextField()  # notify, throttle, reroute, shutdown
    config = models.JSONField(default=dict)
    approval = models.TextField(db_default="automatic", default="automatic")  # automatic, one, two
    expires_after_hours = models.IntegerField(null=True)  # null: until the period ends
    is_active = models.BooleanField(db_default=True, default=True)  # a removed rung keeps its history

    class Meta:
        constraints = [models.UniqueConstraint(fields=["budget", "trigger", "percent", "action"], name="rung_once")]


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
    is_unbalanced = models.BooleanField(db_default=False, default=False)  # the books of its days do not add up
    starts_at = models.DateTimeField(null=True)  # of the period, in the budget's zone
    ends_at = models.DateTimeField(null=True)
    amount = MoneyField(null=True)  # after proration, rollover and borrowing; null: the budget's own
    carried_cost = MoneyField(db_default=0, default=0)  # of it, what earlier periods left (or, negative, overran)
    borrowed_cost = MoneyField(db_default=0, default=0)  # of it, what the next period lends
    forecast_low_cost = MoneyField(null=True)  # the 80 % interval of `forecast_cost`
    forecast_high_cost = MoneyField(null=True)
    forecast_error_percent = models.DecimalField(max_digits=7, decimal_places=2, null=True)  # of past forecasts

    class Meta:
        constraints = [models.UniqueConstraint(fields=["budget", "period_start"], name="budget_state_period")]
