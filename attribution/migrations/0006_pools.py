from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("attribution", "0005_period_books")]

    operations = []
