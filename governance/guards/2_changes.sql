-- A tier change starts, and an override is in force, by the approved request that names it and no other one.

-- Whether a request, as it is now, names this account.
create or replace function demarc_names(request bigint, account bigint) returns boolean language sql stable
    set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from only {schema}.governance_requestaccount n
          join only {schema}.governance_approvalrequest r on (r.id, r.revision) = (n.request_id, n.revision)
         where n.request_id = $1 and n.account_id = $2)
$$;

create or replace function demarc_guard_transition() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'tier changes are closed, not deleted' using errcode = 'restrict_violation';
    end if;
    if tg_op = 'INSERT' then
        if new.status not in ('flagged', 'planned') then
            raise exception 'a tier change begins flagged or planned' using errcode = 'restrict_violation';
        end if;
        return new;
    end if;
    if old.status in ({ended: governance.changes.transition_steps.STATUSES}) then
        raise exception 'a tier change that has ended stays as it is' using errcode = 'restrict_violation';
    end if;
    if (new.id, new.account_id, new.layer_id) is distinct from (old.id, old.account_id, old.layer_id) then
        raise exception 'whose tier change it is stays' using errcode = 'restrict_violation';
    end if;
    if old.status = 'joint' and (new.from_segment_id, new.to_segment_id, new.request_id, new.receiver_id)
                 is distinct from (old.from_segment_id, old.to_segment_id, old.request_id, old.receiver_id) then
        raise exception 'what was approved cannot be changed' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status and (old.status, new.status) not in ({moves: governance.changes.transition_steps.STATUSES}) then
        raise exception 'a tier change cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    if new.status = 'joint' and old.status <> 'joint' and not exists (
            select from only {schema}.governance_approvalrequest
             where id = new.request_id and status = 'applied' and {schema}.demarc_names(id, new.account_id)
               and (kind = 'tier_change' and content -> 'transitions' @> jsonb_build_array(
                        jsonb_build_object('id', new.id, 'to', new.to_segment_id, 'receiver', new.receiver_id,
                                           'applies_on', new.applies_on, 'joint_days', new.joint_days))
                    or kind = 'override' and content ->> 'segment' = new.to_segment_id::text
                       and content -> 'overrides' @> jsonb_build_array(jsonb_build_object('id', new.override_id)))) then
        raise exception 'this tier change has not been approved' using errcode = 'restrict_violation';
    end if;
    -- Wherever on Earth it is that day.
    if new.status = 'joint' and new.applies_on > (transaction_timestamp() at time zone 'UTC' + interval '14 hours')::date then
        perform {schema}.demarc_refuse_unsigned('the day of this tier change has not come');
    end if;
    return new;
end
$$;

create or replace trigger demarc_guard_transition before insert or update or delete on governance_transition
    for each row execute function demarc_guard_transition();
-- Ticking off a checklist is no decision; what moves, when, and what holds it is.
create or replace trigger demarc_caused_write before insert or delete on governance_transition
    for each row execute function demarc_require_cause();
create or replace trigger demarc_caused_update before update on governance_transition
    for each row when ((old.status, old.from_segment_id, old.to_segment_id, old.request_id, old.override_id, old.applies_on,
                        old.held_for, old.receiver_id, old.joint_days, old.joint_from, old.joint_until)
                       is distinct from
                       (new.status, new.from_segment_id, new.to_segment_id, new.request_id, new.override_id, new.applies_on,
                        new.held_for, new.receiver_id, new.joint_days, new.joint_from, new.joint_until))
    execute function demarc_require_cause();

create or replace function demarc_guard_override() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'overrides are ended, not deleted' using errcode = 'restrict_violation';
    end if;
    if tg_op = 'INSERT' then
        if new.status <> 'requested' then
            raise exception 'an override begins as a request' using errcode = 'restrict_violation';
        end if;
        return new;
    end if;
    if old.status in ({ended: governance.changes.override_rows.STATUSES}) then
        raise exception 'an override that has ended stays as it is' using errcode = 'restrict_violation';
    end if;
    if (new.id, new.account_id, new.layer_id, new.requested_by)
       is distinct from (old.id, old.account_id, old.layer_id, old.requested_by)
       or old.status = 'active' and (new.segment_id, new.expires_on, new.reason_code, new.text, new.evidence, new.request_id)
                   is distinct from (old.segment_id, old.expires_on, old.reason_code, old.text, old.evidence, old.request_id)
    then
        raise exception 'what was approved cannot be changed' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status and (old.status, new.status) not in ({moves: governance.changes.override_rows.STATUSES}) then
        raise exception 'an override cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    if new.status = 'active' and old.status <> 'active' and not exists (
            select from only {schema}.governance_approvalrequest
             where id = new.request_id and status = 'applied' and {schema}.demarc_names(id, new.account_id)
               and kind = 'override' and content ->> 'segment' = new.segment_id::text
               and content ->> 'expires_on' = new.expires_on::text
               and content -> 'overrides' @> jsonb_build_array(jsonb_build_object('id', new.id))) then
        raise exception 'this override has not been approved' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create or replace trigger demarc_guard_override before insert or update or delete on governance_override
    for each row execute function demarc_guard_override();

{with_cause: governance_override}
-- Who looks after an account whose hand-over is planned changes with a cause only.
create or replace function demarc_guard_csm() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from only {schema}.governance_transition
                where account_id = new.id and status in ('planned', 'awaiting', 'joint'))
       and not exists (select from only {schema}.segmentation_cause
                        where xid = pg_current_xact_id() and at = transaction_timestamp()) then
        raise exception 'accounts_account: this change needs a cause in the same transaction'
            using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_csm before update of csm_id on accounts_account
    for each row when (old.csm_id is distinct from new.csm_id) execute function demarc_guard_csm();
