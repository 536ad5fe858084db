-- No company is part of itself by any number of steps. The guard walks up from an account whose parent is set or changed, an
-- index look-up a level, and looks at all rows of a statement once they are written. The lock is accounts.parents.LOCK: two
-- people who each close one half of a circle wait for each other.

create or replace function demarc_no_parent_circle() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    above bigint := new.parent_id;
    level integer := 0;
begin
    perform pg_advisory_xact_lock(18116680);
    while above is not null loop
        level := level + 1;
        if above = new.id then
            raise exception 'account % would be part of itself: its parents lead back to it', new.external_id
                using errcode = 'check_violation';
        end if;
        if level > 100 then
            raise exception 'account % has more than 100 levels of parents above it', new.external_id
                using errcode = 'check_violation';
        end if;
        select parent_id into above from only {schema}.accounts_account where id = above;
    end loop;
    return null;
end
$$;

create or replace trigger demarc_no_parent_circle_insert after insert on accounts_account
    for each row when (new.parent_id is not null) execute function demarc_no_parent_circle();

create or replace trigger demarc_no_parent_circle_update after update of parent_id on accounts_account
    for each row when (new.parent_id is not null and new.parent_id is distinct from old.parent_id)
    execute function demarc_no_parent_circle();
