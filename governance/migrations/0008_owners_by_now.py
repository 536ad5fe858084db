"""Nobody decides about an account they look after: whoever does on the day of the decision, too, not only when it was asked."""

from django.db import migrations

OWNERS = """
create function demarc_guard_owners() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from {schema}.accounts_account a join {schema}.accounts_csm c on c.id = a.csm_id
                where c.user_id in (new."by", new.on_behalf_of)
                  and a.id in (select account_id from {schema}.governance_transition where request_id = new.request_id
                               union all
                               select account_id from {schema}.governance_override where request_id = new.request_id)) then
        raise exception 'nobody decides about an account they look after' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create trigger demarc_guard_owners before insert on governance_decision
    for each row execute function demarc_guard_owners();
alter table governance_decision enable always trigger demarc_guard_owners;
"""
UNDO = "drop trigger demarc_guard_owners on governance_decision; drop function demarc_guard_owners();"


def guard(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("select quote_ident(current_schema())")
        [schema] = cursor.fetchone()
    schema_editor.execute(OWNERS.replace("{schema}", schema), params=None)


def unguard(apps, schema_editor):
    schema_editor.execute(UNDO, params=None)


class Migration(migrations.Migration):
    dependencies = [("governance", "0007_roles_anew")]
    operations = [migrations.RunPython(guard, unguard)]
