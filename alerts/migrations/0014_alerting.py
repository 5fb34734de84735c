import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0013_forecasts"),
    ]

    operations = [
        migrations.CreateModel(
            name="Mute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("about", models.TextField()),
                ("subject", models.TextField()),
                ("reason", models.TextField()),
                ("muted_at", models.DateTimeField()),
                ("muted_by", models.TextField()),
                ("until", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.TextField(db_default="", default="")),
            ],
        ),
        migrations.CreateModel(
            name="OpenItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("thread", models.TextField(unique=True)),
                ("severity", models.TextField()),
                ("opened_at", models.DateTimeField()),
                ("changed_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(null=True)),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("acknowledged_by", models.TextField(db_default="", default="")),
                ("version", models.IntegerField(db_default=1, default=1)),
            ],
        ),
        migrations.AddField(
            model_name="alert",
            name="audience",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="alert",
            name="impact_cost",
            field=models.DecimalField(null=True),
        ),
        migrations.AddField(
            model_name="alert",
            name="severity",
            field=models.TextField(db_default="warning", default="warning"),
        ),
        migrations.AddField(
            model_name="alert",
            name="state",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="alertdelivery",
            name="asked_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="alertdelivery",
            name="reason",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="channel",
            name="heard_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="channel",
            name="last_error",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="channel",
            name="last_error_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="channel",
            name="last_sent_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.CreateModel(
            name="ChatPerson",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("workspace", models.TextField()),
                ("member", models.TextField()),
                ("account", models.TextField()),
                ("linked_at", models.DateTimeField()),
                ("linked_by", models.TextField()),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("workspace", "member"), name="chat_person_once")],
            },
        ),
        migrations.CreateModel(
            name="DigestSchedule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField(unique=True)),
                ("audience", models.TextField()),
                ("period", models.TextField()),
                ("zone", models.TextField(db_default="UTC", default="UTC")),
                ("hour", models.IntegerField(db_default=8, default=8)),
                ("teams", django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), null=True)),
                ("is_active", models.BooleanField(db_default=True, default=True)),
                ("active_from", models.DateTimeField()),
                ("channel", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="alerts.channel")),
            ],
        ),
        migrations.CreateModel(
            name="QuietHours",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("person", models.TextField(null=True, unique=True)),
                ("zone", models.TextField()),
                ("begins", models.TimeField()),
                ("ends", models.TimeField()),
                (
                    "channel",
                    models.OneToOneField(null=True, on_delete=django.db.models.deletion.CASCADE, to="alerts.channel"),
                ),
            ],
        ),
        migrations.CreateModel(
            name="DigestIssue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("period_start", models.DateField()),
                ("made_at", models.DateTimeField()),
                (
                    "alert",
                    models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, to="alerts.alert"),
                ),
                (
                    "schedule",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="alerts.digestschedule"),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("schedule", "period_start"), name="digest_issue_once")],
            },
        ),
        migrations.CreateModel(
            name="EscalationStep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("severity", models.TextField()),
                ("after_minutes", models.IntegerField()),
                ("channel", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="alerts.channel")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("severity", "after_minutes", "channel"), name="escalation_step_once"
                    ),
                    models.CheckConstraint(condition=models.Q(("after_minutes__gt", 0)), name="escalation_step_later"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Route",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("audience", models.TextField()),
                ("topics", django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), default=list)),
                ("team", models.TextField(db_default="", default="")),
                ("least_severity", models.TextField(db_default="info", default="info")),
                ("channel", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="alerts.channel")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("audience", "channel", "team"), name="alert_route_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="ThreadPosition",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("thread", models.TextField()),
                ("ref", models.TextField()),
                ("place", models.TextField(db_default="", default="")),
                ("state", models.TextField(db_default="", default="")),
                ("impact_cost", models.DecimalField(null=True)),
                ("channel", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="alerts.channel")),
                ("first_alert", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="alerts.alert")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("thread", "channel"), name="thread_position_once")],
            },
        ),
    ]
