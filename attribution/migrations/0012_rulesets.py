from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("attribution", "0011_statements")]

    operations = []
