"""Changes of facts are noted by the database (4_fact_changes.sql), and the rows that say so stay."""

from django.db import migrations

from core.guards import installed_by


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_fact_changes")]
    operations = [migrations.RunPython(installed_by(__file__), migrations.RunPython.noop)]
