"""Approvals: what waits for me, what I asked for, and the page on which one request is decided."""

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join

from accounts.admin import verbs
from accounts.admin.governed import ByVerbs, Changes, GovernedAdmin, page
from core import badges, history, wording
from core.refusals import Refused
from governance.models import ApprovalRequest
from governance.signoff import approvals, circumstances, deciders, inbox, kinds, permissions
from governance.signoff.carrying_out import apply
from governance.signoff.impact import money_of
from governance.signoff.requirements import needed_now, outgrown
from segmentation.previews import impact

from . import sections, triage

LIST = "admin:governance_approvalrequest_changelist"
PAGE = "admin:governance_approvalrequest_change"
TABS = {"mine": "For me", "requested": "Requested by me", "all": "All", "decided": "Decided"}
VERDICTS = ("approve", "ask", "reject")
TOLD = 10  # the last requests that an account's timeline tells of
NAMED = 200  # accounts named on a request's page

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
            approval_request.parts = (
                inbox.standing(approval_request, desk=desk)
                if approval_request.is_open
                else _decided(approval_request)
            )


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
        if not _waits(approval_request):
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

    # -- one request

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """Show what it is about and what came of it so far; a POST takes one of the steps of STEPS."""
        key, refusal = unquote(object_id), ""
        approval_request = _get(key)
        if not self.has_view_permission(request, approval_request):
            raise PermissionDenied
        if request.method == "POST":
            try:
                return _step(request, approval_request)
            except Refused as refused:
                refusal, approval_request = str(refused), _get(key)
        return self._page(request, approval_request, refusal)

    def _page(self, request, approval_request, refusal):
        desk = deciders.Desk([approval_request])
        refusals, section = _refusals(approval_request, request.user, desk), sections.of(approval_request)
        measured, grown = _measured(approval_request)
        return page(
            request,
            "governance/approvals/request.html",
            title=approval_request.subject,
            model_admin=self,
            original=approval_request,
            one=approval_request,
            overdue=_waits(approval_request) and approval_request.due_at < timezone.now(),
            seen=approvals.token(approval_request),
            parts=parts(approval_request, desk),
            nobody=inbox.nobody_can(approval_request, desk=desk),
            decisions=[
                decision
                for decision in approval_request.decided
                if decision.revision == approval_request.revision
            ],
            revisions=_revisions(approval_request),
            comments=approval_request.comments.all(),
            measured=measured,
            grown=grown,
            about_accounts=kinds.of(approval_request).about_accounts,
            circumstances=circumstances.sentences(approval_request, at=timezone.now())
            if approval_request.is_open
            else [],
            section=section.template if section else None,
            **(section.context(approval_request) if section else {}),
            told=_told(approval_request),
            address=kinds.of(approval_request).verbs().address(approval_request),
            may={name for name, refusal in refusals.items() if permissions.may(refusal)},
            why_not=refusals["approve"],
            mine=request.user.pk in (approval_request.requester, *approval_request.editors),
            may_read=request.user.has_perm("governance.view_approvalrequest"),
            applies=applies(approval_request) if approval_request.status == Status.APPROVED else "",
            following=None
            if permissions.may(refusals["approve"])
            else _following(request.user, approval_request),
            back=triage.back(request),
            typed=request.POST if refusal else {},
            refusal=refusal,
            status=409 if refusal else 200,
        )


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


def parts(approval_request, desk=None):
    """How far it is in each role: as it counts now while it is open, as it was decided once it has ended."""
    return (
        inbox.standing(approval_request, desk=desk)
        if approval_request.is_open
        else _decided(approval_request)
    )


def applies(approval_request):
    """When what is approved takes effect; of many accounts each has a day of its own."""
    if not approval_request.apply_on:
        return "It is being carried out in the background. Here it says when that is done, or why it could not be."
    if approval_request.accounts > 1:
        return f"It takes effect from {wording.day(approval_request.apply_on)} on, for each account on its own day."
    return f"It is carried out on {wording.day(approval_request.apply_on)}."


COUNTED = {
    "asked": "When it was asked for",
    "edited": "When it was changed",
    "decided": "When somebody decided",
    "waiting": "While it waited for its day",
    "carried out": "Before it was carried out",
    "now": "Now",
}


def _measured(approval_request):
    """(each count of its reach and when it was made, why it needs more approvals by the last one, or "").

    Also counted now, where that takes no look at everybody.
    """
    counts, grown = list(approval_request.measured), ""
    if approval_request.is_open and not kinds.of(approval_request).whole_portfolio:
        now, _, needed = needed_now(approval_request)
        entry = now.measured("now", timezone.now())
        counts += [entry] if entry != counts[-1] | {"when": "now", "at": entry["at"]} else []
        grown = outgrown(approval_request, entry, needed)
    told = [
        count | {"said": COUNTED[count["when"]], "at": parse_datetime(count["at"]), "money": money_of(count)}
        for count in counts
    ]
    return told, grown


def _following(user, approval_request):
    """The request this person decides next, the most pressing one."""
    return inbox.awaiting(user).exclude(pk=approval_request.pk).order_by("due_at", "pk").first()


def _waits(approval_request):
    """Somebody has to do something; what is approved only waits for its day."""
    return approval_request.is_open and approval_request.status != Status.APPROVED


def _decided(approval_request):
    approving = [
        decision
        for decision in approval_request.decided
        if (decision.revision, decision.verdict) == (approval_request.revision, "approve")
    ]
    return [
        deciders.Part(role, number, min(number, sum(decision.role == role for decision in approving)), 0)
        for role, number in approval_request.needed.items()
        if number
    ]


def _get(key):
    decided = Prefetch("decisions", to_attr="decided")
    requests = ApprovalRequest.objects.select_related("simulation").prefetch_related(decided)
    return verbs.row(requests, key, "request")


def _page_of(approval_request):
    return reverse(PAGE, args=[approval_request.pk])


# -- the steps


def _approve(request, approval_request, seen, reason):
    approval_request = approvals.approve(approval_request, by=request.user, seen=seen, reason=reason).request
    if approval_request.status == Status.FAILED:
        messages.error(request, f"Approved, but it could not be carried out: {approval_request.failure}")
        return
    missing = [
        f"{part.missing} × {part.role}" for part in parts(_get(str(approval_request.pk))) if part.missing
    ]
    messages.success(
        request,
        {
            Status.APPLIED: "Approved, and done.",
            Status.APPROVED: f"Approved. {applies(approval_request)}",
        }.get(approval_request.status, f"Your approval is recorded. Still needed: {', '.join(missing)}."),
    )


def _ask_for_changes(request, approval_request, seen, reason):
    approvals.ask_for_changes(approval_request, by=request.user, seen=seen, reason=reason)
    messages.success(request, f"{history.who(approval_request, 'requester')} is asked for changes.")


def _reject(request, approval_request, seen, reason):
    approvals.reject(approval_request, by=request.user, seen=seen, reason=reason)
    messages.success(request, "Rejected. What is in force stays as it is.")


def _withdraw(request, approval_request, seen, reason):
    approvals.withdraw(approval_request, by=request.user, reason=reason)
    messages.success(request, "Withdrawn. What is in force stays as it is.")


def _resubmit(request, approval_request, seen, reason):
    approvals.resubmit(approval_request, by=request.user, seen=seen)
    messages.success(request, "Sent again. It waits for approval.")


def _again(request, approval_request, seen, reason):
    approval_request = apply(approval_request, by=request.user)
    if approval_request.status == Status.FAILED:
        messages.error(request, f"It failed again: {approval_request.failure}")
    else:
        messages.success(
            request, applies(approval_request) if approval_request.status == Status.APPROVED else "Done."
        )


def _comment(request, approval_request, seen, reason):
    approvals.comment(approval_request, by=request.user, text=request.POST.get("text", ""))


STEPS = {
    "approve": _approve,
    "ask": _ask_for_changes,
    "reject": _reject,
    "withdraw": _withdraw,
    "resubmit": _resubmit,
    "again": _again,
    "comment": _comment,
}


def _step(request, approval_request):
    """Take the step the form names; then the request's page. Raises Refused."""
    section = sections.of(approval_request)
    steps = STEPS | section.steps if section else STEPS
    step = steps.get(request.POST.get("verb"))
    if step is None:
        raise Refused("step_not_chosen")
    step(request, approval_request, request.POST.get("seen", ""), request.POST.get("reason", "").strip())
    return HttpResponseRedirect(_page_of(approval_request))


# -- what the page tells


def _refusals(approval_request, user, desk):
    """{what could be done: the Refused for this person, or None}."""
    return {
        **{
            verdict: permissions.decide(approval_request, by=user, verdict=verdict, desk=desk)
            for verdict in VERDICTS
        },
        "edit": permissions.edit_request(approval_request, by=user),
        "resubmit": permissions.resubmit(approval_request, by=user),
        "withdraw": permissions.withdraw(approval_request, by=user),
        "again": permissions.apply(approval_request, by=user),
        "comment": permissions.comment(approval_request, by=user),
    }


def _told(approval_request):
    """The numbers of the attached preview, whose `changed` are what the request counts; None without a preview."""
    preview = approval_request.simulation
    return impact.numbers(preview.result) if preview and preview.result else None


def _revisions(approval_request):
    """How the request changed, the latest first: [{revision, when, who, why, added, removed, decisions}]."""
    first_rows = {}
    for row in approval_request.history.order_by("history_id").only(
        "revision",
        "changes",
        "history_date",
        "history_user_id",
        "history_user_label",
        "history_change_reason",
    ):
        first_rows.setdefault(row.revision, row)
    revisions, before = [], []
    for revision, row in sorted(first_rows.items()):
        revisions.append({
            "revision": revision,
            "when": row.history_date,
            "who": history.who(row, "history_user"),
            "added": [sentence for sentence in row.changes if sentence not in before],
            "removed": [sentence for sentence in before if sentence not in row.changes],
            "decisions": [decision for decision in approval_request.decided if decision.revision == revision],
        })  # fmt: skip
        before = row.changes
    return revisions[::-1]


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
