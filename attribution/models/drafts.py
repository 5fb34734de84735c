"""Changes of rules that are not published yet."""

from django.db import models

from attribution.models.owners import RulesetVersion


class RulesetDraft(models.Model):
    """The rules as one person would have them: the whole list, beside the version it began with."""

    person = models.TextField(unique=True)
    base = models.ForeignKey(RulesetVersion, models.CASCADE)
    rules = models.JSONField(default=list)  # in order; `key` p3 is the third rule of the base, n1 a new one
    changed_at = models.DateTimeField()
