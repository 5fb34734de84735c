"""The terms of chargeback: what is put on top, who charges, and how journal entries are laid out."""

from django.db import models
from django.db.models import F, Q

from costobs.kernel.fields import MoneyField


class Markup(models.Model):
    """A percentage on top of what a cost centre used, as a line of its own. A change ends one and adds another.

    No cost centre has two in one month: the migration adds the exclusion constraint `markup_one_a_month`.
    """

    cost_centre = models.TextField(db_default="", default="")  # "" = every cost centre without one of its own
    percent = MoneyField()
    label = models.TextField()  # what the line is called: Platform fee
    first_month = models.DateField()  # its first day
    end_month = models.DateField(null=True)  # exclusive; the first one means it never held, null means it goes on
    set_by = models.TextField()
    set_at = models.DateTimeField()
    ended_by = models.TextField(db_default="", default="")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(end_month__isnull=True) | Q(end_month__gte=F("first_month")), name="markup_months"
            ),
        ]


class ChargebackTerms(models.Model):
    """What every statement says beside its figures. One row."""

    is_only = models.BooleanField(unique=True, db_default=True, default=True)
    company = models.TextField(db_default="", default="")
    journal = models.JSONField(default=dict)  # {} = the usual layout
    changed_by = models.TextField(db_default="", default="")
    changed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(is_only=True), name="chargeback_terms_only")]
