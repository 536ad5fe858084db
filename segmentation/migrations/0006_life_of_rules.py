"""Review before rules become active: draft -> in review -> active -> retired / rejected.

* A version begins as a draft and its status goes along the status table of `segmentation.versions`, no other way.
* From the review on, what is reviewed is fixed; when it is decided, who decided it, when and why as well.
"""

from importlib import import_module

from django.db import migrations, models

before = import_module("segmentation.migrations.0005_tighter_guards")

WHAT = ["id", "document", "hash", "layer_id", "version", "created_at", "created_by", "created_by_label"]
DECISION = [
    "reason", "submitted_at", "submitted_by", "submitted_by_label", "rejected_at", "rejected_by",
    "rejected_by_label", "activated_at", "activated_by", "activated_by_label",
]  # fmt: skip

GUARD_DEFINITION = """
create or replace function demarc_guard_definition() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        if old.status <> 'draft' then
            raise exception 'rules that are no draft cannot be deleted' using errcode = 'restrict_violation';
        end if;
        return old;
    end if;
    if tg_op = 'INSERT' then
        if new.status <> 'draft' then
            raise exception 'rules begin as a draft and cannot begin as %', new.status
                using errcode = 'restrict_violation';
        end if;
        return new;
    end if;
    if old.status <> 'draft' and ({what:new}) is distinct from ({what:old})
       or old.status not in ('draft', 'in_review') and ({decision:new}) is distinct from ({decision:old})
       or old.status not in ('draft', 'in_review', 'active') and new.retired_at is distinct from old.retired_at then
        raise exception 'rules that are no draft cannot be changed' using errcode = 'restrict_violation';
    end if;
    if new.status <> old.status and (old.status, new.status) not in (
        ('draft', 'in_review'), ('in_review', 'draft'), ('in_review', 'rejected'),
        ('draft', 'active'), ('in_review', 'active'), ('active', 'retired')) then
        raise exception 'rules cannot go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
drop trigger demarc_guard_definition on segmentation_definition;
create trigger demarc_guard_definition before insert or update or delete on segmentation_definition
    for each row execute function demarc_guard_definition();
alter table segmentation_definition enable always trigger demarc_guard_definition;
"""
for part, columns in (("what", WHAT), ("decision", DECISION)):
    for row in ("new", "old"):
        GUARD_DEFINITION = GUARD_DEFINITION.replace(
            f"{{{part}:{row}}}", ", ".join(f"{row}.{column}" for column in columns)
        )
GUARD_DEFINITION_UNDO = (
    before.guard(before.FIXED)
    + """
drop trigger demarc_guard_definition on segmentation_definition;
create trigger demarc_guard_definition before update or delete on segmentation_definition
    for each row execute function demarc_guard_definition();
alter table segmentation_definition enable always trigger demarc_guard_definition;
"""
)


class Migration(migrations.Migration):
    dependencies = [
        ("segmentation", "0005_tighter_guards"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="definition",
            name="one_draft",
        ),
        migrations.AddField(
            model_name="definition",
            name="rejected_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="definition",
            name="rejected_by",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="definition",
            name="rejected_by_label",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="definition",
            name="submitted_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="definition",
            name="submitted_by",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="definition",
            name="submitted_by_label",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="historicaldefinition",
            name="rejected_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="historicaldefinition",
            name="rejected_by",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="historicaldefinition",
            name="rejected_by_label",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="historicaldefinition",
            name="submitted_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="historicaldefinition",
            name="submitted_by",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="historicaldefinition",
            name="submitted_by_label",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AlterField(
            model_name="definition",
            name="status",
            field=models.CharField(
                choices=[
                    ("draft", "Draft"),
                    ("in_review", "In review"),
                    ("active", "Active"),
                    ("retired", "Retired"),
                    ("rejected", "Rejected"),
                ],
                default="draft",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="historicaldefinition",
            name="status",
            field=models.CharField(
                choices=[
                    ("draft", "Draft"),
                    ("in_review", "In review"),
                    ("active", "Active"),
                    ("retired", "Retired"),
                    ("rejected", "Rejected"),
                ],
                default="draft",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="definition",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ["draft", "in_review"])),
                fields=("layer",),
                name="one_open_definition",
            ),
        ),
        migrations.RunSQL(GUARD_DEFINITION, GUARD_DEFINITION_UNDO),
    ]
