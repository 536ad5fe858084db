"""What the guards of 0004 left open.

* A move names the cause of its own transaction, not any older one, and when it was written is not for the writer to say.
  The trigger proves that the cause exists, and causes cannot be deleted: the foreign key would check the same again.
* Who activated which rules, when and why is as fixed as the rules themselves.
"""

import django.db.models.deletion
from django.db import migrations, models

MOVE = """
create function demarc_stamp_move() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select 1 from {schema}.segmentation_cause
                    where id = new.cause_id and xid = pg_current_xact_id() and at = transaction_timestamp()) then
        raise exception '%: this change needs a cause in the same transaction', tg_table_name
            using errcode = 'restrict_violation';
    end if;
    new.written_at := transaction_timestamp();
    return new;
end
$$;
create trigger demarc_stamp_move before insert on segmentation_move
    for each row execute function demarc_stamp_move();
alter table segmentation_move enable always trigger demarc_stamp_move;
alter function demarc_stamp_cause() set search_path = pg_catalog, pg_temp;
"""
MOVE_UNDO = """
drop trigger demarc_stamp_move on segmentation_move;
drop function demarc_stamp_move();
alter function demarc_stamp_cause() reset search_path;
"""

GUARD_DEFINITION = """
create or replace function demarc_guard_definition() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        if old.status <> 'draft' then
            raise exception 'rules that were in force cannot be deleted' using errcode = 'restrict_violation';
        end if;
        return old;
    end if;
    if old.status <> 'draft' and ({new}) is distinct from ({old}) then
        raise exception 'rules that are no draft cannot be changed' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status and (old.status, new.status)
                         not in (('draft', 'active'), ('active', 'retired')) then
        raise exception 'rules cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
"""
BEFORE = ["document", "hash", "layer_id", "version"]
FIXED = [
    "id", *BEFORE, "reason", "created_at", "created_by", "created_by_label", "activated_at", "activated_by",
    "activated_by_label",
]  # fmt: skip


def guard(columns):
    new, old = (", ".join(f"{row}.{column}" for column in columns) for row in ("new", "old"))
    return GUARD_DEFINITION.replace("{new}", new).replace("{old}", old)


def stamp_moves(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("select quote_ident(current_schema())")
        [schema] = cursor.fetchone()
    schema_editor.execute(MOVE.replace("{schema}", schema), params=None)


def forget_moves(apps, schema_editor):
    schema_editor.execute(MOVE_UNDO, params=None)


class Migration(migrations.Migration):
    dependencies = [("segmentation", "0004_guards")]
    operations = [
        migrations.RunPython(stamp_moves, forget_moves),
        migrations.RunSQL(guard(FIXED), guard(BEFORE)),
        migrations.AlterField(
            model_name="move",
            name="cause",
            field=models.ForeignKey(
                db_constraint=False, on_delete=django.db.models.deletion.PROTECT, to="segmentation.cause"
            ),
        ),
    ]
