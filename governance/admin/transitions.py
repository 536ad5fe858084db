"""Tier changes: the board, triage, the plan of one and of many, and the list of all."""

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter, RelatedDropdownFilter

from accounts.admin.fields import Row, Text
from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from accounts.models import Csm
from accounts.revenue import renewals, with_arr
from core import badges, history, wording
from core.refusals import Refused
from governance.admin import sections
from governance.changes import board, transition_requests
from governance.models import ApprovalRequest, CrossingPolicy, Event, Transition
from governance.signoff import permissions
from segmentation.models import Layer, Move

from .request_page import StepForm
from .together_page import TogetherPage
from .transition_pages import (
    CSMS,
    PAGE,
    Status,
    TransitionPage,
    TriagePage,
    asked_for,
    happened,
    is_approved,
    takes_effect,
    waiting,
)

LIST = "admin:governance_transition_changelist"
LAST = 12  # tier changes on the account's page
TIMELINE = 30

NEXT = (Status.FLAGGED, Status.PLANNED, Status.JOINT)  # somebody who plans has something to do
BINDING = (*Transition.OPEN, Status.KEPT, Status.REJECTED)  # says what becomes of the account


class HeldFilter(DropdownFilter):
    title = "what it waits for"
    parameter_name = "held"

    def lookups(self, request, model_admin):
        reasons = [(value, label) for value, label in Transition.Hold.choices if value]
        return [("yes", "Held, for any reason"), ("no", "Nothing: to be decided"), *reasons]

    def queryset(self, request, queryset):
        wanted = self.value()
        if wanted == "yes":
            return queryset.open().exclude(held_for="")
        if wanted == "no":
            return queryset.open().filter(held_for="")
        return queryset.open().filter(held_for=wanted) if wanted in Transition.Hold.values else queryset


class OpenFilter(DropdownFilter):
    title = "open or ended"
    parameter_name = "open"

    def lookups(self, request, model_admin):
        return [("yes", "Open"), ("no", "Ended")]

    def queryset(self, request, queryset):
        if self.value() not in ("yes", "no"):
            return queryset
        is_open = {"status__in": Transition.OPEN}
        return queryset.filter(**is_open) if self.value() == "yes" else queryset.exclude(**is_open)


class TierChangeFilter(DropdownFilter):
    """Accounts by their open tier change; of the list of accounts."""

    title = "tier change"
    parameter_name = "tier_change"

    def lookups(self, request, model_admin):
        labels = dict(Status.choices)
        return [
            ("open", "Any that is open"),
            *((status, labels[status]) for status in Transition.OPEN),
            ("held", "Held"),
        ]

    def queryset(self, request, queryset):
        open_transitions, wanted = Transition.objects.open(), self.value()
        if wanted in Transition.OPEN:
            open_transitions = open_transitions.filter(status=wanted)
        elif wanted == "held":
            open_transitions = open_transitions.exclude(held_for="")
        elif wanted != "open":
            return queryset
        return queryset.filter(pk__in=open_transitions.values("account"))


@admin.register(Transition)
class TransitionAdmin(ByVerbs, GovernedAdmin):
    list_display = [
        "name",
        "way",
        "state",
        "waits",
        "because",
        "arr_shown",
        "manager",
        "segmentation",
        "flagged",
        "ended",
    ]
    list_filter = [
        ("status", ChoicesDropdownFilter),
        OpenFilter,
        HeldFilter,
        ("direction", ChoicesDropdownFilter),
        ("layer", RelatedDropdownFilter),
        ("origin", ChoicesDropdownFilter),
    ]
    list_select_related = ["account__csm", "layer", "from_segment", "to_segment"]
    list_before_template = "governance/transitions/list_before.html"
    search_fields = ["account__name", "account__external_id"]
    search_help_text = "Account name or ID"
    empty_text = (
        "After each recalculation Demarc looks for accounts that the rules put into another segment than the one in "
        "force, on the segmentations that need approval."
    )

    def get_queryset(self, request):
        """With today's ARR of the accounts."""
        transitions = super().get_queryset(request).select_related(*self.list_select_related)
        return with_arr(transitions, timezone.localdate())

    def allowed_lookups(self):
        return super().allowed_lookups() | {"open", "held", "request__id__exact"}

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("board/", wrap(self.board_view), name="governance_transition_board"),
            path("triage/", wrap(TriagePage.as_view(admin=self)), name="governance_transition_triage"),
            path("together/", wrap(TogetherPage.as_view(admin=self)), name="governance_transition_together"),
            *super().get_urls(),
        ]

    # -- the list

    @admin.display(description="Account", ordering="account__name")
    def name(self, transition):
        return str(transition.account)

    @admin.display(description="From → to")
    def way(self, transition):
        return f"{transition.from_segment} → {transition.to_segment}"

    @admin.display(description="Status", ordering="status")
    def state(self, transition):
        return badges.status(transition)

    @admin.display(description="What it waits for")
    def waits(self, transition):
        return waiting(transition) or "–"

    @admin.display(description="Flagged because", ordering="why")
    def because(self, transition):
        if transition.origin != Transition.Origin.RULES or not transition.why:
            return transition.get_origin_display()
        return Move.Why(transition.why).label

    @admin.display(description="ARR", ordering="arr")
    def arr_shown(self, transition):
        return wording.money(transition.arr_now)

    @admin.display(description="CSM", ordering="account__csm__name")
    def manager(self, transition):
        return transition.account.csm or "–"

    @admin.display(description="Segmentation", ordering="layer__position")
    def segmentation(self, transition):
        return str(transition.layer)

    @admin.display(description="Flagged", ordering="flagged_at")
    def flagged(self, transition):
        return wording.day(transition.flagged_at)

    @admin.display(description="Ended", ordering="ended_at")
    def ended(self, transition):
        return wording.day(transition.ended_at) or "–"

    # -- the board

    def board_view(self, request):
        self._may_view(request)
        filters, query = asked_for(request)
        shown = board.board(filters, at=timezone.now())
        layers = list(
            Layer.objects.filter(policy=Layer.Policy.APPROVAL).order_by("-primary", "position", "key")
        )
        return page(
            request,
            "governance/transitions/board.html",
            title="Tier changes",
            model_admin=self,
            board=shown,
            several=len(layers) > 1,
            one_layer=bool(filters.layer) or len(layers) == 1,
            may_plan=request.user.has_perm("governance.plan_transition"),
            may_complete=request.user.has_perm("governance.complete_transition"),
            together_url=shown.group and _together(shown.group, query),
            asked=filters,
            query=query,
            layers=layers,
            directions=CrossingPolicy.Direction.choices,
            csms=list(Csm.objects.all()[:CSMS]),
            lists=_lists(filters),
        )

    # -- one of them

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return TransitionPage.as_view(admin=self)(request, pk=unquote(object_id))

    def _may_view(self, request):
        if not self.has_view_permission(request):
            raise PermissionDenied


# -- the account's page


def part(request, account):
    """The tier changes of an account for its page; see settings.ACCOUNT_PAGE_PARTS. Two queries, two more where there are some."""
    related = ["layer", "from_segment", "to_segment__treatment__service_model", "request"]
    transitions = account.transitions.select_related(*related).defer("request__content")
    rows = list(transitions.prefetch_related("receiver", "giver").order_by("-pk")[:LAST])
    may_plan = permissions.may(permissions.plan_transition(by=request.user))
    open_ = [transition for transition in rows if transition.is_open]
    latest = {}
    for transition in rows:
        latest.setdefault(transition.layer_id, transition)
    timeline = happened(Event.objects.filter(account=account, about="transition").order_by("-id")[:TIMELINE])
    return {
        "actions": [_action(transition) for transition in open_ if transition.status in NEXT and may_plan],
        "badges": [_badge(transition) for transition in open_],
        "next": [_next(transition, may_plan) for transition in open_],
        "holds": {transition.layer_id: _held(transition)[0] for transition in open_},
        "becomes": {
            layer: _becomes(transition)
            for layer, transition in latest.items()
            if transition.status in BINDING
        },
        "happened": [
            {
                "on": timezone.localtime(row["event"].at).date(),
                "title": row["title"],
                "text": row["event"].text,
                "who": history.who(row["event"], "actor"),
                "reason": row["event"].reason,
                "url": reverse(PAGE, args=[row["event"].about_id]),
            }
            for row in timeline
        ],
    }


def _becomes(transition):
    """The segment to come of the layer's last tier change: none after a no, nor once it is in force."""
    return transition.to_segment if transition.is_open and transition.status != Status.JOINT else None


LABELS = {
    Status.FLAGGED: "Plan the tier change",
    Status.PLANNED: "Ask for approval",
    Status.JOINT: "Hand-over",
}


def _action(transition):
    url = reverse(PAGE, args=[transition.pk])
    return {"label": LABELS[transition.status], "url": url, "icon": "swap_vert", "primary": True}


def _badge(transition):
    url = reverse(PAGE, args=[transition.pk])
    if transition.status == Status.JOINT:
        day = (timezone.localdate() - transition.joint_from).days + 1
        return (
            "warn" if day > transition.joint_days else "brand",
            f"Transition, day {day} of {transition.joint_days}",
            url,
        )
    state = "held" if transition.held_for else transition.get_status_display().lower()
    return "warn", f"Tier change {state}", url


def _held(transition):
    """(what holds the segment in force, what comes next), in sentences."""
    text, then = _says(transition)
    if transition.held_for:
        until = f" until {wording.day(transition.held_until)}" if transition.held_until else ""
        text = f"{text} It is held{until}: {transition.get_held_for_display().lower()}."
        then = (
            f"it is looked at again on {wording.day(transition.held_until)}."
            if transition.held_until
            else then
        )
    return text, then


def _next(transition, may_plan):
    """The next step of a tier change, and by when."""
    text, then = _held(transition)
    text = text if transition.status == Status.JOINT else f"{transition.get_status_display()}."
    due = transition.held_until if transition.held_for else None
    if transition.status == Status.AWAITING:
        due = (
            transition.applies_on
            if is_approved(transition)
            else timezone.localdate(transition.request.due_at)
        )
    if transition.status == Status.JOINT:
        due = transition.joint_until
    acts = may_plan and transition.status in NEXT and not transition.held_for
    return {
        "title": f"{transition.layer}: {transition.from_segment} → {transition.to_segment}",
        "text": f"{text} Next: {then}",
        "due": due,
        "url": reverse(PAGE, args=[transition.pk]),
        "button": LABELS[transition.status] if acts else "Look at it",
    }


def _says(transition):
    renewal = (
        f" It would apply at the renewal, {wording.day(transition.applies_on)}."
        if transition.applies_on
        else ""
    )
    waits = "Nothing changes for the customer until a plan is approved."
    if transition.status == Status.FLAGGED:
        return (
            f"{transition.layer} changes need approval. {waits}{renewal}",
            "CS Ops decides in triage.",
        )
    if transition.status == Status.PLANNED:
        to = f" to {transition.receiver}" if transition.receiver_id else ""
        return (
            f"A hand-over{to} is planned, by {history.who(transition, 'planned_by') or 'CS Ops'}. {waits}{renewal}",
            "approval is asked for.",
        )
    if transition.status == Status.AWAITING and transition.request.status == ApprovalRequest.Status.FAILED:
        failed = f"It was approved, but could not be carried out: {transition.request.failure}"
        return failed, "CS Ops changes the plan, or tries again on the page of the request."
    if transition.status == Status.AWAITING and not is_approved(transition):
        return (
            f"It waits for approval, asked by {history.who(transition.request, 'requester')}. {waits}{renewal}",
            (f"a decision, due {wording.day(transition.request.due_at)}."),
        )
    if transition.status == Status.AWAITING:
        return "It has been approved.", f"it takes effect {takes_effect(transition)}."
    changed = f"Approved: the segment has changed on {wording.day(transition.joint_from)}."
    if transition.receiver_id in (None, transition.giver_id):
        return f"{changed} {transition.giver or 'Nobody'} stays the CSM.", "the hand-over is completed."
    return (
        f"{changed} {transition.giver or 'Nobody'} and {transition.receiver} look after the customer until {wording.day(transition.joint_until)}.",
        f"{transition.receiver} becomes the CSM once the hand-over is completed.",
    )


def _together(group, query):
    parameters = urlencode({"layer": group.layer, "direction": group.direction, "to": group.to})
    return f"{reverse('admin:governance_transition_together')}?{parameters}{'&' if query else ''}{query}"


def _lists(filters):
    """{lane: address of the list of all that is in it}; the list has no filter by CSM, so there it shows everybody's."""
    narrowed = {"layer__id__exact": filters.layer and filters.layer.pk, "direction__exact": filters.direction}
    lanes = {
        "flagged": {"status__exact": "flagged", "held": "no"},
        "held": {"held": "yes"},
        **{status: {"status__exact": status} for status in ("planned", "awaiting", "joint", "done")},
    }
    return {
        lane: f"{reverse(LIST)}?{urlencode({name: value for name, value in (narrowed | own).items() if value})}"
        for lane, own in lanes.items()
    }


# -- on the page of its request


def _on_request_page(request):
    """The tier changes that wait for a request, or waited."""
    related = ("account", "layer", "from_segment", "to_segment", "giver", "receiver")
    today = timezone.localdate()
    rows = list(
        with_arr(request.transitions.select_related(*related).order_by("pk"), today)[: sections.NAMED]
    )
    due, told = renewals([row.account_id for row in rows], today), board.causes_of(rows)
    for row in rows:
        row.renewal, row.cause = due[row.account_id][0], told.get(row.pk)
    return {"transitions": rows, "named": sections.NAMED}


class TakeOutForm(StepForm):
    part = "take_out"
    at = {"account_not_chosen": "transition", "taking_out_unexplained": "reason"}
    transition = Row(
        "Account",
        gone="Choose one of the accounts of this request.",
        rows=Transition.objects.none(),
        needed=True,
    )
    reason = Text(
        needed=True,
        help="It goes back to planning, and CS Ops reads why. You may still decide about the others.",
    )

    def prepare(self):
        related = ("account", "from_segment", "to_segment")
        self.fields["transition"].queryset = self.thing.transitions.select_related(*related).order_by("pk")
        self.fields["transition"].label_from_instance = lambda row: (
            f"{row.account}: {row.from_segment} → {row.to_segment}"
        )

    def take(self):
        chosen, reason = self.cleaned_data["transition"], self.cleaned_data["reason"]
        if chosen is None:
            raise Refused("account_not_chosen")
        transition_requests.take_out(self.thing, chosen, by=self.by, reason=reason, seen=self.seen)
        self.say(f"{chosen.account} is taken out and planned anew. You may still decide about the others.")


sections.SECTIONS[transition_requests.KIND] = sections.Section(
    "governance/approvals/transitions.html", _on_request_page, {"take_out": TakeOutForm}
)
