from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("alerts", "0003_episodes_belong_to_rungs")]

    operations = []
