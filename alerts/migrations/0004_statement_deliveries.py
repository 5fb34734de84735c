import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0003_episodes_belong_to_rungs")]

    operations = [
        migrations.CreateModel(
            name="StatementSchedule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField(unique=True)),
                ("trigger", models.TextField()),
                ("day_of_month", models.IntegerField(null=True)),
                (
                    "cost_centres",
                    django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), default=list),
                ),
                ("formats", django.contrib.postgres.fields.ArrayField(base_field=models.TextField())),
                ("cost", models.TextField(db_default="effective", default="effective")),
                ("destination", models.TextField()),
                ("config", models.JSONField(default=dict)),
                ("credentials", models.BinaryField(null=True)),
                ("is_active", models.BooleanField(db_default=True, default=True)),
                ("active_from", models.DateTimeField()),
                ("created_by", models.TextField()),
                ("created_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="StatementDispatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField()),
                ("version", models.IntegerField()),
                ("state", models.TextField(db_default="waiting", default="waiting")),
                ("attempts", models.IntegerField(db_default=0, default=0)),
                ("next_attempt_at", models.DateTimeField()),
                ("planned_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(null=True)),
                ("files", models.JSONField(default=list)),
                ("receipt", models.TextField(db_default="", default="")),
                ("error", models.TextField(db_default="", default="")),
                (
                    "schedule",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="dispatches",
                        to="alerts.statementschedule",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("schedule", "month", "version"), name="statement_dispatch_once")
                ],
            },
        ),
    ]
