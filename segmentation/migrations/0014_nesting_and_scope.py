from django.db import migrations

# A segment is not part of itself, however many segments lie between; and a segmentation that has given labels keeps what
# it labels. The lock: two people may each set one half of a circle at once.
GUARD = """
create function demarc_segment_circle() returns trigger language plpgsql as $$
declare
    above bigint := new.parent_id;
begin
    perform pg_advisory_xact_lock(18116681);
    while above is not null loop
        if above = new.id then
            raise exception 'segment % would be part of itself', new.key using errcode = 'check_violation';
        end if;
        select parent_id into above from segmentation_segment where id = above;
    end loop;
    return null;
end
$$;
create trigger demarc_segment_circle after insert or update of parent_id on segmentation_segment
    for each row when (new.parent_id is not null) execute function demarc_segment_circle();
alter table segmentation_segment enable always trigger demarc_segment_circle;

create function demarc_layer_scope() returns trigger language plpgsql as $$
begin
    if exists (select from segmentation_assignment where layer_id = new.id) then
        raise exception 'segmentation % has given labels: what it labels stays', new.key
            using errcode = 'check_violation';
    end if;
    return null;
end
$$;
create trigger demarc_layer_scope after update of scope on segmentation_layer
    for each row when (new.scope is distinct from old.scope) execute function demarc_layer_scope();
alter table segmentation_layer enable always trigger demarc_layer_scope;
"""
UNDO = """
drop trigger demarc_layer_scope on segmentation_layer;
drop function demarc_layer_scope();
drop trigger demarc_segment_circle on segmentation_segment;
drop function demarc_segment_circle();
"""


class Migration(migrations.Migration):
    dependencies = [("segmentation", "0013_impact_previews")]
    operations = [migrations.RunSQL(GUARD, UNDO)]
