import django.db.models.deletion
from django.db import migrations, models

# What a notice looked at was a setting of it; now it is the trigger of its rung.
_TRIGGERS = """
    UPDATE alerts_rung SET trigger = 'forecast' WHERE config ->> 'on' = 'forecast' AND action = 'notify';
    UPDATE alerts_rung SET config = config - 'on' WHERE config ? 'on';
"""
_BACK = """
    UPDATE alerts_rung SET config = config || '{"on": "forecast"}' WHERE trigger = 'forecast' AND action = 'notify';
"""


class Migration(migrations.Migration):
    dependencies = [("alerts", "0007_budget_periods")]

    operations = [
        migrations.RunSQL(_TRIGGERS, _BACK),
        migrations.CreateModel(
            name="HoldWindow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.TextField()),
                ("name", models.TextField()),
                ("weekly", models.TextField(db_default="", default="")),
                ("zone", models.TextField(db_default="UTC", default="UTC")),
                ("starts_at", models.DateTimeField(null=True)),
                ("ends_at", models.DateTimeField(null=True)),
                ("scope", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name="LadderPause",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reason", models.TextField()),
                ("until", models.DateTimeField()),
                ("started_at", models.DateTimeField()),
                ("started_by", models.TextField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.TextField(db_default="", default="")),
            ],
        ),
        migrations.CreateModel(
            name="ProtectedScope",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("scope", models.JSONField(unique=True)),
                ("reason", models.TextField(db_default="", default="")),
                ("created_at", models.DateTimeField()),
                ("created_by", models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name="RunApproval",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("by", models.TextField()),
                ("at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="RungLevel",
            fields=[
                (
                    "rung",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="measured",
                        serialize=False,
                        to="alerts.rung",
                    ),
                ),
                ("level", models.DecimalField(decimal_places=2, max_digits=12, null=True)),
                ("config", models.JSONField(default=dict)),
                ("measured_at", models.DateTimeField()),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="rung",
            name="rung_once",
        ),
        migrations.AddConstraint(
            model_name="rung",
            constraint=models.UniqueConstraint(fields=("budget", "trigger", "percent", "action"), name="rung_once"),
        ),
        migrations.AddConstraint(
            model_name="holdwindow",
            constraint=models.CheckConstraint(
                condition=~models.Q(weekly="") | models.Q(starts_at__isnull=False, ends_at__isnull=False),
                name="hold_window_when",
            ),
        ),
        migrations.AddIndex(
            model_name="ladderpause",
            index=models.Index(condition=models.Q(ended_at__isnull=True), fields=["until"], name="ladder_pause_open"),
        ),
        migrations.AddField(
            model_name="runapproval",
            name="run",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="approvals", to="alerts.actionrun"
            ),
        ),
        migrations.AddConstraint(
            model_name="runapproval",
            constraint=models.UniqueConstraint(fields=("run", "by"), name="run_approval_once"),
        ),
    ]
