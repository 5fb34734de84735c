import django.db.models.deletion
from django.db import migrations, models

_ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


class Migration(migrations.Migration):
    dependencies = [("alerts", "0011_resources")]

    operations = [
        migrations.CreateModel(
            name="AnomalyCheck",
            fields=[
                ("id", _ID),
                ("grain", models.TextField(unique=True)),
                ("checked_at", models.DateTimeField()),
                ("judged_until", models.DateTimeField(null=True)),
                ("waits_for", models.TextField(db_default="", default="")),
                ("known_days", models.IntegerField(db_default=0, default=0)),
                ("scopes", models.IntegerField(db_default=0, default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Anomaly",
            fields=[
                ("id", _ID.clone()),
                ("scope", models.JSONField(default=dict)),
                ("scope_key", models.TextField()),
                ("currency", models.TextField()),
                ("grain", models.TextField()),
                ("state", models.TextField(db_default="open", default="open")),
                ("outcome", models.TextField(db_default="", default="")),
                ("started_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("periods", models.IntegerField()),
                ("actual_cost", models.DecimalField()),
                ("expected_cost", models.DecimalField()),
                ("impact_cost", models.DecimalField()),
                ("newest_cost", models.DecimalField()),
                ("newest_expected_cost", models.DecimalField()),
                ("score", models.DecimalField()),
                ("series", models.JSONField(default=list)),
                ("drivers", models.JSONField(default=dict)),
                ("where", models.JSONField(default=list)),
                ("coincidences", models.JSONField(default=list)),
                ("absorbed", models.JSONField(default=list)),
                ("complete_through", models.DateTimeField(null=True)),
                ("detected_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(null=True)),
                ("told_cost", models.DecimalField(null=True)),
                ("acknowledged_by", models.TextField(db_default="", default="")),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("muted_until", models.DateTimeField(null=True)),
                ("is_sample", models.BooleanField(db_default=False, default=False)),
                ("version", models.IntegerField(db_default=1, default=1)),
            ],
            options={
                "indexes": [models.Index(fields=["state", "last_at"], name="anomaly_state")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "open")),
                        fields=("scope_key", "currency"),
                        name="anomaly_one_open",
                    ),
                    models.UniqueConstraint(
                        fields=("scope_key", "currency", "grain", "started_at"), name="anomaly_once"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AnomalyFeedback",
            fields=[
                ("id", _ID.clone()),
                ("scope", models.JSONField(default=dict)),
                ("scope_key", models.TextField()),
                ("kind", models.TextField()),
                ("starts_at", models.DateTimeField(null=True)),
                ("ends_at", models.DateTimeField(null=True)),
                ("value", models.TextField(db_default="", default="")),
                ("note", models.TextField(db_default="", default="")),
                ("by", models.TextField()),
                ("at", models.DateTimeField()),
                ("undone_by", models.TextField(db_default="", default="")),
                ("undone_at", models.DateTimeField(null=True)),
                (
                    "anomaly",
                    models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, to="alerts.anomaly"),
                ),
            ],
            options={"indexes": [models.Index(fields=["scope_key"], name="anomaly_feedback_scope")]},
        ),
    ]
