"""The promises the database keeps about accounts (accounts/guards); and that what people enter is a source too."""

from django.db import migrations

from core.guards import installed_by


def name_source(apps, schema_editor):
    """The other sources are noted when an import of theirs is saved."""
    apps.get_model("accounts", "SourceSystem").objects.create(key="manual", name="Entered by hand")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [
        migrations.RunPython(installed_by(__file__), migrations.RunPython.noop),
        migrations.RunPython(name_source, migrations.RunPython.noop),
    ]
