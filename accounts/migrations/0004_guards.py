"""Accounts keep their external ID (accounts/guards)."""

from django.db import migrations

from core.guards import installed_by


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_search")]
    operations = [migrations.RunPython(installed_by(__file__), migrations.RunPython.noop)]
