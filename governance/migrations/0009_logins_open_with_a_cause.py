"""A closed login is opened only with a cause: the roles behind it count again from then on."""

from django.db import migrations

REOPENED = """
create trigger demarc_reopened before update on auth_user
    for each row when (new.is_active and not old.is_active) execute function demarc_require_cause();
alter table auth_user enable always trigger demarc_reopened;
"""
UNDO = "drop trigger demarc_reopened on auth_user;"


class Migration(migrations.Migration):
    dependencies = [("governance", "0008_owners_by_now")]
    operations = [migrations.RunSQL(REOPENED, UNDO)]
