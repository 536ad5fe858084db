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

create or replace trigger demarc_not_emptied before truncate on accounts_sourcesystem
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_sourcesystem
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_historicalcsm
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on accounts_historicalcsm
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_csm
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_csm
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_product
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_product
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_historicalaccount
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on accounts_historicalaccount
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_account
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_account
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_historicalsystemofrecord
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on accounts_historicalsystemofrecord
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_systemofrecord
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_systemofrecord
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_historicalconflict
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on accounts_historicalconflict
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_conflict
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_conflict
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_historicalsubscription
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on accounts_historicalsubscription
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_subscription
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_subscription
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_usage
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_usage
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_signal
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_signal
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_importbatch
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_importbatch
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_importpart
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_importpart
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_importfile
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_importfile
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_rejectedrow
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_rejectedrow
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_savedview
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_savedview
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on accounts_refusal
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_refusal
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_append_only before update or delete on accounts_historicalaccount
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on accounts_historicalconflict
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on accounts_historicalcsm
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on accounts_historicalsubscription
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on accounts_historicalsystemofrecord
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on accounts_refusal
    for each row execute function demarc_append_only();


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

-- A conflict between sources that was decided stays decided.

create or replace function demarc_guard_conflict() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'conflict %: it has ended and does not change any more', old.id using errcode = 'restrict_violation';
end
$$;

create or replace trigger demarc_guard_conflict before update or delete on accounts_conflict
    for each row when (old.status <> 'open') execute function demarc_guard_conflict();

-- Imports and people know an account by its external ID: who took another's would take its segment with it.

create or replace function demarc_account_keeps_name() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'accounts keep their external ID: another one is another account' using errcode = 'restrict_violation';
end
$$;

create or replace trigger demarc_account_keeps_name before update on accounts_account
    for each row when (old.external_id is distinct from new.external_id) execute function demarc_account_keeps_name();

do $$
declare
    guard record;
begin
    for guard in select tgrelid::regclass as "table", tgname from pg_trigger
                  where tgname like 'demarc%' and tgenabled <> 'A' and pg_table_is_visible(tgrelid) loop
        execute format('alter table %s enable always trigger %I', guard."table", guard.tgname);
    end loop;
end
$$;
