-- Imports and people know an account by its external ID: who took another's would take its segment with it.

create or replace function demarc_account_keeps_name() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'accounts keep their external ID: another one is another account' using errcode = 'restrict_violation';
end
$$;

create or replace trigger demarc_account_keeps_name before update on accounts_account
    for each row when (old.external_id is distinct from new.external_id) execute function demarc_account_keeps_name();
