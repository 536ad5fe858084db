from django.db import migrations

# Whether people pinned what is in force changes with a cause only, as what is in force does. So does whether a
# segmentation needs approval at all, and which one drives coverage.
BEFORE = """
drop trigger demarc_effective_update on segmentation_assignment;
create trigger demarc_effective_update before update on segmentation_assignment
    for each row when (old.effective_id is distinct from new.effective_id
                       or old.account_id is distinct from new.account_id
                       or old.layer_id is distinct from new.layer_id
                       or old.product_id is distinct from new.product_id{overridden})
    execute function demarc_require_cause();
alter table segmentation_assignment enable always trigger demarc_effective_update;
"""
OVERRIDDEN = """
                       or old.overridden is distinct from new.overridden"""
LAYER = """
create trigger demarc_layer_policy before update on segmentation_layer
    for each row when (old.policy is distinct from new.policy or old."primary" is distinct from new."primary")
    execute function demarc_require_cause();
alter table segmentation_layer enable always trigger demarc_layer_policy;
"""
LAYER_UNDO = "drop trigger demarc_layer_policy on segmentation_layer;"


class Migration(migrations.Migration):
    dependencies = [("segmentation", "0015_overrides_and_more_moves")]
    operations = [
        migrations.RunSQL(BEFORE.replace("{overridden}", OVERRIDDEN), BEFORE.replace("{overridden}", "")),
        migrations.RunSQL(LAYER, LAYER_UNDO),
    ]
