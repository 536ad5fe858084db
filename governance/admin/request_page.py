"""The page on which one request is decided: what it is about, what came of it so far, and the steps that can be taken."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.admin.fields import Text
from accounts.admin.verbs import VerbForm, VerbPage, row
from core import history, wording
from governance.models import ApprovalRequest
from governance.signoff import approvals, circumstances, deciders, inbox, kinds, permissions
from governance.signoff.carrying_out import apply
from governance.signoff.impact import money_of
from governance.signoff.requirements import needed_now, outgrown
from segmentation.previews import impact

from . import sections, triage

PAGE = "admin:governance_approvalrequest_change"
VERDICTS = ("approve", "ask", "reject")

Status = ApprovalRequest.Status


# -- the steps


class StepForm(VerbForm):
    """A step of a request; afterwards its page is shown again."""

    def carry_out(self):
        self.take()
        return reverse(PAGE, args=[self.thing.pk])

    def take(self):
        """Call the step, and say what came of it. May raise Refused."""
        raise NotImplementedError


class ApproveForm(StepForm):
    part = "decision"
    at = {"asked_changes_missing": "reason", "rejection_unexplained": "reason"}
    reason = Text(
        "Why you decide so",
        rows=3,
        help="Needed to ask for changes or to reject; may be left empty to approve.",
    )

    def take(self):
        decided = approvals.approve(self.thing, by=self.by, seen=self.seen, **self.cleaned_data).request
        if decided.status == Status.FAILED:
            self.say(f"Approved, but it could not be carried out: {decided.failure}", messages.ERROR)
            return
        missing = [f"{part.missing} × {part.role}" for part in parts(_get(decided.pk)) if part.missing]
        done = {
            Status.APPLIED: "Approved, and done.",
            Status.APPROVED: f"Approved. {applies(decided)}",
        }
        self.say(done.get(decided.status, f"Your approval is recorded. Still needed: {', '.join(missing)}."))


class AskForm(ApproveForm):
    def take(self):
        approvals.ask_for_changes(self.thing, by=self.by, seen=self.seen, **self.cleaned_data)
        self.say(f"{history.who(self.thing, 'requester')} is asked for changes.")


class RejectForm(ApproveForm):
    def take(self):
        approvals.reject(self.thing, by=self.by, seen=self.seen, **self.cleaned_data)
        self.say("Rejected. What is in force stays as it is.")


class WithdrawForm(StepForm):
    part = "withdrawal"
    at = {"withdrawal_unexplained": "reason"}
    reason = Text("Why it is withdrawn", needed=True)

    def take(self):
        approvals.withdraw(self.thing, by=self.by, **self.cleaned_data)
        self.say("Withdrawn. What is in force stays as it is.")


class ResubmitForm(StepForm):
    def take(self):
        approvals.resubmit(self.thing, by=self.by, seen=self.seen)
        self.say("Sent again. It waits for approval.")


class AgainForm(StepForm):
    def take(self):
        tried = apply(self.thing, by=self.by)
        if tried.status == Status.FAILED:
            self.say(f"It failed again: {tried.failure}", messages.ERROR)
        else:
            self.say(applies(tried) if tried.status == Status.APPROVED else "Done.")


class CommentForm(StepForm):
    part = "comment"
    at = {"comment_missing": "text"}
    text = Text("Your comment", needed=True)

    def take(self):
        approvals.comment(self.thing, by=self.by, **self.cleaned_data)


STEPS = {
    "approve": ApproveForm,
    "ask": AskForm,
    "reject": RejectForm,
    "withdraw": WithdrawForm,
    "resubmit": ResubmitForm,
    "again": AgainForm,
    "comment": CommentForm,
}


# -- the page


class RequestPage(VerbPage):
    template = "governance/approvals/request.html"

    def load(self, pk):
        approval_request = _get(pk)
        if not self.admin.has_view_permission(self.request, approval_request):
            raise PermissionDenied
        self.section = sections.of(approval_request)
        return approval_request

    @property
    def verbs(self):
        return STEPS | (self.section.steps if self.section else {})

    def token(self):
        return approvals.token(self.thing)

    def context(self):
        approval_request, user, section = self.thing, self.request.user, self.section
        kind, desk = kinds.of(approval_request), deciders.Desk([approval_request])
        refusals = _refusals(approval_request, user, desk)
        measured, grown = _measured(approval_request)
        decides = permissions.may(refusals["approve"])
        return {
            "title": approval_request.subject,
            "original": approval_request,
            "one": approval_request,
            "overdue": waits(approval_request) and approval_request.due_at < timezone.now(),
            "parts": parts(approval_request, desk),
            "nobody": inbox.nobody_can(approval_request, desk=desk),
            "decisions": _of_revision(approval_request, approval_request.revision),
            "revisions": _revisions(approval_request),
            "comments": approval_request.comments.all(),
            "measured": measured,
            "grown": grown,
            "about_accounts": kind.about_accounts,
            "circumstances": circumstances.sentences(approval_request, at=timezone.now())
            if approval_request.is_open
            else [],
            "section": section and section.template,
            **(section.context(approval_request) if section else {}),
            "told": _told(approval_request),
            "address": kind.verbs().address(approval_request),
            "may": {name for name, refusal in refusals.items() if permissions.may(refusal)},
            "why_not": refusals["approve"],
            "mine": user.pk in (approval_request.requester, *approval_request.editors),
            "may_read": user.has_perm("governance.view_approvalrequest"),
            "applies": applies(approval_request) if approval_request.status == Status.APPROVED else "",
            "following": None if decides else _following(user, approval_request),
            "back": triage.back(self.request),
        }


def _get(key):
    decided = Prefetch("decisions", to_attr="decided")
    requests = ApprovalRequest.objects.select_related("simulation").prefetch_related(decided)
    return row(requests, key, "request")


# -- what the page tells


def _of_revision(approval_request, revision):
    """The decisions there are about one wording of the request."""
    return [decision for decision in approval_request.decided if decision.revision == revision]


def parts(approval_request, desk=None):
    """How far it is in each role: as it counts now while it is open, as it was decided once it has ended."""
    return (
        inbox.standing(approval_request, desk=desk)
        if approval_request.is_open
        else _decided(approval_request)
    )


def _decided(approval_request):
    given = _of_revision(approval_request, approval_request.revision)
    approving = [decision for decision in given if decision.verdict == "approve"]
    return [
        deciders.Part(role, number, min(number, sum(decision.role == role for decision in approving)), 0)
        for role, number in approval_request.needed.items()
        if number
    ]


def waits(approval_request):
    """Somebody has to do something; what is approved only waits for its day."""
    return approval_request.is_open and approval_request.status != Status.APPROVED


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
    first = {}
    for version in approval_request.history.order_by("history_id").only(
        "revision",
        "changes",
        "history_date",
        "history_user_id",
        "history_user_label",
        "history_change_reason",
    ):
        first.setdefault(version.revision, version)
    revisions, before = [], []
    for revision, version in sorted(first.items()):
        revisions.append({
            "revision": revision,
            "when": version.history_date,
            "who": history.who(version, "history_user"),
            "added": [sentence for sentence in version.changes if sentence not in before],
            "removed": [sentence for sentence in before if sentence not in version.changes],
            "decisions": _of_revision(approval_request, revision),
        })  # fmt: skip
        before = version.changes
    return revisions[::-1]
