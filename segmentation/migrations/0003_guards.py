"""A recalculation that has ended does not go on, and none begins by rules of before (segmentation/guards)."""

from django.db import migrations

from core.guards import installed_by


class Migration(migrations.Migration):
    dependencies = [("segmentation", "0002_guards"), ("accounts", "0004_guards")]
    operations = [migrations.RunPython(installed_by(__file__), migrations.RunPython.noop)]
