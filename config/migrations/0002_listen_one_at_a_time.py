"""Workers that start at the same moment ask to be notified of the same queue; without a lock all but one die of it.

pgmq drops and creates a trigger each time. Here one goes after the other, and nothing is done twice. Where pgmq is
PostgreSQL's extension its functions are left alone.
"""

from django.db import migrations

OURS = """
select not exists (select from pg_depend where deptype = 'e' and classid = 'pg_proc'::regclass
                     and objid = 'pgmq.enable_notify_insert(text, integer)'::regprocedure)
"""
LOCK = """
alter function pgmq.enable_notify_insert(text, integer) rename to enable_notify_insert_unlocked;
create function pgmq.enable_notify_insert(queue_name text, throttle_interval_ms integer default 250) returns void
    language plpgsql as $$
declare
    queue regclass := format('pgmq.%I', pgmq.format_table_name(queue_name, 'q'))::regclass;
begin
    perform pg_advisory_xact_lock(hashtextextended('pgmq.enable_notify_insert', queue::oid::bigint));
    if exists (select from pg_trigger where tgrelid = queue and tgname = 'trigger_notify_queue_insert_listeners')
       and exists (select from pgmq.notify_insert_throttle t
                    where t.queue_name = enable_notify_insert.queue_name
                      and t.throttle_interval_ms = enable_notify_insert.throttle_interval_ms) then
        return;
    end if;
    perform pgmq.enable_notify_insert_unlocked(queue_name, throttle_interval_ms);
end
$$;
"""
UNLOCK = """
drop function pgmq.enable_notify_insert(text, integer);
alter function pgmq.enable_notify_insert_unlocked(text, integer) rename to enable_notify_insert;
"""


def run_if_ours(sql):
    def run(apps, schema_editor):
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(OURS)
            if cursor.fetchone()[0]:
                cursor.execute(sql)

    return run


class Migration(migrations.Migration):
    dependencies = [("config", "0001_pgmq")]
    operations = [migrations.RunPython(run_if_ours(LOCK), run_if_ours(UNLOCK))]
