"""Usage: events, and what they are folded into."""

from django.db import models

from costobs.kernel.fields import MoneyField
from ingest.models.attributes import AttributeSet, Offering, UnitPrice
from ingest.models.deliveries import Source


class UsageEvent(models.Model):
    """One inference. Partitioned by day; identity is (source, event_id, occurred_at)."""

    pk = models.CompositePrimaryKey("source_id", "event_id", "occurred_at")
    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False, db_index=False)
    event_id = models.TextField()
    occurred_at = models.DateTimeField()
    attribute_set = models.ForeignKey(AttributeSet, models.DO_NOTHING, db_constraint=False, db_index=False)
    offering = models.ForeignKey(Offering, models.DO_NOTHING, db_constraint=False, db_index=False)
    price = models.ForeignKey(UnitPrice, models.DO_NOTHING, db_constraint=False, db_index=False)
    input_uncached = models.IntegerField()
    cache_read = models.IntegerField()
    cache_write_5m = models.IntegerField()
    cache_write_1h = models.IntegerField()
    output = models.IntegerField()
    reasoning = models.IntegerField()
    audio_input = models.IntegerField()
    audio_output = models.IntegerField()
    image_input = models.IntegerField()
    usage_known = models.BooleanField()
    latency_ms = models.IntegerField(null=True)
    ttft_ms = models.IntegerField(null=True)
    status = models.SmallIntegerField()
    outcome = models.TextField()
    trace_id = models.TextField()
    session_id = models.TextField()
    extra = models.TextField(null=True)

    class Meta:
        db_table = "ingest_usageevent"


class UsageSums(models.Model):
    """The sums of usage both rollups carry. No foreign keys in the database: a check per row would cost more than the fold."""

    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False, db_index=False)
    attribute_set = models.ForeignKey(AttributeSet, models.DO_NOTHING, db_constraint=False, db_index=False)
    offering = models.ForeignKey(Offering, models.DO_NOTHING, db_constraint=False, db_index=False)
    price = models.ForeignKey(UnitPrice, models.DO_NOTHING, db_constraint=False, db_index=False)
    requests = models.BigIntegerField()
    errors = models.BigIntegerField()
    refused = models.BigIntegerField()
    unknown_usage = models.BigIntegerField()
    latency_ms = models.BigIntegerField()  # sum; percentiles live in LatencyDay
    input_uncached = models.BigIntegerField()
    cache_read = models.BigIntegerField()
    cache_write_5m = models.BigIntegerField()
    cache_write_1h = models.BigIntegerField()
    output = models.BigIntegerField()
    reasoning = models.BigIntegerField()
    audio_input = models.BigIntegerField()
    audio_output = models.BigIntegerField()
    image_input = models.BigIntegerField()

    class Meta:
        abstract = True


class UsageHour(UsageSums):
    """Usage folded by hour in the closing transaction of each load."""

    pk = models.CompositePrimaryKey("hour", "source_id", "attribute_set_id", "offering_id", "price_id")
    hour = models.DateTimeField()


class UsageDay(UsageSums):
    """Usage by day, rebuilt from UsageHour by `attribution.roll_up`'s request for the days that were touched."""

    pk = models.CompositePrimaryKey("day", "source_id", "attribute_set_id", "offering_id", "price_id")
    day = models.DateField()
    # False where another source has the usage authority for the same money.
    is_current = models.BooleanField(db_default=True, default=True)


class LatencyDay(models.Model):
    """Counts of durations in fixed log buckets (`costobs.kernel.histogram`), by day."""

    pk = models.CompositePrimaryKey("day", "source_id", "attribute_set_id", "offering_id", "measure", "bucket")
    day = models.DateField()
    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False, db_index=False)
    attribute_set = models.ForeignKey(AttributeSet, models.DO_NOTHING, db_constraint=False, db_index=False)
    offering = models.ForeignKey(Offering, models.DO_NOTHING, db_constraint=False, db_index=False)
    measure = models.TextField()  # latency, ttft
    bucket = models.SmallIntegerField()
    count = models.BigIntegerField()


class AgentRun(models.Model):
    """One agent run: the calls that share a trace or a session. It belongs to the day of its first call."""

    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False, db_index=False)
    run_id = models.TextField()
    day = models.DateField()
    attribute_set = models.ForeignKey(AttributeSet, models.DO_NOTHING, db_constraint=False, db_index=False)
    offering = models.ForeignKey(Offering, models.DO_NOTHING, db_constraint=False, db_index=False)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    requests = models.IntegerField()
    tokens = models.BigIntegerField()
    list_cost = MoneyField()
    currency = models.TextField(db_default="USD", default="USD")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "run_id"], name="agent_run_once")]
        indexes = [models.Index(fields=["day"], name="agent_run_day")]
