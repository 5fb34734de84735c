from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("attribution", "0007_gpu_windows")]

    operations = []
