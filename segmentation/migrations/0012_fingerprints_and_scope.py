"""Fingerprints, layers of products, cut-offs pinned on a run."""

import django.db.models.deletion
from django.db import migrations, models


# Whose assignment it is changes with a cause only.
TRIGGER = """
drop trigger demarc_effective_update on segmentation_assignment;
create trigger demarc_effective_update before update on segmentation_assignment
    for each row when (old.effective_id is distinct from new.effective_id
                       or old.account_id is distinct from new.account_id
                       or old.layer_id is distinct from new.layer_id{product})
    execute function demarc_require_cause();
alter table segmentation_assignment enable always trigger demarc_effective_update;
"""
PRODUCT = "\n                       or old.product_id is distinct from new.product_id"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_saved_views"),
        ("segmentation", "0011_band_of_a_service_model"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="assignment",
            name="assignment_once",
        ),
        migrations.AddField(
            model_name="assignment",
            name="fingerprint",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="assignment",
            name="product",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="assignments",
                to="accounts.product",
            ),
        ),
        migrations.AddField(
            model_name="historicalassignment",
            name="product",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="accounts.product",
            ),
        ),
        migrations.AddField(
            model_name="historicallayer",
            name="scope",
            field=models.CharField(
                choices=[("account", "Accounts"), ("product", "Products of accounts")],
                default="account",
                help_text="What gets a label: an account, or each product an account has (adoption tags).",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="layer",
            name="scope",
            field=models.CharField(
                choices=[("account", "Accounts"), ("product", "Products of accounts")],
                default="account",
                help_text="What gets a label: an account, or each product an account has (adoption tags).",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="move",
            name="product",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="accounts.product",
            ),
        ),
        migrations.AddField(
            model_name="runlayer",
            name="cutoffs",
            field=models.JSONField(null=True),
        ),
        migrations.AddConstraint(
            model_name="assignment",
            constraint=models.UniqueConstraint(
                fields=("account", "layer", "product"), name="assignment_once", nulls_distinct=False
            ),
        ),
        migrations.AddConstraint(
            model_name="layer",
            constraint=models.CheckConstraint(
                condition=models.Q(("primary", False), ("scope", "account"), _connector="OR"),
                name="primary_is_of_accounts",
                violation_error_message="The primary segmentation is one of accounts.",
            ),
        ),
        migrations.RunSQL(TRIGGER.format(product=PRODUCT), TRIGGER.format(product="")),
    ]
