from django.db import migrations, models

# btree_gist comes with the tables of ingest, hence the dependency.
_ADD = """
ALTER TABLE attribution_markup ADD CONSTRAINT markup_one_a_month
EXCLUDE USING gist (cost_centre WITH =, daterange(first_month, end_month) WITH &&)
"""
_DROP = "ALTER TABLE attribution_markup DROP CONSTRAINT markup_one_a_month"


class Migration(migrations.Migration):
    dependencies = [("attribution", "0010_units"), ("ingest", "0002_partitioned")]

    operations = [
        migrations.CreateModel(
            name="ChargebackTerms",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("is_only", models.BooleanField(db_default=True, default=True, unique=True)),
                ("company", models.TextField(db_default="", default="")),
                ("journal", models.JSONField(default=dict)),
                ("changed_by", models.TextField(db_default="", default="")),
                ("changed_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("is_only", True)), name="chargeback_terms_only")
                ],
            },
        ),
        migrations.CreateModel(
            name="Markup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("cost_centre", models.TextField(db_default="", default="")),
                ("percent", models.DecimalField()),
                ("label", models.TextField()),
                ("first_month", models.DateField()),
                ("end_month", models.DateField(null=True)),
                ("set_by", models.TextField()),
                ("set_at", models.DateTimeField()),
                ("ended_by", models.TextField(db_default="", default="")),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("end_month__isnull", True), ("end_month__gte", models.F("first_month")), _connector="OR"
                        ),
                        name="markup_months",
                    )
                ],
            },
        ),
        migrations.RunSQL(_ADD, _DROP),
    ]
