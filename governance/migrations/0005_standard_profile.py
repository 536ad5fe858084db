"""Every organisation starts from the profile Standard, until somebody chooses another one."""

from dataclasses import asdict

from django.db import migrations
from django.utils import timezone

from governance.profiles import PROFILES

REASON = "The profile every organisation starts from"
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


def start(apps, schema_editor):
    """Historical models keep no history of their own, so it is written here."""
    Policy, Profile = (apps.get_model("governance", name) for name in ("ApprovalPolicy", "Profile"))
    if Profile.objects.exists():
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(CAUSE, [REASON])
    roles = dict(apps.get_model("auth", "Group").objects.values_list("name", "pk"))
    made = [Profile.objects.create(id=1, name="standard")]
    for row in PROFILES["standard"]:
        values = asdict(row)
        made.append(Policy.objects.create(role_id=roles[values.pop("role")], **values))
    for one in made:
        model = apps.get_model("governance", f"Historical{one._meta.object_name}")
        values = {field.attname: getattr(one, field.attname) for field in one._meta.concrete_fields}
        model.objects.create(**values, **WHO, history_date=timezone.now())


class Migration(migrations.Migration):
    dependencies = [("governance", "0004_told_in_one_line")]
    operations = [migrations.RunPython(start, migrations.RunPython.noop)]
