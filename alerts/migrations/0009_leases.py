import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0008_ladder")]

    operations = [
        migrations.CreateModel(
            name="GatePrice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("provider", models.TextField()),
                ("model", models.TextField()),
                ("currency", models.TextField()),
                ("input_price", models.DecimalField()),
                ("cached_price", models.DecimalField()),
                ("output_price", models.DecimalField()),
                ("basis", models.TextField()),
                ("known_at", models.DateTimeField()),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("provider", "model"), name="gate_price_once")],
            },
        ),
        migrations.CreateModel(
            name="LeaseAccount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("currency", models.TextField()),
                ("limit_cost", models.DecimalField()),
                ("opening_cost", models.DecimalField(db_default=0, default=0)),
                ("gate_cost", models.DecimalField(db_default=0, default=0)),
                ("other_cost", models.DecimalField(db_default=0, default=0)),
                ("reckoned_at", models.DateTimeField(null=True)),
                ("pressed_until", models.DateTimeField(null=True)),
                ("budget", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="alerts.budget")),
            ],
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("gate_id", models.BigIntegerField()),
                ("gate_name", models.TextField()),
                ("process", models.TextField()),
                ("sequence", models.BigIntegerField(db_default=0, default=0)),
                ("granted_cost", models.DecimalField(db_default=0, default=0)),
                ("settled_cost", models.DecimalField(db_default=0, default=0)),
                ("returned_cost", models.DecimalField(db_default=0, default=0)),
                ("freed_cost", models.DecimalField(db_default=0, default=0)),
                ("reserved_cost", models.DecimalField(db_default=0, default=0)),
                ("state", models.TextField(db_default="open", default="open")),
                ("expires_at", models.DateTimeField()),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="leases", to="alerts.leaseaccount"
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="leaseaccount",
            constraint=models.UniqueConstraint(fields=("budget", "starts_at", "ends_at"), name="lease_account_once"),
        ),
        migrations.AddConstraint(
            model_name="lease",
            constraint=models.UniqueConstraint(fields=("account", "gate_id", "process"), name="lease_once"),
        ),
    ]
