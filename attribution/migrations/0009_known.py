from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("attribution", "0008_reconcile")]

    operations = [
        migrations.CreateModel(
            name="KnownRuleset",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("ruleset_id", models.BigIntegerField(unique=True)),
                ("noted_at", models.DateTimeField()),
                ("left_before", models.DateField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="RateFeed",
            fields=[
                ("only", models.BooleanField(default=True, primary_key=True, serialize=False)),
                ("url", models.TextField()),
                ("base", models.TextField(db_default="EUR", default="EUR")),
                ("is_active", models.BooleanField(db_default=False, default=False)),
                ("set_by", models.TextField(db_default="", default="")),
                ("tried_at", models.DateTimeField(null=True)),
                ("fetched_at", models.DateTimeField(null=True)),
                ("error", models.TextField(db_default="", default="")),
                ("failures", models.IntegerField(db_default=0, default=0)),
            ],
        ),
        migrations.CreateModel(
            name="KnownCost",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("known_from", models.DateTimeField()),
                ("known_to", models.DateTimeField(null=True)),
                ("is_pinned", models.BooleanField(db_default=False, default=False)),
                ("provider_name", models.TextField()),
                ("basis", models.TextField()),
                ("team", models.TextField()),
                ("currency", models.TextField()),
                ("billed_cost", models.DecimalField()),
                ("effective_cost", models.DecimalField()),
                ("list_cost", models.DecimalField()),
                ("contracted_cost", models.DecimalField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["day", "known_from"], name="known_cost_day"),
                    models.Index(
                        condition=models.Q(("known_to__isnull", False)), fields=["known_to"], name="known_cost_closed"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("known_to__isnull", True)),
                        fields=("day", "provider_name", "basis", "team", "currency"),
                        name="known_cost_one_believed",
                    )
                ],
            },
        ),
    ]
