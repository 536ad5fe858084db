"""Programs never decide, sign or complete; and what is written is noted for the feed of changes (docs/adr/0035, 0036)."""

from django.db import migrations

from core.guards import installed_by


class Migration(migrations.Migration):
    dependencies = [
        ("governance", "0005_urgent_mail"),
        ("core", "0006_service_users_and_the_api"),
        ("segmentation", "0005_causes"),
        ("accounts", "0008_guards"),
    ]
    operations = [migrations.RunPython(installed_by(__file__), migrations.RunPython.noop)]
