from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("attribution", "0006_pools")]

    operations = [
        migrations.CreateModel(
            name="GpuShare",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("hour", models.DateTimeField()),
                ("node", models.TextField()),
                ("deployment", models.TextField()),
                ("attribute_set_id", models.BigIntegerField()),
                ("model", models.TextField()),
                ("token_kind", models.TextField()),
                ("share_kind", models.TextField()),
                ("run_id", models.BigIntegerField()),
                ("amount", models.DecimalField()),
                ("millijoules", models.BigIntegerField(null=True)),
                ("method", models.TextField()),
                ("window_seconds", models.IntegerField()),
                ("is_estimated", models.BooleanField()),
                ("pue", models.DecimalField()),
                ("grams_per_kwh", models.DecimalField()),
                ("is_default_carbon", models.BooleanField()),
            ],
            options={
                "indexes": [models.Index(fields=["day", "deployment"], name="gpu_share_day")],
            },
        ),
        migrations.CreateModel(
            name="TokenWeights",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("deployment", models.TextField()),
                ("quantization", models.TextField()),
                ("valid_from", models.DateField()),
                ("known_from", models.DateTimeField()),
                ("method", models.TextField()),
                ("a_ms", models.DecimalField()),
                ("b_ms", models.DecimalField()),
                ("c_ms", models.DecimalField()),
                ("input_weight", models.DecimalField()),
                ("cached_weight", models.DecimalField()),
                ("output_weight", models.DecimalField()),
                ("r2", models.DecimalField()),
                ("steps", models.BigIntegerField()),
                ("fitted_by", models.TextField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("deployment", "quantization", "valid_from", "known_from"), name="token_weights_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("a_ms__gte", 0),
                            ("b_ms__gte", 0),
                            ("c_ms__gte", 0),
                            ("cached_weight__gte", 0),
                            ("input_weight__gt", 0),
                            ("output_weight__gt", 0),
                            ("steps__gte", 0),
                        ),
                        name="token_weights_not_negative",
                    ),
                ],
            },
        ),
    ]
