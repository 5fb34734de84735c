"""What keeping a trained model costs, and what one unit should cost at most."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("attribution", "0009_known")]

    operations = [
        migrations.AddField("finetunecost", "storage_cost", models.DecimalField(db_default=0, default=0)),
        migrations.CreateModel(
            name="UnitTarget",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("unit", models.TextField()),
                ("currency", models.TextField()),
                ("scale", models.IntegerField(db_default=1, default=1)),
                ("amount", models.DecimalField(null=True)),
                ("set_by", models.TextField()),
                ("set_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("unit", "currency"), name="unit_target_once"),
                    models.CheckConstraint(
                        condition=models.Q(("scale__in", [1, 1000, 1000000])), name="unit_target_scale"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount__isnull", True), ("amount__gt", 0), _connector="OR"),
                        name="unit_target_above_zero",
                    ),
                ],
            },
        ),
    ]
