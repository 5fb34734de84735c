"""The small distinct things that rows refer to: attribute sets, offerings, prices."""

from django.db import models

from costobs.kernel.fields import MoneyField
from ingest.models.deliveries import Source


class AttributeSet(models.Model):
    """One distinct combination of attribution attributes."""

    source = models.ForeignKey(Source, models.CASCADE)
    digest = models.TextField()  # of the canonical JSON
    attributes = models.JSONField(default=dict)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "digest"], name="attribute_set_once")]


class Offering(models.Model):
    """One model as it is served: by whom, under which name, where, in which tier."""

    provider = models.TextField()  # OpenTelemetry gen_ai.provider.name, or self_hosted
    model = models.TextField()  # canonical
    request_model = models.TextField()
    response_model = models.TextField()
    deployment = models.TextField()
    service_tier = models.TextField()
    operation = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "request_model", "response_model", "deployment", "service_tier", "operation"],
                name="offering_once",
            )
        ]


class UnitPrice(models.Model):
    """What one token of each kind costs, for one model and tier, while it is valid. Prices are per single token."""

    provider = models.TextField()
    model = models.TextField()
    service_tier = models.TextField(db_default="standard", default="standard")
    # Prices that start at a prompt size have one row for each step: this row holds for prompts of at least so many tokens.
    context_from = models.IntegerField(db_default=0, default=0)
    currency = models.TextField(db_default="USD", default="USD")
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True)
    known_from = models.DateTimeField()
    known_to = models.DateTimeField(null=True)
    provenance = models.TextField()  # genai-prices 0.2.3, operator, conservative
    is_conservative = models.BooleanField(db_default=False, default=False)
    set_by = models.TextField(db_default="", default="")
    input_uncached_price = MoneyField()
    cache_read_price = MoneyField()
    cache_write_5m_price = MoneyField()
    cache_write_1h_price = MoneyField()
    output_price = MoneyField()
    audio_input_price = MoneyField()
    audio_output_price = MoneyField()
    image_input_price = MoneyField()
    request_price = MoneyField()
    change_id = models.BigIntegerField(null=True)  # the PriceChange that made it
    # Usage before this day keeps this price although another is believed: its month was closed when that one came.
    kept_until = models.DateField(null=True)
