"""What sources need to be added, tested, backfilled and rotated in the browser; what a charge was bought as and is for."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ingest", "0002_partitioned"),
    ]

    operations = [
        migrations.AddField(
            model_name="charge",
            name="cost_kind",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="charge",
            name="purchase_option",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="load",
            name="files",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="load",
            name="rows_skipped",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="load",
            name="skipped",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="source",
            name="credentials_set_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="source",
            name="last_read_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.CreateModel(
            name="Backfill",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("window_start", models.DateTimeField()),
                ("window_end", models.DateTimeField()),
                ("remaining_end", models.DateTimeField()),
                ("state", models.TextField()),
                ("units", models.BigIntegerField(db_default=0, default=0)),
                ("rows_loaded", models.BigIntegerField(db_default=0, default=0)),
                ("rows_quarantined", models.BigIntegerField(db_default=0, default=0)),
                ("error", models.TextField(db_default="", default="")),
                ("requested_by", models.TextField()),
                ("requested_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(null=True)),
                ("heartbeat_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("source", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="ingest.source")),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("window_end__gt", models.F("window_start"))), name="backfill_has_a_span"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ["waiting", "running", "cancelling"])),
                        fields=("source",),
                        name="backfill_one_open",
                    ),
                ],
            },
        ),
    ]
