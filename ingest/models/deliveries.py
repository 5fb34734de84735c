"""Sources, their loads and deliveries, and whose word counts."""

from django.db import models
from django.db.models import F, Q

from costobs.kernel.fields import EncryptedField


class Source(models.Model):
    """A configured connector."""

    kind = models.TextField()
    name = models.TextField()
    config = models.JSONField(default=dict)
    credentials = EncryptedField(null=True)
    credentials_set_at = models.DateTimeField(null=True)
    cursor = models.JSONField(default=dict)
    is_active = models.BooleanField(db_default=True, default=True)
    is_sample = models.BooleanField(db_default=False, default=False)
    created_at = models.DateTimeField()
    last_load_at = models.DateTimeField(null=True)
    last_read_at = models.DateTimeField(null=True)  # when it was asked last, whether it had anything or not
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
    rows_skipped = models.BigIntegerField(db_default=0, default=0)  # read and rightly left out, as `skipped` says
    skipped = models.JSONField(default=dict)  # reason: rows
    # By file: {"name", "read", "quarantined", "skipped"}; what is left of `read` was loaded or known.
    files = models.JSONField(default=list)
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


class Backfill(models.Model):
    """A span of the past that a person asked to read again, worked off piece by piece from the newest to the oldest."""

    source = models.ForeignKey(Source, models.CASCADE)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    # The end of the next piece: everything from here to window_end is read.
    remaining_end = models.DateTimeField()
    state = models.TextField()  # waiting, running, cancelling, cancelled, succeeded, failed
    units = models.BigIntegerField(db_default=0, default=0)
    rows_loaded = models.BigIntegerField(db_default=0, default=0)
    rows_quarantined = models.BigIntegerField(db_default=0, default=0)
    error = models.TextField(db_default="", default="")
    requested_by = models.TextField()
    requested_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(window_end__gt=F("window_start")), name="backfill_has_a_span"),
            models.UniqueConstraint(
                fields=["source"],
                condition=Q(state__in=["waiting", "running", "cancelling"]),
                name="backfill_one_open",
            ),
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
    # A closed month rests on it: its charges are kept when it is replaced, and count no more.
    is_pinned = models.BooleanField(db_default=False, default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "export", "billing_period_start"],
                condition=Q(state="current"),
                name="delivery_one_current",
            ),
        ]


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
