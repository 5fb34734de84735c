"""What each row of the books is for and how its capacity was bought. A constant default: no row is rewritten."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("attribution", "0003_pool"),
    ]

    operations = [
        migrations.AddField(
            model_name=model,
            name=name,
            field=models.TextField(db_default="", default=""),
        )
        for model in ("allocatedcharge", "dailycost")
        for name in ("cost_kind", "purchase_option")
    ]
