-- How segments are called and served leaves a row of history by every path. A save writes one itself. What a transaction leaves
-- without one, as QuerySet.update and SQL do, gets it at its end, in the name of the transaction's cause, else of the database's role.

create or replace function demarc_keep_history() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    history text := regexp_replace(tg_table_name, '^([a-z]+)_', '\1_historical');
    number bigint := coalesce(new.id, old.id);
    cause {schema}.segmentation_cause;
    present jsonb;
    told jsonb;
begin
    execute format('select to_jsonb(t) from only {schema}.%I t where t.id = $1', tg_table_name) into present using number;
    execute format('select to_jsonb(h) from only {schema}.%I h where h.id = $1 order by h.history_id desc limit 1', history)
       into told using number;
    if present is null and coalesce(told ->> 'history_type', '-') = '-'
       or present is not null and told ->> 'history_type' <> '-' and not exists (
              select from jsonb_each(present) p where told ? p.key and told -> p.key is distinct from p.value) then
        return null;
    end if;
    select * into cause from only {schema}.segmentation_cause
     where xid = pg_current_xact_id() and at = transaction_timestamp();
    present := coalesce(present, to_jsonb(old)) || jsonb_build_object(
        'history_id', nextval(pg_get_serial_sequence(format('{schema}.%I', history), 'history_id')),
        'history_date', clock_timestamp(),
        'history_type', case when present is null then '-' when coalesce(told ->> 'history_type', '-') = '-' then '+' else '~' end,
        'history_user_id', cause.actor,
        'history_user_label', coalesce(cause.actor_label, 'database role ' || session_user),
        'history_channel', coalesce(cause.channel, 'database'),
        'history_change_reason', coalesce(cause.reason, ''),
        'history_run', cause.run);
    execute format('insert into {schema}.%1$I select (jsonb_populate_record(null::{schema}.%1$I, $1)).*', history) using present;
    return null;
end
$$;

{with_history: segmentation_servicemodel segmentation_treatment segmentation_layer segmentation_segment segmentation_jobtobedone segmentation_interview}
