"""The pages about tier changes: the plan of one and what comes of it, triage, and many as one request."""

from datetime import timedelta
from decimal import Decimal

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode

from accounts import revenue
from accounts.admin.fields import Day, Line, Row, Text, Whole, ids, number
from accounts.admin.governed import page
from accounts.admin.verbs import VerbForm, VerbPage, row
from accounts.models import Csm
from core import wording
from core.refusals import Refused
from governance.changes import (
    board,
    crossings,
    loads,
    plans,
    together,
    transition_requests,
    transition_steps,
    transitions,
)
from governance.models import ApprovalRequest, CrossingPolicy, Event, Transition
from governance.signoff import approvals, permissions
from governance.signoff.requirements import requirement
from segmentation.models import Layer
from segmentation.reading import explain, spelling

from . import triage

PAGE = "admin:governance_transition_change"
REQUEST = "admin:governance_approvalrequest_change"
CSMS = 300  # offered to choose from
EARLIER = 5  # ended tier changes of the account that are told
EVENTS = 50
CSM_GONE = "This CSM is not there any more: choose another one."
NO_DAYS = "Joint coverage is a number of days."

Status = Transition.Status
TITLES = {
    "transition_flagged": "Flagged",
    "transition_updated": "Tier change updated",
    "transition_closed": "Tier change closed",
    "transition_kept": "Kept",
    "transition_joint": "Approved",
    "transition_done": "Hand-over complete",
    "transition_overdue": "Overdue",
    "transition_taken_out": "Taken out of a request",
}


def find(request, model_admin, pk):
    """A tier change for who may see it."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    # The rest is read where it is there: to plan a join of thirteen tables takes longer than the whole query.
    related = ["account__csm", "layer", "from_segment", "to_segment__treatment__service_model", "request"]
    return row(Transition.objects.select_related(*related).defer("request__content"), pk)


# -- the plan


class TransitionForm(VerbForm):
    @property
    def arguments(self):
        return self.cleaned_data | {"by": self.by, "seen": self.seen}

    def here(self):
        return triage.with_back(reverse(PAGE, args=[self.thing.pk]), self.page.request)

    def to_request(self, approval_request):
        """Say what came of asking; the address of the request."""
        if approval_request.status == approval_request.Status.APPLIED:
            self.say("Done: nobody has to approve it.")
        elif approval_request.status == approval_request.Status.FAILED:
            self.say(f"It could not be carried out: {approval_request.failure}", messages.ERROR)
        else:
            self.say(f"Asked for approval: {approval_request.subject}.")
        return reverse(REQUEST, args=[approval_request.pk])


class PlanForm(TransitionForm):
    """The plan: what was typed, else what is planned, else what a plan starts from."""

    part = "plan"
    at = {
        "csm_login_closed": "receiver",
        "joint_days_out_of_range": "joint_days",
        "request_reason_missing": "why",
    }
    receiver = Row("Who looks after the customer afterwards", gone=CSM_GONE, rows=Csm.objects.all())
    joint_days = Whole("Joint coverage, days", missing=NO_DAYS, wrong=NO_DAYS, most=9_999)
    notice_on = Day("Customer to be told on")
    notice_by = Line("Told by", most=200)
    notice = Text("What the customer is told", rows=4, help="Empty: nothing has to be told.")
    success_plan = Text("Success plan", rows=3, help="Goals, or a link to where it stands.")
    lines = Text("Checklist, a line each")
    notes = Text("Notes", help="Not part of what is approved.")
    why = Text("Why now")

    def prepare(self):
        transition = self.thing
        if self.is_bound:
            self.checklist(self.data.get("lines", "").splitlines())
            self.offer(Csm.objects.filter(pk=number(self.data.get("receiver"))).first())
        self.fields[
            "lines"
        ].help_text = (
            f"It starts from how {transition.to_segment} is served. What is ticked off stays ticked off."
        )

    def start(self):
        transition = self.thing
        fresh = transition.status == Status.FLAGGED and transition.planned_at is None
        receiver = loads.propose_receiver(transition) if fresh else transition.receiver
        transition.receiver = receiver  # for the text to the customer; this copy is not saved
        begun = (
            plans.start(transition)
            if fresh
            else {"checklist": transition.checklist, "notice": transition.notice}
        )
        self.offer(receiver)
        return {
            "receiver": receiver,
            "joint_days": transition.joint_days,
            "success_plan": transition.success_plan or (_template(transition) if fresh else ""),
            "notice": begun["notice"],
            "notice_on": transition.notice_on,
            "notice_by": transition.notice_by or (str(receiver or "") if fresh else ""),
            "notes": transition.notes,
            "lines": self.checklist(line["text"] for line in begun["checklist"]),
        }

    def checklist(self, lines):
        lines = list(lines)
        self.fields["lines"].widget.attrs["rows"] = len(lines) + 1
        return "\n".join(lines)

    def offer(self, chosen=None):
        """The CSMs with their load after the move."""
        transition, csm = self.thing, self.thing.account.csm
        planned = transition.status in (Status.PLANNED, Status.AWAITING)
        groups = _offered(
            model_of(transition),
            {chosen, None if csm and csm.closed else csm},
            counted=transition.receiver_id if planned else None,
        )
        stays = f"{csm} stays" if csm else "Nobody, as now"
        now = {csm.pk: " (as now)"} if csm else {}
        self.fields["receiver"].choices = [("", stays)] + [
            (name, [(other.pk, f"{other}{now.get(other.pk, '')}: {load}") for other, load in people]) for name, people in groups
        ]  # fmt: skip

    def plan(self):
        arguments = self.arguments
        arguments["checklist"] = [
            line.strip() for line in arguments.pop("lines").splitlines() if line.strip()
        ]
        return arguments, arguments.pop("why")


class SaveForm(PlanForm):
    def carry_out(self):
        arguments, _ = self.plan()
        transition = transitions.plan(self.thing, **arguments)
        self.say(
            "Saved. The request says it as it is now; approvals given before do not count any more."
            if transition.status == Status.AWAITING
            else f"The hand-over of {transition.account} is planned. Next: ask for approval."
        )
        return triage.back(self.page.request) or self.here()


class AskForm(PlanForm):
    def carry_out(self):
        arguments, why = self.plan()
        address = self.to_request(together.plan_and_ask(self.thing, why=why, **arguments))
        return triage.back(self.page.request) or address


class UnplanForm(TransitionForm):
    part = "unplan"
    at = {"taking_back_unexplained": "reason"}
    reason = Text("Why (may be left empty)", help="The plan is kept for the next time.")

    def prepare(self):
        if self.thing.status == Status.AWAITING:
            field = self.fields["reason"]
            field.label, field.help_text = "Why", "It is planned again, and has to be approved again."
            field.widget.attrs["required"] = True

    def carry_out(self):
        transitions.unplan(self.thing, **self.arguments)
        self.say(f"{self.thing.account} is back where it was before.")
        return self.here()


class TakeOutForm(TransitionForm):
    part = "take_out"
    at = {"taking_out_unexplained": "reason"}
    reason = Text(needed=True, help="This account goes back to planning; you may still approve the others.")

    def carry_out(self):
        approval_request, arguments = (
            self.thing.request,
            self.arguments | {"seen": self.page.sent("seen_request")},
        )
        transition_requests.take_out(approval_request, self.thing, **arguments)
        self.say(f"{self.thing.account} is taken out; it is planned again.")
        return reverse(REQUEST, args=[approval_request.pk])


# -- what is done


class TickForm(TransitionForm):
    """The lines done already. They are said by their texts, which stay right when the checklist has changed."""

    part = "tick"
    at = {"notice_in_the_future": "noticed_on"}
    done = forms.MultipleChoiceField(required=False)
    noticed_on = Day("Customer told on")
    notes = Text("Notes")

    def prepare(self):
        self.fields["done"].valid_value = lambda text: True
        self.fields["noticed_on"].between(None, timezone.localdate())

    def start(self):
        transition = self.thing
        done = [line["text"] for line in transition.checklist if line.get("done")]
        return {"done": done, "noticed_on": transition.noticed_on, "notes": transition.notes}

    def lines(self):
        ticked = {" ".join(text.split()) for text in self["done"].value()}
        return [line | {"ticked": " ".join(line["text"].split()) in ticked} for line in self.thing.checklist]

    def carry_out(self):
        done = {place for place, line in enumerate(self.lines()) if line["ticked"]}
        transitions.tick(self.thing, **self.arguments | {"done": done})
        self.say("Noted.")
        return self.here()


class CompleteForm(TransitionForm):
    part = "complete"
    at = {"handover_unfinished": "reason"}
    reason = Text("Why it is completed all the same")

    def carry_out(self):
        transitions.complete(self.thing, **self.arguments)
        csm = find(self.page.request, self.page.admin, self.thing.pk).account.csm
        self.say(f"The hand-over of {self.thing.account} is complete. CSM: {csm or 'nobody'}.")
        return self.here()


# -- not to change it


class KeepForm(TransitionForm):
    part = "keep"
    at = {"keeping_unexplained": "reason", "transition_kept_into_the_past": "until"}
    reason = Text("Why it is kept", needed=True, help="Remembered, and shown when this comes up again.")
    until = Day("Until", help="Empty: until something material changes. It is flagged again then.")

    def prepare(self):
        self.fields["until"].between(timezone.localdate() + timedelta(days=1))

    def carry_out(self):
        self.say(self.keep(self.cleaned_data["reason"]))
        return self.page.following()

    def keep(self, reason):
        transition, until = self.thing, self.cleaned_data["until"]
        transitions.keep(
            [transition], by=self.by, reason=reason, until=until, seen={transition.pk: self.seen}
        )
        how_long = f"until {wording.day(until)}" if until else "until something material changes"
        return f"{transition.account} stays {transition.from_segment} {how_long}."


class FixForm(KeepForm):
    """Wrong data are such a reason, too."""

    part = "fix"
    reason = Text("What is wrong", missing="Say what is wrong with the data.")
    until = Day(
        "To be right by", missing="Say until when the data will be right: it is looked at again then."
    )

    def prepare(self):
        transition = self.thing
        super().prepare()
        self.fields["until"].help_text = f"{transition.from_segment} stays until then; if the rules still say {transition.to_segment}, it is flagged again."  # fmt: skip

    def start(self):
        return {"until": timezone.localdate() + timedelta(days=7)}

    def carry_out(self):
        text = self.keep(f"The data are to be corrected: {self.cleaned_data['reason']}")
        if self.by.has_perm("accounts.change_account"):
            link = reverse("admin:accounts_account_edit", args=[self.thing.account_id])
            text = format_html('{} <a href="{}" class="dm-link">Correct its data now</a>', text, link)
        self.say(text)
        return self.page.following()


# -- one of them


class TransitionPage(VerbPage):
    """The plan of one tier change, how far it is and what happened."""

    template = "governance/transitions/transition.html"
    verbs = {"ask": AskForm, "plan": SaveForm, "keep": KeepForm, "fix": FixForm, "unplan": UnplanForm, "tick": TickForm,
             "complete": CompleteForm, "take_out": TakeOutForm}  # fmt: skip

    def load(self, pk):
        return find(self.request, self.admin, pk)

    def token(self):
        return transition_steps.token(self.thing)

    def following(self):
        return triage.with_back(reverse(PAGE, args=[self.thing.pk]), self.request)

    def context(self):
        transition, user = self.thing, self.request.user
        may_plan = permissions.may(permissions.plan_transition(by=user))
        decided = transition.status == Status.AWAITING and not transition.request.is_open
        plannable = (
            transition.status in (Status.FLAGGED, Status.PLANNED, Status.AWAITING) and not transition.held_for
        )
        approved = transition.status == Status.AWAITING and is_approved(transition)
        events = Event.objects.filter(about="transition", about_id=transition.pk).order_by("-id")
        return about(transition, user) | {
            "title": str(transition.account),
            "original": transition,
            "waits": waiting(transition),
            "may_plan": may_plan,
            "why_not": "" if may_plan else permissions.plan_transition(by=user),
            "plannable": may_plan and plannable and not decided,
            "may_complete": permissions.may(permissions.complete_transition(transition, by=user)),
            "may_take_out": _may_take_out(transition, user),
            "decided": decided,
            "approved": approved,
            "takes_effect": takes_effect(transition) if approved else "",
            "unfinished": transitions.unfinished(transition) if transition.status == Status.JOINT else [],
            "at_once": may_plan and plannable and not decided and at_once([transition], user),
            "happened": happened(events[:EVENTS]),
            "back": triage.back(self.request),
        }


class TriagePage(VerbPage):
    """One flagged account after the other, with what is needed to decide."""

    template = "governance/transitions/triage.html"
    verbs = {"keep": KeepForm, "fix": FixForm}

    def load(self):
        if not self.admin.has_view_permission(self.request):
            raise PermissionDenied
        filters, self.query = asked_for(self.request)
        self.rounds = triage.Round.of(self.request, filters, self.query, number(self.sent("one")))
        current = self.rounds.current
        return None if current is None else find(self.request, self.admin, current)

    def token(self):
        return transition_steps.token(self.thing)

    def following(self):
        return self.rounds.address(self.rounds.after_this)

    def show(self, *args, **shown):
        if self.thing is not None:
            return super().show(*args, **shown)
        done = {"rounds": self.rounds, "planned": triage.planned(self.rounds)}
        template = "governance/transitions/triage_done.html"
        return page(self.request, template, title="Triage", model_admin=self.admin, **done)

    def context(self):
        transition = self.thing
        context = {
            "title": f"Triage: {transition.account}",
            "original": transition,
            "rounds": self.rounds,
            "query": self.query,
        }
        return about(transition, self.request.user) | context


def about(transition, user):
    """Everything needed to decide about a tier change: figures then and now, why, CSM and load, what was said before."""
    today = timezone.localdate()
    [card] = board.cards_of([transition], today=today)
    try:
        why, refusal = explain.explain(transition.account, transition.layer), ""
    except Refused as refused:
        why, refusal = None, str(refused)
    earlier = Transition.objects.filter(account=transition.account_id, layer=transition.layer_id).exclude(
        pk=transition.pk
    )
    ended = list(
        earlier.exclude(status__in=Transition.OPEN).select_related("from_segment", "to_segment")[:EARLIER]
    )
    renewal = _renewal(transition.account, today)
    model = model_of(transition)
    return {
        "one": transition,
        "card": card,
        "why": why,
        "why_refusal": refusal,
        "score": spelling.score(transition.composite, _edges(why)),
        "arr_then": (transition.evidence.get("was") or {}).get("arr"),
        "renewal": renewal,
        "renewal_days": (renewal - today).days if renewal else None,
        "load": card.gives and card.gives.beside(model),
        "model": model,
        "proposed": loads.propose_receiver(transition) if transition.status == Status.FLAGGED else None,
        "said_no": next((old for old in ended if old.status in (Status.REJECTED, Status.KEPT)), None),
        "ended": ended,
        "seen": transition_steps.token(transition),
        "may_correct": user.has_perm("accounts.change_account"),
        "may_override": permissions.may(permissions.request_override([transition.account], by=user)),
        "week": today + timedelta(days=7),
        "tomorrow": today + timedelta(days=1),
    }


def _edges(why):
    """The boundaries of the overall score, where the rules have some."""
    boundaries = why["boundaries"] if why else []
    return [Decimal(edge["threshold"]) for edge in boundaries if edge["term"] == "composite"]


def _renewal(account, today):
    return revenue.renewals([account.pk], today)[account.pk][0]


def model_of(transition):
    treatment = transition.to_segment.treatment
    return treatment and treatment.service_model


def _template(transition):
    return plans.decided(transition).get("success_plan_template", "")


def _offered(model, chosen, *, counted=None):
    """[(what they are, [(Csm, sentence)])] to choose from, each with the load after the move, of the fitting kind first.

    counted: the id of a CSM whose expected load has this move in it already.
    """
    csms = list(Csm.objects.able().order_by("name", "pk")[:CSMS])
    csms += [csm for csm in chosen if csm and csm not in csms]
    loaded = loads.loads(csms, model)
    kind = model and loads.KINDS[model.csm_kind]
    groups = {"fit": [], "other": []}
    for csm in csms:
        load = loaded[csm.pk]
        after = load.expected + (csm.pk != counted) - load.now
        _, text = load.verdict(after)
        groups["fit" if csm.kind == kind else "other"].append((csm, text))
    names = {"fit": f"Fit for {model}" if model else "", "other": "Others"}
    return [(names[key], sorted(rows, key=lambda row: str(row[0]))) for key, rows in groups.items() if rows]


def _may_take_out(transition, user):
    """The token with which an approver takes it out of its request of many; None where that is not possible."""
    if transition.status != Status.AWAITING or transition.request.accounts < 2:
        return None
    if not permissions.may(permissions.decide(transition.request, by=user)):
        return None
    return approvals.token(transition.request)


def at_once(rows, user):
    """Nobody has to approve these: what is asked for is carried out at once."""
    needed, *_ = requirement(transition_requests.KIND, plans.impact(rows), by=user.pk)
    return not needed


def happened(events):
    """[(Event, kind in words)] of a timeline."""
    return [{"event": event, "title": TITLES.get(event.kind, "Tier change")} for event in events]


def is_approved(transition):
    """It has been approved and waits for its day; then there is no date by which somebody decides."""
    return transition.request.status == ApprovalRequest.Status.APPROVED or not transition.request.is_open


def takes_effect(transition):
    """When one that has been approved does: at the renewal, or after the days without hand-overs."""
    today = timezone.localdate()
    if transition.applies_on and transition.applies_on > today:
        return f"at the renewal, {wording.day(transition.applies_on)}"
    why, until = crossings.quiet([transition], today).get(transition.pk, (None, None))
    return f"on {wording.day(until)} ({why.label.lower()} before)" if until else "within the day"


def waiting(transition):
    """Say what an open tier change waits for; "" for one that has ended or has to be decided now."""
    if transition.held_for:
        until = f" (until {wording.day(transition.held_until)})" if transition.held_until else ""
        return f"{transition.get_held_for_display()}{until}"
    if transition.status in (Status.PLANNED, Status.AWAITING, Status.FLAGGED) and transition.applies_on:
        return f"Would apply at the renewal, {wording.day(transition.applies_on)}"
    if transition.status == Status.JOINT:
        return f"Joint coverage until {wording.day(transition.joint_until)}"
    if transition.status == Status.KEPT:
        return (
            f"Kept until {wording.day(transition.kept_until)}"
            if transition.kept_until
            else "Kept until something material changes"
        )
    return ""


def asked_for(request):
    """(board.Filters, the same as the rest of an address) of what the page is narrowed to."""
    wanted = request.GET
    layer = wanted.get("layer") and Layer.objects.filter(key=wanted["layer"][:50]).first()
    direction = wanted.get("direction") if wanted.get("direction") in CrossingPolicy.Direction.values else ""
    csm = wanted.get("csm", "")
    if csm != "none" and number(csm) is None:
        csm = ""
    user = request.user if wanted.get("mine") else None
    accounts = tuple(ids(wanted.get("accounts", ""))[: transition_requests.MOST])
    filters = board.Filters(layer or None, direction, csm, user, accounts)
    parameters = {
        "layer": layer and layer.key,
        "direction": direction,
        "csm": csm,
        "mine": filters.user and "1",
        "accounts": ",".join(map(str, accounts)),
    }
    return filters, urlencode({name: value for name, value in parameters.items() if value})
