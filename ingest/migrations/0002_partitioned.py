"""The partitioned tables, staging, and constraints the ORM cannot say."""

import django.db.models.deletion
from django.db import migrations, models

CHARGE = """
CREATE TABLE ingest_charge (
    source_id bigint NOT NULL,
    delivery_id bigint NOT NULL,
    row_number bigint NOT NULL,
    charge_period_start timestamptz NOT NULL,
    charge_period_end timestamptz NOT NULL,
    attribute_set_id bigint NOT NULL,
    billing_period_start date NOT NULL,
    billing_period_end date NOT NULL,
    book_month date NOT NULL,
    file_index smallint NOT NULL,
    billing_account_id text NOT NULL,
    billing_account_name text NOT NULL,
    sub_account_id text NOT NULL,
    sub_account_name text NOT NULL,
    billing_currency text NOT NULL,
    billed_cost numeric NOT NULL,
    effective_cost numeric NOT NULL,
    list_cost numeric NOT NULL,
    contracted_cost numeric NOT NULL,
    charge_category text NOT NULL,
    charge_class text NOT NULL,
    charge_description text NOT NULL,
    charge_frequency text NOT NULL,
    service_provider_name text NOT NULL,
    host_provider_name text NOT NULL,
    invoice_issuer_name text NOT NULL,
    invoice_id text NOT NULL,
    service_category text NOT NULL,
    service_subcategory text NOT NULL,
    service_name text NOT NULL,
    sku_id text NOT NULL,
    sku_meter text NOT NULL,
    sku_price_id text NOT NULL,
    resource_id text NOT NULL,
    resource_name text NOT NULL,
    resource_type text NOT NULL,
    region_id text NOT NULL,
    pricing_category text NOT NULL,
    pricing_quantity numeric,
    pricing_unit text NOT NULL,
    consumed_quantity numeric,
    consumed_unit text NOT NULL,
    commitment_discount_id text NOT NULL,
    commitment_discount_status text NOT NULL,
    model text NOT NULL,
    token_kind text NOT NULL,
    tags jsonb NOT NULL,
    extra jsonb NOT NULL,
    PRIMARY KEY (delivery_id, file_index, row_number, charge_period_start),
    CHECK (charge_period_end >= charge_period_start),
    CHECK (billed_cost <> 'NaN' AND effective_cost <> 'NaN' AND list_cost <> 'NaN' AND contracted_cost <> 'NaN')
) PARTITION BY RANGE (charge_period_start);
CREATE INDEX ingest_charge_day ON ingest_charge (source_id, charge_period_start);
"""

USAGE_EVENT = """
CREATE TABLE ingest_usageevent (
    source_id bigint NOT NULL,
    attribute_set_id bigint NOT NULL,
    offering_id bigint NOT NULL,
    price_id bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    input_uncached integer NOT NULL,
    cache_read integer NOT NULL,
    cache_write_5m integer NOT NULL,
    cache_write_1h integer NOT NULL,
    output integer NOT NULL,
    reasoning integer NOT NULL,
    audio_input integer NOT NULL,
    audio_output integer NOT NULL,
    image_input integer NOT NULL,
    latency_ms integer,
    ttft_ms integer,
    status smallint NOT NULL,
    usage_known boolean NOT NULL,
    event_id text NOT NULL,
    outcome text NOT NULL,
    trace_id text NOT NULL,
    session_id text NOT NULL,
    extra text,
    PRIMARY KEY (source_id, event_id, occurred_at)
) PARTITION BY RANGE (occurred_at);
"""

CONSTRAINTS = """
CREATE EXTENSION IF NOT EXISTS btree_gist;
ALTER TABLE ingest_unitprice ADD CONSTRAINT unit_price_once EXCLUDE USING gist (
    provider WITH =, model WITH =, service_tier WITH =, context_from WITH =, is_conservative WITH =,
    tstzrange(valid_from, valid_to) WITH &&, tstzrange(known_from, known_to) WITH &&
);
"""


STATE = [
    migrations.CreateModel(
        name="Charge",
        fields=[
            (
                "pk",
                models.CompositePrimaryKey(
                    "delivery_id",
                    "file_index",
                    "row_number",
                    "charge_period_start",
                    blank=True,
                    editable=False,
                    primary_key=True,
                    serialize=False,
                ),
            ),
            ("file_index", models.SmallIntegerField()),
            ("row_number", models.BigIntegerField()),
            ("charge_period_start", models.DateTimeField()),
            ("charge_period_end", models.DateTimeField()),
            ("billing_period_start", models.DateField()),
            ("billing_period_end", models.DateField()),
            ("book_month", models.DateField()),
            ("billing_account_id", models.TextField()),
            ("billing_account_name", models.TextField()),
            ("sub_account_id", models.TextField()),
            ("sub_account_name", models.TextField()),
            ("billing_currency", models.TextField()),
            ("billed_cost", models.DecimalField()),
            ("effective_cost", models.DecimalField()),
            ("list_cost", models.DecimalField()),
            ("contracted_cost", models.DecimalField()),
            ("charge_category", models.TextField()),
            ("charge_class", models.TextField()),
            ("charge_description", models.TextField()),
            ("charge_frequency", models.TextField()),
            ("service_provider_name", models.TextField()),
            ("host_provider_name", models.TextField()),
            ("invoice_issuer_name", models.TextField()),
            ("invoice_id", models.TextField()),
            ("service_category", models.TextField()),
            ("service_subcategory", models.TextField()),
            ("service_name", models.TextField()),
            ("sku_id", models.TextField()),
            ("sku_meter", models.TextField()),
            ("sku_price_id", models.TextField()),
            ("resource_id", models.TextField()),
            ("resource_name", models.TextField()),
            ("resource_type", models.TextField()),
            ("region_id", models.TextField()),
            ("pricing_category", models.TextField()),
            ("pricing_quantity", models.DecimalField(null=True)),
            ("pricing_unit", models.TextField()),
            ("consumed_quantity", models.DecimalField(null=True)),
            ("consumed_unit", models.TextField()),
            ("commitment_discount_id", models.TextField()),
            ("commitment_discount_status", models.TextField()),
            ("model", models.TextField()),
            ("token_kind", models.TextField()),
            ("tags", models.JSONField()),
            ("extra", models.JSONField()),
            (
                "attribute_set",
                models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    to="ingest.attributeset",
                ),
            ),
            (
                "delivery",
                models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    to="ingest.delivery",
                ),
            ),
            (
                "source",
                models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    to="ingest.source",
                ),
            ),
        ],
        options={
            "db_table": "ingest_charge",
        },
    ),
    migrations.CreateModel(
        name="UsageEvent",
        fields=[
            (
                "pk",
                models.CompositePrimaryKey(
                    "source_id",
                    "event_id",
                    "occurred_at",
                    blank=True,
                    editable=False,
                    primary_key=True,
                    serialize=False,
                ),
            ),
            ("event_id", models.TextField()),
            ("occurred_at", models.DateTimeField()),
            ("input_uncached", models.IntegerField()),
            ("cache_read", models.IntegerField()),
            ("cache_write_5m", models.IntegerField()),
            ("cache_write_1h", models.IntegerField()),
            ("output", models.IntegerField()),
            ("reasoning", models.IntegerField()),
            ("audio_input", models.IntegerField()),
            ("audio_output", models.IntegerField()),
            ("image_input", models.IntegerField()),
            ("usage_known", models.BooleanField()),
            ("latency_ms", models.IntegerField(null=True)),
            ("ttft_ms", models.IntegerField(null=True)),
            ("status", models.SmallIntegerField()),
            ("outcome", models.TextField()),
            ("trace_id", models.TextField()),
            ("session_id", models.TextField()),
            ("extra", models.TextField(null=True)),
            (
                "attribute_set",
                models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    to="ingest.attributeset",
                ),
            ),
            (
                "offering",
                models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    to="ingest.offering",
                ),
            ),
            (
                "price",
                models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    to="ingest.unitprice",
                ),
            ),
            (
                "source",
                models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    to="ingest.source",
                ),
            ),
        ],
        options={
            "db_table": "ingest_usageevent",
        },
    ),
]


def bool_operator(apps, schema_editor):
    """btree_gist knows booleans from PostgreSQL 16 on; checked here so that an old server says so at once."""
    if schema_editor.connection.pg_version < 160000:
        raise RuntimeError("costobs needs PostgreSQL 16 or newer")


class Migration(migrations.Migration):
    dependencies = [("ingest", "0001_initial")]

    operations = [
        migrations.RunPython(bool_operator, migrations.RunPython.noop),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(CHARGE, "DROP TABLE ingest_charge"),
                migrations.RunSQL(USAGE_EVENT, "DROP TABLE ingest_usageevent"),
            ],
            state_operations=STATE,
        ),
        migrations.RunSQL(CONSTRAINTS, "ALTER TABLE ingest_unitprice DROP CONSTRAINT unit_price_once"),
    ]
