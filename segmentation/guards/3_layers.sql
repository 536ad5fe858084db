-- A segmentation that has given labels keeps what it labels; how it applies changes with a cause only.

create or replace function demarc_layer_scope() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from only {schema}.segmentation_assignment where layer_id = new.id) then
        raise exception 'segmentation % has given labels: what it labels stays', new.key
            using errcode = 'check_violation';
    end if;
    return null;
end
$$;

create or replace trigger demarc_layer_scope after update of scope on segmentation_layer
    for each row when (new.scope is distinct from old.scope) execute function demarc_layer_scope();

create or replace trigger demarc_layer_policy before update on segmentation_layer
    for each row when ((old.policy, old."primary", old.plan_provisional_downgrades)
                       is distinct from (new.policy, new."primary", new.plan_provisional_downgrades))
    execute function demarc_require_cause();

-- One whose rules were ever in force is not deleted, to come back under the same number with another policy.

create or replace function demarc_layer_stays() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from only {schema}.segmentation_definition where layer_id = old.id and status <> 'draft')
       or exists (select from only {schema}.segmentation_assignment where layer_id = old.id) then
        raise exception 'segmentation % has had rules in force: it is not deleted', old.key
            using errcode = 'restrict_violation';
    end if;
    return old;
end
$$;

create or replace trigger demarc_layer_stays before delete on segmentation_layer
    for each row execute function demarc_layer_stays();
