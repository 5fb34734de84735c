"""Whose work the GPUs did, and what a token of each kind weighs on a deployment."""

from django.db import models
from django.db.models import Q

from costobs.kernel.fields import MoneyField


class GpuShare(models.Model):
    """What one deployment did on one node in one hour for one attribute set, model and kind of token.

    Kept for good, so that a day can be made again when its samples and events are gone. `amount` is time of GPUs in
    sevenths of a millisecond (slices of a GPU are whole numbers then); as parts of a split they need not be whole.
    """

    day = models.DateField()
    hour = models.DateTimeField()
    node = models.TextField()
    deployment = models.TextField()  # "" = nothing was loaded
    attribute_set_id = models.BigIntegerField()  # 0 = nobody's
    model = models.TextField()
    token_kind = models.TextField()
    share_kind = models.TextField()  # direct, overhead, idle_workload, idle_infrastructure, unallocated
    run_id = models.BigIntegerField()  # 0 = no fine-tune run
    amount = MoneyField()
    millijoules = models.BigIntegerField(null=True)  # null = not measured
    method = models.TextField()  # windows, or hours where there were no samples or no events
    window_seconds = models.IntegerField()  # 3600 with method hours
    is_estimated = models.BooleanField()  # declared weights, or tokens that nobody counted
    # What the electricity of this row was taken to be.
    pue = MoneyField()
    grams_per_kwh = MoneyField()
    is_default_carbon = models.BooleanField()

    class Meta:
        indexes = [models.Index(fields=["day", "deployment"], name="gpu_share_day")]


class TokenWeights(models.Model):
    """What a token weighs on one deployment, from a day on: step ms = a + b · computed prompt tokens + c · output tokens.

    A later fit of the same day adds a row; the newest known counts. `method` declared says that the fit was not good enough
    and the default stands.
    """

    deployment = models.TextField()
    quantization = models.TextField()
    valid_from = models.DateField()
    known_from = models.DateTimeField()
    method = models.TextField()  # step_log, counters, declared
    a_ms = MoneyField()
    b_ms = MoneyField()
    c_ms = MoneyField()
    input_weight = MoneyField()
    cached_weight = MoneyField()
    output_weight = MoneyField()
    r2 = MoneyField()
    steps = models.BigIntegerField()
    fitted_by = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["deployment", "quantization", "valid_from", "known_from"], name="token_weights_once"
            ),
            models.CheckConstraint(
                condition=Q(a_ms__gte=0, b_ms__gte=0, c_ms__gte=0, input_weight__gt=0, cached_weight__gte=0)
                & Q(output_weight__gt=0, steps__gte=0),
                name="token_weights_not_negative",
            ),
        ]
