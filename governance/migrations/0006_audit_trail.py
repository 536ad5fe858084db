"""Who may see the audit trail, and what lets it be read by time.

The rows that people wrote are few among those that recalculations and imports write in bulk; the trail reads these alone.
"""

from importlib import import_module

from django.db import migrations, models

make = import_module("governance.migrations.0003_roles").make

# table: (its time, its number, which rows)
WRITTEN = {
    "accounts_historicalaccount": ("history_date", "history_id", "history_run is null"),
    "accounts_historicalsubscription": ("history_date", "history_id", "history_run is null"),
    "segmentation_historicalassignment": ("history_date", "history_id", "history_run is null"),
    "governance_historicaltransition": ("history_date", "history_id", "history_run is null"),
    "segmentation_cause": ("at", "id", "kind not in ('run', 'import')"),
}


def by_time(table, at, row, which):
    return migrations.RunSQL(
        f"create index {table}_written on {table} ({at}, {row}) where {which}", f"drop index {table}_written"
    )


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0010_conflicts"),
        ("governance", "0005_standard_profile"),
        ("segmentation", "0017_provisional_by_due_date"),
    ]
    operations = [
        migrations.AlterModelOptions(
            name="event",
            options={
                "default_permissions": [],
                "ordering": ["-id"],
                "permissions": [("view_audit", "Can see and export the audit trail")],
            },
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                condition=models.Q(("kind", "move"), _negated=True), fields=["at", "id"], name="event_told"
            ),
        ),
        *[by_time(table, *columns) for table, columns in WRITTEN.items()],
        migrations.RunPython(make, migrations.RunPython.noop),
    ]
