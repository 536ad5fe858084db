"""How segments are called and served leaves a row of history by every path (segmentation/guards/9_history.sql)."""

from django.db import migrations

from core.guards import installed_by


class Migration(migrations.Migration):
    dependencies = [("segmentation", "0005_causes")]
    operations = [migrations.RunPython(installed_by(__file__), migrations.RunPython.noop)]
