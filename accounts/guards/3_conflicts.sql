-- A conflict between sources that was decided stays decided.

create or replace function demarc_guard_conflict() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'conflict %: it has ended and does not change any more', old.id using errcode = 'restrict_violation';
end
$$;

create or replace trigger demarc_guard_conflict before update or delete on accounts_conflict
    for each row when (old.status <> 'open') execute function demarc_guard_conflict();
