from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ingest", "0004_values_beside_cost")]

    operations = [
        migrations.AddField(
            model_name="unitprice",
            name="change_id",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="unitprice",
            name="kept_until",
            field=models.DateField(null=True),
        ),
        migrations.CreateModel(
            name="PriceChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.TextField()),
                ("state", models.TextField()),
                ("title", models.TextField()),
                ("lines", models.JSONField(default=list)),
                ("problems", models.JSONField(default=list)),
                ("note", models.TextField(db_default="", default="")),
                ("list_version", models.TextField(db_default="", default="")),
                ("percent", models.DecimalField(null=True)),
                ("proposed_by", models.TextField()),
                ("proposed_at", models.DateTimeField()),
                ("approved_by", models.TextField(db_default="", default="")),
                ("approved_at", models.DateTimeField(null=True)),
                ("approved_effect", models.JSONField(default=dict)),
                ("applied_by", models.TextField(db_default="", default="")),
                ("applied_at", models.DateTimeField(null=True)),
                ("open_from", models.DateField(null=True)),
                ("moved_calls", models.BigIntegerField(null=True)),
                ("ended_by", models.TextField(db_default="", default="")),
                ("ended_at", models.DateTimeField(null=True)),
                ("reason", models.TextField(db_default="", default="")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("list_version", ""), _negated=True),
                        fields=("list_version",),
                        name="price_change_list_once",
                    )
                ],
            },
        ),
    ]
