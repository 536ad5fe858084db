"""What a worker carries out may be tried again: a request that failed waits for the worker, as an approved one does."""

from django.db import migrations, models

BEFORE = "('failed', 'applied'), ('failed', 'pending')"
AFTER = "('failed', 'applied'), ('failed', 'approved'), ('failed', 'pending')"
LABELS = [
    ("pending", "Waiting for approval"),
    ("changes_asked", "Changes asked for"),
    ("approved", "Approved, to be carried out"),
    ("applied", "Approved and done"),
    ("rejected", "Rejected"),
    ("withdrawn", "Withdrawn"),
    ("expired", "Expired"),
    ("failed", "Approved, but failed"),
]


def changed(before, after):
    def change(apps, schema_editor):
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("select pg_get_functiondef('demarc_guard_request'::regproc)")
            [text] = cursor.fetchone()
        assert before in text
        schema_editor.execute(text.replace(before, after), params=None)

    return change


def status():
    return models.CharField(choices=LABELS, default="pending", max_length=15)


class Migration(migrations.Migration):
    dependencies = [("governance", "0009_logins_open_with_a_cause")]
    operations = [
        migrations.AlterField("approvalrequest", "status", status()),
        migrations.AlterField("historicalapprovalrequest", "status", status()),
        migrations.RunPython(changed(BEFORE, AFTER), changed(AFTER, BEFORE)),
    ]
