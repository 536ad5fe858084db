-- What is in force for an account, whether people pinned it, and whether it is provisional changes with a cause only; whose
-- assignment it is stays.

create or replace trigger demarc_effective_insert before insert on segmentation_assignment
    for each row when (new.effective_id is not null) execute function demarc_require_cause();

create or replace trigger demarc_effective_update before update on segmentation_assignment
    for each row when ((old.account_id, old.layer_id, old.product_id, old.effective_id, old.overridden, old.provisional)
                       is distinct from (new.account_id, new.layer_id, new.product_id, new.effective_id, new.overridden, new.provisional))
    execute function demarc_require_cause();

create or replace trigger demarc_effective_delete before delete on segmentation_assignment
    for each row execute function demarc_require_cause();
