import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0006_budget_terms")]

    operations = [
        migrations.CreateModel(
            name="BooksCheck",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField(unique=True)),
                ("books_version", models.TextField()),
                ("is_balanced", models.BooleanField()),
                ("findings", models.JSONField(default=list)),
                ("checked_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="budget",
            name="carries_from",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="converted_cost",
            field=models.DecimalField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="late",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="rates",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="budgetstate",
            name="unconverted",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.CreateModel(
            name="BudgetPeriod",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("period_start", models.DateField()),
                ("period_end", models.DateField()),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("base_amount", models.DecimalField()),
                ("carried_cost", models.DecimalField(db_default=0, default=0)),
                ("borrowed_cost", models.DecimalField(db_default=0, default=0)),
                ("amount", models.DecimalField()),
                ("spend_cost", models.DecimalField()),
                ("unconverted", models.TextField(db_default="", default="")),
                ("is_converted", models.BooleanField(db_default=False, default=False)),
                ("books_version", models.TextField(db_default="", default="")),
                ("settled_at", models.DateTimeField()),
                ("budget", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="alerts.budget")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("budget", "period_start"), name="budget_period_once")],
            },
        ),
    ]
