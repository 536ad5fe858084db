"""The web admin of sign-off: one module for each page or group of pages."""

from core import pages
from core.pages import Page

from . import (
    alerts,
    approvals,
    conflicts,
    found,
    logins,
    overrides,
    people,
    policies,
    programs,
    settings,
    transitions,
)

__all__ = [
    "alerts",
    "approvals",
    "conflicts",
    "found",
    "logins",
    "overrides",
    "people",
    "policies",
    "programs",
    "settings",
    "transitions",
]

pages.register(
    alerts=Page("admin:governance_alert_changelist", "governance.view_alert"),
    approvalrequests=Page("admin:governance_approvalrequest_changelist", "governance.view_approvalrequest"),
    board=Page("admin:governance_transition_board", "governance.view_transition"),
    conflicts=Page("admin:accounts_conflict_changelist", "accounts.view_conflict"),
    crossing_policy=Page("admin:governance_approvalpolicy_crossing", "governance.view_approvalpolicy"),
    import_ask=Page("import_ask", "accounts.import_accounts"),
    inbox=Page("inbox"),
    inbox_line=Page("inbox_line"),
    kind_policy=Page("admin:governance_approvalpolicy_kind", "governance.view_approvalpolicy"),
    layer_policy=Page("admin:governance_approvalpolicy_layer", "governance.view_approvalpolicy"),
    override_request=Page("admin:governance_override_change_request", "governance.view_override"),
    overrides=Page("admin:governance_override_changelist", "governance.view_override"),
    profile_policy=Page("admin:governance_approvalpolicy_profile", "governance.view_approvalpolicy"),
    serviceuser=Page("admin:core_serviceuser_page", "auth.view_user"),
    settings=Page("admin:core_settings_changelist", "core.view_settings"),
    settings_policy=Page("admin:core_settings_policy", "core.view_settings"),
    transitions=Page("admin:governance_transition_changelist", "governance.view_transition"),
    triage=Page("admin:governance_transition_triage", "governance.plan_transition"),
    user_roles=Page("admin:auth_user_roles", "auth.view_user"),
)
