-- What a segment in use is called and how it is served changes with a reason, and never silently: the owner and the approvers
-- are told (governance.news.notifications). Until such changes are requests of their own.
create or replace function demarc_guard_how_we_serve() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    before jsonb := to_jsonb(old);
    after jsonb := to_jsonb(new);
    kind text := substr(tg_table_name, length('segmentation_') + 1);
    cause {schema}.segmentation_cause;
    changed text;
    layers bigint[];
begin
    select array_agg(distinct s.layer_id) into layers
      from only {schema}.segmentation_segment s left join only {schema}.segmentation_treatment t on t.id = s.treatment_id
     where (kind = 'layer' and s.layer_id = new.id or kind = 'segment' and s.id = new.id
            or kind = 'treatment' and t.id = new.id or kind = 'servicemodel' and t.service_model_id = new.id)
       and {schema}.demarc_in_use(s.layer_id);
    if layers is null then
        return new;
    end if;
    select * into cause from only {schema}.segmentation_cause
     where xid = pg_current_xact_id() and at = transaction_timestamp();
    if trim(coalesce(cause.reason, '')) = '' then
        perform {schema}.demarc_refuse_unsigned('how a segment in use is called and served changes with a reason only');
        return new;
    end if;
    select string_agg(replace(regexp_replace(key, '_id$', ''), '_', ' '), ', ' order by key) into changed
      from jsonb_each(after) where value is distinct from before -> key;
    insert into {schema}.governance_event (kind, layer_id, about, about_id, text, reason, data, actor, actor_label, channel)
    values ('how_we_serve_changed', layers[1], kind, new.id,
            format('%s “%s” was changed: %s.',
                   case kind when 'layer' then 'The segmentation' when 'segment' then 'The segment'
                             when 'treatment' then 'How we serve' else 'The service model' end,
                   before ->> 'name', changed),
            cause.reason, jsonb_build_object('layers', layers), cause.actor, cause.actor_label, cause.channel);
    return new;
end
$$;
create or replace trigger demarc_guard_how_we_serve before update on segmentation_layer
    for each row when ((old.key, old.name, old.decides) is distinct from (new.key, new.name, new.decides))
    execute function demarc_guard_how_we_serve();
create or replace trigger demarc_guard_how_we_serve before update on segmentation_segment
    for each row when ((old.name, old.description, old.parent_id, old.owner_id, old.owner_role, old.treatment_id)
                       is distinct from
                       (new.name, new.description, new.parent_id, new.owner_id, new.owner_role, new.treatment_id))
    execute function demarc_guard_how_we_serve();
create or replace trigger demarc_guard_how_we_serve before update on segmentation_treatment
    for each row when (old.* is distinct from new.*) execute function demarc_guard_how_we_serve();
create or replace trigger demarc_guard_how_we_serve before update on segmentation_servicemodel
    for each row when (old.* is distinct from new.*) execute function demarc_guard_how_we_serve();

-- Nor does it go away, to come back as something else.
create or replace function demarc_served_stays() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (
            select from only {schema}.segmentation_segment s join only {schema}.segmentation_treatment t on t.id = s.treatment_id
             where (tg_table_name = 'segmentation_treatment' and t.id = old.id
                    or tg_table_name = 'segmentation_servicemodel' and t.service_model_id = old.id)
               and {schema}.demarc_in_use(s.layer_id)) then
        perform {schema}.demarc_refuse_unsigned('how a segment in use is served is changed, not deleted');
    end if;
    return old;
end
$$;
create or replace trigger demarc_served_stays before delete on segmentation_treatment
    for each row execute function demarc_served_stays();
create or replace trigger demarc_served_stays before delete on segmentation_servicemodel
    for each row execute function demarc_served_stays();
