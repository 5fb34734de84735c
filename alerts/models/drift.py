"""Estimates that left their bills."""

from django.db import models
from django.db.models import Q


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
