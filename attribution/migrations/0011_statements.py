from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("attribution", "0010_units")]

    operations = []
