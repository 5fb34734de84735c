import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0012_anomalies")]

    operations = [
        migrations.CreateModel(
            name="BudgetForecast",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("period_start", models.DateField()),
                ("period_end", models.DateField()),
                ("through", models.DateField()),
                ("made_at", models.DateTimeField()),
                ("spent_cost", models.DecimalField(db_default=0, default=0)),
                ("adjusted_cost", models.DecimalField(db_default=0, default=0)),
                ("forecast_cost", models.DecimalField(null=True)),
                ("forecast_low_cost", models.DecimalField(null=True)),
                ("forecast_high_cost", models.DecimalField(null=True)),
                ("method", models.TextField(db_default="", default="")),
                ("error_percent", models.DecimalField(decimal_places=2, max_digits=7, null=True)),
                ("pace_error_percent", models.DecimalField(decimal_places=2, max_digits=7, null=True)),
                ("tests", models.IntegerField(db_default=0, default=0)),
                ("tested_days", models.IntegerField(db_default=0, default=0)),
                ("history_days", models.IntegerField(db_default=0, default=0)),
                ("days", models.JSONField(default=list)),
                ("is_later", models.BooleanField(db_default=False, default=False)),
                ("mark", models.TextField(db_default="", default="")),
                ("budget", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="alerts.budget")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("budget", "period_start", "through"), name="budget_forecast_once")
                ],
            },
        ),
    ]
