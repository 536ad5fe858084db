-- A version of rules begins as a draft and goes along its table of statuses. From the review on what is reviewed is fixed; when
-- it is decided, who decided it, when and why as well.

create or replace function demarc_guard_definition() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        if old.status <> 'draft' then
            raise exception 'rules that are no draft cannot be deleted' using errcode = 'restrict_violation';
        end if;
        return old;
    end if;
    if tg_op = 'INSERT' then
        if new.status <> 'draft' then
            raise exception 'rules begin as a draft and cannot begin as %', new.status
                using errcode = 'restrict_violation';
        end if;
        return new;
    end if;
    if old.status <> 'draft'
           and (new.id, new.document, new.hash, new.layer_id, new.version, new.created_at, new.created_by,
                new.created_by_label)
               is distinct from
               (old.id, old.document, old.hash, old.layer_id, old.version, old.created_at, old.created_by,
                old.created_by_label)
       or old.status not in ('draft', 'in_review')
           and (new.reason, new.submitted_at, new.submitted_by, new.submitted_by_label, new.rejected_at, new.rejected_by,
                new.rejected_by_label, new.activated_at, new.activated_by, new.activated_by_label)
               is distinct from
               (old.reason, old.submitted_at, old.submitted_by, old.submitted_by_label, old.rejected_at, old.rejected_by,
                old.rejected_by_label, old.activated_at, old.activated_by, old.activated_by_label)
       or old.status not in ('draft', 'in_review', 'active') and new.retired_at is distinct from old.retired_at then
        raise exception 'rules that are no draft cannot be changed' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status and (old.status, new.status) not in ({moves: segmentation.authoring.versions.STATUSES}) then
        raise exception 'rules cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create or replace trigger demarc_guard_definition before insert or update or delete on segmentation_definition
    for each row execute function demarc_guard_definition();

create or replace trigger demarc_activate_insert before insert on segmentation_definition
    for each row when (new.status <> 'draft') execute function demarc_require_cause();

create or replace trigger demarc_activate_update before update on segmentation_definition
    for each row when (old.status is distinct from new.status) execute function demarc_require_cause();

-- A weight is text as typed. Drafts may hold anything unfinished, but nothing negative, infinite or NaN.

create or replace function demarc_number(typed text) returns numeric language plpgsql immutable parallel safe
    set search_path = pg_catalog, pg_temp as $$
begin
    return typed::numeric;
exception when data_exception then
    return null;
end
$$;

create or replace function demarc_weights_bearable(document jsonb) returns boolean language sql immutable parallel safe
return case when jsonb_typeof(document -> 'weights') is distinct from 'object' then true
            else (select coalesce(bool_and(demarc_number(value) >= 0 and demarc_number(value) < 'Infinity'), true)
                    from jsonb_each_text(document -> 'weights')) end;

create or replace function demarc_weights_complete(document jsonb) returns boolean language sql immutable parallel safe
return case
    when document -> 'weights' is null then true
    when jsonb_typeof(document -> 'weights') <> 'object' then false
    else (select coalesce(sum(demarc_number(value)) = 1
                          and bool_and(coalesce(demarc_number(value) between 0 and 1, false)), false)
            from jsonb_each_text(document -> 'weights')) end;

-- Who answered for what, and why, belongs to the rules: it is fixed when they are decided about.

create or replace function demarc_guard_acknowledgement() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select 1 from only {schema}.segmentation_definition
                where id in (old.definition_id, new.definition_id) and status not in ('draft', 'in_review')) then
        raise exception 'what was acknowledged for rules that are no draft cannot be changed'
            using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;

create or replace trigger demarc_guard_acknowledgement before insert or update or delete on segmentation_acknowledgement
    for each row execute function demarc_guard_acknowledgement();
