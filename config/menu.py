"""The menu: for each role the pages its people work with; the rest is on one page, Settings."""

from dataclasses import dataclass
from functools import lru_cache

from django.template.loader import render_to_string
from django.urls import get_script_prefix, reverse
from django.utils.safestring import mark_safe

from core import search
from core.search import Found, Group


@dataclass(frozen=True)
class Entry:
    """A page: what it is called, its icon, the name of its address, the permissions it needs (all of them), what it is for."""

    title: str
    icon: str
    name: str
    permissions: tuple = ()
    help: str = ""


HOME = Entry("Home", "home", "admin:index")
REST = Entry("Settings", "settings", "admin:settings")
GROUPS = {
    "": [HOME, Entry("Inbox", "inbox", "inbox", (), "What happened to what you ask for and look after.")],
    "Work": [
        Entry("Accounts", "domain", "admin:accounts_account_changelist", ("accounts.view_account",), "All customers, and why each is in its segment."),
        Entry("Tier changes", "swap_vert", "admin:governance_transition_board", ("governance.view_transition",), "From flagged to handed over."),
        Entry("Approvals", "approval", "admin:governance_approvalrequest_changelist", ("governance.view_approvalrequest",), "Requests that wait for a decision, and those decided."),
        Entry("Alerts", "notifications_active", "admin:governance_alert_changelist", ("governance.view_alert",), "Accounts somebody should look at now."),
        Entry("Overrides", "push_pin", "admin:governance_override_changelist", ("governance.view_override",), "Segments held against the rules, and until when."),
        Entry("Declared values", "how_to_reg", "admin:segmentation_declaration_changelist", ("segmentation.view_declaration",), "What people say of an account that no system knows."),
        Entry("Provisional accounts", "hourglass_top", "provisional", ("accounts.view_account",), "Too new to judge, and when each is decided."),
        Entry("Conflicts", "compare_arrows", "admin:accounts_conflict_changelist", ("accounts.view_conflict",), "Values that two sources disagree about."),
        Entry("Audit trail", "manage_search", "audit", ("governance.view_audit",), "Who changed what, when and why."),
    ],
    "How we segment": [
        Entry("Segmentations", "layers", "admin:segmentation_layer_changelist", ("segmentation.view_layer",), "The ways accounts are put into segments."),
        Entry("Segments", "category", "admin:segmentation_segment_changelist", ("segmentation.view_segment",), "What each is called, who owns it, how it is served."),
        Entry("Rules", "rule", "admin:segmentation_definition_changelist", ("segmentation.view_definition",), "Versions of the rules, and drafts."),
        Entry("Impact previews", "difference", "admin:segmentation_simulation_changelist", ("segmentation.view_simulation", "accounts.view_account"), "Which accounts other rules would move."),
        Entry("Recalculations", "calculate", "admin:segmentation_run_changelist", ("segmentation.view_run",), "What each did, and when."),
        Entry("How we serve", "volunteer_activism", "admin:segmentation_treatment_changelist", ("segmentation.view_treatment",), "What a segment gets."),
        Entry("Service models", "support_agent", "admin:segmentation_servicemodel_changelist", ("segmentation.view_servicemodel",), "High-Touch, Low-Touch, Tech-Touch or your own."),
        Entry("Coverage model", "diversity_3", "coverage", ("accounts.view_account", "segmentation.view_servicemodel"), "What every segment gets, and how loaded the CSMs are."),
        Entry("Jobs to be done", "task_alt", "admin:segmentation_jobtobedone_changelist", ("segmentation.view_jobtobedone",), "What customers hire the product for."),
        Entry("Alert rules", "add_alert", "admin:governance_alertrule_changelist", ("governance.view_alertrule",), "When somebody is alerted."),
    ],
    "Data": [
        Entry("Imports", "upload_file", "admin:accounts_importbatch_changelist", ("accounts.view_importbatch",), "Files brought in, and what became of their rows."),
        Entry("Data dictionary", "menu_book", "data_dictionary", ("accounts.view_account",), "Every data field: what it means, and how complete it is."),
        Entry("CSMs", "badge", "admin:accounts_csm_changelist", ("accounts.view_csm",), "Who looks after accounts."),
        Entry("Products", "inventory_2", "admin:accounts_product_changelist", ("accounts.view_product",), "What customers subscribe to."),
        Entry("Source systems", "database", "admin:accounts_sourcesystem_changelist", ("accounts.view_sourcesystem",), "Where data come from."),
        Entry("Systems of record", "verified", "admin:accounts_systemofrecord_changelist", ("accounts.view_systemofrecord",), "Which source has the last word about a field."),
    ],
    "The organisation": [
        Entry("Organisation", "apartment", "admin:core_settings_changelist", ("core.view_settings",), "Name, currency, time zone, hours and limits."),
        Entry("Who decides", "gavel", "admin:governance_approvalpolicy_changelist", ("governance.view_approvalpolicy",), "Which requests need whose approval."),
        Entry("People", "person", "admin:auth_user_changelist", ("auth.view_user",), "Who logs in, and their roles."),
        Entry("Roles", "group", "admin:auth_group_changelist", ("auth.view_group",), "What each role may do."),
        Entry("Service users", "smart_toy", "admin:core_serviceuser_changelist", ("auth.view_user",), "Programs that come through the API, and their tokens."),
        Entry("Stand-ins", "partner_exchange", "admin:governance_delegation_changelist", ("governance.view_delegation",), "Who decides for somebody who is away."),
    ],
}  # fmt: skip
ENTRIES = [entry for entries in GROUPS.values() for entry in entries]
# The pages a role works with, besides Home and Inbox: eight to ten entries with these and Settings.
OPERATIONS = ("Accounts", "Tier changes", "Approvals", "Alerts", "Segmentations", "Rules", "Imports")
MENUS = {
    "CS Ops": OPERATIONS,
    "Approver": ("Accounts", "Tier changes", "Approvals", "Overrides", "Declared values", "Impact previews", "Coverage model"),
    "Finance": ("Accounts", "Tier changes", "Approvals", "Overrides", "Impact previews", "Coverage model"),
    "RevOps": ("Accounts", "Approvals", "Conflicts", "Imports", "Data dictionary", "Source systems", "Systems of record"),
    "CSM": ("Accounts", "Tier changes", "Approvals", "Alerts", "Overrides", "Declared values", "Provisional accounts", "Coverage model"),
    "Auditor": ("Accounts", "Tier changes", "Approvals", "Overrides", "Audit trail", "Rules", "Who decides"),
    "Integration": ("Accounts", "Imports", "Segmentations", "Segments", "Rules", "Data dictionary"),
    "Administrator": ("Audit trail", "CSMs", "Source systems", "Organisation", "Who decides", "People", "Stand-ins"),
}  # fmt: skip
WITHOUT_REST = {"CSM"}  # roles that set up nothing


def of(user):
    """(entries of this person's menu, entries of their page Settings)."""
    names = user.role_names if hasattr(user, "role_names") else user.groups.values_list("name", flat=True)
    roles = set() if user.is_superuser else MENUS.keys() & set(names)
    wanted = {HOME.title, "Inbox"}.union(*(MENUS[role] for role in roles or ["CS Ops"]))
    allowed = [entry for entry in ENTRIES if user.has_perms(entry.permissions)]
    menu = [entry for entry in allowed if entry.title in wanted]
    sets_up = user.is_superuser or not roles or roles - WITHOUT_REST
    rest = [entry for entry in allowed if entry not in menu] if sets_up else []
    return ([*menu, REST] if rest else menu), rest


def drawn(request):
    """The sidebar as HTML, the open page's entry marked; Settings where the page is one of those there."""
    menu, rest = of(request.user)
    links = _links(get_script_prefix())
    here = tuple(entry.title for entry in menu if _is_open(entry, links, request.path))
    if not here and any(_is_open(entry, links, request.path) for entry in rest):
        here = (REST.title,)
    return _drawn(tuple(menu), here, get_script_prefix())


def grouped(user):
    """[(heading, [(Entry, address)])] of the page Settings."""
    _, rest = of(user)
    links = _links(get_script_prefix())
    groups = [
        (title, [(entry, links[entry.name]) for entry in entries if entry in rest])
        for title, entries in GROUPS.items()
    ]
    return [(title, entries) for title, entries in groups if entries]


def found(request, text):
    """The pages of this person that Ctrl+K finds."""
    menu, rest = of(request.user)
    links = _links(get_script_prefix())
    lines = [
        Found(entry.title, entry.help, links[entry.name], entry.icon)
        for entry in [*menu, *rest]
        if search.fits(text, entry.title)
    ]
    return [Group("Pages", lines)]


def _is_open(entry, links, path):
    link = links[entry.name]
    return path == link if entry == HOME else link in path


@lru_cache
def _links(prefix):
    """{name of an address: the address}; prefix: where the site is mounted."""
    return {entry.name: reverse(entry.name) for entry in [*ENTRIES, REST]}


@lru_cache(maxsize=512)
def _drawn(menu, here, prefix):
    """Kept: drawing it takes as long as the rest of a short page, and it says nothing but what is asked here."""
    links = _links(prefix)
    entries = [
        {"title": entry.title, "icon": entry.icon, "link": links[entry.name], "open": entry.title in here}
        for entry in menu
    ]
    # Safe: a template has escaped it; what is kept for many pages is marked once.
    return mark_safe(render_to_string("core/menu.html", {"entries": entries}))
