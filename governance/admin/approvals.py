"""Approvals: what waits for me, what I asked for, and what an account's page says of its requests."""

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import Prefetch, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from accounts.admin.governed import ByVerbs, Changes, GovernedAdmin
from core import badges, history, wording
from governance.models import ApprovalRequest
from governance.signoff import deciders, inbox, kinds

from . import sections
from .request_page import RequestPage, parts, waits

LIST = "admin:governance_approvalrequest_changelist"
PAGE = "admin:governance_approvalrequest_change"
TABS = {"mine": "For me", "requested": "Requested by me", "all": "All", "decided": "Decided"}
TOLD = 10  # the last requests that an account's timeline tells of

Status = ApprovalRequest.Status


def _listed_kinds():
    return wording.listed(label.lower() for _, label in kinds.choices())


class TabFilter(admin.SimpleListFilter):
    """Knows the address' `tab`; the tabs stand above the list, so it is not among the filters."""

    title = "whose"
    parameter_name = "tab"

    def lookups(self, request, model_admin):
        return TABS.items()

    def has_output(self):
        return False


class RequestChanges(Changes):
    """The list of the open tab."""

    def get_queryset(self, request, **options):
        self.root_queryset = tabbed(self.root_queryset, tab(request), request)
        return super().get_queryset(request, **options)

    def get_results(self, request):
        """How far each one is, with the same queries however many are on the page."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        desk = deciders.Desk(
            approval_request for approval_request in self.result_list if approval_request.is_open
        )
        for approval_request in self.result_list:
            approval_request.parts = parts(approval_request, desk)


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(ByVerbs, GovernedAdmin):
    list_filter = [TabFilter, "kind", "status"]
    list_before_template = "governance/approvals/tabs.html"
    search_fields = ["subject", "why", "requester_label"]
    search_help_text = "Subject, reason or requester"
    about_accounts = True
    empty_text = f"What needs an approval comes here by itself: {_listed_kinds()}."

    def has_view_permission(self, request, obj=None):
        """Let whoever may see requests see all of them, everybody their own."""
        return super().has_view_permission(request) or (obj is not None and obj.requester == request.user.pk)

    def allowed_lookups(self):
        return super().allowed_lookups() | {"tab"}

    def get_changelist(self, request, **kwargs):
        return RequestChanges

    def get_queryset(self, request):
        decided = Prefetch("decisions", to_attr="decided")
        return super().get_queryset(request).defer("content").prefetch_related(decided)

    def get_ordering(self, request):
        """Put what is due first at the head; in the lists of ended requests, the latest."""
        return ["due_at", "pk"] if tab(request) in ("mine", "requested") else ["-pk"]

    def get_list_display(self, request):
        state = [] if tab(request) == "mine" else ["state"]  # what waits for me waits for approval
        until = "ended" if tab(request) == "decided" else "due"
        impact = ["accounts_shown", "arr_shown", "csm_shown"]
        return ["title", *state, "kind", "asked_by", "age", until, *impact, "progress"]

    def empty_step(self, request):
        return None if tab(request) == "all" else ("See all requests", f"{reverse(LIST)}?tab=all")

    def changelist_view(self, request, extra_context=None):
        waiting = len(_for_me(request))
        extra = {"tabs": TABS.items(), "tab": tab(request), "waiting": waiting, "title": "Approvals"}
        return super().changelist_view(request, extra | (extra_context or {}))

    def export_view(self, request):
        """The tab is part of what each row of the file tells."""
        if "tab" not in request.GET:
            request.GET = request.GET.copy()
            request.GET["tab"] = tab(request)
        return super().export_view(request)

    # -- the columns

    @admin.display(description="What", ordering="subject")
    def title(self, approval_request):
        return approval_request.subject

    @admin.display(description="Status", ordering="status")
    def state(self, approval_request):
        return badges.status(approval_request)

    @admin.display(description="Requested by", ordering="requester_label")
    def asked_by(self, approval_request):
        return history.who(approval_request, "requester")

    @admin.display(description="Asked", ordering="requested_at")
    def age(self, approval_request):
        return wording.ago(wording.localday(approval_request.requested_at))

    @admin.display(description="Due", ordering="due_at")
    def due(self, approval_request):
        if not waits(approval_request):
            return "–"
        late = badges.badge("overdue", "bad") if approval_request.due_at < timezone.now() else ""
        return format_html(
            '{} <span style="white-space:nowrap">{}</span>', late, wording.day(approval_request.due_at)
        )

    @admin.display(description="Ended", ordering="ended_at")
    def ended(self, approval_request):
        return (
            f"{wording.day(approval_request.ended_at)} · {history.who(approval_request, 'ended_by')}"
            if approval_request.ended_at
            else "–"
        )

    @admin.display(description="Accounts", ordering="accounts")
    def accounts_shown(self, approval_request):
        return wording.count(approval_request.accounts)

    @admin.display(description="ARR", ordering="arr")
    def arr_shown(self, approval_request):
        return wording.shortmoney(approval_request.money)

    @admin.display(description="CSM changes", ordering="csm_changes")
    def csm_shown(self, approval_request):
        return wording.count(approval_request.csm_changes)

    @admin.display(description="Approvals")
    def progress(self, approval_request):
        standing = approval_request.parts if hasattr(approval_request, "parts") else parts(approval_request)
        if not standing:
            return "none needed"
        shown = ((part.given, part.needed, part.role) for part in standing)
        each = format_html_join(", ", '<span style="white-space:nowrap">{} of {} {}</span>', shown)
        return format_html("<span>{}</span>", each)  # one thing where a cell's parts are spread

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return RequestPage.as_view(admin=self)(request, pk=unquote(object_id))


def tab(request):
    """The open tab's key; what waits for me where the address names none."""
    wanted = request.GET.get("tab", "")
    return wanted if wanted in TABS else "mine"


def tabbed(requests, key, request):
    """The requests of a tab."""
    if key == "mine":
        return requests.filter(pk__in=_for_me(request))
    if key == "requested":
        return requests.filter(requester=request.user.pk)
    if key == "decided":
        return requests.filter(~Q(status__in=ApprovalRequest.OPEN))
    return requests


def _for_me(request):
    """Ids of what waits for this person: the list and the number on its tab, looked up once."""
    if not hasattr(request, "waits_for_me"):
        request.waits_for_me = inbox.awaiting_ids(request.user)
    return request.waits_for_me


def _page_of(approval_request):
    return reverse(PAGE, args=[approval_request.pk])


# -- on the page of an account


def account_part(request, account):
    """The requests that name an account: the open ones, and all that was said about the last of them.

    See settings.ACCOUNT_PAGE_PARTS. Kinds with a Section tell of their open ones themselves. Four queries.
    """
    named = ApprovalRequest.objects.named_ever([account.pk]).defer("content", "changes")
    last = list(named.prefetch_related("decisions", "comments").order_by("-pk")[:TOLD])
    waiting = [
        approval_request
        for approval_request in last
        if approval_request.is_open and approval_request.kind not in sections.SECTIONS
    ]
    return {
        "next": [
            {
                "title": approval_request.subject,
                "text": f"{approval_request.get_status_display()}.",
                "due": timezone.localdate(approval_request.due_at),
                "url": _page_of(approval_request),
                "button": "Look at it",
            }
            for approval_request in reversed(waiting)
        ],
        "happened": [
            entry
            for approval_request in last
            if request.user.has_perm("governance.view_approvalrequest")
            for entry in reversed(list(_said_about(approval_request)))  # the newest first, as the timeline
        ],
    }


def _said_about(approval_request):
    """A request's entries of the timeline: that it was asked for, each word of each person, and how it ended without one."""
    about = {"text": approval_request.subject, "url": _page_of(approval_request)}

    def entry(at, title, who, reason):
        return about | {"on": timezone.localdate(at), "title": title, "who": who, "reason": reason}

    asker = history.who(approval_request, "requester")
    yield entry(approval_request.requested_at, "Approval asked for", asker, approval_request.why)
    for decision in approval_request.decisions.all():
        title = f"{decision.get_verdict_display()} as {decision.role}"
        if decision.on_behalf_of_label:
            title += f" for {history.who(decision, 'on_behalf_of')}"
        yield entry(decision.at, title, history.who(decision, "by"), decision.reason)
    for comment in approval_request.comments.all():
        yield entry(comment.at, "Comment", history.who(comment, "by"), comment.text)
    if approval_request.status in (Status.WITHDRAWN, Status.EXPIRED, Status.FAILED):
        ended = approval_request.ended_at or approval_request.requested_at
        why = approval_request.end_reason or approval_request.failure
        yield entry(
            ended, approval_request.get_status_display(), history.who(approval_request, "ended_by"), why
        )
