"""Charges of bills."""

from django.db import models

from costobs.kernel.fields import MoneyField
from ingest.models.attributes import AttributeSet
from ingest.models.deliveries import Delivery, Source


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
    purchase_option = models.TextField(db_default="", default="")
    cost_kind = models.TextField(db_default="", default="")
    tags = models.JSONField()
    extra = models.JSONField()
    attribute_set = models.ForeignKey(AttributeSet, models.DO_NOTHING, db_constraint=False, db_index=False)

    class Meta:
        db_table = "ingest_charge"
