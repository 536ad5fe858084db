"""The promises the database keeps about sign-off (governance/guards); and what lets the audit trail be read by time.

The rows that people wrote are few among those that recalculations and imports write in bulk; the trail reads these alone.
"""

from django.db import migrations

from core.guards import installed_by

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
        ("governance", "0001_initial"),
        ("segmentation", "0002_guards"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]
    operations = [
        migrations.RunPython(installed_by(__file__), migrations.RunPython.noop),
        *[by_time(table, *columns) for table, columns in WRITTEN.items()],
    ]
