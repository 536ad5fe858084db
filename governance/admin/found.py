"""Found by Ctrl+K: requests, people, and what people do about them."""

from django.contrib.auth.models import User
from django.db.models import Q

from core import pages, search, wording
from core.pages import Page
from core.search import Action, Found, Group
from governance.models import ApprovalRequest

search.register_actions(
    Action("Triage tier changes", Page("admin:governance_transition_triage", "governance.plan_transition"), "swap_vert", "weekly meeting flagged plan"),
    Action("Plan tier changes together", Page("admin:governance_transition_together", "governance.plan_transition"), "swap_vert", "bulk many"),
    Action("Decide about requests", Page("admin:governance_approvalrequest_changelist", "governance.decide_request"), "approval", "approve reject sign off approvals"),
    Action("Decide about disagreeing sources", Page("admin:accounts_conflict_changelist", "accounts.resolve_conflict"), "compare_arrows", "conflicts values"),
    Action("Add an alert rule", Page("admin:governance_alertrule_add", "governance.add_alertrule"), "add_alert", "new create"),
    Action("Add a person", Page("admin:auth_user_add", "auth.add_user"), "person_add", "new create invite user login"),
    Action("Name a stand-in", Page("admin:governance_delegation_changelist", "governance.decide_request"), "partner_exchange", "delegate absent holiday away add"),
)  # fmt: skip


def requests(request, text):
    """Requests by their number or subject: all of them for who may see requests, else one's own."""
    rows = ApprovalRequest.objects.defer("content", "changes")
    if not request.user.has_perm("governance.view_approvalrequest"):
        rows = rows.filter(requester=request.user.pk)
    wanted = Q(subject__icontains=text)
    number = text.removeprefix("#")
    if number.isdecimal() and len(number) < 19:
        wanted |= Q(pk=int(number))
    return [
        Group(
            "Requests",
            [
                Found(
                    row.subject,
                    f"no. {row.pk} · {row.get_status_display().lower()} · {wording.day(wording.localday(row.requested_at))}",
                    pages.address("approvalrequest", row.pk),
                    "approval",
                )
                for row in rows.filter(wanted).order_by("-pk")[: search.SHOWN]
            ],
        )
    ]


def people(request, text):
    """People who log in."""
    if not request.user.has_perm("auth.view_user"):
        return []
    wanted = Q(username__icontains=text) | Q(email__icontains=text)
    for word in text.split():
        wanted |= Q(first_name__istartswith=word) | Q(last_name__istartswith=word)
    found = User.objects.filter(wanted).prefetch_related("groups").order_by("username")
    return [Group("People", [_person(user) for user in found[: search.SHOWN]])]


def _person(user):
    roles = ", ".join(sorted(group.name for group in user.groups.all())) or "no role"
    state = "" if user.is_active else "login closed"
    text = " · ".join(filter(None, [user.get_full_name(), roles, state]))
    return Found(user.get_username(), text, pages.address("user", user.pk), "person")


search.register(40, requests)
search.register(70, people)
