from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0004_statement_deliveries")]

    operations = [
        migrations.CreateModel(
            name="DriftItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("provider", models.TextField()),
                ("month", models.DateField()),
                ("currency", models.TextField()),
                ("episode", models.IntegerField()),
                ("opened_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("provider", "month", "currency", "episode"), name="drift_item_once"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("closed_at__isnull", True)),
                        fields=("provider", "month", "currency"),
                        name="drift_item_one_open",
                    ),
                ],
            },
        ),
    ]
