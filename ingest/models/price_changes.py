"""Prices that somebody wants to change, until they are in force, and afterwards for the record."""

from django.db import models
from django.db.models import Q

from costobs.kernel.fields import MoneyField


class PriceChange(models.Model):
    """A proposal for other prices. What it would move is worked out when somebody looks, never kept.

    `lines` are the prices it sets, empty for an update of the list, whose prices the list tells. States: proposed, approved,
    applied, declined, withdrawn (before it was applied), undone (after).
    """

    kind = models.TextField()  # price, file, discount, list
    state = models.TextField()
    title = models.TextField()
    lines = models.JSONField(default=list)
    problems = models.JSONField(default=list)  # rows of a file that were left out, and why
    note = models.TextField(db_default="", default="")
    list_version = models.TextField(db_default="", default="")  # the package whose prices it follows
    percent = MoneyField(null=True)  # of a discount
    proposed_by = models.TextField()
    proposed_at = models.DateTimeField()
    approved_by = models.TextField(db_default="", default="")
    approved_at = models.DateTimeField(null=True)
    approved_effect = models.JSONField(default=dict)  # currency -> what it moved when it was approved, as text
    applied_by = models.TextField(db_default="", default="")
    applied_at = models.DateTimeField(null=True)
    open_from = models.DateField(null=True)  # the first day it was let move, null: every day
    moved_calls = models.BigIntegerField(null=True)
    ended_by = models.TextField(db_default="", default="")  # who declined, withdrew or undid it
    ended_at = models.DateTimeField(null=True)
    reason = models.TextField(db_default="", default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["list_version"], condition=~Q(list_version=""), name="price_change_list_once"
            )
        ]
