-- The clock of recalculations never goes back, and is no day to come: here by more than the day that places on Earth differ,
-- exactly in segmentation.runs.recalculation. One of nobody says nothing. What there was as of which day stays, and what has ended does not go on. The lock is segmentation.runs.recalculation.CLOCK.
create or replace function demarc_guard_clock() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    today date := (transaction_timestamp() at time zone 'UTC' + interval '14 hours')::date;
begin
    if tg_op = 'UPDATE' then
        if old.status <> 'running' and new.status = 'running' then
            raise exception 'a recalculation that has ended does not go on' using errcode = 'restrict_violation';
        end if;
        raise exception 'what a recalculation was as of stays' using errcode = 'restrict_violation';
    end if;
    perform pg_advisory_xact_lock(18116682);
    if new.as_of > today then
        raise exception 'a recalculation is not as of a day to come' using errcode = 'restrict_violation';
    end if;
    if new.as_of + 1 < (select max(as_of) from only {schema}.segmentation_run where accounts > 0 and as_of <= today) then
        raise exception 'the clock of recalculations does not go back' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_clock before insert on segmentation_run
    for each row execute function demarc_guard_clock();
create or replace trigger demarc_guard_clock_update before update on segmentation_run
    for each row when (old.as_of is distinct from new.as_of or old.accounts > 0 and new.accounts is distinct from old.accounts
                       or old.status <> 'running' and new.status = 'running')
    execute function demarc_guard_clock();

-- A recalculation is by rules in force. It has begun with those that others are taking the place of in the same hour.
create or replace function demarc_guard_run_layer() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'UPDATE' and (new.definition_id, new.layer_id) = (old.definition_id, old.layer_id) then
        return new;
    end if;
    if not exists (select from only {schema}.segmentation_definition
                    where id = new.definition_id and layer_id = new.layer_id
                      and (status = 'active' or retired_at > transaction_timestamp() - interval '1 hour')) then
        raise exception 'a recalculation is by rules that are in force' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_run_layer before insert or update of definition_id, layer_id on segmentation_runlayer
    for each row execute function demarc_guard_run_layer();
