"""Which segment is above which decides what is up, down and the top: where rules are active it changes with a cause only.

So does whether a segmentation plans downgrades after the provisional period, as the rest of how it applies does.
"""

from django.db import migrations

LAYER = """
drop trigger demarc_layer_policy on segmentation_layer;
create trigger demarc_layer_policy before update on segmentation_layer
    for each row when (old.policy is distinct from new.policy or old."primary" is distinct from new."primary"{more})
    execute function demarc_require_cause();
alter table segmentation_layer enable always trigger demarc_layer_policy;
"""
MORE = """
                       or old.plan_provisional_downgrades is distinct from new.plan_provisional_downgrades"""

ORDER = """
create function demarc_guard_segment_order() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from {schema}.segmentation_definition
                where layer_id in (new.layer_id, old.layer_id) and status = 'active')
       and (tg_op <> 'INSERT' or exists (select from {schema}.segmentation_segment
                                         where layer_id = new.layer_id and position >= new.position))
       and not exists (select from {schema}.segmentation_cause
                        where xid = pg_current_xact_id() and at = transaction_timestamp()) then
        raise exception 'segmentation_segment: this change needs a cause in the same transaction'
            using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;
create trigger demarc_segment_order_insert before insert on segmentation_segment
    for each row execute function demarc_guard_segment_order();
create trigger demarc_segment_order_update before update on segmentation_segment
    for each row when ((old.layer_id, old.position, old.key) is distinct from (new.layer_id, new.position, new.key))
    execute function demarc_guard_segment_order();
create trigger demarc_segment_order_delete before delete on segmentation_segment
    for each row execute function demarc_guard_segment_order();
alter table segmentation_segment enable always trigger demarc_segment_order_insert;
alter table segmentation_segment enable always trigger demarc_segment_order_delete;
alter table segmentation_segment enable always trigger demarc_segment_order_update;
"""
ORDER_UNDO = """
drop trigger demarc_segment_order_insert on segmentation_segment;
drop trigger demarc_segment_order_update on segmentation_segment;
drop trigger demarc_segment_order_delete on segmentation_segment;
drop function demarc_guard_segment_order();
"""


def guard(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("select quote_ident(current_schema())")
        [schema] = cursor.fetchone()
    schema_editor.execute(ORDER.replace("{schema}", schema), params=None)


def unguard(apps, schema_editor):
    schema_editor.execute(ORDER_UNDO, params=None)


class Migration(migrations.Migration):
    dependencies = [("segmentation", "0017_provisional_by_due_date")]
    operations = [
        migrations.RunSQL(LAYER.replace("{more}", MORE), LAYER.replace("{more}", "")),
        migrations.RunPython(guard, unguard),
    ]
