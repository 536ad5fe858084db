"""Accounts are found by how their name, ID or web domain begins, as somebody types (accounts.lookup)."""

from django.db import migrations, models
from django.db.models.functions import Collate, Upper


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_guards")]
    operations = [
        migrations.AddIndex(
            model_name="account",
            index=models.Index(Collate(Upper(column), "C"), name=f"account_begins_{column}"),
        )
        for column in ["name", "external_id", "domain"]
    ]
