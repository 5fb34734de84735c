from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("ingest", "0004_values_beside_cost")]

    operations = []
