from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ingest", "0006_unit_sources")]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="is_pinned",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
