"""What happened stays: rows of history are added, never changed, deleted or emptied away.

The triggers are ENABLE ALWAYS, so that no setting of a session switches them off; `segmentation.guards` checks at
start-up that they are there. The function is used by the other apps' append-only tables too.
"""

from django.db import migrations

FUNCTION = """
create function demarc_append_only() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: rows are added, never changed or removed', tg_table_name
        using errcode = 'restrict_violation';
end
$$;
"""
TRIGGERS = """
create trigger demarc_append_only before update or delete on {table}
    for each row execute function demarc_append_only();
create trigger demarc_no_truncate before truncate on {table}
    for each statement execute function demarc_append_only();
alter table {table} enable always trigger demarc_append_only;
alter table {table} enable always trigger demarc_no_truncate;
"""
UNDO = """
drop trigger demarc_append_only on {table};
drop trigger demarc_no_truncate on {table};
"""
TABLES = ["accounts_historicalaccount", "accounts_historicalcsm", "accounts_historicalsubscription"]


def append_only(table):
    return migrations.RunSQL(TRIGGERS.format(table=table), UNDO.format(table=table))


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [
        migrations.RunSQL(FUNCTION, "drop function demarc_append_only();"),
        *[append_only(table) for table in TABLES],
    ]
