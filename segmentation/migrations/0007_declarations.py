"""Values people declare, and the jobs to be done behind them; guarded like everything that segments follow from."""

from importlib import import_module

import django.contrib.postgres.constraints
import django.db.models.deletion
import django.utils.timezone
import simple_history.models
from django.db import migrations, models

import accounts.history

append_only = import_module("accounts.migrations.0002_append_only").append_only

APPEND_ONLY = [
    "segmentation_historicaldeclaration",
    "segmentation_historicalinterview",
    "segmentation_historicaljob",
]

# What was declared, decided and ended stays as it was written; a status only goes where the table of statuses leads.
DECLARATION = """
create function demarc_guard_declaration() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'declared values are withdrawn, not deleted' using errcode = 'restrict_violation';
    end if;
    if tg_op = 'INSERT' then
        if new.status <> 'proposed' then
            raise exception 'a declared value begins as a proposal' using errcode = 'restrict_violation';
        end if;
        if not exists (select 1 from {schema}.segmentation_segment
                        where id = new.segment_id and layer_id = new.layer_id) then
            raise exception 'the declared segment is of another layer' using errcode = 'restrict_violation';
        end if;
        return new;
    end if;
    if (new.id, new.account_id, new.layer_id, new.segment_id, new.reason, new.evidence, new.from_date,
        new.proposed_by, new.proposed_by_label, new.proposed_at)
       is distinct from
       (old.id, old.account_id, old.layer_id, old.segment_id, old.reason, old.evidence, old.from_date,
        old.proposed_by, old.proposed_by_label, old.proposed_at) then
        raise exception 'what was declared cannot be changed' using errcode = 'restrict_violation';
    end if;
    if old.decided_at is not null
       and (new.decided_by, new.decided_by_label, new.decided_at, new.decision_reason)
           is distinct from (old.decided_by, old.decided_by_label, old.decided_at, old.decision_reason) then
        raise exception 'a decision cannot be changed' using errcode = 'restrict_violation';
    end if;
    if old.ended_at is not null
       and (new.until_date, new.ended_by, new.ended_by_label, new.ended_at, new.end_reason)
           is distinct from (old.until_date, old.ended_by, old.ended_by_label, old.ended_at, old.end_reason) then
        raise exception 'how a declared value ended cannot be changed' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status
       and (old.status, new.status) not in (('proposed', 'confirmed'), ('proposed', 'rejected'),
                                            ('proposed', 'withdrawn'), ('proposed', 'replaced'),
                                            ('confirmed', 'withdrawn'), ('confirmed', 'replaced')) then
        raise exception 'a declared value cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create trigger demarc_guard_declaration before insert or update or delete on segmentation_declaration
    for each row execute function demarc_guard_declaration();
create trigger demarc_no_truncate before truncate on segmentation_declaration
    for each statement execute function demarc_append_only();
alter table segmentation_declaration enable always trigger demarc_guard_declaration;
alter table segmentation_declaration enable always trigger demarc_no_truncate;
"""
DECLARATION_UNDO = """
drop trigger demarc_guard_declaration on segmentation_declaration;
drop trigger demarc_no_truncate on segmentation_declaration;
drop function demarc_guard_declaration();
"""


def guard(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("select quote_ident(current_schema())")
        [schema] = cursor.fetchone()
    schema_editor.execute(DECLARATION.replace("{schema}", schema), params=None)


def unguard(apps, schema_editor):
    schema_editor.execute(DECLARATION_UNDO, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_more_facts"),
        ("segmentation", "0006_life_of_rules"),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalDeclaration",
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
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("proposed", "Proposed"),
                            ("confirmed", "Confirmed"),
                            ("rejected", "Rejected"),
                            ("withdrawn", "Withdrawn"),
                            ("replaced", "Replaced"),
                        ],
                        default="proposed",
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField()),
                ("evidence", models.TextField(blank=True)),
                ("from_date", models.DateField(verbose_name="holds from")),
                ("until_date", models.DateField(null=True, verbose_name="until")),
                ("proposed_by", models.IntegerField(default=accounts.history.actor_id, null=True)),
                ("proposed_by_label", models.CharField(default=accounts.history.actor_label, max_length=200)),
                ("proposed_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("decided_by", models.IntegerField(null=True)),
                ("decided_by_label", models.CharField(blank=True, max_length=200)),
                ("decided_at", models.DateTimeField(null=True)),
                ("decision_reason", models.TextField(blank=True)),
                ("ended_by", models.IntegerField(null=True)),
                ("ended_by_label", models.CharField(blank=True, max_length=200)),
                ("ended_at", models.DateTimeField(null=True)),
                ("end_reason", models.TextField(blank=True)),
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
                    "account",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.account",
                    ),
                ),
                (
                    "layer",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="segmentation.layer",
                    ),
                ),
                (
                    "segment",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="segmentation.segment",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical declared value",
                "verbose_name_plural": "historical declared values",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="HistoricalJob",
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
                (
                    "statement",
                    models.CharField(
                        blank=True,
                        help_text="When …, I want to …, so that …: in the customer's words.",
                        max_length=400,
                    ),
                ),
                (
                    "success_criteria",
                    models.TextField(blank=True, help_text="How the customer tells that the job is done."),
                ),
                (
                    "proof_points",
                    models.TextField(blank=True, help_text="What shows that we do it: numbers, references."),
                ),
                (
                    "expansion_path",
                    models.TextField(blank=True, help_text="What such a customer needs next."),
                ),
                (
                    "replaced_tool",
                    models.CharField(
                        blank=True,
                        help_text="What did this job before us: a tool, a spreadsheet, an agency.",
                        max_length=200,
                    ),
                ),
                (
                    "decks_updated_on",
                    models.DateField(
                        blank=True,
                        help_text="When they last took up this job.",
                        null=True,
                        verbose_name="decks and talk tracks updated",
                    ),
                ),
                ("created_at", models.DateTimeField(blank=True, editable=False)),
                ("edited_at", models.DateTimeField(blank=True, editable=False)),
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
                    "segment",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="segmentation.segment",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical job to be done",
                "verbose_name_plural": "historical jobs to be done",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "statement",
                    models.CharField(
                        blank=True,
                        help_text="When …, I want to …, so that …: in the customer's words.",
                        max_length=400,
                    ),
                ),
                (
                    "success_criteria",
                    models.TextField(blank=True, help_text="How the customer tells that the job is done."),
                ),
                (
                    "proof_points",
                    models.TextField(blank=True, help_text="What shows that we do it: numbers, references."),
                ),
                (
                    "expansion_path",
                    models.TextField(blank=True, help_text="What such a customer needs next."),
                ),
                (
                    "replaced_tool",
                    models.CharField(
                        blank=True,
                        help_text="What did this job before us: a tool, a spreadsheet, an agency.",
                        max_length=200,
                    ),
                ),
                (
                    "decks_updated_on",
                    models.DateField(
                        blank=True,
                        help_text="When they last took up this job.",
                        null=True,
                        verbose_name="decks and talk tracks updated",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("edited_at", models.DateTimeField(auto_now=True)),
                (
                    "segment",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="job",
                        to="segmentation.segment",
                    ),
                ),
            ],
            options={
                "verbose_name": "job to be done",
                "verbose_name_plural": "jobs to be done",
                "ordering": [
                    "segment__layer__position",
                    "segment__layer__key",
                    "segment__position",
                    "segment__key",
                ],
            },
        ),
        migrations.CreateModel(
            name="Interview",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("held_on", models.DateField(verbose_name="date")),
                ("person", models.CharField(blank=True, max_length=200)),
                ("role", models.CharField(blank=True, max_length=200)),
                ("notes", models.TextField(blank=True)),
                ("edited_at", models.DateTimeField(auto_now=True)),
                (
                    "account",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="interviews",
                        to="accounts.account",
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="interviews",
                        to="segmentation.job",
                    ),
                ),
            ],
            options={
                "ordering": ["-held_on", "-id"],
            },
        ),
        migrations.CreateModel(
            name="HistoricalInterview",
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
                ("held_on", models.DateField(verbose_name="date")),
                ("person", models.CharField(blank=True, max_length=200)),
                ("role", models.CharField(blank=True, max_length=200)),
                ("notes", models.TextField(blank=True)),
                ("edited_at", models.DateTimeField(blank=True, editable=False)),
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
                    "account",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.account",
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="segmentation.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical interview",
                "verbose_name_plural": "historical interviews",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="Declaration",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("proposed", "Proposed"),
                            ("confirmed", "Confirmed"),
                            ("rejected", "Rejected"),
                            ("withdrawn", "Withdrawn"),
                            ("replaced", "Replaced"),
                        ],
                        default="proposed",
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField()),
                ("evidence", models.TextField(blank=True)),
                ("from_date", models.DateField(verbose_name="holds from")),
                ("until_date", models.DateField(null=True, verbose_name="until")),
                ("proposed_by", models.IntegerField(default=accounts.history.actor_id, null=True)),
                ("proposed_by_label", models.CharField(default=accounts.history.actor_label, max_length=200)),
                ("proposed_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("decided_by", models.IntegerField(null=True)),
                ("decided_by_label", models.CharField(blank=True, max_length=200)),
                ("decided_at", models.DateTimeField(null=True)),
                ("decision_reason", models.TextField(blank=True)),
                ("ended_by", models.IntegerField(null=True)),
                ("ended_by_label", models.CharField(blank=True, max_length=200)),
                ("ended_at", models.DateTimeField(null=True)),
                ("end_reason", models.TextField(blank=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="declarations",
                        to="accounts.account",
                    ),
                ),
                (
                    "layer",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="declarations",
                        to="segmentation.layer",
                    ),
                ),
                (
                    "segment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="declarations",
                        to="segmentation.segment",
                    ),
                ),
            ],
            options={
                "verbose_name": "declared value",
                "ordering": ["-id"],
                "permissions": [
                    ("propose_declaration", "Can propose declared values"),
                    ("confirm_declaration", "Can confirm, reject and withdraw declared values"),
                ],
                "default_permissions": ["view"],
                "indexes": [
                    models.Index(fields=["layer", "account", "-id"], name="declaration_of_account"),
                    models.Index(
                        condition=models.Q(("status", "proposed")), fields=["id"], name="declaration_proposed"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("status", "proposed")),
                        fields=("account", "layer"),
                        name="one_proposed_declaration",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status", "confirmed")),
                        fields=("account", "layer"),
                        name="one_confirmed_declaration",
                    ),
                    django.contrib.postgres.constraints.ExclusionConstraint(
                        condition=models.Q(
                            ("status", "confirmed"), ("until_date__isnull", False), _connector="OR"
                        ),
                        expressions=[
                            (
                                models.Func(
                                    models.F("account_id"),
                                    models.F("account_id"),
                                    models.Value("[]"),
                                    function="int8range",
                                ),
                                "&&",
                            ),
                            (
                                models.Func(
                                    models.F("layer_id"),
                                    models.F("layer_id"),
                                    models.Value("[]"),
                                    function="int8range",
                                ),
                                "&&",
                            ),
                            (
                                models.Func(
                                    models.F("from_date"), models.F("until_date"), function="daterange"
                                ),
                                "&&",
                            ),
                        ],
                        name="declarations_one_after_another",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("decided_by", models.F("proposed_by")), _negated=True),
                        name="declaration_by_two_people",
                        violation_error_message="Somebody else than the proposer decides.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_at", None), ("status", "proposed")),
                            models.Q(
                                ("decided_at__isnull", False), ("status__in", ["confirmed", "rejected"])
                            ),
                            ("status__in", ["withdrawn", "replaced"]),
                            _connector="OR",
                        ),
                        name="declaration_decided",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("ended_at", None),
                                ("status__in", ["proposed", "confirmed", "rejected"]),
                                ("until_date", None),
                            ),
                            models.Q(
                                ("ended_at__isnull", False),
                                ("status__in", ["withdrawn", "replaced"]),
                                models.Q(
                                    models.Q(("decided_at", None), ("until_date", None)),
                                    models.Q(
                                        ("decided_at__isnull", False),
                                        ("until_date__gte", models.F("from_date")),
                                    ),
                                    _connector="OR",
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="declaration_ended",
                    ),
                ],
            },
        ),
        migrations.RunPython(guard, unguard),
        *[append_only(table) for table in APPEND_ONLY],
    ]
