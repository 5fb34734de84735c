from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("attribution", "0008_reconcile")]

    operations = []
