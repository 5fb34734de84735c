import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0005_drift"),
    ]

    operations = [
        migrations.AddField(
            model_name="budget",
            name="aborts_running",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="budget",
            name="borrow_percent",
            field=models.DecimalField(decimal_places=2, max_digits=7, null=True),
        ),
        migrations.AddField(
            model_name="budget",
            name="criticality",
            field=models.TextField(db_default="normal", default="normal"),
        ),
        migrations.AddField(
            model_name="budget",
            name="default_max_tokens",
            field=models.IntegerField(null=True),
        ),
        migrations.AddField(
            model_name="budget",
            name="ends_on",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="budget",
            name="is_hard",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="budget",
            name="is_prorated",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="budget",
            name="on_unreachable",
            field=models.TextField(db_default="closed", default="closed"),
        ),
        migrations.AddField(
            model_name="budget",
            name="parent",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="children", to="alerts.budget"
            ),
        ),
        migrations.AddField(
            model_name="budget",
            name="protected",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="budget",
            name="rolling_days",
            field=models.IntegerField(null=True),
        ),
        migrations.AddField(
            model_name="budget",
            name="rollover",
            field=models.TextField(db_default="none", default="none"),
        ),
        migrations.AddField(
            model_name="budget",
            name="rollover_cap_percent",
            field=models.DecimalField(decimal_places=2, max_digits=7, null=True),
        ),
        migrations.AddField(
            model_name="budget",
            name="starts_on",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="budget",
            name="zone",
            field=models.TextField(db_default="UTC", default="UTC"),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="amount",
            field=models.DecimalField(null=True),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="borrowed_cost",
            field=models.DecimalField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="carried_cost",
            field=models.DecimalField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="ends_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="forecast_error_percent",
            field=models.DecimalField(decimal_places=2, max_digits=7, null=True),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="forecast_high_cost",
            field=models.DecimalField(null=True),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="forecast_low_cost",
            field=models.DecimalField(null=True),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="is_unbalanced",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="starts_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="rung",
            name="trigger",
            field=models.TextField(db_default="actual", default="actual"),
        ),
    ]
