"""The page on which several tier changes are planned alike and asked for as one request."""

from collections import Counter
from dataclasses import replace

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.utils import timezone

from accounts.admin.fields import Day, Line, Row, Text, Whole, number
from accounts.admin.verbs import VerbPage
from accounts.models import Csm
from governance.changes import board, loads, together, transition_requests, transition_steps
from governance.models import Transition
from governance.signoff import permissions
from segmentation.models import Layer

from .transition_pages import CSM_GONE, CSMS, NO_DAYS, Status, TransitionForm, asked_for, at_once, model_of

RECEIVER = Row(gone=CSM_GONE, rows=Csm.objects.all())


class TogetherForm(TransitionForm):
    at = {"request_reason_missing": "why", "joint_days_out_of_range": "joint_days"}
    one = forms.MultipleChoiceField(required=False)
    joint_days = Whole("Joint coverage, days", missing=NO_DAYS, wrong=NO_DAYS, most=9_999)
    notice_on = Day("Customers to be told on")
    notice_by = Line("Told by", most=200)
    notice = Text("What the customers are told", rows=3, help="Empty: the usual text, with the name of each account and of its CSM.")  # fmt: skip
    success_plan = Text("Success plan")
    why = Text("Why now", needed=True)

    def prepare(self):
        self.fields["one"].valid_value = lambda key: True
        rows = [card.transition for card in self.thing]
        self.at_once = bool(rows) and at_once(rows, self.by)
        if not self.at_once:
            self.fields["why"].label = "Why now, for those who approve"

    def start(self):
        """Nothing is ticked, unless the accounts were chosen one by one in their list: whoever asks for many says which."""
        cards = self.thing
        chosen = cards if self.page.request.GET.get("accounts") else []
        return {
            "one": [card.transition.pk for card in chosen],
            "joint_days": cards[0].transition.joint_days if cards else 30,
        }

    def clean_one(self):
        keys = [number(key) for key in self.cleaned_data["one"]][: transition_requests.MOST + 1]
        chosen = list(Transition.objects.filter(pk__in=[key for key in keys if key]))
        self.receivers = {
            transition.pk: RECEIVER.clean(self.data.get(f"receiver-{transition.pk}", ""))
            for transition in chosen
        }
        return chosen

    def receiver(self, transition, otherwise):
        """The CSM chosen for one of them, where the form is shown again."""
        typed = self.data.get(f"receiver-{transition.pk}") if self.is_bound else None
        return Csm.objects.filter(pk=number(typed)).first() if typed is not None else otherwise

    def ticked(self, transition):
        return str(transition.pk) in {str(key) for key in self["one"].value()}

    def carry_out(self):
        arguments = self.cleaned_data | {"by": self.by}
        chosen = arguments.pop("one")
        seen = {transition.pk: self.data.get(f"seen-{transition.pk}") for transition in chosen}
        return self.to_request(together.ask(chosen, receivers=self.receivers, seen=seen, **arguments))


class TogetherPage(VerbPage):
    """Flagged and planned ones of one segmentation, to be asked for as one request."""

    title = "Plan together"
    template = "governance/transitions/plan_together.html"
    verbs = {"ask": TogetherForm}

    def load(self):
        user = self.request.user
        if not self.admin.has_view_permission(self.request):
            raise PermissionDenied
        if not permissions.may(permissions.plan_transition(by=user)):
            raise PermissionDenied
        filters, self.query = asked_for(self.request)
        self.layer = filters.layer or _only_layer()
        cards, self.more = _candidates(filters, self.layer, self.request.GET)
        return cards

    def show(self, form=None, **shown):
        self.shown = form or self.form(TogetherForm)
        return super().show(form, **shown)

    def context(self):
        cards, flagged = (
            self.thing,
            [card.transition for card in self.thing if card.transition.status == Status.FLAGGED],
        )
        fit, offered = loads.propose_receivers(flagged), _receivers(cards)
        return {
            "layer": self.layer,
            "query": self.query,
            "narrowed": any(
                self.request.GET.get(name) for name in ("direction", "to", "status", "csm", "mine")
            ),
            "rows": [
                {
                    "card": card,
                    "seen": transition_steps.token(card.transition),
                    "on": self.shown.ticked(card.transition),
                    "of": " ".join(key for key, _ in _parts(card.transition)),
                    "chosen": self.shown.receiver(card.transition, fit.get(card.transition.pk)),
                    "offered": offered.get(model_of(card.transition), []),
                }
                for card in cards
            ],
            "ticked": sum(map(self.shown.ticked, [card.transition for card in cards])),
            "those": _those(cards),
            "more": self.more,
            "most": transition_requests.MOST,
            "flagged": bool(flagged),
            "at_once": self.shown.at_once,
        }


def _parts(transition):
    """[(key, words)] of what tier changes are ticked by: whose account it is, and from where to where it goes."""
    csm = transition.account.csm
    return [
        (f"csm-{csm.pk if csm else 'none'}", str(csm or "No CSM")),
        (f"way-{transition.from_segment_id}-{transition.to_segment_id}", f"{transition.from_segment} → {transition.to_segment}"),
    ]  # fmt: skip


def _those(cards):
    """[(heading, [(key, words, how many)])] of the parts there are, the largest first."""
    parts = [_parts(card.transition) for card in cards]
    headings = ["Accounts of", "From → to"]
    return [
        (heading, [(*part, number) for part, number in Counter(of).most_common()])
        for heading, of in zip(headings, zip(*parts, strict=True), strict=False)
    ]


def _only_layer():
    return Layer.objects.filter(policy=Layer.Policy.APPROVAL).order_by("-primary", "position", "key").first()


def _candidates(filters, layer, wanted):
    """([Card], how many more there are): what may be asked for together, planned ones first, the most revenue first."""
    transitions = replace(filters, layer=layer).of(Transition.objects.filter(held_for=""))
    transitions = (
        transitions.filter(status=Status.PLANNED)
        if wanted.get("status") == "planned"
        else transitions.filter(status__in=[Status.FLAGGED, Status.PLANNED])
    )
    if wanted.get("to"):
        transitions = transitions.filter(to_segment__key=wanted["to"][:50])
    count = transitions.count()
    rows = board.cards(
        transitions.order_by("-status", F("arr").desc(nulls_last=True), "pk")[: transition_requests.MOST],
        today=timezone.localdate(),
    )
    return rows, count - len(rows)


def _receivers(rows):
    """{service model: [Csm]} to choose from, of the kind each needs."""
    models = {model_of(card.transition) for card in rows} - {None}
    people = list(Csm.objects.able().order_by("name", "pk")[:CSMS])
    return {model: [csm for csm in people if csm.kind == loads.KINDS[model.csm_kind]] for model in models}
