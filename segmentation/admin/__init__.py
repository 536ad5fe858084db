"""The web admin of segmentation: home, accounts, rules, recalculations."""

from core import pages
from core.pages import Page

from . import accounts, declarations, found, home, jobs_to_be_done, layers, rules, runs, simulations

__all__ = [
    "accounts",
    "declarations",
    "found",
    "home",
    "jobs_to_be_done",
    "layers",
    "rules",
    "runs",
    "simulations",
]

pages.register(
    accounts=Page("admin:accounts_account_changelist", "accounts.view_account"),
    declarations=Page("admin:segmentation_declaration_changelist", "segmentation.view_declaration"),
    layer=Page("admin:segmentation_layer_history", "segmentation.view_layer"),
    segment=Page("admin:segmentation_segment_history", "segmentation.view_segment"),
    servicemodel=Page("admin:segmentation_servicemodel_history", "segmentation.view_servicemodel"),
    treatment=Page("admin:segmentation_treatment_history", "segmentation.view_treatment"),
)
