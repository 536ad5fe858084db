-- Governed columns change only with a Cause of the same transaction (design section 6). xids start again after a restore,
-- hence the time beside it; neither can be chosen by who inserts the row.

create or replace function demarc_stamp_cause() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'what is governed is read as it is now, not as it was when a transaction began'
            using errcode = 'restrict_violation';
    end if;
    new.xid := pg_current_xact_id();
    new.at := transaction_timestamp();
    return new;
end
$$;

create or replace trigger demarc_stamp_cause before insert on segmentation_cause
    for each row execute function demarc_stamp_cause();

create or replace function demarc_require_cause() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select 1 from only {schema}.segmentation_cause
                    where xid = pg_current_xact_id() and at = transaction_timestamp()) then
        raise exception '%: this change needs a cause in the same transaction', tg_table_name
            using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;

-- A move names the cause of its own transaction.

create or replace function demarc_stamp_move() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select 1 from only {schema}.segmentation_cause
                    where id = new.cause_id and xid = pg_current_xact_id() and at = transaction_timestamp()) then
        raise exception '%: this change needs a cause in the same transaction', tg_table_name
            using errcode = 'restrict_violation';
    end if;
    new.written_at := transaction_timestamp();
    return new;
end
$$;

create or replace trigger demarc_stamp_move before insert on segmentation_move
    for each row execute function demarc_stamp_move();

create or replace trigger demarc_not_emptied before truncate on segmentation_historicalservicemodel
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on segmentation_historicalservicemodel
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_servicemodel
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_servicemodel
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_historicaltreatment
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on segmentation_historicaltreatment
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_treatment
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_treatment
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_historicallayer
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on segmentation_historicallayer
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_layer
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_layer
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_historicalsegment
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on segmentation_historicalsegment
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_segment
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_segment
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_historicaldefinition
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on segmentation_historicaldefinition
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_definition
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_definition
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_historicalacknowledgement
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on segmentation_historicalacknowledgement
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_acknowledgement
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_acknowledgement
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_cause
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_cause
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_run
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_run
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_runlayer
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_runlayer
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_runpart
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_runpart
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_simulation
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_simulation
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_simulationpart
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_simulationpart
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_quarantined
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_quarantined
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_historicalassignment
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on segmentation_historicalassignment
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_assignment
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_assignment
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_assignmentscore
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of assignment_id on segmentation_assignmentscore
    for each row when (old.assignment_id is distinct from new.assignment_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_move
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_move
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_historicaldeclaration
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on segmentation_historicaldeclaration
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_declaration
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_declaration
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_historicaljobtobedone
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on segmentation_historicaljobtobedone
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_jobtobedone
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_jobtobedone
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_historicalinterview
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of history_id on segmentation_historicalinterview
    for each row when (old.history_id is distinct from new.history_id) execute function demarc_row_stays();
create or replace trigger demarc_not_emptied before truncate on segmentation_interview
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of id on segmentation_interview
    for each row when (old.id is distinct from new.id) execute function demarc_row_stays();
create or replace trigger demarc_append_only before update or delete on segmentation_historicalacknowledgement
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_historicalassignment
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_historicaldeclaration
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_historicaldefinition
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_historicalinterview
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_historicaljobtobedone
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_historicallayer
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_historicalsegment
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_historicalservicemodel
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_historicaltreatment
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_cause
    for each row execute function demarc_append_only();
create or replace trigger demarc_append_only before update or delete on segmentation_move
    for each row execute function demarc_append_only();


-- What is in force for an account, whether people pinned it, and whether it is provisional changes with a cause only; whose
-- assignment it is stays.

create or replace trigger demarc_effective_insert before insert on segmentation_assignment
    for each row when (new.effective_id is not null) execute function demarc_require_cause();

create or replace trigger demarc_effective_update before update on segmentation_assignment
    for each row when ((old.account_id, old.layer_id, old.product_id, old.effective_id, old.overridden, old.provisional)
                       is distinct from (new.account_id, new.layer_id, new.product_id, new.effective_id, new.overridden, new.provisional))
    execute function demarc_require_cause();

create or replace trigger demarc_effective_delete before delete on segmentation_assignment
    for each row execute function demarc_require_cause();

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

-- A segment is not part of itself. The lock: two people may each set one half of a circle at once.

create or replace function demarc_segment_circle() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    above bigint := new.parent_id;
begin
    perform pg_advisory_xact_lock(18116681);
    while above is not null loop
        if above = new.id then
            raise exception 'segment % would be part of itself', new.key using errcode = 'check_violation';
        end if;
        select parent_id into above from only {schema}.segmentation_segment where id = above;
    end loop;
    return null;
end
$$;

create or replace trigger demarc_segment_circle after insert or update of parent_id on segmentation_segment
    for each row when (new.parent_id is not null) execute function demarc_segment_circle();

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
    if new.status <> old.status and (old.status, new.status) not in (('draft', 'in_review'), ('in_review', 'draft'), ('in_review', 'rejected'), ('in_review', 'active'), ('draft', 'active'), ('active', 'retired')) then
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

-- What was declared, decided and ended stays as it was written.

create or replace function demarc_guard_declaration() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'declared values are withdrawn, not deleted' using errcode = 'restrict_violation';
    end if;
    if tg_op = 'INSERT' then
        if new.status <> 'proposed' then
            raise exception 'a declared value begins as a proposal' using errcode = 'restrict_violation';
        end if;
        if not exists (select 1 from only {schema}.segmentation_segment
                        where id = new.segment_id and layer_id = new.layer_id) then
            raise exception 'the declared segment is of another layer' using errcode = 'restrict_violation';
        end if;
        return new;
    end if;
    if (new.id, new.account_id, new.layer_id, new.segment_id, new.reason, new.evidence, new.from_date,
        new.proposed_by, new.proposed_by_label, new.proposed_at)
       is distinct from
       (old.id, old.account_id, old.layer_id, old.segment_id, old.reason, old.evidence, old.from_date,
        old.proposed_by, old.proposed_by_label, old.proposed_at) then
        raise exception 'what was declared cannot be changed' using errcode = 'restrict_violation';
    end if;
    if old.decided_at is not null
       and (new.decided_by, new.decided_by_label, new.decided_at, new.decision_reason)
           is distinct from (old.decided_by, old.decided_by_label, old.decided_at, old.decision_reason) then
        raise exception 'a decision cannot be changed' using errcode = 'restrict_violation';
    end if;
    if old.ended_at is not null
       and (new.until_date, new.ended_by, new.ended_by_label, new.ended_at, new.end_reason)
           is distinct from (old.until_date, old.ended_by, old.ended_by_label, old.ended_at, old.end_reason) then
        raise exception 'how a declared value ended cannot be changed' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status
       and (old.status, new.status) not in (('proposed', 'confirmed'), ('proposed', 'rejected'), ('proposed', 'withdrawn'), ('proposed', 'replaced'), ('confirmed', 'withdrawn'), ('confirmed', 'replaced')) then
        raise exception 'a declared value cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create or replace trigger demarc_guard_declaration before insert or update or delete on segmentation_declaration
    for each row execute function demarc_guard_declaration();

-- What an impact preview is of never changes; a frozen one is kept as it is, with its parts.

create or replace function demarc_guard_simulation() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        if new.frozen_at is not null then
            raise exception 'an impact preview is frozen once it has ended' using errcode = 'restrict_violation';
        end if;
        return new;
    end if;
    if old.frozen_at is not null then
        raise exception 'a frozen impact preview is kept as it is' using errcode = 'restrict_violation';
    end if;
    if tg_op = 'UPDATE' and (new.id, new.layer_id, new.definition_id, new.version, new.document, new.hash, new.as_of)
           is distinct from (old.id, old.layer_id, old.definition_id, old.version, old.document, old.hash, old.as_of)
       or tg_op = 'UPDATE' and old.status <> 'running' and (new.status, new.result) is distinct from (old.status, old.result) then
        raise exception 'what an impact preview is of, and what came out, cannot be changed'
            using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;

create or replace trigger demarc_guard_simulation before insert or update or delete on segmentation_simulation
    for each row execute function demarc_guard_simulation();

create or replace function demarc_guard_simulation_part() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select 1 from only {schema}.segmentation_simulation
                where id in (old.job_id, new.job_id) and frozen_at is not null) then
        raise exception 'a frozen impact preview is kept as it is' using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;

create or replace trigger demarc_guard_simulation_part before insert or update or delete on segmentation_simulationpart
    for each row execute function demarc_guard_simulation_part();

-- The clock of recalculations never goes back, and is no day to come: here by more than the day that places on Earth differ,
-- exactly in segmentation.runs.recalculation. One of nobody says nothing. What there was as of which day stays, and what has ended does not go on. The lock is segmentation.runs.recalculation.CLOCK.
create or replace function demarc_guard_clock() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    today date := (transaction_timestamp() at time zone 'UTC' + interval '14 hours')::date;
begin
    if tg_op = 'UPDATE' then
        if old.status <> 'running' and new.status = 'running' then
            raise exception 'a recalculation that has ended does not go on' using errcode = 'restrict_violation';
        end if;
        raise exception 'what a recalculation was as of stays' using errcode = 'restrict_violation';
    end if;
    perform pg_advisory_xact_lock(18116682);
    if new.as_of > today then
        raise exception 'a recalculation is not as of a day to come' using errcode = 'restrict_violation';
    end if;
    if new.as_of + 1 < (select max(as_of) from only {schema}.segmentation_run where accounts > 0 and as_of <= today) then
        raise exception 'the clock of recalculations does not go back' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_clock before insert on segmentation_run
    for each row execute function demarc_guard_clock();
create or replace trigger demarc_guard_clock_update before update on segmentation_run
    for each row when (old.as_of is distinct from new.as_of or old.accounts > 0 and new.accounts is distinct from old.accounts
                       or old.status <> 'running' and new.status = 'running')
    execute function demarc_guard_clock();

-- A recalculation is by rules in force. It has begun with those that others are taking the place of in the same hour.
create or replace function demarc_guard_run_layer() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'UPDATE' and (new.definition_id, new.layer_id) = (old.definition_id, old.layer_id) then
        return new;
    end if;
    if not exists (select from only {schema}.segmentation_definition
                    where id = new.definition_id and layer_id = new.layer_id
                      and (status = 'active' or retired_at > transaction_timestamp() - interval '1 hour')) then
        raise exception 'a recalculation is by rules that are in force' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create or replace trigger demarc_guard_run_layer before insert or update of definition_id, layer_id on segmentation_runlayer
    for each row execute function demarc_guard_run_layer();

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

drop trigger if exists demarc_keep_history on segmentation_servicemodel;
create constraint trigger demarc_keep_history after insert or update or delete on segmentation_servicemodel
    deferrable initially deferred for each row execute function demarc_keep_history();
drop trigger if exists demarc_keep_history on segmentation_treatment;
create constraint trigger demarc_keep_history after insert or update or delete on segmentation_treatment
    deferrable initially deferred for each row execute function demarc_keep_history();
drop trigger if exists demarc_keep_history on segmentation_layer;
create constraint trigger demarc_keep_history after insert or update or delete on segmentation_layer
    deferrable initially deferred for each row execute function demarc_keep_history();
drop trigger if exists demarc_keep_history on segmentation_segment;
create constraint trigger demarc_keep_history after insert or update or delete on segmentation_segment
    deferrable initially deferred for each row execute function demarc_keep_history();
drop trigger if exists demarc_keep_history on segmentation_jobtobedone;
create constraint trigger demarc_keep_history after insert or update or delete on segmentation_jobtobedone
    deferrable initially deferred for each row execute function demarc_keep_history();
drop trigger if exists demarc_keep_history on segmentation_interview;
create constraint trigger demarc_keep_history after insert or update or delete on segmentation_interview
    deferrable initially deferred for each row execute function demarc_keep_history();


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
