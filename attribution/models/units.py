"""What one unit should cost at most, and at which scale it is shown."""

from django.db import models
from django.db.models import Q

from costobs.kernel.fields import MoneyField


class UnitTarget(models.Model):
    """The aim of one unit in one currency: a unit of the page (`request`) or a figure of the business (`figure:tickets`)."""

    unit = models.TextField()
    currency = models.TextField()
    scale = models.IntegerField(db_default=1, default=1)  # shown by 1, 1,000 or 1,000,000
    amount = MoneyField(null=True)  # of one unit, whatever the scale; NULL where only the scale is said
    set_by = models.TextField()
    set_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["unit", "currency"], name="unit_target_once"),
            models.CheckConstraint(condition=Q(scale__in=[1, 1_000, 1_000_000]), name="unit_target_scale"),
            models.CheckConstraint(condition=Q(amount__isnull=True) | Q(amount__gt=0), name="unit_target_above_zero"),
        ]
