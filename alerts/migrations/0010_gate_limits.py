from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0009_leases")]

    operations = [
        migrations.AddField("gatekey", "max_inflight", models.IntegerField(null=True)),
        migrations.AddField("gatekey", "max_tokens", models.IntegerField(null=True)),
        migrations.AddField("gatekey", "priority", models.IntegerField(null=True)),
        migrations.AddField("gatekey", "requests_per_minute", models.IntegerField(null=True)),
        migrations.AddField("gatekey", "tokens_per_minute", models.IntegerField(null=True)),
        migrations.AddField("gateprocess", "admitted", models.BigIntegerField(null=True)),
        migrations.AddField("gateprocess", "inflight", models.IntegerField(null=True)),
        migrations.AddField("gateprocess", "is_draining", models.BooleanField(db_default=False, default=False)),
        migrations.AddField("gateprocess", "refused", models.BigIntegerField(null=True)),
        migrations.AddField("gateprocess", "software", models.TextField(db_default="", default="")),
    ]
