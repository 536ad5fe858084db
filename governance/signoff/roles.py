"""The roles people have: groups with fixed permissions, the same in every organisation.

Role requests decide who has a role (governance.signoff.people); what a role may is decided here, and docs/governance.md
lists it. A migration puts them into the database (`make`) and does so again whenever something changes here.
"""

from dataclasses import dataclass

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import DEFAULT_DB_ALIAS

OURS = ("core", "accounts", "segmentation", "governance")


@dataclass(frozen=True)
class Role:
    """The work of people with this role, in a sentence; the apps they see everything of; what else they may."""

    does: str
    may: tuple[str, ...] = ()  # permissions, as "app.codename"
    sees: tuple[str, ...] = OURS

    def permissions(self):
        """Every permission of this role, as "app.codename", sorted."""
        return sorted({*self.may, *(name for app in self.sees for name in seeing(app))})


def seeing(app):
    """The permissions to view what this app keeps. Histories are seen on the pages of what they are about."""
    return [
        f"{app}.view_{model._meta.model_name}"
        for model in apps.get_app_config(app).get_models()
        if "view" in model._meta.default_permissions and not hasattr(model, "history_type")
    ]


DECIDE = ("governance.decide_request", "segmentation.activate_definition", "segmentation.preview_rules")
MANAGE = tuple(
    f"{app}.{verb}_{model}"
    for app, models in {
        "accounts": ("csm", "product", "sourcesystem", "systemofrecord"),
        "segmentation": ("layer", "segment", "servicemodel", "treatment", "jobtobedone", "interview"),
        "governance": ("alertrule",),
    }.items()
    for model in models
    for verb in ("add", "change", "delete")
)
ROLES = {
    "CS Ops": Role(
        "Define segmentations, import, triage and plan tier changes, ask for whatever needs an approval.",
        (
            *MANAGE,
            "accounts.change_account",
            "accounts.export_accounts",
            "accounts.import_accounts",
            "accounts.manage_savedviews",
            "accounts.report_conflict",
            "accounts.resolve_conflict",
            "governance.acknowledge_alert",
            "governance.change_policies",
            "governance.complete_transition",
            "governance.plan_transition",
            "governance.request_override",
            "governance.view_audit",
            "segmentation.activate_definition",
            "segmentation.add_definition",
            "segmentation.change_definition",
            "segmentation.confirm_declaration",
            "segmentation.preview_rules",
            "segmentation.propose_declaration",
            "segmentation.recompute_layer",
        ),
    ),
    "Approver": Role(
        "Decide about requests, such as the VP of Customer Success.",
        (*DECIDE, "accounts.export_accounts", "segmentation.confirm_declaration"),
    ),
    "Finance": Role(
        "Decide about requests where much revenue is at stake.",
        (*DECIDE, "accounts.export_accounts"),
    ),
    "RevOps": Role(
        "Decide about requests that touch data and systems; import, and settle conflicts between sources.",
        (
            *DECIDE,
            "accounts.export_accounts",
            "accounts.import_accounts",
            "accounts.report_conflict",
            "accounts.resolve_conflict",
            "accounts.change_sourcesystem",
            *(f"accounts.{verb}_systemofrecord" for verb in ("add", "change", "delete")),
        ),
    ),
    "CSM": Role(
        "See everything, and ask for overrides and declared values of the accounts they look after.",
        (
            "accounts.report_conflict",
            "governance.acknowledge_alert",
            "governance.request_override",
            "segmentation.propose_declaration",
        ),
    ),
    "Auditor": Role(
        "Read and export everything; change nothing.",
        ("accounts.export_accounts", "auth.view_group", "auth.view_user", "governance.view_audit"),
    ),
    "Integration": Role(
        "For other systems: import accounts and read segments.",
        ("accounts.import_accounts",),
        sees=("accounts", "segmentation"),
    ),
    "Administrator": Role(
        "Look after people, roles, policies and settings; decide about nothing.",
        (
            *(f"accounts.{verb}_csm" for verb in ("add", "change")),
            *(f"accounts.{verb}_sourcesystem" for verb in ("add", "change")),
            "accounts.manage_savedviews",
            *(f"auth.{verb}_user" for verb in ("add", "change", "delete", "view")),
            "auth.view_group",
            *(f"governance.{verb}_delegation" for verb in ("add", "delete")),
            "governance.change_policies",
            "governance.view_audit",
        ),
    ),
}

# Roles that service users can have: people of the others decide, or look after people.
OF_PROGRAMS = ("Integration", "Auditor", "CSM", "CS Ops")


def make(using=DEFAULT_DB_ALIAS):
    """Put the roles into the database: a group each, with exactly its permissions. The caller has taken a cause.

    May run in a migration, before Django has written down the permissions of the models there are.
    """
    for config in apps.get_app_configs():
        create_permissions(config, verbosity=0, interactive=False, using=using)
    permissions = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.using(using).select_related("content_type")
    }
    for name, role in ROLES.items():
        group, _ = Group.objects.using(using).get_or_create(name=name)
        group.permissions.set([permissions[permission] for permission in role.permissions()])


def table():
    """The roles as Markdown; docs/governance.md shows it."""
    lines = ["| role | what it does | what it may, besides looking |", "|---|---|---|"]
    for name, role in ROLES.items():
        may = ", ".join(f"`{permission}`" for permission in sorted(role.may)) or "nothing"
        lines.append(f"| {name} | {role.does} | {may} |")
    return "\n".join(lines)
