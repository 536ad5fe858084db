"""The promises of sign-off that the database keeps whoever writes: see design section 6.

* A request goes along its table of statuses; what is approved is fixed; an edit is a new revision. It is approved and
  done only with enough approvals of this very revision, by active people of the roles it needs.
* Nobody decides what they requested, edited or look after as CSM, superusers included, nor does who stands in for them.
* A tier change reaches joint coverage, and an override is in force, only with a request that was approved.
* Statuses, policies and roles change only with a Cause row of the same transaction. Decisions and events stay as written.
* Every event, and every change of a segment, leaves a row for those who are to be told.
"""

from importlib import import_module

from django.db import migrations

append_only = import_module("accounts.migrations.0002_append_only").append_only

REQUEST = """
create function demarc_guard_request() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'requests are withdrawn, not deleted' using errcode = 'restrict_violation';
    end if;
    if tg_op = 'INSERT' then
        if new.status <> 'pending' or new.revision <> 1 then
            raise exception 'a request begins by waiting for approval' using errcode = 'restrict_violation';
        end if;
        return new;
    end if;
    if old.status in ('applied', 'rejected', 'withdrawn', 'expired') then
        raise exception 'a request that has ended stays as it is' using errcode = 'restrict_violation';
    end if;
    if (new.id, new.kind, new.key, new.requester, new.requester_label, new.requested_at)
       is distinct from (old.id, old.kind, old.key, old.requester, old.requester_label, old.requested_at)
       or not old.editors <@ new.editors then
        raise exception 'what a request is about and who asked stays' using errcode = 'restrict_violation';
    end if;
    if (new.content is distinct from old.content) <> (new.hash is distinct from old.hash) then
        raise exception 'the content of a request and its fingerprint change together'
            using errcode = 'restrict_violation';
    end if;
    if new.hash is distinct from old.hash and (new.revision <> old.revision + 1 or new.status <> 'pending') then
        raise exception 'an edit is a new revision and waits for approval' using errcode = 'restrict_violation';
    end if;
    if new.revision not in (old.revision, old.revision + 1) then
        raise exception 'revisions follow one another' using errcode = 'restrict_violation';
    end if;
    if new.hash = old.hash and exists (
            select from jsonb_each_text(old.needed) o
             where coalesce((new.needed ->> o.key)::int, 0) < o.value::int) then
        raise exception 'an open request keeps the stricter policy' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status and (old.status, new.status) not in (
        ('pending', 'changes_asked'), ('pending', 'approved'), ('pending', 'applied'), ('pending', 'rejected'),
        ('pending', 'withdrawn'), ('pending', 'expired'), ('pending', 'failed'),
        ('changes_asked', 'pending'), ('changes_asked', 'withdrawn'), ('changes_asked', 'expired'),
        ('approved', 'applied'), ('approved', 'failed'), ('approved', 'pending'), ('approved', 'withdrawn'),
        ('approved', 'expired'),
        ('failed', 'applied'), ('failed', 'pending'), ('failed', 'withdrawn'), ('failed', 'expired')) then
        raise exception 'a request cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    if new.status in ('approved', 'applied') and new.status <> old.status and exists (
            select from jsonb_each_text(new.needed) n
             where n.value::int > (select count(distinct d.by) from {schema}.governance_decision d
                                     join {schema}.auth_user u on u.id = d.by and u.is_active
                                    where d.request_id = new.id and d.verdict = 'approve' and d.role = n.key
                                      and d.revision = new.revision and d.hash = new.hash)) then
        raise exception 'this request has not enough approvals' using errcode = 'restrict_violation';
    end if;
    if new.status = 'rejected' and not exists (
            select from {schema}.governance_decision d
             where d.request_id = new.id and d.verdict = 'reject' and d.revision = new.revision) then
        raise exception 'nobody has rejected this request' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create trigger demarc_guard_request before insert or update or delete on governance_approvalrequest
    for each row execute function demarc_guard_request();
alter table governance_approvalrequest enable always trigger demarc_guard_request;
"""

DECISION = """
create function demarc_guard_decision() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    r {schema}.governance_approvalrequest;
begin
    select * into r from {schema}.governance_approvalrequest where id = new.request_id for update;
    if r.status <> 'pending' then
        raise exception 'this request does not wait for approval' using errcode = 'restrict_violation';
    end if;
    if (new.hash, new.revision) is distinct from (r.hash, r.revision) then
        raise exception 'this request has changed' using errcode = 'restrict_violation';
    end if;
    if array[new."by", new.on_behalf_of] && (array[r.requester] || r.editors || r.owners) then
        raise exception 'nobody decides what they requested, edited or look after'
            using errcode = 'restrict_violation';
    end if;
    if not exists (select from {schema}.auth_user where id = new."by" and is_active) then
        raise exception 'only active people decide' using errcode = 'restrict_violation';
    end if;
    if not exists (select from {schema}.auth_user_groups m join {schema}.auth_group g on g.id = m.group_id
                    where m.user_id = coalesce(new.on_behalf_of, new."by") and g.name = new.role) then
        raise exception 'only people of the role decide in it' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create trigger demarc_guard_decision before insert on governance_decision
    for each row execute function demarc_guard_decision();
alter table governance_decision enable always trigger demarc_guard_decision;
"""

TRANSITION = """
create function demarc_guard_transition() returns trigger language plpgsql
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
    if new.status <> old.status and (old.status, new.status) not in (
        ('flagged', 'planned'), ('flagged', 'kept'), ('flagged', 'closed'), ('flagged', 'withdrawn'),
        ('planned', 'flagged'), ('planned', 'awaiting'), ('planned', 'kept'), ('planned', 'closed'),
        ('planned', 'withdrawn'),
        ('awaiting', 'planned'), ('awaiting', 'joint'), ('awaiting', 'rejected'), ('awaiting', 'closed'),
        ('awaiting', 'withdrawn'),
        ('joint', 'done')) then
        raise exception 'a tier change cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    if new.status = 'joint' and old.status <> 'joint' and not exists (
            select from {schema}.governance_approvalrequest where id = new.request_id and status = 'applied') then
        raise exception 'this tier change has not been approved' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create trigger demarc_guard_transition before insert or update or delete on governance_transition
    for each row execute function demarc_guard_transition();
alter table governance_transition enable always trigger demarc_guard_transition;
"""

OVERRIDE = """
create function demarc_guard_override() returns trigger language plpgsql
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
    if old.status not in ('requested', 'active') then
        raise exception 'an override that has ended stays as it is' using errcode = 'restrict_violation';
    end if;
    if (new.id, new.account_id, new.layer_id, new.requested_by)
       is distinct from (old.id, old.account_id, old.layer_id, old.requested_by)
       or old.status = 'active' and (new.segment_id, new.expires_on, new.reason_code, new.text, new.evidence, new.request_id)
                   is distinct from (old.segment_id, old.expires_on, old.reason_code, old.text, old.evidence, old.request_id)
    then
        raise exception 'what was approved cannot be changed' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status and (old.status, new.status) not in (
        ('requested', 'active'), ('requested', 'rejected'), ('requested', 'withdrawn'),
        ('active', 'expired'), ('active', 'ended'), ('active', 'replaced')) then
        raise exception 'an override cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    if new.status = 'active' and old.status <> 'active' and not exists (
            select from {schema}.governance_approvalrequest where id = new.request_id and status = 'applied') then
        raise exception 'this override has not been approved' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create trigger demarc_guard_override before insert or update or delete on governance_override
    for each row execute function demarc_guard_override();
alter table governance_override enable always trigger demarc_guard_override;
"""

# Statement triggers: a recalculation writes many moves at once. First segments are no news.
EVENTS = """
create function demarc_outbox() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    insert into {schema}.governance_outbox (event_id) select id from fresh;
    return null;
end
$$;
create trigger demarc_outbox after insert on governance_event
    referencing new table as fresh for each statement execute function demarc_outbox();
alter table governance_event enable always trigger demarc_outbox;

create function demarc_event_of_move() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    insert into {schema}.governance_event (kind, account_id, layer_id, about, about_id, text, reason, data, actor,
                                           actor_label, channel)
    select 'move', f.account_id, f.layer_id, 'move', f.id, '', c.reason, jsonb_build_object('why', f.why), c.actor,
           c.actor_label, c.channel
      from fresh f join {schema}.segmentation_cause c on c.id = f.cause_id
     where f.why <> 'initial';
    return null;
end
$$;
create trigger demarc_event_of_move after insert on segmentation_move
    referencing new table as fresh for each statement execute function demarc_event_of_move();
alter table segmentation_move enable always trigger demarc_event_of_move;
"""
EVENTS_UNDO = """
drop trigger demarc_event_of_move on segmentation_move;
drop function demarc_event_of_move();
drop trigger demarc_outbox on governance_event;
drop function demarc_outbox();
"""

CAUSED = """
create trigger demarc_caused_write before {what} on {table}
    for each row {when} execute function demarc_require_cause();
alter table {table} enable always trigger demarc_caused_write;
"""
CAUSED_UNDO = "drop trigger demarc_caused_write on {table};"
NO_TRUNCATE = """
create trigger demarc_no_truncate before truncate on {table}
    for each statement execute function demarc_append_only();
alter table {table} enable always trigger demarc_no_truncate;
"""
NO_TRUNCATE_UNDO = "drop trigger demarc_no_truncate on {table};"
WHOLE = ["approvalrequest", "override", "profile", "approvalpolicy", "crossingpolicy", "delegation"]
# Of a tier change, whether it waits and its checklist are no decisions.
TRANSITION_CAUSED = """
create trigger demarc_caused_write before insert or delete on governance_transition
    for each row execute function demarc_require_cause();
create trigger demarc_caused_update before update on governance_transition
    for each row when ((old.status, old.from_segment_id, old.to_segment_id, old.request_id, old.override_id)
        is distinct from (new.status, new.from_segment_id, new.to_segment_id, new.request_id, new.override_id))
    execute function demarc_require_cause();
alter table governance_transition enable always trigger demarc_caused_write;
alter table governance_transition enable always trigger demarc_caused_update;
"""
TRANSITION_CAUSED_UNDO = """
drop trigger demarc_caused_update on governance_transition;
drop trigger demarc_caused_write on governance_transition;
"""
# Power is given with a cause; it may be taken away, and people deleted, without.
POWER = {
    "auth_user_groups": "insert or update",
    "auth_user_user_permissions": "insert or update",
    "auth_group_permissions": "insert or update or delete",
}
SUPERUSER = """
create trigger demarc_superuser before update on auth_user
    for each row when (new.is_superuser and not old.is_superuser) execute function demarc_require_cause();
alter table auth_user enable always trigger demarc_superuser;
"""
SUPERUSER_UNDO = "drop trigger demarc_superuser on auth_user;"
FUNCTIONS = ["demarc_guard_request", "demarc_guard_decision", "demarc_guard_transition", "demarc_guard_override"]
GUARDED = ["approvalrequest", "decision", "transition", "override"]


def guard(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("select quote_ident(current_schema())")
        [schema] = cursor.fetchone()
    for text in (REQUEST, DECISION, TRANSITION, OVERRIDE, EVENTS):
        schema_editor.execute(text.replace("{schema}", schema), params=None)


def unguard(apps, schema_editor):
    schema_editor.execute(EVENTS_UNDO, params=None)
    for function, table in zip(FUNCTIONS, GUARDED, strict=True):
        schema_editor.execute(f"drop trigger {function} on governance_{table}; drop function {function}();", params=None)


def caused(table, what="insert or update or delete", when=""):
    return migrations.RunSQL(
        CAUSED.format(table=table, what=what, when=when), CAUSED_UNDO.format(table=table)
    )


def no_truncate(table):
    return migrations.RunSQL(NO_TRUNCATE.format(table=table), NO_TRUNCATE_UNDO.format(table=table))


HISTORIES = ["profile", "approvalpolicy", "crossingpolicy", "delegation", "approvalrequest", "override", "transition",
             "alertrule", "alert"]  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [
        ("governance", "0001_initial"),
        ("accounts", "0009_refusals"),
        ("segmentation", "0016_governed_overrides"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]
    operations = [
        migrations.RunPython(guard, unguard),
        *[append_only(f"governance_{table}") for table in ("decision", "comment", "event")],
        *[append_only(f"governance_historical{table}") for table in HISTORIES],
        *[caused(f"governance_{table}") for table in WHOLE],
        *[no_truncate(f"governance_{table}") for table in [*WHOLE, "transition"]],
        migrations.RunSQL(TRANSITION_CAUSED, TRANSITION_CAUSED_UNDO),
        *[caused(table, what) for table, what in POWER.items()],
        migrations.RunSQL(SUPERUSER, SUPERUSER_UNDO),
    ]
