"""The roles, groups with fixed permissions (governance.signoff.roles); and the profile Standard, which every organisation starts from."""

from dataclasses import asdict

from django.db import migrations
from django.utils import timezone

from governance.signoff import roles
from governance.signoff.profiles import PROFILES

REASON = "What every organisation starts from"
CAUSE = """
insert into segmentation_cause (kind, actor_label, channel, reason)
values ('set-up', 'system', 'migration', %s)
"""
WHO = {
    "history_type": "+",
    "history_user_label": "system",
    "history_channel": "migration",
    "history_change_reason": REASON,
}


def make_roles(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(CAUSE, [REASON])
    roles.make(schema_editor.connection.alias)


def start(apps, schema_editor):
    """Historical models keep no history of their own, so it is written here."""
    Policy, Profile = (apps.get_model("governance", name) for name in ("ApprovalPolicy", "Profile"))
    groups = dict(apps.get_model("auth", "Group").objects.values_list("name", "pk"))
    made = [Profile.objects.create(id=1, name="standard")]
    for row in PROFILES["standard"]:
        values = asdict(row)
        made.append(Policy.objects.create(role_id=groups[values.pop("role")], **values))
    for one in made:
        model = apps.get_model("governance", f"Historical{one._meta.object_name}")
        values = {field.attname: getattr(one, field.attname) for field in one._meta.concrete_fields}
        model.objects.create(**values, **WHO, history_date=timezone.now())


class Migration(migrations.Migration):
    dependencies = [("governance", "0002_guards"), ("contenttypes", "0002_remove_content_type_name")]
    operations = [
        migrations.RunPython(make_roles, migrations.RunPython.noop),
        migrations.RunPython(start, migrations.RunPython.noop),
    ]
