"""The promises the database keeps about segments (segmentation/guards); and room on pages that are written often."""

from django.db import migrations

from core.guards import installed_by

WEIGHTS = """
alter table segmentation_definition
    add constraint definition_weights_bearable check (demarc_weights_bearable(document)),
    add constraint definition_weights_complete check (status = 'draft' or demarc_weights_complete(document));
"""
# A changed row stays where it is, and no index is written.
ROOM = """
alter table segmentation_assignment set (fillfactor = 80);
alter table segmentation_assignmentscore set (fillfactor = 80);
"""


class Migration(migrations.Migration):
    dependencies = [("segmentation", "0001_initial"), ("accounts", "0002_guards")]
    operations = [
        migrations.RunPython(installed_by(__file__), migrations.RunPython.noop),
        migrations.RunSQL(WEIGHTS, migrations.RunSQL.noop),
        migrations.RunSQL(ROOM, migrations.RunSQL.noop),
    ]
