from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("attribution", "0012_rulesets")]

    operations = [
        migrations.AddField(
            model_name="periodbook",
            name="terms",
            field=models.JSONField(null=True),
        ),
    ]
