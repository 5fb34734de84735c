from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("alerts", "0010_gate_limits")]

    operations = []
