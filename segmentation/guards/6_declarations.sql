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
       and (old.status, new.status) not in ({moves: segmentation.authoring.declarations.STATUSES}) then
        raise exception 'a declared value cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create or replace trigger demarc_guard_declaration before insert or update or delete on segmentation_declaration
    for each row execute function demarc_guard_declaration();
