-- Every event, and every change of a segment but the first, leaves a row for those who are to be told. Statement triggers: a
-- recalculation writes many moves at once.

create or replace function demarc_outbox() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    insert into {schema}.governance_outbox (event_id) select id from fresh;
    return null;
end
$$;
create or replace trigger demarc_outbox after insert on governance_event
    referencing new table as fresh for each statement execute function demarc_outbox();

create or replace function demarc_event_of_move() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    insert into {schema}.governance_event (kind, account_id, layer_id, about, about_id, text, reason, data, actor,
                                           actor_label, channel)
    select 'move', f.account_id, f.layer_id, 'move', f.id, '', c.reason, jsonb_build_object('why', f.why), c.actor,
           c.actor_label, c.channel
      from fresh f join only {schema}.segmentation_cause c on c.id = f.cause_id
     where f.why <> 'initial';
    return null;
end
$$;
create or replace trigger demarc_event_of_move after insert on segmentation_move
    referencing new table as fresh for each statement execute function demarc_event_of_move();

-- What was looked at and done is said of recalculations that there were and of days that have come, wherever on Earth.
create or replace function demarc_done_by_now() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_table_name = 'governance_chore' then
        if new.day > (transaction_timestamp() at time zone 'UTC' + interval '14 hours')::date then
            perform {schema}.demarc_refuse_unsigned('the day of this step has not come');
        end if;
    elsif not exists (select from only {schema}.segmentation_run where id = new.run) then
        perform {schema}.demarc_refuse_unsigned('there is no such recalculation');
    end if;
    return new;
end
$$;
create or replace trigger demarc_done_by_now before insert or update on governance_chore
    for each row execute function demarc_done_by_now();
create or replace trigger demarc_done_by_now before insert on governance_followedrun
    for each row execute function demarc_done_by_now();
