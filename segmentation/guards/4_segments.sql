-- A segment is not part of itself. The lock: two people may each set one half of a circle at once.

create or replace function demarc_segment_circle() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    above bigint := new.parent_id;
begin
    perform pg_advisory_xact_lock(18116681);
    while above is not null loop
        if above = new.id then
            raise exception 'segment % would be part of itself', new.key using errcode = 'check_violation';
        end if;
        select parent_id into above from only {schema}.segmentation_segment where id = above;
    end loop;
    return null;
end
$$;

create or replace trigger demarc_segment_circle after insert or update of parent_id on segmentation_segment
    for each row when (new.parent_id is not null) execute function demarc_segment_circle();
