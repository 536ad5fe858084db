-- What an impact preview is of never changes; a frozen one is kept as it is, with its parts.

create or replace function demarc_guard_simulation() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        if new.frozen_at is not null then
            raise exception 'an impact preview is frozen once it has ended' using errcode = 'restrict_violation';
        end if;
        return new;
    end if;
    if old.frozen_at is not null then
        raise exception 'a frozen impact preview is kept as it is' using errcode = 'restrict_violation';
    end if;
    if tg_op = 'UPDATE' and (new.id, new.layer_id, new.definition_id, new.version, new.document, new.hash, new.as_of)
           is distinct from (old.id, old.layer_id, old.definition_id, old.version, old.document, old.hash, old.as_of)
       or tg_op = 'UPDATE' and old.status <> 'running' and (new.status, new.result) is distinct from (old.status, old.result) then
        raise exception 'what an impact preview is of, and what came out, cannot be changed'
            using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;

create or replace trigger demarc_guard_simulation before insert or update or delete on segmentation_simulation
    for each row execute function demarc_guard_simulation();

create or replace function demarc_guard_simulation_part() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select 1 from only {schema}.segmentation_simulation
                where id in (old.job_id, new.job_id) and frozen_at is not null) then
        raise exception 'a frozen impact preview is kept as it is' using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;

create or replace trigger demarc_guard_simulation_part before insert or update or delete on segmentation_simulationpart
    for each row execute function demarc_guard_simulation_part();
