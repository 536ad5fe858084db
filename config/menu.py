"""The menu: the pages there are, for those who may see them."""

from django.urls import reverse


def navigation(request):
    """The sidebar's groups, each entry only for people with its permission."""
    groups = [
        ("", [("Home", "home", "admin:index", None), ("Inbox", "inbox", "inbox", None), *ACCOUNTS]),
        ("How we segment", RULES),
        ("Work", WORK),
        ("Administration", ADMINISTRATION),
    ]
    return [
        {"title": title, "separator": bool(title), "items": [_entry(request, *entry) for entry in entries]}
        for title, entries in groups
    ]


def _entry(request, title, icon, name, permission):
    """permission: one, several that are all needed, or None for everybody."""
    needed = [permission] if isinstance(permission, str) else permission or []
    allowed = request.user.has_perms(needed)
    return {
        "title": title,
        "icon": icon,
        "link": reverse(name),
        "permission": lambda request: allowed,
    }


ACCOUNTS = [
    ("Accounts", "domain", "admin:accounts_account_changelist", "accounts.view_account"),
]
COVERAGE = ("accounts.view_account", "segmentation.view_servicemodel")
RULES = [
    ("Segmentations", "layers", "admin:segmentation_layer_changelist", "segmentation.view_layer"),
    ("Segments", "category", "admin:segmentation_segment_changelist", "segmentation.view_segment"),
    ("Rules", "rule", "admin:segmentation_definition_changelist", "segmentation.view_definition"),
    ("Jobs to be done", "task_alt", "admin:segmentation_job_changelist", "segmentation.view_job"),
    (
        "How we serve",
        "volunteer_activism",
        "admin:segmentation_treatment_changelist",
        "segmentation.view_treatment",
    ),
    (
        "Service models",
        "support_agent",
        "admin:segmentation_servicemodel_changelist",
        "segmentation.view_servicemodel",
    ),
    ("Coverage model", "diversity_3", "coverage", COVERAGE),
    ("Alert rules", "add_alert", "admin:governance_alertrule_changelist", "governance.view_alertrule"),
]
WORK = [
    ("Tier changes", "swap_vert", "admin:governance_transition_board", "governance.view_transition"),
    (
        "Approvals",
        "approval",
        "admin:governance_approvalrequest_changelist",
        "governance.view_approvalrequest",
    ),
    ("Overrides", "push_pin", "admin:governance_override_changelist", "governance.view_override"),
    (
        "Declared values",
        "how_to_reg",
        "admin:segmentation_declaration_changelist",
        "segmentation.view_declaration",
    ),
    ("Alerts", "notifications_active", "admin:governance_alert_changelist", "governance.view_alert"),
    ("Provisional accounts", "hourglass_top", "provisional", "accounts.view_account"),
    ("Conflicts", "compare_arrows", "admin:accounts_conflict_changelist", "accounts.view_conflict"),
    ("Recalculations", "calculate", "admin:segmentation_run_changelist", "segmentation.view_run"),
    (
        "Impact previews",
        "difference",
        "admin:segmentation_simulation_changelist",
        ("segmentation.view_simulation", "accounts.view_account"),
    ),
    ("Imports", "upload_file", "admin:accounts_importbatch_changelist", "accounts.view_importbatch"),
    ("Data dictionary", "menu_book", "data_dictionary", "accounts.view_account"),
]
ADMINISTRATION = [
    ("CSMs", "badge", "admin:accounts_csm_changelist", "accounts.view_csm"),
    ("Products", "inventory_2", "admin:accounts_product_changelist", "accounts.view_product"),
    ("Source systems", "database", "admin:accounts_sourcesystem_changelist", "accounts.view_sourcesystem"),
    (
        "Systems of record",
        "verified",
        "admin:accounts_systemofrecord_changelist",
        "accounts.view_systemofrecord",
    ),
    ("Who decides", "gavel", "admin:governance_approvalpolicy_changelist", "governance.view_approvalpolicy"),
    ("People", "person", "admin:auth_user_changelist", "auth.view_user"),
    ("Roles", "group", "admin:auth_group_changelist", "auth.view_group"),
    ("Stand-ins", "partner_exchange", "admin:governance_delegation_changelist", "governance.view_delegation"),
    ("Audit trail", "manage_search", "audit", "governance.view_audit"),
]
