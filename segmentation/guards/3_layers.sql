-- A segmentation that has given labels keeps what it labels; how it applies changes with a cause only.

create or replace function demarc_layer_scope() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from {schema}.segmentation_assignment where layer_id = new.id) then
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
