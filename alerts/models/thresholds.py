"""From how much on an anomaly is worth looking at and telling: for everything, and for scopes of their own."""

from django.db import models

from costobs.kernel.fields import MoneyField


class AnomalyThreshold(models.Model):
    """What people set for one scope and its parts; a limit that is null is that of the wider scope, at last of the environment."""

    scope = models.JSONField(default=dict)
    scope_key = models.TextField(unique=True)  # the same as one text; "" is all spend
    day_cost = MoneyField(null=True)  # scopes whose dearest day costs less are not looked at
    hour_cost = MoneyField(null=True)
    impact_cost = MoneyField(null=True)  # less above expected is shown, and nobody is told
    impact_percent = models.DecimalField(null=True)
    changed_by = models.TextField()
    changed_at = models.DateTimeField()
