"""The guards of sign-off after a third attack (governance/guards, docs/adr/0025)."""

from django.db import migrations

from core.guards import installed_by


class Migration(migrations.Migration):
    dependencies = [("governance", "0003_roles_and_profile"), ("segmentation", "0003_guards")]
    operations = [migrations.RunPython(installed_by(__file__), migrations.RunPython.noop)]
