"""A tier change starts, and an override is in force, by the request that names it and no other one that was approved."""

from django.db import migrations

APPROVED = "where id = new.request_id and status = 'applied'"
NAMED = {
    "demarc_guard_transition": """
               and (content -> 'transitions' @> jsonb_build_array(
                        jsonb_build_object('id', new.id, 'to', new.to_segment_id, 'receiver', new.receiver_id))
                    or content ->> 'segment' = new.to_segment_id::text
                       and content -> 'overrides' @> jsonb_build_array(jsonb_build_object('id', new.override_id)))""",
    "demarc_guard_override": """
               and content ->> 'segment' = new.segment_id::text
               and content ->> 'expires_on' = new.expires_on::text
               and content -> 'overrides' @> jsonb_build_array(jsonb_build_object('id', new.id))""",
}


def change(schema_editor, replaced):
    for function, named in NAMED.items():
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(f"select pg_get_functiondef('{function}'::regproc)")
            [text] = cursor.fetchone()
        before, after = replaced(named)
        assert text.count(before) == 1, function
        schema_editor.execute(text.replace(before, after), params=None)


def forwards(apps, schema_editor):
    change(schema_editor, lambda named: (APPROVED, APPROVED + named))


def backwards(apps, schema_editor):
    change(schema_editor, lambda named: (APPROVED + named, APPROVED))


class Migration(migrations.Migration):
    dependencies = [("governance", "0011_roles_keep_their_names")]
    operations = [migrations.RunPython(forwards, backwards)]
