from importlib import import_module

import django.db.models.deletion
import simple_history.models
from django.db import migrations, models

import accounts.history

append_only = import_module("accounts.migrations.0002_append_only").append_only

# Who answered for what, and why, belongs to the rules: it is fixed when they are decided about.
ACKNOWLEDGEMENT = """
create function demarc_guard_acknowledgement() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select 1 from {schema}.segmentation_definition
                where id in (old.definition_id, new.definition_id) and status not in ('draft', 'in_review')) then
        raise exception 'what was acknowledged for rules that are no draft cannot be changed'
            using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;
create trigger demarc_guard_acknowledgement before insert or update or delete on segmentation_acknowledgement
    for each row execute function demarc_guard_acknowledgement();
create trigger demarc_no_truncate before truncate on segmentation_acknowledgement
    for each statement execute function demarc_append_only();
alter table segmentation_acknowledgement enable always trigger demarc_guard_acknowledgement;
alter table segmentation_acknowledgement enable always trigger demarc_no_truncate;
"""
ACKNOWLEDGEMENT_UNDO = """
drop trigger demarc_guard_acknowledgement on segmentation_acknowledgement;
drop trigger demarc_no_truncate on segmentation_acknowledgement;
drop function demarc_guard_acknowledgement();
"""


def guard(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("select quote_ident(current_schema())")
        [schema] = cursor.fetchone()
    schema_editor.execute(ACKNOWLEDGEMENT.replace("{schema}", schema), params=None)


def unguard(apps, schema_editor):
    schema_editor.execute(ACKNOWLEDGEMENT_UNDO, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("segmentation", "0009_decided_so_far"),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalAcknowledgement",
            fields=[
                (
                    "id",
                    models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name="ID"),
                ),
                (
                    "history_user_label",
                    models.CharField(default=accounts.history.actor_label, max_length=200),
                ),
                ("history_channel", models.CharField(default=accounts.history.actor_channel, max_length=20)),
                ("history_run", models.BigIntegerField(null=True)),
                ("check_id", models.CharField(max_length=50)),
                ("about", models.CharField(blank=True, max_length=400)),
                ("sentence", models.TextField()),
                ("reason", models.TextField()),
                ("at", models.DateTimeField(blank=True, editable=False)),
                ("by", models.IntegerField(default=accounts.history.actor_id, null=True)),
                ("by_label", models.CharField(default=accounts.history.actor_label, max_length=200)),
                ("history_user_id", models.IntegerField(null=True)),
                ("history_change_reason", models.TextField(blank=True, default="")),
                ("history_id", models.AutoField(primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                (
                    "history_type",
                    models.CharField(
                        choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1
                    ),
                ),
                (
                    "definition",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="segmentation.definition",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical acknowledged warning",
                "verbose_name_plural": "historical acknowledged warnings",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="Acknowledgement",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("check_id", models.CharField(max_length=50)),
                ("about", models.CharField(blank=True, max_length=400)),
                ("sentence", models.TextField()),
                ("reason", models.TextField()),
                ("at", models.DateTimeField(auto_now=True)),
                ("by", models.IntegerField(default=accounts.history.actor_id, null=True)),
                ("by_label", models.CharField(default=accounts.history.actor_label, max_length=200)),
                (
                    "definition",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="acknowledgements",
                        to="segmentation.definition",
                    ),
                ),
            ],
            options={
                "verbose_name": "acknowledged warning",
                "ordering": ["id"],
                "default_permissions": [],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("definition", "check_id", "about"), name="acknowledged_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("reason", ""), _negated=True),
                        name="acknowledged_with_reason",
                        violation_error_message="Say why these rules are used all the same.",
                    ),
                ],
            },
        ),
        migrations.RunPython(guard, unguard),
        append_only("segmentation_historicalacknowledgement"),
    ]
