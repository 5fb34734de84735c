"""Quality scores, business metrics and markers."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ingest", "0003_sources_and_backfills"),
    ]

    operations = [
        migrations.CreateModel(
            name="BusinessMetric",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField()),
                ("period_start", models.DateTimeField()),
                ("period_end", models.DateTimeField()),
                ("value", models.DecimalField()),
                ("unit", models.TextField()),
                (
                    "attribute_set",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="ingest.attributeset"),
                ),
                ("source", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="ingest.source")),
            ],
            options={
                "indexes": [models.Index(fields=["period_start"], name="business_metric_time")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("source", "name", "period_start", "period_end", "attribute_set"),
                        name="business_metric_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period_end__gt", models.F("period_start"))),
                        name="business_metric_has_a_period",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Marker",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("marker_id", models.TextField()),
                ("at", models.DateTimeField()),
                ("act", models.TextField()),
                ("title", models.TextField()),
                ("url", models.TextField()),
                (
                    "attribute_set",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="ingest.attributeset"),
                ),
                ("source", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="ingest.source")),
            ],
            options={
                "indexes": [models.Index(fields=["at"], name="marker_time")],
                "constraints": [models.UniqueConstraint(fields=("source", "marker_id"), name="marker_once")],
            },
        ),
        migrations.CreateModel(
            name="QualityScore",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("score_id", models.TextField()),
                ("scored_at", models.DateTimeField()),
                ("name", models.TextField()),
                ("value", models.DecimalField()),
                ("scale_min", models.DecimalField()),
                ("scale_max", models.DecimalField()),
                ("provider", models.TextField()),
                ("model", models.TextField()),
                ("variant", models.TextField()),
                ("deployment", models.TextField()),
                ("evaluator", models.TextField()),
                ("trace_id", models.TextField()),
                (
                    "attribute_set",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="ingest.attributeset"),
                ),
                ("source", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="ingest.source")),
            ],
            options={
                "indexes": [models.Index(fields=["scored_at"], name="quality_score_time")],
                "constraints": [
                    models.UniqueConstraint(fields=("source", "score_id"), name="quality_score_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("value__gte", models.F("scale_min")), ("value__lte", models.F("scale_max"))
                        ),
                        name="quality_score_on_its_scale",
                    ),
                ],
            },
        ),
    ]
