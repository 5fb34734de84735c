"""What stands beside cost: quality of answers, what the business did, and events of note."""

from django.db import models
from django.db.models import F, Q

from costobs.kernel.fields import MoneyField
from ingest.models.attributes import AttributeSet
from ingest.models.deliveries import Source


class QualityScore(models.Model):
    """One judgement of one answer. A number without a limit of digits, like money, but never an amount."""

    source = models.ForeignKey(Source, models.CASCADE)
    score_id = models.TextField()
    attribute_set = models.ForeignKey(AttributeSet, models.CASCADE)
    scored_at = models.DateTimeField()
    name = models.TextField()
    value = MoneyField()
    scale_min = MoneyField()
    scale_max = MoneyField()
    provider = models.TextField()
    model = models.TextField()
    variant = models.TextField()
    deployment = models.TextField()
    evaluator = models.TextField()
    trace_id = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "score_id"], name="quality_score_once"),
            models.CheckConstraint(
                condition=Q(value__gte=F("scale_min"), value__lte=F("scale_max")), name="quality_score_on_its_scale"
            ),
        ]
        indexes = [models.Index(fields=["scored_at"], name="quality_score_time")]


class BusinessMetric(models.Model):
    """What the business did in one half-open period."""

    source = models.ForeignKey(Source, models.CASCADE)
    attribute_set = models.ForeignKey(AttributeSet, models.CASCADE)
    name = models.TextField()
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    value = MoneyField()
    unit = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "name", "period_start", "period_end", "attribute_set"], name="business_metric_once"
            ),
            models.CheckConstraint(condition=Q(period_end__gt=F("period_start")), name="business_metric_has_a_period"),
        ]
        indexes = [
            models.Index(fields=["period_start"], name="business_metric_time"),
            models.Index(fields=["name", "period_start"], name="business_metric_name"),
        ]


class Marker(models.Model):
    """An event that charts show: a deploy, a release, an incident."""

    source = models.ForeignKey(Source, models.CASCADE)
    marker_id = models.TextField()
    attribute_set = models.ForeignKey(AttributeSet, models.CASCADE)
    at = models.DateTimeField()
    act = models.TextField()
    title = models.TextField()
    url = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "marker_id"], name="marker_once")]
        indexes = [models.Index(fields=["at"], name="marker_time")]
