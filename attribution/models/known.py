"""What the books were believed to say, and since when; and where exchange rates come from."""

from django.db import models
from django.db.models import Q

from costobs.kernel.fields import MoneyField


class KnownCost(models.Model):
    """The counted cost of one day, provider, team and basis, as it was believed from `known_from` to `known_to`.

    Within one clock hour only the last belief is kept: a live day changes every second. `team` is the owner by the rules of
    that time, "" for what nobody owned. Zero has no row.
    """

    day = models.DateField()
    known_from = models.DateTimeField()
    known_to = models.DateTimeField(null=True)
    is_pinned = models.BooleanField(
        db_default=False, default=False
    )  # a later belief of the same hour does not replace it
    provider_name = models.TextField()
    basis = models.TextField()
    team = models.TextField()
    currency = models.TextField()
    billed_cost = MoneyField()
    effective_cost = MoneyField()
    list_cost = MoneyField()
    contracted_cost = MoneyField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["day", "provider_name", "basis", "team", "currency"],
                condition=Q(known_to__isnull=True),
                name="known_cost_one_believed",
            )
        ]
        indexes = [
            models.Index(fields=["day", "known_from"], name="known_cost_day"),
            models.Index(fields=["known_to"], name="known_cost_closed", condition=Q(known_to__isnull=False)),
        ]


class KnownRuleset(models.Model):
    """A ruleset whose owners the open days are written down by, the newest day first."""

    ruleset_id = models.BigIntegerField(unique=True)
    noted_at = models.DateTimeField()
    left_before = models.DateField(null=True)  # days before it are still to be written down; None: all are


class RateFeed(models.Model):
    """The address exchange rates are fetched from; one row at most, and nothing is fetched before somebody switches it on."""

    only = models.BooleanField(primary_key=True, default=True)
    url = models.TextField()
    base = models.TextField(db_default="EUR", default="EUR")
    is_active = models.BooleanField(db_default=False, default=False)
    set_by = models.TextField(db_default="", default="")
    tried_at = models.DateTimeField(null=True)
    fetched_at = models.DateTimeField(null=True)
    error = models.TextField(db_default="", default="")
    failures = models.IntegerField(db_default=0, default=0)
