from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("ingest", "0005_price_changes")]

    operations = []
