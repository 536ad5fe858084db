"""The roles: groups with fixed permissions (governance.roles)."""

from django.db import migrations

from governance import roles

CAUSE = """
insert into segmentation_cause (kind, actor_label, channel, reason)
values ('set-up', 'system', 'migration', 'The roles that come with Demarc')
"""


def make(apps, schema_editor):
    schema_editor.execute(CAUSE, params=None)
    roles.make(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [
        ("governance", "0002_guards"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
