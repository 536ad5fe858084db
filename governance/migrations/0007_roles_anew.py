"""The roles once more: databases that were made while permissions were still added get those too."""

from importlib import import_module

from django.db import migrations

make = import_module("governance.migrations.0003_roles").make


class Migration(migrations.Migration):
    dependencies = [
        ("governance", "0006_audit_trail"),
        ("accounts", "0010_conflicts"),
        ("segmentation", "0017_provisional_by_due_date"),
    ]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
