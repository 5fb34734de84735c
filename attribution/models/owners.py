"""Rules, and who owns what by them."""

from django.db import models
from django.db.models import Q


class Team(models.Model):
    """A team that owns spend."""

    name = models.TextField(unique=True)  # the value seen on rows: search
    title = models.TextField()  # how people write it: Search
    cost_centre = models.TextField(db_default="", default="")
    email = models.TextField(db_default="", default="")
    slack_channel = models.TextField(db_default="", default="")
    is_sample = models.BooleanField(db_default=False, default=False)


class RulesetVersion(models.Model):
    """One state of all rules. A change makes a new version; old ones stay for history."""

    created_at = models.DateTimeField()
    created_by = models.TextField()
    note = models.TextField(db_default="", default="")
    is_current = models.BooleanField(db_default=False, default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["is_current"], condition=Q(is_current=True), name="ruleset_one_current")
        ]


class Rule(models.Model):
    """One rule of a version; the lowest position wins."""

    ruleset = models.ForeignKey(RulesetVersion, models.CASCADE)
    position = models.IntegerField()
    kind = models.TextField()
    name = models.TextField()
    config = models.JSONField(default=dict)
    valid_from = models.DateField(null=True)
    valid_to = models.DateField(null=True)
    is_active = models.BooleanField(db_default=True, default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["ruleset", "position"], name="rule_position")]


class Ownership(models.Model):
    """Who owns an attribute set (and a model, "" = any) while valid, by one ruleset version. Append-only."""

    ruleset = models.ForeignKey(RulesetVersion, models.CASCADE)
    attribute_set_id = models.BigIntegerField()
    model = models.TextField(db_default="", default="")
    valid_from = models.DateField()
    valid_to = models.DateField()  # exclusive
    team = models.TextField()
    feature = models.TextField()
    cost_centre = models.TextField()
    environment = models.TextField()
    rule = models.ForeignKey(Rule, models.SET_NULL, null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["ruleset", "attribute_set_id", "model", "valid_from"], name="ownership_once"
            )
        ]
        indexes = [models.Index(fields=["attribute_set_id"], name="ownership_set")]
