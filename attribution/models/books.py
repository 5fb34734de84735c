"""The books by day, and the splits they rest on."""

from django.db import models
from django.db.models import Q

from attribution.models.owners import Rule, RulesetVersion
from costobs.kernel.fields import MoneyField


class AllocatedCharge(models.Model):
    """One part of a split. The parts of a pool and day add to the pool exactly, in each of the four cost columns."""

    day = models.DateField()
    source_id = models.BigIntegerField()
    pool = models.TextField()  # cell:… (tie out), gpu:node, run:… (fine-tune), rule:…
    pool_kind = models.TextField(
        db_default="", default=""
    )  # usage, node, fine_tune, selection, or the cost pools of the rule
    origin = models.TextField(
        db_default="", default=""
    )  # the pool whose part this one split further; "" = from charges
    passed_to = models.TextField(
        db_default="", default=""
    )  # the pool that split this part further; "" = it is in the books
    method = models.TextField()  # tie_out, gpu_share, fine_tune, or the kind of the rule
    rule = models.ForeignKey(Rule, models.SET_NULL, null=True)
    ruleset = models.ForeignKey(RulesetVersion, models.CASCADE)
    attribute_set_id = models.BigIntegerField()
    provider_name = models.TextField()
    sub_account = models.TextField()
    service_name = models.TextField()
    region = models.TextField()
    invoice_issuer_name = models.TextField()
    charge_category = models.TextField()
    charge_class = models.TextField(db_default="", default="")
    cost_kind = models.TextField(db_default="", default="")
    purchase_option = models.TextField(db_default="", default="")
    model = models.TextField()
    deployment = models.TextField()
    token_kind = models.TextField()
    share_kind = models.TextField()
    currency = models.TextField()
    weight = MoneyField()
    is_estimated_weight = models.BooleanField(db_default=False, default=False)
    billed_cost = MoneyField()
    effective_cost = MoneyField()
    list_cost = MoneyField()
    contracted_cost = MoneyField()

    class Meta:
        indexes = [models.Index(fields=["day", "pool"], name="allocated_day_pool")]


class DailyCost(models.Model):
    """The books by day. Every page, export, alert and API answer reads its spend here, where is_current.

    `share_kind`: direct, shared, idle_workload, idle_infrastructure, overhead, unallocated. A direct row whose attribute set
    no rule owns is shown as unallocated; that is decided when it is read. `basis`: billed, or estimated from usage.
    """

    day = models.DateField()
    source_id = models.BigIntegerField()
    basis = models.TextField()
    is_current = models.BooleanField()
    is_unpriced = models.BooleanField(db_default=False, default=False)
    currency = models.TextField()
    provider_name = models.TextField()
    sub_account = models.TextField()
    service_name = models.TextField()
    region = models.TextField()
    invoice_issuer_name = models.TextField()
    charge_category = models.TextField()
    charge_class = models.TextField(db_default="", default="")  # Correction, or ""
    cost_kind = models.TextField(db_default="", default="")  # what the money is for; "" = loaded before it was told
    purchase_option = models.TextField(db_default="", default="")  # how capacity was bought; "" = no capacity
    attribute_set_id = models.BigIntegerField()
    model = models.TextField()
    deployment = models.TextField()
    token_kind = models.TextField()
    share_kind = models.TextField()
    method = models.TextField()
    billed_cost = MoneyField()
    effective_cost = MoneyField()
    list_cost = MoneyField()
    contracted_cost = MoneyField()

    # A row that corrects a closed month is booked on the first day of the open one; this is the day it corrects.
    origin_day = models.DateField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["day", "is_current"], name="daily_cost_day"),
            models.Index(fields=["origin_day"], name="daily_cost_origin", condition=Q(origin_day__isnull=False)),
        ]


class DayFigures(models.Model):
    """How often what other days may be weighed by (direct cost, usage, business figures) has changed on a day."""

    day = models.DateField(unique=True)
    version = models.BigIntegerField()
    digest = models.DecimalField()


class FineTuneCost(models.Model):
    """What one fine-tune run cost on one day, by state of the time it paid for."""

    run_id = models.BigIntegerField()
    day = models.DateField()
    currency = models.TextField()
    useful_cost = MoneyField()
    idle_cost = MoneyField()
    wasted_cost = MoneyField()  # failed or preempted
    # Keeping what the run made, where the bill names it; on days after the run as well.
    storage_cost = MoneyField(db_default=0, default=0)
    gpu_ms = models.BigIntegerField()
    is_estimated = models.BooleanField(db_default=False, default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run_id", "day", "currency"], name="fine_tune_cost_day")]


class Pool(models.Model):
    """What one split divided on one day: the origin its parts add to, in each of the four cost columns."""

    day = models.DateField()
    source_id = models.BigIntegerField()
    pool = models.TextField()
    currency = models.TextField()
    method = models.TextField()
    pool_kind = models.TextField(db_default="", default="")
    rule = models.ForeignKey(Rule, models.SET_NULL, null=True, db_index=False)
    ruleset = models.ForeignKey(RulesetVersion, models.CASCADE, null=True, db_index=False)
    charges = models.BigIntegerField()  # none for what is made of parts of other pools
    billed_cost = MoneyField()
    effective_cost = MoneyField()
    list_cost = MoneyField()
    contracted_cost = MoneyField()

    # What the weights depend on beside the day's own rows: owners by `ruleset`, and other days as far as they were known.
    by_owner = models.BooleanField(db_default=False, default=False)
    weighed_from = models.DateField(null=True)
    weighed_to = models.DateField(null=True)  # exclusive
    weighed_version = models.DecimalField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["day", "source_id", "pool", "currency"], name="pool_day")]
        indexes = [
            models.Index(fields=["day"], name="pool_depends", condition=Q(by_owner=True) | Q(weighed_to__isnull=False))
        ]
