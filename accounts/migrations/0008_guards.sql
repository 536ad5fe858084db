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
create or replace trigger demarc_not_emptied before truncate on accounts_factchange
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on accounts_factchange
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

-- Whatever changes a fact leaves a row of accounts_factchange, whoever writes: the columns that changed, and the source and
-- day that the provenance gives for them. A statement writes one row an account. Where nobody says of which day a value is, it
-- is of today; in a new row of the first day that anything in it is of, and of any day where nothing has one.

create or replace function demarc_note_facts() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp set jit = off as $$
declare
    home text := substr(tg_table_name, length('accounts_') + 1);
    owner text := case home when 'account' then 'id' else 'account_id' end;
    product text := case home when 'usage' then 'n.product_id' else 'null::bigint' end;
    subscription text := case home when 'subscription' then 'n.id' else 'null::bigint' end;
    -- What tells rows apart, and what is told of every value.
    beside text[] := case home when 'account' then array['id', 'external_id', 'provenance', 'created_at']
                               when 'usage' then array['id', 'account_id', 'product_id', 'provenance']
                               else array['id', 'account_id', 'subscription_id', 'source', 'observed'] end;
    changes text;
    news text;
    olds text;
    rows text;
    stamp text;
begin
    -- A hundred arguments are the most a function takes: forty columns at a time.
    select string_agg(parts.pairs, ' || ' order by part), string_agg(parts.news, ', ' order by part),
           string_agg(parts.olds, ', ' order by part)
      into changes, news, olds
      from (select part, format('jsonb_strip_nulls(jsonb_build_object(%s))', string_agg(format(case tg_op
                       when 'INSERT' then '%1$L, n.%2$I'
                       else '%1$L, case when n.%2$I is distinct from o.%2$I then coalesce(to_jsonb(n.%2$I), ''[]'') end' end,
                       attname, attname), ', ')) as pairs,
                   string_agg(format('n.%I', attname), ', ') as news, string_agg(format('o.%I', attname), ', ') as olds
              from (select attname, row_number() over (order by attnum) / 40 as part from pg_attribute
                     where attrelid = tg_relid and attnum > 0 and not attisdropped and attname <> all (beside)) c
             group by part) parts;
    rows := case tg_op when 'INSERT' then format('select n.*, %s as changes from after n', changes)
        else format('select n.*, %s as changes from before o join after n on n.id = o.id
                      where row(%s) is distinct from row(%s)', changes, news, olds) end;
    if home = 'subscription' then
        execute format('insert into {schema}.accounts_factchange (account_id, home, subscription, observed, source, "values")
                        select account_id, ''subscription'', id, observed, source, changes from (%s offset 0) n
                         where changes <> ''{}''', rows);
        return null;
    end if;
    -- As a rule one source told everything on one day; else a row for each of them.
    stamp := format($stamp$
        select n.changes as vals, n.first ->> 0 as source, (n.first ->> 1)::date as observed
         where n.uniform
        union all
        select jsonb_object_agg(e.key, e.value), p.stamp ->> 0, coalesce((p.stamp ->> 1)::date, %s)
          from jsonb_each(n.changes) e
         cross join lateral (select n.provenance -> case e.key when 'csm_id' then 'csm' when 'parent_id' then 'parent' else e.key end) p (stamp)
         where not n.uniform
         group by p.stamp$stamp$,
        case tg_op when 'INSERT' then '(select min(x.value ->> 1)::date from jsonb_each(n.provenance) x)' else 'current_date' end);
    -- offset 0: each is worked out once, not wherever it is used.
    execute format($note$
        insert into {schema}.accounts_factchange (account_id, home, product, observed, source, "values")
        select n.%I, %L, %s, s.observed, coalesce(s.source, ''), s.vals
          from (select m.*, coalesce(not jsonb_path_exists(m.provenance, 'strict $.* ? (@[0] != $s || @[1] != $o)',
                                                           jsonb_build_object('s', m.first -> 0, 'o', m.first -> 1))
                                     and %s, false) as uniform
                  from (select r.*, jsonb_path_query_first(r.provenance, '$.*') as first from (%s offset 0) r where r.changes <> '{}' offset 0) m offset 0) n
         cross join lateral (%s) s$note$,
        owner, home, product,
        case tg_op when 'INSERT' then 'true' else 'm.provenance ?& array(select jsonb_object_keys(m.changes))' end, rows, stamp);
    return null;
end
$$;

create or replace trigger demarc_note_facts_insert after insert on accounts_account
    referencing new table as after for each statement execute function demarc_note_facts();
create or replace trigger demarc_note_facts_update after update on accounts_account
    referencing old table as before new table as after for each statement execute function demarc_note_facts();
create or replace trigger demarc_note_facts_insert after insert on accounts_usage
    referencing new table as after for each statement execute function demarc_note_facts();
create or replace trigger demarc_note_facts_update after update on accounts_usage
    referencing old table as before new table as after for each statement execute function demarc_note_facts();
create or replace trigger demarc_note_facts_insert after insert on accounts_subscription
    referencing new table as after for each statement execute function demarc_note_facts();
create or replace trigger demarc_note_facts_update after update on accounts_subscription
    referencing old table as before new table as after for each statement execute function demarc_note_facts();

-- They are only added; but usage of a month that is long over is put into one row, and those it stands for go.

create or replace function demarc_fact_change_stays() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' and old.home = 'usage' and old.observed < current_date - 90 and exists (
        select from {schema}.accounts_factchange k
         where k.account_id = old.account_id and k.home = 'usage' and k.product is not distinct from old.product
           and k.id > old.id and old.observed between k.thinned_from and k.observed
           and date_trunc('month', k.observed) = date_trunc('month', old.observed))
    then
        return old;
    end if;
    raise exception 'accounts_factchange is append-only: rows are added, never changed or removed'
        using errcode = 'restrict_violation';
end
$$;

create or replace trigger demarc_fact_change_stays before update or delete on accounts_factchange
    for each row execute function demarc_fact_change_stays();

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
