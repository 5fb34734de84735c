import django.db.models.deletion
from django.db import migrations, models


def _money(**options):
    return models.DecimalField(**options)


class Migration(migrations.Migration):
    dependencies = [("attribution", "0007_gpu_windows")]

    operations = [
        migrations.CreateModel(
            name="ReconciledDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField(unique=True)),
                ("seen", models.TextField()),
                ("reconciled_at", models.DateTimeField()),
                ("repeats", models.JSONField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="DriftThreshold",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("provider", models.TextField(unique=True)),
                ("percent", models.DecimalField(decimal_places=3, max_digits=7)),
                ("amount", _money()),
                ("set_by", models.TextField()),
                ("set_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="ReconciledCell",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("provider", models.TextField()),
                ("account", models.TextField()),
                ("model", models.TextField()),
                ("token_kind", models.TextField()),
                ("currency", models.TextField()),
                ("is_billed", models.BooleanField()),
                ("logged_tokens", _money()),
                ("billed_tokens", _money(null=True)),
                ("estimated_cost", _money()),
                ("billed_cost", _money()),
                ("effective_cost", _money()),
                ("list_cost", _money()),
                ("contracted_cost", _money()),
                ("covered_cost", _money()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("day", "provider", "account", "model", "token_kind", "currency"),
                        name="reconciled_cell_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ReconciledCause",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("cause", models.TextField()),
                ("amount", _money()),
                ("tokens", _money()),
                ("evidence", models.JSONField(default=dict)),
                (
                    "cell",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="causes",
                        to="attribution.reconciledcell",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["day", "cause"], name="reconciled_cause_day")],
                "constraints": [models.UniqueConstraint(fields=("cell", "cause"), name="reconciled_cause_once")],
            },
        ),
    ]
