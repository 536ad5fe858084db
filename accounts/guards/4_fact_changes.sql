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
