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
        if new.kind not in ({keys: governance.signoff.kinds.KINDS}) then
            raise exception 'there is no such kind of request' using errcode = 'restrict_violation';
        end if;
        if new.status <> 'pending' or new.revision <> 1 then
            raise exception 'a request begins by waiting for approval' using errcode = 'restrict_violation';
        end if;
    else
        if old.status in ({ended: governance.signoff.requests.STATUSES}) then
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
        if new.status <> old.status and (old.status, new.status) not in ({moves: governance.signoff.requests.STATUSES}) then
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

{rows: governance auth core}{histories}{append_only: governance_requestaccount governance_decision governance_comment governance_event}{with_cause: governance_approvalrequest governance_delegation}
