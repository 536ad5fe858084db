-- What happened stays: rows of history are added, never changed, deleted or emptied away. The function serves all apps.

create or replace function demarc_append_only() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '% is append-only: rows are added, never changed or removed', tg_table_name
        using errcode = 'restrict_violation';
end
$$;

{histories}{append_only: accounts_refusal}
