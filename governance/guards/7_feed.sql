-- The feed of changes (core.feed): what a statement wrote is noted as one row, with its transaction, whoever writes.

create or replace function demarc_feed() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    insert into {schema}.core_change (kind, ids, size)
    select tg_argv[0], array_agg(id order by id), count(*) from fresh having count(*) > 0;
    return null;
end
$$;
create or replace trigger demarc_feed after insert on accounts_factchange
    referencing new table as fresh for each statement execute function demarc_feed('facts');
create or replace trigger demarc_feed after insert on accounts_signal
    referencing new table as fresh for each statement execute function demarc_feed('signal');
create or replace trigger demarc_feed after insert on segmentation_move
    referencing new table as fresh for each statement execute function demarc_feed('move');

-- An event that only repeats a move is left out.
create or replace function demarc_feed_events() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    insert into {schema}.core_change (kind, ids, size)
    select 'event', array_agg(id order by id), count(*) from fresh where kind <> 'move' having count(*) > 0;
    return null;
end
$$;
create or replace trigger demarc_feed after insert on governance_event
    referencing new table as fresh for each statement execute function demarc_feed_events();

-- A number that was given stays, and so does what was noted.
create or replace function demarc_change_stays() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' or old.first is not null
       or (new.kind, new.ids, new.size, new.xid, new.at) is distinct from (old.kind, old.ids, old.size, old.xid, old.at) then
        raise exception 'core_change is append-only: rows are added, and numbered once' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_change_stays before update or delete on core_change
    for each row execute function demarc_change_stays();
