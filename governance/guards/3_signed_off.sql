-- What matters is changed by the request that names it, carried out in the same transaction; or at set-up. A Cause of one's
-- own is not enough.

create or replace function demarc_refuse_unsigned(sentence text) returns void language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '%', sentence using errcode = 'restrict_violation';
end
$$;

-- Set-up is over once customers have had segments and somebody is there to decide: from then on nothing is set up any more.
create or replace function demarc_set_up_is_over() returns boolean language sql stable
    set search_path = pg_catalog, pg_temp as $$
    select exists (select from only {schema}.segmentation_move)
       and (r.needed = '{}' or exists (
            select from only {schema}.auth_user u join only {schema}.auth_user_groups m on m.user_id = u.id
              join only {schema}.auth_group g on g.id = m.group_id
             where u.is_active and r.needed ? g.name))
      from {schema}.demarc_required('role', 0, 0, 0, false, false, null) r
$$;

create or replace function demarc_guard_set_up() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if {schema}.demarc_set_up_is_over() then
        perform {schema}.demarc_refuse_unsigned('customers have segments and somebody is there to decide: set-up is over');
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_set_up before insert on segmentation_cause
    for each row when (new.kind = 'set-up') execute function demarc_guard_set_up();

-- Whether this transaction carries out a request of this kind whose content contains one of these; or sets up. Where
-- customers have segments and only people who could decide are missing, set-up gives roles and nothing else.
create or replace function demarc_signed_off(kind text, variadic named jsonb[]) returns boolean language sql stable
    set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from only {schema}.segmentation_cause c
          left join only {schema}.governance_approvalrequest r on r.cause = c.id and r.kind = $1 and r.content @> any (named)
         where c.xid = pg_current_xact_id() and c.at = transaction_timestamp()
           and (r.id is not null or c.kind = 'set-up' and ($1 = 'role' or not exists (
                    select from only {schema}.segmentation_move))))
$$;

-- The contents of the requests of this kind that this transaction carries out.
create or replace function demarc_carried_out(kind text) returns setof jsonb language sql stable
    set search_path = pg_catalog, pg_temp as $$
    select r.content from only {schema}.segmentation_cause c join only {schema}.governance_approvalrequest r on r.cause = c.id
     where r.kind = $1 and c.xid = pg_current_xact_id() and c.at = transaction_timestamp()
$$;

-- Rules become active by the request that names them and exactly what they say; those before them retire with that.
create or replace function demarc_sign_off_rules() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    named jsonb[];
begin
    if new.status = 'active' then
        named := array[jsonb_build_object('definition', new.id, 'hash', new.hash,
                                          'rules', {schema}.demarc_fingerprint(new.document))];
    else
        select array_agg(jsonb_build_object('definition', id)) into named
          from only {schema}.segmentation_definition where layer_id = new.layer_id and id <> new.id;
    end if;
    if not {schema}.demarc_signed_off('definition', variadic coalesce(named, '{}')) then
        perform {schema}.demarc_refuse_unsigned('rules become active and retire by an approved request that names it');
    end if;
    return new;
end
$$;
create or replace trigger demarc_sign_off_rules before update on segmentation_definition
    for each row when ((old.status = 'active') <> (new.status = 'active')) execute function demarc_sign_off_rules();

create or replace function demarc_rules_follow() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from only {schema}.segmentation_definition where layer_id = new.layer_id and status = 'active') then
        perform {schema}.demarc_refuse_unsigned('rules retire when others become active');
    end if;
    return null;
end
$$;
drop trigger if exists demarc_rules_follow on segmentation_definition;
create constraint trigger demarc_rules_follow after update on segmentation_definition deferrable initially deferred
    for each row when (old.status = 'active' and new.status <> 'active') execute function demarc_rules_follow();

-- How a segmentation that has had rules in force applies, and which of its segments is above which.
create or replace function demarc_in_use(layer bigint) returns boolean language sql stable
    set search_path = pg_catalog, pg_temp as $$
    select exists (select from only {schema}.segmentation_definition d
                    where d.layer_id = $1 and d.status in ('active', 'retired'))
$$;

create or replace function demarc_sign_off_layer() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if {schema}.demarc_in_use(new.id) and not {schema}.demarc_signed_off('policy',
            jsonb_build_object('what', 'layer', 'layer', new.id, 'values', jsonb_build_object('policy', new.policy,
                'primary', new."primary", 'plan_provisional_downgrades', new.plan_provisional_downgrades)),
            case when not new."primary" and (new.policy, new.plan_provisional_downgrades)
                                           = (old.policy, old.plan_provisional_downgrades)
                 then jsonb_build_object('what', 'layer', 'was_primary', new.id) end) then
        perform {schema}.demarc_refuse_unsigned('how a segmentation applies is changed by an approved request that names it');
    end if;
    return new;
end
$$;
create or replace trigger demarc_sign_off_layer before update on segmentation_layer
    for each row when ((old.policy, old."primary", old.plan_provisional_downgrades)
                       is distinct from (new.policy, new."primary", new.plan_provisional_downgrades))
    execute function demarc_sign_off_layer();

-- The places are those of the request. A segment may be added below the others without; none goes away or gets another key.
create or replace function demarc_sign_off_order() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    layers bigint[] := array_remove(array[new.layer_id, old.layer_id], null);
begin
    if (select bool_or({schema}.demarc_in_use(layer)) from unnest(layers) layer)
       and (tg_op <> 'INSERT' or exists (select from only {schema}.segmentation_segment
                                         where layer_id = new.layer_id and position >= new.position))
       and not {schema}.demarc_signed_off('policy', variadic '{}')
       and (tg_op = 'DELETE' or old.layer_id <> new.layer_id or old.key <> new.key or not exists (
            select from {schema}.demarc_carried_out('policy') c
             where c @> jsonb_build_object('what', 'layer', 'layer', new.layer_id)
               and c -> 'values' -> 'order' ->> new.position = new.key)) then
        perform {schema}.demarc_refuse_unsigned('which segment is above which is changed by an approved request that names it');
    end if;
    return coalesce(new, old);
end
$$;
create or replace trigger demarc_sign_off_order before insert or delete on segmentation_segment
    for each row execute function demarc_sign_off_order();
create or replace trigger demarc_sign_off_order_update before update on segmentation_segment
    for each row when ((old.layer_id, old.position, old.key) is distinct from (new.layer_id, new.position, new.key))
    execute function demarc_sign_off_order();

-- Who approves what, and when crossings are put before people. Requests that are asked for meanwhile wait, and need what is
-- then said.
create or replace function demarc_sign_off_policy() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    before jsonb := to_jsonb(old);
    after jsonb := to_jsonb(new);
    named jsonb[] := array[jsonb_build_object('what', 'profile')];
    one jsonb;
begin
    perform pg_advisory_xact_lock(18116683);
    foreach one in array array_remove(array[before, after], null) loop
        named := case tg_table_name
            when 'governance_profile' then array[jsonb_build_object('what', 'profile', 'name', after -> 'name')]
            when 'core_settings' then array[jsonb_build_object('what', 'settings')]
            when 'governance_approvalpolicy' then named || jsonb_build_object('what', 'kind', 'kind', one -> 'kind')
            else array[jsonb_build_object('what', 'crossing', 'layer', one -> 'layer_id', 'direction', one -> 'direction')]
        end;
    end loop;
    if not {schema}.demarc_signed_off('policy', variadic named)
       or tg_op <> 'DELETE' and not {schema}.demarc_signed_off('policy', variadic '{}')
          and not exists (select from {schema}.demarc_carried_out('policy') c
                           where {schema}.demarc_says(c, tg_table_name::text, after)) then
        perform {schema}.demarc_refuse_unsigned('policies are changed by an approved request that names it');
    end if;
    return coalesce(new, old);
end
$$;

-- Whether a request's content says that there shall be this row, with these values.
create or replace function demarc_says(content jsonb, relation text, policy jsonb) returns boolean language sql stable
    set search_path = pg_catalog, pg_temp as $$
    select case relation
        when 'governance_profile' then content @> jsonb_build_object('what', 'profile', 'name', policy -> 'name')
        when 'core_settings' then content @> jsonb_build_object('what', 'settings', 'values', policy - 'id')
        when 'governance_crossingpolicy' then
            content @> jsonb_build_object('what', 'crossing', 'layer', policy -> 'layer_id', 'direction', policy -> 'direction')
            and policy = to_jsonb(jsonb_populate_record(null::{schema}.governance_crossingpolicy, policy || (content -> 'values')))
        else exists (
            select from jsonb_array_elements(case content ->> 'what' when 'kind' then content -> 'rows'
                                                  else content -> 'rows' -> (policy ->> 'kind') end) r
              join only {schema}.auth_group g on g.name = r ->> 'role'
             where policy ->> 'kind' = coalesce(content ->> 'kind', policy ->> 'kind') and policy ->> 'role_id' = g.id::text
               and policy = to_jsonb(jsonb_populate_record(null::{schema}.governance_approvalpolicy, policy || (r - 'role')))) end
$$;

-- Of a kind of request each line that was approved is there in the end, and no other, nor one of them twice.
create or replace function demarc_policy_complete() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    changed text := coalesce(new.kind, old.kind);
    there bigint := (select count(*) from only {schema}.governance_approvalpolicy where kind = changed);
begin
    if not coalesce((
            select bool_or(coalesce(jsonb_array_length(lines), -1) = there and not exists (
                       select from jsonb_array_elements(lines) line where not exists (
                           select from only {schema}.governance_approvalpolicy p
                            where p.kind = changed and {schema}.demarc_says(
                                jsonb_build_object('what', 'kind', 'kind', changed, 'rows', jsonb_build_array(line)),
                                tg_table_name::text, to_jsonb(p)))))
              from {schema}.demarc_carried_out('policy') c
             cross join lateral (
                   select case c ->> 'what' when 'kind' then c -> 'rows' else c -> 'rows' -> changed end as lines) l
             where c @> jsonb_build_object('what', 'kind', 'kind', changed) or c @> '{"what": "profile"}'), true) then
        perform {schema}.demarc_refuse_unsigned('policies are changed by an approved request that names it');
    end if;
    return null;
end
$$;
drop trigger if exists demarc_policy_complete on governance_approvalpolicy;
create constraint trigger demarc_policy_complete after insert or update or delete on governance_approvalpolicy
    deferrable initially deferred for each row execute function demarc_policy_complete();
create or replace trigger demarc_sign_off_policy before insert or update or delete on governance_profile
    for each row execute function demarc_sign_off_policy();
create or replace trigger demarc_sign_off_policy before insert or update or delete on governance_approvalpolicy
    for each row execute function demarc_sign_off_policy();
create or replace trigger demarc_sign_off_policy before insert or update or delete on governance_crossingpolicy
    for each row execute function demarc_sign_off_policy();
create or replace trigger demarc_sign_off_policy before insert or update or delete on core_settings
    for each row execute function demarc_sign_off_policy();
{with_cause: governance_profile governance_approvalpolicy governance_crossingpolicy core_settings}
{append_only: core_historicalsettings}
-- Roles are given by the request that names the person and the role, and to nobody directly. They may be taken away, and
-- people deleted, without.
create or replace function demarc_sign_off_role() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    role text;
begin
    select name into role from only {schema}.auth_group where id = (to_jsonb(new) ->> 'group_id')::int;
    if not {schema}.demarc_signed_off('role', jsonb_build_object('user', new.user_id, 'add', jsonb_build_array(role))) then
        perform {schema}.demarc_refuse_unsigned('roles are given by an approved request that names it');
    end if;
    return new;
end
$$;
create or replace trigger demarc_sign_off_role before insert or update on auth_user_groups
    for each row execute function demarc_sign_off_role();
create or replace trigger demarc_sign_off_role before insert or update on auth_user_user_permissions
    for each row execute function demarc_sign_off_role();

-- What a role may, by which name a request knows it, and who counts again or is above all roles needs a cause.
create or replace trigger demarc_caused_write before insert or update or delete on auth_group_permissions
    for each row execute function demarc_require_cause();
create or replace trigger demarc_caused_write before delete or update of content_type_id, codename on auth_permission
    for each row execute function demarc_require_cause();
create or replace function demarc_role_keeps_name() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'roles keep their names: policies and requests know them by these' using errcode = 'restrict_violation';
end
$$;
create or replace trigger demarc_renamed before update on auth_group
    for each row when (new.name <> old.name) execute function demarc_role_keeps_name();
create or replace trigger demarc_superuser before update on auth_user
    for each row when (new.is_superuser and not old.is_superuser) execute function demarc_require_cause();
-- A login that is opened again has no roles: these are asked for anew. Closing one is in somebody's name too.
create or replace function demarc_login_opened() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from only {schema}.auth_user_groups where user_id = new.id) then
        perform {schema}.demarc_refuse_unsigned('a login that is opened again has no roles');
    end if;
    return new;
end
$$;
create or replace trigger demarc_reopened before update on auth_user
    for each row when (new.is_active <> old.is_active) execute function demarc_require_cause();
create or replace trigger demarc_reopened_without_roles before update on auth_user
    for each row when (new.is_active and not old.is_active) execute function demarc_login_opened();

-- Where a segmentation needs approval, the segment in force follows the rules only while the account never had one that was
-- not provisional, or that people pinned: its history tells (segmentation.evaluation.frames.settled). Afterwards it is what a tier change
-- in joint coverage, or an override in force, says.
create or replace function demarc_sign_off_segment() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from only {schema}.segmentation_layer
                    where id = coalesce(old.layer_id, new.layer_id) and policy = 'approval') then
        return coalesce(new, old);
    end if;
    if tg_op = 'DELETE' or tg_op = 'UPDATE' and (new.account_id, new.layer_id, new.product_id)
                           is distinct from (old.account_id, old.layer_id, old.product_id) then
        if old.effective_id is not null then
            perform {schema}.demarc_refuse_unsigned('a segment that was given ends by an approved request that names it');
        end if;
        return coalesce(new, old);
    end if;
    if new.overridden <> coalesce(old.overridden, false) and new.overridden <> exists (
            select from only {schema}.governance_override o
             where (o.account_id, o.layer_id, o.status) = (new.account_id, new.layer_id, 'active')) then
        perform {schema}.demarc_refuse_unsigned('a segment is pinned by an approved request that names it');
    end if;
    if new.effective_id is distinct from old.effective_id
       and (old.effective_id is not null
            and (not old.provisional or exists (
                 select from only {schema}.segmentation_historicalassignment h
                  where h.id = old.id and h.effective_id is not null
                    and (h.overridden or not h.provisional and h.computed_id is not null)))
            or new.effective_id <> coalesce(new.computed_id, 0))
       and not exists (
            select from only {schema}.governance_transition t
             where (t.account_id, t.layer_id, t.from_segment_id, t.to_segment_id, t.status)
                   = (new.account_id, new.layer_id, old.effective_id, new.effective_id, 'joint'))
       and not exists (
            select from only {schema}.governance_override o
             where (o.account_id, o.layer_id, o.segment_id, o.status)
                   = (new.account_id, new.layer_id, new.effective_id, 'active')) then
        perform {schema}.demarc_refuse_unsigned('a segment that needs approval is changed by an approved request that names it');
    end if;
    return new;
end
$$;
create or replace trigger demarc_sign_off_segment before update on segmentation_assignment
    for each row when ((old.account_id, old.layer_id, old.product_id, old.effective_id, old.overridden, old.provisional)
                       is distinct from
                       (new.account_id, new.layer_id, new.product_id, new.effective_id, new.overridden, new.provisional))
    execute function demarc_sign_off_segment();
create or replace trigger demarc_sign_off_segment_insert before insert on segmentation_assignment
    for each row when (new.overridden or new.effective_id is distinct from new.computed_id)
    execute function demarc_sign_off_segment();
create or replace trigger demarc_sign_off_segment_delete before delete on segmentation_assignment
    for each row execute function demarc_sign_off_segment();

-- Where policies ask for an approval of imports: only with the request that names it and exactly its recipe and files.
create or replace function demarc_import_fingerprint(import bigint) returns text language sql stable
    set search_path = pg_catalog, pg_temp as $$
    select encode(sha256(convert_to(coalesce(b.as_of::text, '') || b.recipe, 'UTF8') || coalesce((
        select string_agg(convert_to(f.name, 'UTF8') || '\x00' || sha256(f.content), '' order by f.name collate "C", f.id)
          from only {schema}.accounts_importfile f where f.batch_id = b.id), '')), 'hex')
      from only {schema}.accounts_importbatch b where b.id = import
$$;

create or replace function demarc_sign_off_import() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    -- What no preview has counted reaches every threshold.
    touched bigint := (select max((q ->> 'created')::bigint + (q ->> 'updated')::bigint) from jsonb_array_elements(new.queries) q);
begin
    if tg_op = 'UPDATE' and old.status in ('committing', 'committed') and new.recipe <> old.recipe then
        raise exception 'what is imported stays as it is' using errcode = 'restrict_violation';
    end if;
    if new.status in ('committing', 'committed') and (tg_op = 'INSERT' or new.status <> old.status)
       and (select needed from {schema}.demarc_required('import', coalesce(touched, 2147483647), 0, 0, false, false, null)) <> '{}'
       and not exists (
            select from only {schema}.governance_approvalrequest r
             where r.kind = 'import'
               and (r.status in ('approved', 'applied')
                    or r.status in ('pending', 'failed') and r.expires_at > transaction_timestamp())
               and r.content @> jsonb_build_object('import', new.id, 'skip_rejected', new.skip_rejected,
                                                   'files', {schema}.demarc_import_fingerprint(new.id))
               and {schema}.demarc_enough(r.id, r.needed)) then
        perform {schema}.demarc_refuse_unsigned('an import is carried out by an approved request that names it');
    end if;
    return new;
end
$$;
create or replace trigger demarc_sign_off_import before insert or update on accounts_importbatch
    for each row execute function demarc_sign_off_import();

create or replace function demarc_guard_import_file() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from only {schema}.accounts_importbatch
                where id in (old.batch_id, new.batch_id)
                  and (status = 'committing' or status = 'committed' and tg_op <> 'DELETE')) then
        raise exception 'what is imported stays as it is' using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;
create or replace trigger demarc_guard_import_file before insert or update or delete on accounts_importfile
    for each row execute function demarc_guard_import_file();
