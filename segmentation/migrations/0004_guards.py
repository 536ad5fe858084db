"""The promises the database keeps whoever writes: see design section 6.

* A definition that is no draft never changes, and its weights are right. Its status only goes draft, active, retired.
* Activating a definition and changing an effective segment demand a Cause row of the same transaction.
* History, moves and causes are append-only.

The functions name their tables with the schema and run with an empty search path, and the triggers are ENABLE
ALWAYS: no setting of a session and no temporary table gets round them.
"""

from importlib import import_module

from django.db import migrations

append_only = import_module("accounts.migrations.0002_append_only").append_only

APPEND_ONLY = [
    "segmentation_cause",
    "segmentation_move",
    "segmentation_historicalassignment",
    "segmentation_historicaldefinition",
    "segmentation_historicallayer",
    "segmentation_historicalsegment",
    "segmentation_historicalservicemodel",
    "segmentation_historicaltreatment",
]

# xids start again after a restore, hence the time beside it. Neither can be chosen by who inserts the row.
CAUSE = """
create function demarc_stamp_cause() returns trigger language plpgsql as $$
begin
    new.xid := pg_current_xact_id();
    new.at := transaction_timestamp();
    return new;
end
$$;
create trigger demarc_stamp_cause before insert on segmentation_cause
    for each row execute function demarc_stamp_cause();
alter table segmentation_cause enable always trigger demarc_stamp_cause;

create function demarc_require_cause() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select 1 from {schema}.segmentation_cause
                    where xid = pg_current_xact_id() and at = transaction_timestamp()) then
        raise exception '%: this change needs a cause in the same transaction', tg_table_name
            using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;
"""
CAUSE_UNDO = """
drop function demarc_require_cause();
drop trigger demarc_stamp_cause on segmentation_cause;
drop function demarc_stamp_cause();
"""

ASSIGNMENT = """
create trigger demarc_effective_insert before insert on segmentation_assignment
    for each row when (new.effective_id is not null) execute function demarc_require_cause();
create trigger demarc_effective_update before update on segmentation_assignment
    for each row when (old.effective_id is distinct from new.effective_id
                       or old.account_id is distinct from new.account_id
                       or old.layer_id is distinct from new.layer_id)
    execute function demarc_require_cause();
create trigger demarc_effective_delete before delete on segmentation_assignment
    for each row execute function demarc_require_cause();
create trigger demarc_no_truncate before truncate on segmentation_assignment
    for each statement execute function demarc_append_only();
alter table segmentation_assignment enable always trigger demarc_effective_insert;
alter table segmentation_assignment enable always trigger demarc_effective_update;
alter table segmentation_assignment enable always trigger demarc_effective_delete;
alter table segmentation_assignment enable always trigger demarc_no_truncate;
"""
ASSIGNMENT_UNDO = """
drop trigger demarc_effective_insert on segmentation_assignment;
drop trigger demarc_effective_update on segmentation_assignment;
drop trigger demarc_effective_delete on segmentation_assignment;
drop trigger demarc_no_truncate on segmentation_assignment;
"""

DEFINITION = """
create function demarc_guard_definition() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        if old.status <> 'draft' then
            raise exception 'rules that were in force cannot be deleted' using errcode = 'restrict_violation';
        end if;
        return old;
    end if;
    if old.status <> 'draft' and (new.document, new.hash, new.layer_id, new.version)
                          is distinct from (old.document, old.hash, old.layer_id, old.version) then
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
create trigger demarc_guard_definition before update or delete on segmentation_definition
    for each row execute function demarc_guard_definition();
create trigger demarc_activate_insert before insert on segmentation_definition
    for each row when (new.status <> 'draft') execute function demarc_require_cause();
create trigger demarc_activate_update before update on segmentation_definition
    for each row when (old.status is distinct from new.status) execute function demarc_require_cause();
create trigger demarc_no_truncate before truncate on segmentation_definition
    for each statement execute function demarc_append_only();
alter table segmentation_definition enable always trigger demarc_guard_definition;
alter table segmentation_definition enable always trigger demarc_activate_insert;
alter table segmentation_definition enable always trigger demarc_activate_update;
alter table segmentation_definition enable always trigger demarc_no_truncate;
"""
DEFINITION_UNDO = """
drop trigger demarc_guard_definition on segmentation_definition;
drop trigger demarc_activate_insert on segmentation_definition;
drop trigger demarc_activate_update on segmentation_definition;
drop trigger demarc_no_truncate on segmentation_definition;
drop function demarc_guard_definition();
"""

# A weight is text as typed. Drafts may hold anything unfinished, but nothing negative, infinite or NaN.
WEIGHTS = """
create function demarc_number(typed text) returns numeric language plpgsql immutable parallel safe
    set search_path = pg_catalog, pg_temp as $$
begin
    return typed::numeric;
exception when data_exception then
    return null;
end
$$;

create function demarc_weights_bearable(document jsonb) returns boolean language sql immutable parallel safe
return case when jsonb_typeof(document -> 'weights') is distinct from 'object' then true
            else (select coalesce(bool_and(demarc_number(value) >= 0 and demarc_number(value) < 'Infinity'), true)
                    from jsonb_each_text(document -> 'weights')) end;

create function demarc_weights_complete(document jsonb) returns boolean language sql immutable parallel safe
return case
    when document -> 'weights' is null then true
    when jsonb_typeof(document -> 'weights') <> 'object' then false
    else (select coalesce(sum(demarc_number(value)) = 1
                          and bool_and(coalesce(demarc_number(value) between 0 and 1, false)), false)
            from jsonb_each_text(document -> 'weights')) end;

alter table segmentation_definition
    add constraint definition_weights_bearable check (demarc_weights_bearable(document)),
    add constraint definition_weights_complete check (status = 'draft' or demarc_weights_complete(document));
"""
WEIGHTS_UNDO = """
alter table segmentation_definition
    drop constraint definition_weights_bearable, drop constraint definition_weights_complete;
drop function demarc_weights_complete(jsonb);
drop function demarc_weights_bearable(jsonb);
drop function demarc_number(text);
"""

# Room on each page, so that a changed row stays where it is and no index is written.
ROOM = "alter table {table} set (fillfactor = 80);"
ROOM_UNDO = "alter table {table} reset (fillfactor);"
ROOMY = ["segmentation_assignment", "segmentation_assignmentscore"]


def require_cause(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("select quote_ident(current_schema())")
        [schema] = cursor.fetchone()
    schema_editor.execute(CAUSE.replace("{schema}", schema), params=None)


def forget_cause(apps, schema_editor):
    schema_editor.execute(CAUSE_UNDO, params=None)


class Migration(migrations.Migration):
    dependencies = [("segmentation", "0003_slim_history"), ("accounts", "0002_append_only")]
    operations = [
        migrations.RunPython(require_cause, forget_cause),
        migrations.RunSQL(ASSIGNMENT, ASSIGNMENT_UNDO),
        migrations.RunSQL(DEFINITION, DEFINITION_UNDO),
        migrations.RunSQL(WEIGHTS, WEIGHTS_UNDO),
        *[append_only(table) for table in APPEND_ONLY],
        *[migrations.RunSQL(ROOM.format(table=table), ROOM_UNDO.format(table=table)) for table in ROOMY],
    ]
