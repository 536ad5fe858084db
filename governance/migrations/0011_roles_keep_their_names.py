"""A role is called something else only with a cause: by their names requests know who decides."""

from django.db import migrations

RENAMED = """
create trigger demarc_renamed before update on auth_group
    for each row when ((new.id, new.name) is distinct from (old.id, old.name)) execute function demarc_require_cause();
alter table auth_group enable always trigger demarc_renamed;
"""
UNDO = "drop trigger demarc_renamed on auth_group;"


class Migration(migrations.Migration):
    dependencies = [("governance", "0010_done_by_a_worker")]
    operations = [migrations.RunSQL(RENAMED, UNDO)]
