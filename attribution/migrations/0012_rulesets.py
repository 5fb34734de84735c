import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("attribution", "0011_statements")]

    operations = [
        migrations.CreateModel(
            name="RulesetDraft",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("person", models.TextField(unique=True)),
                ("rules", models.JSONField(default=list)),
                ("changed_at", models.DateTimeField()),
                (
                    "base",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="attribution.rulesetversion"),
                ),
            ],
        ),
    ]
