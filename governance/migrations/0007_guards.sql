-- What a request needs and who has given it, once for the database and for Python (governance.signoff.requirements, governance.signoff.deciders).

-- The fingerprint of what a request asks for.
create or replace function demarc_fingerprint(content jsonb) returns text language sql immutable parallel safe
return encode(sha256(convert_to(content::text, 'UTF8')), 'hex');

-- Who would decide about themselves or an account they look after: ids of users, by what a request names and as of now.
create or replace function demarc_owners(request bigint) returns integer[] language sql stable
    set search_path = pg_catalog, pg_temp as $$
    select coalesce(array_agg(distinct id), '{}') from (
        select (r.content ->> 'user')::int as id from only {schema}.governance_approvalrequest r where r.id = $1
        union
        select c.user_id
          from only {schema}.governance_approvalrequest r
          join only {schema}.governance_requestaccount n on (n.request_id, n.revision) = (r.id, r.revision)
          join only {schema}.accounts_account a on a.id = n.account_id
          join only {schema}.accounts_csm c on c.id = a.csm_id
         where r.id = $1) owners
     where id is not null
$$;

-- By the policies there are: all that apply count together, of one role the highest number. Where none applies one Approver
-- decides; where all that apply ask for nobody, CS Ops looks at what somebody else asks. Money in another currency reaches
-- every threshold.
create or replace function demarc_required(
    kind text, accounts bigint, arr numeric, csm_changes bigint, top_tier boolean, other_currency boolean, requester integer)
    returns table (needed jsonb, due_days integer, expire_days integer) language sql stable
    set search_path = pg_catalog, pg_temp as $$
    with applying as (
        select g.name, p.approvals, p.due_days, p.expire_days
          from only {schema}.governance_approvalpolicy p join only {schema}.auth_group g on g.id = p.role_id
         where p.kind = $1 and coalesce($2 >= p.min_accounts, true) and coalesce($6 or $3 >= p.min_arr, true)
           and coalesce($4 >= p.min_csm_changes, true) and ($5 or not p.top_tier)),
    counted as (select a.name, max(a.approvals) as number from applying a where a.approvals > 0 group by a.name)
    select case when not exists (select from applying) then '{"Approver": 1}'
                when exists (select from counted) then (select jsonb_object_agg(name, number) from counted)
                when $7 is not null and not exists (
                    select from only {schema}.auth_user u
                      left join only {schema}.auth_user_groups m on m.user_id = u.id
                      left join only {schema}.auth_group g on g.id = m.group_id
                     where u.id = $7 and (u.is_superuser or g.name in ('CS Ops', 'Administrator'))) then '{"CS Ops": 1}'
                else '{}' end::jsonb,
           (select coalesce(min(a.due_days), 5) from applying a),
           (select coalesce(min(a.expire_days), 30) from applying a)
$$;

-- Approvals that count: given to exactly this content by active people, in a role that is still theirs, by nobody who has a
-- part in it. Of a stand-in the person counts for whom they stood in.
create or replace view governance_countedapproval as
select min(d.id) as id, d.request_id, d.role, coalesce(d.on_behalf_of, d."by") as person
  from only {schema}.governance_decision d
  join only {schema}.governance_approvalrequest r on r.id = d.request_id and (r.revision, r.hash) = (d.revision, d.hash)
  join only {schema}.auth_user b on b.id = d."by" and b.is_active
  join only {schema}.auth_user p on p.id = coalesce(d.on_behalf_of, d."by") and p.is_active
  join only {schema}.auth_user_groups m on m.user_id = p.id
  join only {schema}.auth_group g on g.id = m.group_id and g.name = d.role
 where d.verdict = 'approve'
   and not exists (select from only {schema}.core_serviceuser s where s.user_id in (b.id, p.id))
   and not array[b.id, p.id] && (array[r.requester] || r.editors || r.owners || {schema}.demarc_owners(r.id))
 group by d.request_id, d.role, coalesce(d.on_behalf_of, d."by");

create or replace function demarc_enough(request bigint, needed jsonb) returns boolean language sql stable
    set search_path = pg_catalog, pg_temp as $$
    select not exists (
        select from jsonb_each_text(needed) n
         where n.value::int > (select count(*) from {schema}.governance_countedapproval c
                                where c.request_id = request and c.role = n.key))
$$;

-- One object at least as strict as the other: of no role a lower number.
create or replace function demarc_as_strict(one jsonb, other jsonb) returns boolean language sql immutable parallel safe
return not exists (select from jsonb_each_text(other) o where coalesce((one ->> o.key)::int, 0) < o.value::int);

-- A request is of a kind there is, and goes along its table of statuses. Its fingerprint, what it needs and who it leaves out are
-- what the database works out itself, and of the latter two nothing is ever taken away. It is approved and done only with
-- enough approvals. An impact preview it points at is a frozen one of the rules it names.
create or replace function demarc_guard_request() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    required record;
begin
    if tg_op = 'DELETE' then
        raise exception 'requests are withdrawn, not deleted' using errcode = 'restrict_violation';
    end if;
    if tg_op = 'INSERT' then
        if new.kind not in ('definition', 'tier_change', 'override', 'policy', 'role', 'import') then
            raise exception 'there is no such kind of request' using errcode = 'restrict_violation';
        end if;
        if new.status <> 'pending' or new.revision <> 1 then
            raise exception 'a request begins by waiting for approval' using errcode = 'restrict_violation';
        end if;
    else
        if old.status in ('applied', 'rejected', 'withdrawn', 'expired') then
            raise exception 'a request that has ended stays as it is' using errcode = 'restrict_violation';
        end if;
        if (new.id, new.kind, new.key, new.requester, new.requester_label, new.requested_at)
           is distinct from (old.id, old.kind, old.key, old.requester, old.requester_label, old.requested_at) then
            raise exception 'what a request is about and who asked stays' using errcode = 'restrict_violation';
        end if;
        if not (old.editors <@ new.editors and old.owners <@ new.owners) then
            raise exception 'who has a part in a request does not become fewer' using errcode = 'restrict_violation';
        end if;
        if not {schema}.demarc_as_strict(new.needed, old.needed) then
            raise exception 'an open request keeps the stricter policy' using errcode = 'restrict_violation';
        end if;
        if new.revision = old.revision
           and ((new.content, new.hash, new.subject, new.changes, new.why, new.evidence, new.apply_on, new.simulation_id)
                is distinct from
                (old.content, old.hash, old.subject, old.changes, old.why, old.evidence, old.apply_on, old.simulation_id)
                or new.expires_at > old.expires_at) then
            raise exception 'an edit is a new revision' using errcode = 'restrict_violation';
        end if;
        if new.revision = old.revision
           and (new.accounts < old.accounts or new.arr < old.arr or new.csm_changes < old.csm_changes
                or old.top_tier and not new.top_tier or old.other_currency and not new.other_currency
                or not new.measured @> old.measured) then
            raise exception 'what a request reaches is counted anew, never taken off' using errcode = 'restrict_violation';
        end if;
        if new.revision <> old.revision and (new.revision, new.status) <> (old.revision + 1, 'pending') then
            raise exception 'revisions follow one another and wait for approval' using errcode = 'restrict_violation';
        end if;
        if new.status <> old.status and (old.status, new.status) not in (('pending', 'applied'), ('pending', 'approved'), ('pending', 'failed'), ('pending', 'changes_asked'), ('pending', 'rejected'), ('changes_asked', 'pending'), ('approved', 'applied'), ('approved', 'failed'), ('failed', 'applied'), ('failed', 'approved'), ('approved', 'pending'), ('failed', 'pending'), ('pending', 'withdrawn'), ('changes_asked', 'withdrawn'), ('approved', 'withdrawn'), ('failed', 'withdrawn'), ('pending', 'expired'), ('changes_asked', 'expired'), ('failed', 'expired')) then
            raise exception 'a request cannot go from % to %', old.status, new.status using errcode = 'restrict_violation';
        end if;
    end if;
    new.cause := null;
    if tg_op = 'INSERT' or new.revision <> old.revision or new.status in ('approved', 'applied') and new.status <> old.status then
        -- Whoever changes a policy waits for this, or this for them: see the trigger on policies.
        perform pg_advisory_xact_lock_shared(18116683);
        if new.hash <> {schema}.demarc_fingerprint(new.content) then
            raise exception 'the fingerprint of a request is that of its content' using errcode = 'restrict_violation';
        end if;
        if new.simulation_id is not null and not exists (
                select from only {schema}.segmentation_simulation s
                 where s.id = new.simulation_id and s.frozen_at is not null and s.hash = new.content ->> 'hash') then
            raise exception 'a request points at a frozen impact preview of its rules' using errcode = 'restrict_violation';
        end if;
        select * into required from {schema}.demarc_required(
            new.kind, new.accounts, new.arr, new.csm_changes, new.top_tier, new.other_currency,
            case tg_op when 'INSERT' then new.requester end);
        if not {schema}.demarc_as_strict(new.needed, required.needed) then
            raise exception 'this request needs what the policies say' using errcode = 'restrict_violation';
        end if;
        -- A day more, for clocks that differ.
        if new.status = 'pending' and new.expires_at > transaction_timestamp() + (required.expire_days + 1) * interval '1 day' then
            raise exception 'a request expires when the policies say' using errcode = 'restrict_violation';
        end if;
    end if;
    if tg_op = 'UPDATE' and new.status in ('approved', 'applied') and new.status <> old.status then
        if new.revision <> old.revision or not {schema}.demarc_enough(new.id, new.needed) then
            raise exception 'this request has not enough approvals' using errcode = 'restrict_violation';
        end if;
        if old.status in ('pending', 'failed') and new.expires_at <= transaction_timestamp() then
            raise exception 'this request has expired' using errcode = 'restrict_violation';
        end if;
        if new.status = 'applied' then
            -- Wherever on Earth it is that day.
            if new.apply_on > (transaction_timestamp() at time zone 'UTC' + interval '14 hours')::date then
                perform {schema}.demarc_refuse_unsigned('the day of this request has not come');
            end if;
            select id into new.cause from only {schema}.segmentation_cause
             where xid = pg_current_xact_id() and at = transaction_timestamp();
        end if;
    end if;
    if new.status = 'rejected' and not exists (
            select from only {schema}.governance_decision d
             where d.request_id = new.id and d.verdict = 'reject' and d.revision = new.revision) then
        raise exception 'nobody has rejected this request' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_request before insert or update or delete on governance_approvalrequest
    for each row execute function demarc_guard_request();

-- The accounts a revision names are rows, which the database writes of its content and nobody else. Whoever looks after one
-- of them, or is the person it names, is left out: when it is asked for or edited, and again when it is approved.
create or replace function demarc_name_accounts() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' or new.revision <> old.revision then
        insert into {schema}.governance_requestaccount (request_id, revision, account_id)
        select distinct new.id, new.revision, id::bigint from jsonb_array_elements_text(new.content -> 'accounts') id;
        if exists (
                select from only {schema}.governance_requestaccount n
                  left join only {schema}.accounts_account a on a.id = n.account_id
                 where (n.request_id, n.revision) = (new.id, new.revision) and a.id is null) then
            raise exception 'a request names what there is' using errcode = 'restrict_violation';
        end if;
    end if;
    if not {schema}.demarc_owners(new.id) <@ new.owners then
        raise exception 'a request leaves out who would decide about themselves' using errcode = 'restrict_violation';
    end if;
    return null;
end
$$;
create or replace trigger demarc_name_accounts after insert on governance_approvalrequest
    for each row execute function demarc_name_accounts();
create or replace trigger demarc_name_accounts_anew after update on governance_approvalrequest
    for each row when (new.revision <> old.revision
                       or new.status in ('approved', 'applied') and new.status <> old.status)
    execute function demarc_name_accounts();

create or replace function demarc_guard_named_account() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (
            select from only {schema}.governance_approvalrequest r
             where (r.id, r.revision) = (new.request_id, new.revision)
               and r.content -> 'accounts' @> to_jsonb(new.account_id)) then
        raise exception 'a request names the accounts its content names' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_named_account before insert on governance_requestaccount
    for each row execute function demarc_guard_named_account();

-- Nobody decides what they requested, edited or look after, for nobody either; a stand-in only in the days of their absence
-- (wherever on Earth it is that day), and nobody twice or for somebody who has decided.
create or replace function demarc_guard_decision() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    r {schema}.governance_approvalrequest;
    person integer := coalesce(new.on_behalf_of, new."by");
begin
    select * into r from only {schema}.governance_approvalrequest where id = new.request_id for update;
    if r.status <> 'pending' then
        raise exception 'this request does not wait for approval' using errcode = 'restrict_violation';
    end if;
    if r.expires_at <= transaction_timestamp() then
        raise exception 'this request has expired' using errcode = 'restrict_violation';
    end if;
    if (new.hash, new.revision) is distinct from (r.hash, r.revision) then
        raise exception 'this request has changed' using errcode = 'restrict_violation';
    end if;
    if array[new."by", person] && (array[r.requester] || r.editors || r.owners) then
        raise exception 'nobody decides what they requested, edited or look after' using errcode = 'restrict_violation';
    end if;
    if array[new."by", person] && {schema}.demarc_owners(r.id) then
        raise exception 'nobody decides about an account they look after' using errcode = 'restrict_violation';
    end if;
    if (select not bool_and(coalesce(u.is_active, false))
          from unnest(array[new."by", person]) p left join only {schema}.auth_user u on u.id = p) then
        raise exception 'only active people decide' using errcode = 'restrict_violation';
    end if;
    if not r.needed ? new.role
       or not exists (select from only {schema}.auth_user_groups m join only {schema}.auth_group g on g.id = m.group_id
                    where m.user_id = person and g.name = new.role)
       or exists (select from only {schema}.auth_user_groups m join only {schema}.auth_group g on g.id = m.group_id
                   where m.user_id = new."by" and g.name in ('Auditor', 'Integration')) then
        raise exception 'only people of the role decide in it' using errcode = 'restrict_violation';
    end if;
    if person <> new."by" and not exists (
            select from only {schema}.governance_delegation d
             where d.absent_id = person and d.delegate_id = new."by"
               and d.from_date <= (transaction_timestamp() at time zone 'UTC' + interval '14 hours')::date
               and d.until_date >= (transaction_timestamp() at time zone 'UTC' - interval '12 hours')::date) then
        raise exception 'nobody stands in for somebody who is not away' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_decision before insert on governance_decision
    for each row execute function demarc_guard_decision();

-- Somebody without a role, which others sign off, stands in for nobody.
create or replace function demarc_guard_delegation() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from only {schema}.auth_user_groups where user_id = new.delegate_id) then
        raise exception 'who stands in has a role' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_delegation before insert or update on governance_delegation
    for each row execute function demarc_guard_delegation();

create or replace trigger demarc_not_emptied before truncate on governance_historicalprofile
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on governance_historicalprofile
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_profile
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_profile
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_historicalapprovalpolicy
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on governance_historicalapprovalpolicy
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_approvalpolicy
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_approvalpolicy
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_historicalcrossingpolicy
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on governance_historicalcrossingpolicy
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_crossingpolicy
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_crossingpolicy
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_historicaldelegation
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on governance_historicaldelegation
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_delegation
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_delegation
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_historicalapprovalrequest
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on governance_historicalapprovalrequest
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_approvalrequest
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_approvalrequest
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_requestaccount
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_requestaccount
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_decision
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_decision
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_comment
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_comment
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_historicaloverride
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on governance_historicaloverride
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_override
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_override
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_historicaltransition
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on governance_historicaltransition
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_transition
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_transition
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_followedrun
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of run on governance_followedrun
    for each row when (old.run is distinct from new.run) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_historicalalertrule
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on governance_historicalalertrule
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_alertrule
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_alertrule
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_historicalalert
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on governance_historicalalert
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_alert
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_alert
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_event
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_event
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_outbox
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of event_id on governance_outbox
    for each row when (old.event_id is distinct from new.event_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_mail
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_mail
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_notification
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_notification
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_preference
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of user_id on governance_preference
    for each row when (old.user_id is distinct from new.user_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on governance_chore
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on governance_chore
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on auth_permission
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on auth_permission
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on auth_group_permissions
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on auth_group_permissions
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on auth_group
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on auth_group
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on auth_user_groups
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on auth_user_groups
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on auth_user_user_permissions
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on auth_user_user_permissions
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on auth_user
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on auth_user
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on core_historicalsettings
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on core_historicalsettings
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on core_settings
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on core_settings
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on core_historicalserviceuser
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on core_historicalserviceuser
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on core_serviceuser
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on core_serviceuser
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on core_historicaltoken
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on core_historicaltoken
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on core_token
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on core_token
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on core_answer
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on core_answer
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on core_callcount
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of who on core_callcount
    for each row when (old.who is distinct from new.who) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on core_change
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on core_change
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_append_only before update or delete on governance_historicalalert
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_historicalalertrule
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_historicalapprovalpolicy
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_historicalapprovalrequest
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_historicalcrossingpolicy
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_historicaldelegation
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_historicaloverride
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_historicalprofile
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_historicaltransition
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_requestaccount
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_decision
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_comment
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on governance_event
    for each row execute function demarc_append_only();
create or replace trigger demarc_caused_write before insert or update or delete on governance_approvalrequest
    for each row execute function demarc_require_cause();
create or replace trigger demarc_caused_write before insert or update or delete on governance_delegation
    for each row execute function demarc_require_cause();


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
    if old.status in ('done', 'rejected', 'withdrawn', 'closed', 'kept') then
        raise exception 'a tier change that has ended stays as it is' using errcode = 'restrict_violation';
    end if;
    if (new.id, new.account_id, new.layer_id) is distinct from (old.id, old.account_id, old.layer_id) then
        raise exception 'whose tier change it is stays' using errcode = 'restrict_violation';
    end if;
    if old.status = 'joint' and (new.from_segment_id, new.to_segment_id, new.request_id, new.receiver_id)
                 is distinct from (old.from_segment_id, old.to_segment_id, old.request_id, old.receiver_id) then
        raise exception 'what was approved cannot be changed' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status and (old.status, new.status) not in (('flagged', 'planned'), ('planned', 'flagged'), ('flagged', 'kept'), ('planned', 'kept'), ('planned', 'awaiting'), ('awaiting', 'planned'), ('awaiting', 'rejected'), ('awaiting', 'joint'), ('joint', 'done'), ('flagged', 'closed'), ('planned', 'closed'), ('awaiting', 'closed'), ('flagged', 'withdrawn'), ('planned', 'withdrawn'), ('awaiting', 'withdrawn')) then
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
    if old.status in ('rejected', 'withdrawn', 'expired', 'ended', 'replaced') then
        raise exception 'an override that has ended stays as it is' using errcode = 'restrict_violation';
    end if;
    if (new.id, new.account_id, new.layer_id, new.requested_by)
       is distinct from (old.id, old.account_id, old.layer_id, old.requested_by)
       or old.status = 'active' and (new.segment_id, new.expires_on, new.reason_code, new.text, new.evidence, new.request_id)
                   is distinct from (old.segment_id, old.expires_on, old.reason_code, old.text, old.evidence, old.request_id)
    then
        raise exception 'what was approved cannot be changed' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status and (old.status, new.status) not in (('requested', 'active'), ('requested', 'rejected'), ('requested', 'withdrawn'), ('active', 'expired'), ('active', 'ended'), ('active', 'replaced')) then
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

create or replace trigger demarc_caused_write before insert or update or delete on governance_override
    for each row execute function demarc_require_cause();

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
create or replace trigger demarc_caused_write before insert or update or delete on governance_profile
    for each row execute function demarc_require_cause();
create or replace trigger demarc_caused_write before insert or update or delete on governance_approvalpolicy
    for each row execute function demarc_require_cause();
create or replace trigger demarc_caused_write before insert or update or delete on governance_crossingpolicy
    for each row execute function demarc_require_cause();
create or replace trigger demarc_caused_write before insert or update or delete on core_settings
    for each row execute function demarc_require_cause();

create or replace trigger demarc_append_only before update or delete on core_historicalsettings
    for each row execute function demarc_append_only();

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

-- Every event, and every change of a segment but the first, leaves a row for those who are to be told. Statement triggers: a
-- recalculation writes many moves at once.

create or replace function demarc_outbox() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    insert into {schema}.governance_outbox (event_id) select id from fresh;
    return null;
end
$$;
create or replace trigger demarc_outbox after insert on governance_event
    referencing new table as fresh for each statement execute function demarc_outbox();

create or replace function demarc_event_of_move() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    insert into {schema}.governance_event (kind, account_id, layer_id, about, about_id, text, reason, data, actor,
                                           actor_label, channel)
    select 'move', f.account_id, f.layer_id, 'move', f.id, '', c.reason, jsonb_build_object('why', f.why), c.actor,
           c.actor_label, c.channel
      from fresh f join only {schema}.segmentation_cause c on c.id = f.cause_id
     where f.why <> 'initial';
    return null;
end
$$;
create or replace trigger demarc_event_of_move after insert on segmentation_move
    referencing new table as fresh for each statement execute function demarc_event_of_move();

-- What was looked at and done is said of recalculations that there were and of days that have come, wherever on Earth.
create or replace function demarc_done_by_now() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_table_name = 'governance_chore' then
        if new.day > (transaction_timestamp() at time zone 'UTC' + interval '14 hours')::date then
            perform {schema}.demarc_refuse_unsigned('the day of this step has not come');
        end if;
    elsif not exists (select from only {schema}.segmentation_run where id = new.run) then
        perform {schema}.demarc_refuse_unsigned('there is no such recalculation');
    end if;
    return new;
end
$$;
create or replace trigger demarc_done_by_now before insert or update on governance_chore
    for each row execute function demarc_done_by_now();
create or replace trigger demarc_done_by_now before insert on governance_followedrun
    for each row execute function demarc_done_by_now();

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

-- A program never decides, signs or completes, whatever roles it has and whoever writes it down.

create or replace function demarc_is_program(variadic people integer[]) returns boolean language sql stable
    set search_path = pg_catalog, pg_temp as $$
    select exists (select from only {schema}.core_serviceuser where user_id = any (people))
$$;

create or replace function demarc_refuse_program() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    person integer := (to_jsonb(new) ->> tg_argv[0])::int;
begin
    if {schema}.demarc_is_program(person) or exists (
            select from only {schema}.segmentation_cause c
             where c.xid = pg_current_xact_id() and c.at = transaction_timestamp() and {schema}.demarc_is_program(c.actor)) then
        raise exception 'a program never decides, signs or completes' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_refuse_program before insert on governance_decision
    for each row execute function demarc_refuse_program('by');
create or replace trigger demarc_refuse_program_instead before insert on governance_decision
    for each row when (new.on_behalf_of is not null) execute function demarc_refuse_program('on_behalf_of');
create or replace trigger demarc_refuse_program before insert or update on governance_delegation
    for each row execute function demarc_refuse_program('delegate_id');
create or replace trigger demarc_refuse_program before update on governance_transition
    for each row when (new.status = 'done' and old.status <> 'done') execute function demarc_refuse_program('ended_by');
create or replace trigger demarc_refuse_program before insert or update on segmentation_declaration
    for each row when (new.decided_at is not null or new.status in ('confirmed', 'rejected'))
    execute function demarc_refuse_program('decided_by');
create or replace trigger demarc_refuse_program before insert or update on accounts_conflict
    for each row when (new.status in ('kept', 'taken')) execute function demarc_refuse_program('decided_by');

-- Who once was a program stays one, and is above no role.
create or replace function demarc_program_stays() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from only {schema}.auth_user where id = old.user_id)
       and not exists (select from only {schema}.core_serviceuser where user_id = old.user_id) then
        raise exception 'who is a program stays one' using errcode = 'restrict_violation';
    end if;
    return null;
end
$$;
drop trigger if exists demarc_program_stays on core_serviceuser;
create constraint trigger demarc_program_stays after update or delete on core_serviceuser deferrable initially deferred
    for each row execute function demarc_program_stays();
create or replace function demarc_program_above_no_role() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from only {schema}.auth_user u join only {schema}.core_serviceuser s on s.user_id = u.id
                where u.id = (coalesce(to_jsonb(new) ->> 'user_id', to_jsonb(new) ->> 'id'))::int and u.is_superuser) then
        raise exception 'no program is a superuser' using errcode = 'restrict_violation';
    end if;
    return null;
end
$$;
create or replace trigger demarc_program_above_no_role after insert on core_serviceuser
    for each row execute function demarc_program_above_no_role();
create or replace trigger demarc_program_above_no_role after update on auth_user
    for each row when (new.is_superuser and not old.is_superuser) execute function demarc_program_above_no_role();

-- A token keeps its key and its user, and one that was revoked stays so.
create or replace function demarc_guard_token() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if (new.key, new.user_id, new.created_at) is distinct from (old.key, old.user_id, old.created_at) then
        raise exception 'a token keeps its key and its user' using errcode = 'restrict_violation';
    end if;
    if old.revoked_at is not null and (new.revoked_at, new.hash, new.expires_at)
                                      is distinct from (old.revoked_at, old.hash, old.expires_at) then
        raise exception 'a token that was revoked stays so' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_token before update on core_token
    for each row execute function demarc_guard_token();
create or replace function demarc_token_stays() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from only {schema}.auth_user where id = old.user_id) then
        raise exception 'tokens are revoked, not deleted' using errcode = 'restrict_violation';
    end if;
    return null;
end
$$;
drop trigger if exists demarc_token_stays on core_token;
create constraint trigger demarc_token_stays after delete on core_token deferrable initially deferred
    for each row execute function demarc_token_stays();
-- That it was used is noted without; whatever else changes has a cause.
create or replace trigger demarc_caused_write before insert or delete on core_token
    for each row execute function demarc_require_cause();
create or replace trigger demarc_caused_update before update on core_token
    for each row when ((old.name, old.hash, old.writes, old.expires_at, old.networks, old.rotated_at, old.revoked_at)
                       is distinct from
                       (new.name, new.hash, new.writes, new.expires_at, new.networks, new.rotated_at, new.revoked_at))
    execute function demarc_require_cause();
create or replace trigger demarc_append_only before update or delete on core_historicalserviceuser
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on core_historicaltoken
    for each row execute function demarc_append_only();
create or replace trigger demarc_caused_write before insert or update or delete on core_serviceuser
    for each row execute function demarc_require_cause();


-- The feed of changes (core.feed): what a statement wrote is noted as one row, with its transaction, whoever writes.

create or replace function demarc_feed() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    insert into {schema}.core_change (kind, ids, size)
    select tg_argv[0], array_agg(id order by id), count(*) from fresh having count(*) > 0;
    return null;
end
$$;
create or replace trigger demarc_feed after insert on accounts_factchange
    referencing new table as fresh for each statement execute function demarc_feed('facts');
create or replace trigger demarc_feed after insert on accounts_signal
    referencing new table as fresh for each statement execute function demarc_feed('signal');
create or replace trigger demarc_feed after insert on segmentation_move
    referencing new table as fresh for each statement execute function demarc_feed('move');

-- An event that only repeats a move is left out.
create or replace function demarc_feed_events() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    insert into {schema}.core_change (kind, ids, size)
    select 'event', array_agg(id order by id), count(*) from fresh where kind <> 'move' having count(*) > 0;
    return null;
end
$$;
create or replace trigger demarc_feed after insert on governance_event
    referencing new table as fresh for each statement execute function demarc_feed_events();

-- A number that was given stays, and so does what was noted.
create or replace function demarc_change_stays() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' or old.first is not null
       or (new.kind, new.ids, new.size, new.xid, new.at) is distinct from (old.kind, old.ids, old.size, old.xid, old.at) then
        raise exception 'core_change is append-only: rows are added, and numbered once' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_change_stays before update or delete on core_change
    for each row execute function demarc_change_stays();

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
