import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("attribution", "0005_period_books")]

    operations = [
        migrations.CreateModel(
            name="DayFigures",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField(unique=True)),
                ("version", models.BigIntegerField()),
                ("digest", models.DecimalField()),
            ],
        ),
        migrations.AddField(
            model_name="allocatedcharge",
            name="origin",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="allocatedcharge",
            name="passed_to",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="allocatedcharge",
            name="pool_kind",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="pool",
            name="by_owner",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="pool",
            name="pool_kind",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="pool",
            name="rule",
            field=models.ForeignKey(
                db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, to="attribution.rule"
            ),
        ),
        migrations.AddField(
            model_name="pool",
            name="ruleset",
            field=models.ForeignKey(
                db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, to="attribution.rulesetversion"
            ),
        ),
        migrations.AddField(
            model_name="pool",
            name="weighed_from",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="pool",
            name="weighed_to",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="pool",
            name="weighed_version",
            field=models.DecimalField(null=True),
        ),
        migrations.AddIndex(
            model_name="pool",
            index=models.Index(
                condition=models.Q(("by_owner", True), ("weighed_to__isnull", False), _connector="OR"),
                fields=["day"],
                name="pool_depends",
            ),
        ),
    ]
