from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0014_alerting")]

    operations = [
        migrations.CreateModel(
            name="AnomalyThreshold",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("scope", models.JSONField(default=dict)),
                ("scope_key", models.TextField(unique=True)),
                ("day_cost", models.DecimalField(null=True)),
                ("hour_cost", models.DecimalField(null=True)),
                ("impact_cost", models.DecimalField(null=True)),
                ("impact_percent", models.DecimalField(null=True)),
                ("changed_by", models.TextField()),
                ("changed_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="anomalycheck",
            name="falls",
            field=models.JSONField(db_default=[], default=list),
        ),
    ]
