import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("attribution", "0004_cost_kind"),
    ]

    operations = [
        migrations.CreateModel(
            name="ClosedTeam",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField()),
                ("team", models.TextField()),
                ("title", models.TextField()),
                ("cost_centre", models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name="ExchangeRate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("base", models.TextField()),
                ("currency", models.TextField()),
                ("day", models.DateField()),
                ("rate", models.DecimalField()),
                ("publisher", models.TextField()),
                ("known_from", models.DateTimeField()),
                ("known_to", models.DateTimeField(null=True)),
                ("set_by", models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name="PeriodBook",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField(unique=True)),
                ("state", models.TextField()),
                ("version", models.IntegerField(db_default=0, default=0)),
                ("reviewed_by", models.TextField(db_default="", default="")),
                ("reviewed_at", models.DateTimeField(null=True)),
                ("reviewed_sha256", models.TextField(db_default="", default="")),
                ("closed_by", models.TextField(db_default="", default="")),
                ("closed_at", models.DateTimeField(null=True)),
                ("note", models.TextField(db_default="", default="")),
                ("checklist", models.JSONField(default=list)),
                ("exchange_rates", models.JSONField(default=dict)),
                ("deliveries", models.JSONField(default=list)),
                ("sha256", models.TextField(db_default="", default="")),
                ("reopen_reason", models.TextField(db_default="", default="")),
                ("reopen_asked_by", models.TextField(db_default="", default="")),
                ("reopen_asked_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddField(
            model_name="dailycost",
            name="origin_day",
            field=models.DateField(null=True),
        ),
        migrations.AddIndex(
            model_name="dailycost",
            index=models.Index(
                condition=models.Q(("origin_day__isnull", False)), fields=["origin_day"], name="daily_cost_origin"
            ),
        ),
        migrations.AddConstraint(
            model_name="closedteam",
            constraint=models.UniqueConstraint(fields=("month", "team"), name="closed_team_once"),
        ),
        migrations.AddConstraint(
            model_name="exchangerate",
            constraint=models.UniqueConstraint(
                condition=models.Q(("known_to__isnull", True)),
                fields=("base", "currency", "day"),
                name="exchange_rate_one_believed",
            ),
        ),
        migrations.AddField(
            model_name="periodbook",
            name="ruleset",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, to="attribution.rulesetversion"
            ),
        ),
        migrations.AddConstraint(
            model_name="periodbook",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "closed"), _negated=True),
                    models.Q(("closed_at__isnull", False), ("ruleset__isnull", False)),
                    _connector="OR",
                ),
                name="closed_book_is_pinned",
            ),
        ),
    ]
