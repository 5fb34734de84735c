from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("alerts", "0007_budget_periods")]

    operations = []
