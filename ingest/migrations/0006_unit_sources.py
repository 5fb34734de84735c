"""Figures of the business are looked up by name. The table is small: a few rows a day."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ingest", "0005_price_changes")]

    operations = [
        migrations.AddIndex(
            "businessmetric", models.Index(fields=["name", "period_start"], name="business_metric_name")
        ),
    ]
