"""The tables of ingest. Charge and UsageEvent are partitioned, so their tables are made by hand-written migrations."""

from django.db import models
from django.db.models import F, Q

from costobs.kernel.fields import EncryptedField, MoneyField


class Source(models.Model):
    """A configured connector."""

    kind = models.TextField()
    name = models.TextField()
    config = models.JSONField(default=dict)
    credentials = EncryptedField(null=True)
    cursor = models.JSONField(default=dict)
    is_active = models.BooleanField(db_default=True, default=True)
    is_sample = models.BooleanField(db_default=False, default=False)
    created_at = models.DateTimeField()
    last_load_at = models.DateTimeField(null=True)
    last_error = models.TextField(db_default="", default="")
    last_error_at = models.DateTimeField(null=True)
    # Data before this moment are complete, as the vendor says or as the newest row shows.
    complete_through = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="source_kind_name")]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Load(models.Model):
    """One unit of reading, loaded in one transaction. Nothing of an unfinished load is visible."""

    source = models.ForeignKey(Source, models.CASCADE)
    name = models.TextField()
    content_hash = models.TextField(db_default="", default="")
    attempt = models.IntegerField(db_default=1, default=1)
    state = models.TextField()  # running, succeeded, superseded (its deliveries were replaced), refused, failed
    claimed_by = models.TextField(db_default="", default="")
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    size_bytes = models.BigIntegerField(db_default=0, default=0)
    rows_read = models.BigIntegerField(db_default=0, default=0)
    rows_loaded = models.BigIntegerField(db_default=0, default=0)
    rows_duplicate = models.BigIntegerField(db_default=0, default=0)
    rows_quarantined = models.BigIntegerField(db_default=0, default=0)
    error = models.TextField(db_default="", default="")

    class Meta:
        constraints = [
            # The same bytes are loaded once; two workers that try at once meet here.
            models.UniqueConstraint(
                fields=["source", "content_hash"],
                condition=Q(state__in=["running", "succeeded"]) & ~Q(content_hash=""),
                name="load_content_once",
            )
        ]
        indexes = [models.Index(fields=["source", "-started_at"], name="load_recent")]


class QuarantinedRow(models.Model):
    """A row that was not loaded, kept for inspection."""

    load = models.ForeignKey(Load, models.CASCADE)
    source = models.ForeignKey(Source, models.CASCADE)
    file = models.TextField()
    row_number = models.BigIntegerField()
    field = models.TextField()
    reason = models.TextField()
    raw = models.TextField(db_default="", default="")

    class Meta:
        indexes = [models.Index(fields=["source", "-id"], name="quarantined_recent")]


class Touched(models.Model):
    """Which days of a source have changed: every closing transaction bumps the version."""

    source = models.ForeignKey(Source, models.CASCADE)
    day = models.DateField()
    version = models.BigIntegerField(db_default=1, default=1)
    # The version each step has worked off, by name of the step.
    rolled_up_version = models.BigIntegerField(db_default=0, default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "day"], name="touched_source_day")]
        indexes = [
            models.Index(fields=["day"], name="touched_open", condition=Q(version__gt=F("rolled_up_version"))),
        ]


class Delivery(models.Model):
    """One delivered billing period of one export; a newer one replaces it."""

    source = models.ForeignKey(Source, models.CASCADE)
    load = models.ForeignKey(Load, models.CASCADE)
    export = models.TextField()
    billing_period_start = models.DateField()
    run_id = models.TextField()
    state = models.TextField()  # current, replaced
    files = models.JSONField(default=list)
    rows = models.BigIntegerField()
    billed_cost = models.JSONField(default=dict)  # by currency, as text: what the vendor delivered
    complete_through = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "export", "billing_period_start"],
                condition=Q(state="current"),
                name="delivery_one_current",
            ),
        ]


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


class Charge(models.Model):
    """One FOCUS row. Partitioned by month of charge_period_start; replaced with its delivery."""

    pk = models.CompositePrimaryKey("delivery_id", "file_index", "row_number", "charge_period_start")
    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False, db_index=False)
    delivery = models.ForeignKey(Delivery, models.DO_NOTHING, db_constraint=False, db_index=False)
    file_index = models.SmallIntegerField()
    row_number = models.BigIntegerField()
    charge_period_start = models.DateTimeField()
    charge_period_end = models.DateTimeField()
    billing_period_start = models.DateField()
    billing_period_end = models.DateField()
    book_month = models.DateField()
    billing_account_id = models.TextField()
    billing_account_name = models.TextField()
    sub_account_id = models.TextField()
    sub_account_name = models.TextField()
    billing_currency = models.TextField()
    billed_cost = MoneyField()
    effective_cost = MoneyField()
    list_cost = MoneyField()
    contracted_cost = MoneyField()
    charge_category = models.TextField()
    charge_class = models.TextField()
    charge_description = models.TextField()
    charge_frequency = models.TextField()
    service_provider_name = models.TextField()
    host_provider_name = models.TextField()
    invoice_issuer_name = models.TextField()
    invoice_id = models.TextField()
    service_category = models.TextField()
    service_subcategory = models.TextField()
    service_name = models.TextField()
    sku_id = models.TextField()
    sku_meter = models.TextField()
    sku_price_id = models.TextField()
    resource_id = models.TextField()
    resource_name = models.TextField()
    resource_type = models.TextField()
    region_id = models.TextField()
    pricing_category = models.TextField()
    pricing_quantity = MoneyField(null=True)
    pricing_unit = models.TextField()
    consumed_quantity = MoneyField(null=True)
    consumed_unit = models.TextField()
    commitment_discount_id = models.TextField()
    commitment_discount_status = models.TextField()
    model = models.TextField()
    token_kind = models.TextField()
    tags = models.JSONField()
    extra = models.JSONField()
    attribute_set = models.ForeignKey(AttributeSet, models.DO_NOTHING, db_constraint=False, db_index=False)

    class Meta:
        db_table = "ingest_charge"


class InboxBatch(models.Model):
    """A pushed batch, durable before it is acknowledged; drained by the tick and then emptied."""

    source = models.ForeignKey(Source, models.CASCADE)
    idempotency_key = models.TextField()
    payload = models.BinaryField()
    lines = models.IntegerField()
    received_at = models.DateTimeField()
    drained_at = models.DateTimeField(null=True)
    error = models.TextField(db_default="", default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "idempotency_key"], name="inbox_once")]
        indexes = [models.Index(fields=["id"], name="inbox_waiting", condition=Q(drained_at=None))]


class GpuSample(models.Model):
    """One reading of one GPU or MIG slice; kept for 14 days, folded into GpuHour before."""

    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False, db_index=False)
    gpu_uuid = models.TextField()
    mig_instance = models.TextField()
    sampled_at = models.DateTimeField()
    interval_seconds = models.IntegerField()
    node = models.TextField()
    gpu_index = models.TextField()
    mig_profile = models.TextField()
    gpu_model = models.TextField()
    namespace = models.TextField()
    pod = models.TextField()
    container = models.TextField()
    deployment = models.TextField()
    activity = models.FloatField(null=True)
    activity_source = models.TextField()
    sm_active = models.FloatField(null=True)
    tensor_active = models.FloatField(null=True)
    dram_active = models.FloatField(null=True)
    power_watts = models.FloatField(null=True)
    energy_millijoules = models.BigIntegerField(null=True)
    memory_used_mib = models.FloatField(null=True)
    memory_total_mib = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "gpu_uuid", "mig_instance", "sampled_at"], name="gpu_sample_once")
        ]
        indexes = [models.Index(fields=["sampled_at"], name="gpu_sample_time")]


class GpuHour(models.Model):
    """What one GPU or MIG slice did in one hour, for one deployment; durations are whole milliseconds."""

    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False, db_index=False)
    hour = models.DateTimeField()
    node = models.TextField()
    gpu_uuid = models.TextField()
    mig_instance = models.TextField()
    mig_profile = models.TextField()
    gpu_index = models.TextField()
    gpu_model = models.TextField()
    deployment = models.TextField()  # "" = nothing ran there
    namespace = models.TextField()
    samples = models.IntegerField()
    covered_ms = models.BigIntegerField()  # time that has a measured activity
    busy_ms = models.BigIntegerField()
    energy_millijoules = models.BigIntegerField(null=True)
    memory_used_mib = models.FloatField(null=True)
    memory_total_mib = models.FloatField(null=True)
    activity_source = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "hour", "gpu_uuid", "mig_instance", "deployment"], name="gpu_hour_key"
            )
        ]
        indexes = [models.Index(fields=["hour", "node"], name="gpu_hour_node")]


class FineTuneRun(models.Model):
    """One fine-tune run, ours or a provider's."""

    source = models.ForeignKey(Source, models.CASCADE)
    external_id = models.TextField()
    attribute_set = models.ForeignKey(AttributeSet, models.CASCADE)
    name = models.TextField()
    provider = models.TextField()
    base_model = models.TextField()
    artefact = models.TextField()
    method = models.TextField()
    state = models.TextField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    node = models.TextField()
    gpu_uuids = models.TextField()
    provider_job = models.TextField()
    useful_seconds = models.BigIntegerField(null=True)
    trained_tokens = models.BigIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "external_id"], name="fine_tune_once")]


class Authority(models.Model):
    """Which source counts for the same money: one billing and one usage authority per provider and account, in time."""

    provider_name = models.TextField()  # as FOCUS names it; the key of DailyCost
    account = models.TextField(db_default="", default="")  # account, project or deployment; "" = any
    role = models.TextField()  # billing, usage
    source = models.ForeignKey(Source, models.CASCADE)
    valid_from = models.DateField(null=True)
    valid_to = models.DateField(null=True)
    is_default = models.BooleanField(db_default=True, default=True)  # found by specificity; False = set by a person

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider_name", "account", "role", "valid_from"],
                name="authority_one",
                nulls_distinct=False,
            )
        ]
