"""Impact previews. What one is of never changes; a frozen one is kept as it is, with its parts."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import accounts.history

GUARDS = """
create function demarc_guard_simulation() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        if new.frozen_at is not null then
            raise exception 'an impact preview is frozen once it has ended' using errcode = 'restrict_violation';
        end if;
        return new;
    end if;
    if old.frozen_at is not null then
        raise exception 'a frozen impact preview is kept as it is' using errcode = 'restrict_violation';
    end if;
    if tg_op = 'UPDATE' and (new.id, new.layer_id, new.definition_id, new.version, new.document, new.hash, new.as_of)
           is distinct from (old.id, old.layer_id, old.definition_id, old.version, old.document, old.hash, old.as_of)
       or tg_op = 'UPDATE' and old.status <> 'running' and (new.status, new.result) is distinct from (old.status, old.result) then
        raise exception 'what an impact preview is of, and what came out, cannot be changed'
            using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;
create trigger demarc_guard_simulation before insert or update or delete on segmentation_simulation
    for each row execute function demarc_guard_simulation();
create function demarc_guard_simulation_part() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select 1 from {schema}.segmentation_simulation
                where id in (old.simulation_id, new.simulation_id) and frozen_at is not null) then
        raise exception 'a frozen impact preview is kept as it is' using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;
create trigger demarc_guard_simulation_part before insert or update or delete on segmentation_simulationpart
    for each row execute function demarc_guard_simulation_part();
create trigger demarc_no_truncate before truncate on segmentation_simulation
    for each statement execute function demarc_append_only();
create trigger demarc_no_truncate before truncate on segmentation_simulationpart
    for each statement execute function demarc_append_only();
alter table segmentation_simulation enable always trigger demarc_guard_simulation;
alter table segmentation_simulation enable always trigger demarc_no_truncate;
alter table segmentation_simulationpart enable always trigger demarc_guard_simulation_part;
alter table segmentation_simulationpart enable always trigger demarc_no_truncate;
"""
UNGUARD = """
drop trigger demarc_guard_simulation on segmentation_simulation;
drop trigger demarc_no_truncate on segmentation_simulation;
drop trigger demarc_guard_simulation_part on segmentation_simulationpart;
drop trigger demarc_no_truncate on segmentation_simulationpart;
drop function demarc_guard_simulation();
drop function demarc_guard_simulation_part();
"""


def guard(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("select quote_ident(current_schema())")
        [schema] = cursor.fetchone()
    schema_editor.execute(GUARDS.replace("{schema}", schema), params=None)


def unguard(apps, schema_editor):
    schema_editor.execute(UNGUARD, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("segmentation", "0012_fingerprints_and_scope"),
    ]

    operations = [
        migrations.CreateModel(
            name="Simulation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("version", models.PositiveIntegerField(null=True)),
                ("document", models.JSONField()),
                ("hash", models.CharField(max_length=64)),
                ("as_of", models.DateField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("finished", "Finished"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="running",
                        max_length=10,
                    ),
                ),
                ("accounts", models.BigIntegerField(default=0)),
                ("left_out", models.JSONField(default=list)),
                ("cutoffs", models.JSONField(null=True)),
                ("warnings", models.JSONField(default=list)),
                ("result", models.JSONField(default=dict)),
                ("error", models.TextField(blank=True)),
                ("started_at", models.DateTimeField(auto_now_add=True)),
                ("started_by", models.IntegerField(default=accounts.history.actor_id, null=True)),
                ("started_by_label", models.CharField(default=accounts.history.actor_label, max_length=200)),
                ("finished_at", models.DateTimeField(null=True)),
                ("frozen_at", models.DateTimeField(null=True)),
                ("frozen_by", models.IntegerField(null=True)),
                ("frozen_by_label", models.CharField(blank=True, max_length=200)),
                ("note", models.TextField(blank=True)),
                (
                    "definition",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="simulations",
                        to="segmentation.definition",
                    ),
                ),
                (
                    "layer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="simulations",
                        to="segmentation.layer",
                    ),
                ),
            ],
            options={
                "verbose_name": "impact preview",
                "ordering": ["-id"],
                "permissions": [("preview_rules", "Can preview the impact of rules")],
                "default_permissions": ["view"],
            },
        ),
        migrations.CreateModel(
            name="SimulationPart",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first_id", models.BigIntegerField()),
                ("last_id", models.BigIntegerField()),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Pending"), ("done", "Done"), ("failed", "Failed")],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("figures", models.JSONField(default=dict)),
                ("error", models.TextField(blank=True)),
                (
                    "movers",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), default=list, size=None
                    ),
                ),
                (
                    "products",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(null=True), default=list, size=None
                    ),
                ),
                (
                    "from_segments",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(null=True), default=list, size=None
                    ),
                ),
                (
                    "to_segments",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(null=True), default=list, size=None
                    ),
                ),
                (
                    "arr",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.DecimalField(decimal_places=2, max_digits=20, null=True),
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "simulation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="segmentation.simulation",
                    ),
                ),
            ],
            options={
                "default_permissions": [],
            },
        ),
        migrations.AddConstraint(
            model_name="simulation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("frozen_at", None), ("note", "")),
                    models.Q(("frozen_at__isnull", False), ("status", "finished")),
                    _connector="OR",
                ),
                name="frozen_when_finished",
                violation_error_message="Only an impact preview that has ended well can be frozen.",
            ),
        ),
        migrations.AddConstraint(
            model_name="simulationpart",
            constraint=models.UniqueConstraint(
                fields=("simulation", "first_id"), name="simulation_part_once"
            ),
        ),
        migrations.RunPython(guard, unguard),
    ]
