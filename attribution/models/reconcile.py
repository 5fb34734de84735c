"""Estimates against bills: what each cell of a day says on both sides, and why they differ."""

from django.db import models

from costobs.kernel.fields import MoneyField


class ReconciledDay(models.Model):
    """A day that was compared, and which state of its data that was: the day is due again when it has another."""

    day = models.DateField(unique=True)
    seen = models.TextField()  # versions of the day's sources and of the exchange rates, as they were read
    reconciled_at = models.DateTimeField()
    # What the log of the day has twice, as it was found, so that only changed days are looked through; null: not looked.
    repeats = models.JSONField(null=True)


class ReconciledCell(models.Model):
    """One provider, account, model and kind of token on one day. Its causes add to billed minus estimated exactly."""

    day = models.DateField()
    provider = models.TextField()  # as FOCUS names it
    account = models.TextField()
    model = models.TextField()
    token_kind = models.TextField()
    currency = models.TextField()
    is_billed = models.BooleanField()  # False: the bill of the day is not complete, nothing is compared yet
    logged_tokens = MoneyField()
    billed_tokens = MoneyField(null=True)  # the bill states none
    estimated_cost = MoneyField()
    billed_cost = MoneyField()
    effective_cost = MoneyField()
    list_cost = MoneyField()
    contracted_cost = MoneyField()
    covered_cost = MoneyField()  # of list_cost: what logged calls stand for

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["day", "provider", "account", "model", "token_kind", "currency"], name="reconciled_cell_once"
            )
        ]


class ReconciledCause(models.Model):
    """One named part of the difference of one cell."""

    cell = models.ForeignKey(ReconciledCell, models.CASCADE, related_name="causes")
    day = models.DateField()
    cause = models.TextField()  # of attribution.causes.CAUSES
    amount = MoneyField()
    tokens = MoneyField()
    evidence = models.JSONField(default=dict)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["cell", "cause"], name="reconciled_cause_once")]
        indexes = [models.Index(fields=["day", "cause"], name="reconciled_cause_day")]


class DriftThreshold(models.Model):
    """How far estimates of a provider may be from its bills in a month before people are told; "" is for all others."""

    provider = models.TextField(unique=True)
    percent = models.DecimalField(max_digits=7, decimal_places=3)
    amount = MoneyField()  # and at least so much, in the currency of the bill
    set_by = models.TextField()
    set_at = models.DateTimeField()
