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
{append_only: core_historicalserviceuser core_historicaltoken}{with_cause: core_serviceuser}
