-- What happened stays: rows of history are added, never changed, deleted or emptied away. The function serves all apps.

create or replace function demarc_append_only() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '% is append-only: rows are added, never changed or removed', tg_table_name
        using errcode = 'restrict_violation';
end
$$;

-- No table is emptied at one stroke, past the triggers of its rows; and who takes another's number would take their place.

create or replace function demarc_row_stays() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'TRUNCATE' then
        raise exception '% is never emptied', tg_table_name using errcode = 'restrict_violation';
    end if;
    raise exception 'rows of % keep their numbers', tg_table_name using errcode = 'restrict_violation';
end
$$;

{rows: accounts}{histories}{append_only: accounts_refusal}
