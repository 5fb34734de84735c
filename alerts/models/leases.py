"""What hard budgets have lent to gates, and the reference prices gates count in."""

from django.db import models

from alerts.models.budgets import Budget
from costobs.kernel.fields import MoneyField


class LeaseAccount(models.Model):
    """A hard budget in one period: what its gates used is the sum of its leases, what else was spent is read from the books."""

    budget = models.ForeignKey(Budget, models.CASCADE)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    currency = models.TextField()  # of the installation: what gates count in
    limit_cost = MoneyField()
    opening_cost = MoneyField(db_default=0, default=0)  # through gates, in the books before the first lease
    gate_cost = MoneyField(db_default=0, default=0)  # what the books say of calls through gates
    other_cost = MoneyField(db_default=0, default=0)  # what the books say of everything else
    reckoned_at = models.DateTimeField(null=True)
    pressed_until = models.DateTimeField(null=True)  # somebody waits for what others hold unused

    class Meta:
        constraints = [models.UniqueConstraint(fields=["budget", "starts_at", "ends_at"], name="lease_account_once")]


class Lease(models.Model):
    """What one process of a gate may spend of an account. Amounts are cumulative: granted, used, given back, freed."""

    account = models.ForeignKey(LeaseAccount, models.CASCADE, related_name="leases")
    gate_id = models.BigIntegerField()  # the gate may go, what it used may not
    gate_name = models.TextField()
    process = models.TextField()
    sequence = models.BigIntegerField(db_default=0, default=0)  # of the last report that counted
    granted_cost = MoneyField(db_default=0, default=0)
    settled_cost = MoneyField(db_default=0, default=0)
    returned_cost = MoneyField(db_default=0, default=0)
    freed_cost = MoneyField(db_default=0, default=0)  # taken back from a dead process before its spool was read
    reserved_cost = MoneyField(db_default=0, default=0)  # of what is outstanding, by requests in flight
    state = models.TextField(db_default="open", default="open")  # open, orphaned, closed
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "gate_id", "process"], name="lease_once")]


class GatePrice(models.Model):
    """The gate cost of one token of a model; `*` is any other model of the provider."""

    provider = models.TextField()
    model = models.TextField()
    currency = models.TextField()
    input_price = MoneyField()
    cached_price = MoneyField()
    output_price = MoneyField()
    basis = models.TextField()  # where it comes from, in words
    known_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["provider", "model"], name="gate_price_once")]
