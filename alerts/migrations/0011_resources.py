import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0010_gate_limits")]

    operations = [
        migrations.CreateModel(
            name="Resource",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField(unique=True)),
                ("hook", models.TextField()),
                ("config", models.JSONField(default=dict)),
                ("credentials", models.BinaryField(null=True)),
                ("scope", models.JSONField(default=dict)),
                ("is_dedicated", models.BooleanField(db_default=False, default=False)),
                ("is_protected", models.BooleanField(db_default=False, default=False)),
                ("drain_seconds", models.IntegerField(db_default=60, default=60)),
                ("kept_cost", models.DecimalField(null=True)),
                ("standing", models.JSONField(default=dict)),
                ("looked_at", models.DateTimeField(null=True)),
                ("look_error", models.TextField(db_default="", default="")),
                ("is_sample", models.BooleanField(db_default=False, default=False)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name="ResourceChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("resource_name", models.TextField()),
                ("is_of_run", models.BooleanField(db_default=True, default=True)),
                ("to_units", models.IntegerField()),
                ("is_limit", models.BooleanField(db_default=False, default=False)),
                ("state", models.TextField(db_default="waiting", default="waiting")),
                ("change", models.JSONField(default=dict)),
                ("is_idle", models.BooleanField(db_default=False, default=False)),
                ("saves_cost", models.DecimalField(null=True)),
                ("currency", models.TextField(db_default="", default="")),
                ("saves_words", models.TextField(db_default="", default="")),
                ("asked_at", models.DateTimeField()),
                ("asked_by", models.TextField(db_default="ladder", default="ladder")),
                ("reason", models.TextField(db_default="", default="")),
                ("next_at", models.DateTimeField()),
                ("is_claimed", models.BooleanField(db_default=False, default=False)),
                ("attempts", models.IntegerField(db_default=0, default=0)),
                ("version", models.IntegerField(db_default=1, default=1)),
                ("started_at", models.DateTimeField(null=True)),
                ("applied_at", models.DateTimeField(null=True)),
                ("verified_at", models.DateTimeField(null=True)),
                ("undo_at", models.DateTimeField(null=True)),
                ("restored_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.TextField(db_default="", default="")),
                ("error", models.TextField(db_default="", default="")),
                (
                    "action_run",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="changes",
                        to="alerts.actionrun",
                    ),
                ),
                (
                    "resource",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="changes",
                        to="alerts.resource",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("action_run", "resource_name"), name="resource_change_once"),
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ("draining", "applying", "undoing"))),
                        fields=("resource",),
                        name="resource_change_one",
                    ),
                ],
            },
        ),
    ]
