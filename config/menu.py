"""The menu: the pages there are, for those who may see them."""

from functools import lru_cache

from django.template.loader import render_to_string
from django.urls import get_script_prefix, reverse
from django.utils.safestring import mark_safe


def drawn(request):
    """The sidebar as HTML: each entry only for people with its permission, the open page's marked."""
    allowed = tuple(entry[2] for _, entries in GROUPS for entry in entries if _may(request.user, entry[3]))
    links = _links(get_script_prefix())
    here = tuple(name for name in allowed if _is_open(links[name], links[HOME], request.path))
    return _drawn(allowed, here, get_script_prefix())


def _may(user, permission):
    """permission: one, several that are all needed, or None for everybody."""
    return user.has_perms([permission] if isinstance(permission, str) else permission or [])


def _is_open(link, home, path):
    return path == link if link == home else link in path


@lru_cache
def _links(prefix):
    """{name of an entry: its address}; prefix: where the site is mounted."""
    return {name: reverse(name) for _, entries in GROUPS for _, _, name, _ in entries}


@lru_cache(maxsize=512)
def _drawn(allowed, here, prefix):
    """Kept: drawing it takes as long as the rest of a short page, and it says nothing but what is asked here."""
    links = _links(prefix)
    groups = [
        {
            "title": title,
            "entries": [
                {"title": text, "icon": icon, "link": links[name], "open": name in here}
                for text, icon, name, _ in entries
                if name in allowed
            ],
        }
        for title, entries in GROUPS
    ]
    # Safe: a template has escaped it; what is kept for many pages is marked once.
    return mark_safe(render_to_string("core/menu.html", {"groups": groups}))


HOME = "admin:index"
ACCOUNTS = [
    ("Accounts", "domain", "admin:accounts_account_changelist", "accounts.view_account"),
]
COVERAGE = ("accounts.view_account", "segmentation.view_servicemodel")
RULES = [
    ("Segmentations", "layers", "admin:segmentation_layer_changelist", "segmentation.view_layer"),
    ("Segments", "category", "admin:segmentation_segment_changelist", "segmentation.view_segment"),
    ("Rules", "rule", "admin:segmentation_definition_changelist", "segmentation.view_definition"),
    (
        "Jobs to be done",
        "task_alt",
        "admin:segmentation_jobtobedone_changelist",
        "segmentation.view_jobtobedone",
    ),
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
    ("Settings", "settings", "admin:core_settings_changelist", "core.view_settings"),
    ("People", "person", "admin:auth_user_changelist", "auth.view_user"),
    ("Roles", "group", "admin:auth_group_changelist", "auth.view_group"),
    ("Stand-ins", "partner_exchange", "admin:governance_delegation_changelist", "governance.view_delegation"),
    ("Audit trail", "manage_search", "audit", "governance.view_audit"),
]
GROUPS = [
    ("", [("Home", "home", HOME, None), ("Inbox", "inbox", "inbox", None), *ACCOUNTS]),
    ("How we segment", RULES),
    ("Work", WORK),
    ("Administration", ADMINISTRATION),
]
