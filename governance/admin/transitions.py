"""Tier changes: the board, triage, the plan of one and of many, and the list of all."""

from dataclasses import replace
from datetime import date, timedelta

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import F, Min
from django.http import Http404, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter, RelatedDropdownFilter

from accounts import history
from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from accounts.models import Csm
from core import badges, wording
from core.refusals import Refused
from governance import approvals, board, crossings, loads, permissions, plans, together, transitions
from governance.models import ApprovalRequest, CrossingPolicy, Event, Kind, Transition
from segmentation import explain
from segmentation.contributions import rounded
from segmentation.models import Layer

from . import triage

LIST = "admin:governance_transition_changelist"
PAGE = "admin:governance_transition_change"
REQUEST = "admin:governance_approvalrequest_change"
CSMS = 300  # offered to choose from
EARLIER = 5  # ended tier changes of the account that are told
EVENTS = 50
LAST = 12  # tier changes on the account's page
TIMELINE = 30

Status = Transition.Status
NEXT = (Status.FLAGGED, Status.PLANNED, Status.JOINT)  # somebody who plans has something to do
BINDING = (*Transition.OPEN, Status.KEPT, Status.REJECTED)  # says what becomes of the account
WHY = {"data": "The customer’s data changed. ", "definition": "The rules changed. "}
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
        found = {"status__in": Transition.OPEN}
        return queryset.filter(**found) if self.value() == "yes" else queryset.exclude(**found)


class TierChangeFilter(DropdownFilter):
    """Accounts by their open tier change; of the list of accounts."""

    title = "tier change"
    parameter_name = "tier_change"

    def lookups(self, request, model_admin):
        labels = dict(Status.choices)
        return [
            ("open", "Any that is open"),
            *((one, labels[one]) for one in Transition.OPEN),
            ("held", "Held"),
        ]

    def queryset(self, request, queryset):
        found, wanted = Transition.objects.open(), self.value()
        if wanted in Transition.OPEN:
            found = found.filter(status=wanted)
        elif wanted == "held":
            found = found.exclude(held_for="")
        elif wanted != "open":
            return queryset
        return queryset.filter(pk__in=found.values("account"))


@admin.register(Transition)
class TransitionAdmin(ByVerbs, GovernedAdmin):
    list_display = [
        "name",
        "way",
        "state",
        "waits",
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

    def allowed_lookups(self):
        return super().allowed_lookups() | {"open", "held", "request__id__exact"}

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("board/", wrap(self.board_view), name="governance_transition_board"),
            path("triage/", wrap(self.triage_view), name="governance_transition_triage"),
            path("together/", wrap(self.together_view), name="governance_transition_together"),
            *super().get_urls(),
        ]

    # -- the list

    @admin.display(description="Account", ordering="account__name")
    def name(self, one):
        return str(one.account)

    @admin.display(description="From → to")
    def way(self, one):
        return f"{one.from_segment} → {one.to_segment}"

    @admin.display(description="Status", ordering="status")
    def state(self, one):
        return badges.status(one)

    @admin.display(description="What it waits for")
    def waits(self, one):
        return waiting(one) or "–"

    @admin.display(description="ARR", ordering="arr")
    def arr_shown(self, one):
        return wording.money(one.arr, one.account.currency)

    @admin.display(description="CSM", ordering="account__csm__name")
    def manager(self, one):
        return one.account.csm or "–"

    @admin.display(description="Segmentation", ordering="layer__position")
    def segmentation(self, one):
        return str(one.layer)

    @admin.display(description="Flagged", ordering="flagged_at")
    def flagged(self, one):
        return wording.day(one.flagged_at)

    @admin.display(description="Ended", ordering="ended_at")
    def ended(self, one):
        return wording.day(one.ended_at) or "–"

    # -- the board

    def board_view(self, request):
        self._may_view(request)
        asked, query = asked_for(request)
        found = board.board(asked, at=timezone.now())
        layers = list(
            Layer.objects.filter(policy=Layer.Policy.APPROVAL).order_by("-primary", "position", "key")
        )
        return page(
            request,
            "governance/transitions/board.html",
            title="Tier changes",
            model_admin=self,
            board=found,
            several=len(layers) > 1,
            one_layer=bool(asked.layer) or len(layers) == 1,
            may_plan=request.user.has_perm("governance.plan_transition"),
            may_complete=request.user.has_perm("governance.complete_transition"),
            together_url=found.group and _together(found.group, query),
            asked=asked,
            query=query,
            layers=layers,
            directions=CrossingPolicy.Direction.choices,
            csms=list(Csm.objects.all()[:CSMS]),
            lists=_lists(asked),
        )

    # -- triage

    def triage_view(self, request):
        """One flagged account after the other, with what is needed to decide; the POST keeps it."""
        self._may_view(request)
        asked, query = asked_for(request)
        sent = request.POST if request.method == "POST" else request.GET
        wanted = sent.get("one", "")
        rounds = triage.Round.of(
            request, asked, query, int(wanted) if wanted.isdecimal() and len(wanted) < 19 else None
        )
        if rounds.one is None:
            return page(
                request,
                "governance/transitions/triage_done.html",
                title="Triage",
                model_admin=self,
                rounds=rounds,
                planned=triage.planned(rounds),
            )
        one, refusal = self._found(request, rounds.one), ""
        if request.method == "POST":
            try:
                messages.success(request, _kept(one, request))
                return HttpResponseRedirect(rounds.address(rounds.after_this))
            except Refused as refused:
                refusal = str(refused)
                one = self._found(request, one.pk)
        return page(
            request,
            "governance/transitions/triage.html",
            title=f"Triage: {one.account}",
            model_admin=self,
            original=one,
            rounds=rounds,
            query=query,
            refusal=refusal,
            typed=request.POST,
            status=409 if refusal else 200,
            **about(one, request.user),
        )

    # -- many as one request

    def together_view(self, request):
        """Flagged and planned ones of one segmentation, to be asked for as one request; the POST asks."""
        self._may_view(request)
        if not permissions.may(permissions.plan_transition(by=request.user)):
            raise PermissionDenied
        asked, query = asked_for(request)
        layer = asked.layer or _only_layer()
        rows, more = _candidates(asked, layer, request.GET)
        sent, refusal = request.POST, ""
        if request.method == "POST":
            try:
                return self._ask_together(request, sent)
            except Refused as refused:
                refusal = str(refused)
        fit = loads.propose_receivers([card.one for card in rows if card.one.status == Status.FLAGGED])
        chosen = set(sent.getlist("one")) if sent else {str(card.one.pk) for card in rows}
        offered = _receivers(rows)
        return page(
            request,
            "governance/transitions/plan_together.html",
            title="Plan together",
            model_admin=self,
            layer=layer,
            query=query,
            rows=[
                {
                    "card": card,
                    "seen": transitions.token(card.one),
                    "on": str(card.one.pk) in chosen,
                    "chosen": _chosen(sent, f"receiver-{card.one.pk}", fit.get(card.one.pk)),
                    "offered": offered.get(_model(card.one), []),
                }
                for card in rows
            ],
            more=more,
            most=transitions.MOST,
            flagged=any(card.one.status == Status.FLAGGED for card in rows),
            joint_days=sent.get("joint_days") or _joint_days(rows),
            at_once=bool(rows) and _at_once([card.one for card in rows], request.user),
            typed=sent,
            today=timezone.localdate(),
            refusal=refusal,
            status=409 if refusal else 200,
        )

    def _ask_together(self, request, sent):
        ids = [int(one) for one in sent.getlist("one") if one.isdecimal() and len(one) < 19][
            : transitions.MOST + 1
        ]
        chosen = list(Transition.objects.filter(pk__in=ids))
        asked = together.ask(
            chosen,
            by=request.user,
            why=sent.get("why", ""),
            receivers={one.pk: _csm(sent.get(f"receiver-{one.pk}", "")) for one in chosen},
            joint_days=_number(sent.get("joint_days", "")),
            success_plan=sent.get("success_plan", ""),
            notice=sent.get("notice", "").strip(),
            notice_on=_day(sent.get("notice_on", "")),
            notice_by=sent.get("notice_by", ""),
            seen={one.pk: sent.get(f"seen-{one.pk}") for one in chosen},
        )
        _say_asked(request, asked)
        return HttpResponseRedirect(reverse(REQUEST, args=[asked.pk]))

    # -- one of them

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """The plan of one tier change, how far it is and what happened; the POST plans, asks, ticks off, completes."""
        one = self._found(request, object_id)
        sent, refusal = request.POST, ""
        if request.method == "POST":
            try:
                return self._carry_on(request, one, sent)
            except Refused as refused:
                refusal, one = str(refused), self._found(request, one.pk)
        user = request.user
        may_plan = permissions.may(permissions.plan_transition(by=user))
        plannable = (
            may_plan and one.status in (Status.FLAGGED, Status.PLANNED, Status.AWAITING) and not one.held_for
        )
        decided = one.status == Status.AWAITING and not one.request.is_open
        return page(
            request,
            "governance/transitions/transition.html",
            title=str(one.account),
            model_admin=self,
            original=one,
            waits=waiting(one),
            may_plan=may_plan,
            why_not="" if may_plan else permissions.plan_transition(by=user),
            plannable=plannable and not decided,
            may_complete=permissions.may(permissions.complete_transition(one, by=user)),
            may_take_out=_may_take_out(one, user),
            decided=decided,
            approved=(approved := one.status == Status.AWAITING and _approved(one)),
            takes_effect=_takes_effect(one) if approved else "",
            unfinished=transitions.unfinished(one) if one.status == Status.JOINT else [],
            plan=_plan(one, sent if refusal else {}, refusal),
            ticks=_ticks(one, sent),
            at_once=plannable and _at_once([one], user),
            happened=_happened(
                Event.objects.filter(about="transition", about_id=one.pk).order_by("-id")[:EVENTS]
            ),
            back=triage.back(request),
            typed=sent,
            refusal=refusal,
            today=timezone.localdate(),
            status=409 if refusal else 200,
            **about(one, user),
        )

    def _carry_on(self, request, one, sent):
        wanted, seen, by = sent.get("verb"), sent.get("seen", ""), request.user
        here = HttpResponseRedirect(triage.with_back(reverse(PAGE, args=[one.pk]), request))
        if wanted in ("plan", "ask"):
            said = {"by": by, "seen": seen} | _typed_plan(sent)
            if wanted == "ask":
                asked = together.plan_and_ask(one, why=sent.get("why", ""), **said)
                _say_asked(request, asked)
                return HttpResponseRedirect(triage.back(request) or reverse(REQUEST, args=[asked.pk]))
            one = transitions.plan(one, **said)
            messages.success(request, _said_planned(one))
            return HttpResponseRedirect(triage.back(request) or here.url)
        if wanted in ("keep", "fix"):
            messages.success(request, _kept(one, request))
        elif wanted == "unplan":
            transitions.unplan(one, by=by, reason=sent.get("reason", ""), seen=seen)
            messages.success(request, f"{one.account} is back where it was before.")
        elif wanted == "tick":
            done = _typed_ticks(one, sent)
            noticed_on, notes = _day(sent.get("noticed_on", "")), sent.get("notes", "")
            transitions.tick(one, by=by, done=done, noticed_on=noticed_on, notes=notes, seen=seen)
            messages.success(request, "Noted.")
        elif wanted == "complete":
            transitions.complete(one, by=by, reason=sent.get("reason", ""), seen=seen)
            one = self._found(request, one.pk)
            messages.success(
                request, f"The hand-over of {one.account} is complete. CSM: {one.account.csm or 'nobody'}."
            )
        elif wanted == "take_out":
            asked = one.request
            transitions.take_out(
                asked, one, by=by, reason=sent.get("reason", ""), seen=sent.get("seen_request", "")
            )
            messages.success(request, f"{one.account} is taken out; it is planned again.")
            return HttpResponseRedirect(reverse(REQUEST, args=[asked.pk]))
        else:
            raise Refused("step_not_chosen")
        return here

    def _may_view(self, request):
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _found(self, request, object_id):
        self._may_view(request)
        key = unquote(str(object_id))
        # The rest is read where it is there: to plan a join of thirteen tables takes longer than the whole query.
        related = ["account__csm", "layer", "from_segment", "to_segment__treatment__service_model", "request"]
        found = Transition.objects.select_related(*related).defer("request__content")
        one = found.filter(pk=int(key)).first() if key.isdecimal() and len(key) < 19 else None
        if one is None:
            raise Http404("There is no such tier change.")
        return one


# -- what a page shows of one


def about(one, user):
    """What is needed to decide about a tier change: figures then and now, why, CSM and load, what was said before."""
    today = timezone.localdate()
    [card] = board.cards_of([one], today=today)
    try:
        why, refusal = explain.explain(one.account, one.layer), ""
    except Refused as refused:
        why, refusal = None, str(refused)
    earlier = Transition.objects.filter(account=one.account_id, layer=one.layer_id).exclude(pk=one.pk)
    ended = list(
        earlier.exclude(status__in=Transition.OPEN).select_related("from_segment", "to_segment")[:EARLIER]
    )
    renewal = _renewal(one.account, today)
    model = _model(one)
    return {
        "one": one,
        "card": card,
        "why": why,
        "why_refusal": refusal,
        "score": None if one.composite is None else f"{rounded(one.composite):f}",
        "arr_then": (one.evidence.get("was") or {}).get("arr"),
        "renewal": renewal,
        "renewal_days": (renewal - today).days if renewal else None,
        "load": card.gives and card.gives.beside(model),
        "model": model,
        "proposed": loads.propose_receiver(one) if one.status == Status.FLAGGED else None,
        "said_no": next((old for old in ended if old.status in (Status.REJECTED, Status.KEPT)), None),
        "ended": ended,
        "seen": transitions.token(one),
        "may_correct": user.has_perm("accounts.change_account"),
        "may_override": permissions.may(permissions.request_override([one.account], by=user)),
        "week": today + timedelta(days=7),
        "tomorrow": today + timedelta(days=1),
    }


def _renewal(account, today):
    if account.renewal_date:
        return account.renewal_date
    running = account.subscriptions.filter(end_date__gt=today, start_date__lte=today).exclude(
        status="cancelled"
    )
    return running.aggregate(end=Min("end_date"))["end"]


def _model(one):
    treatment = one.to_segment.treatment
    return treatment and treatment.service_model


def _plan(one, sent, refusal):
    """The plan as the form shows it: what was typed, else what is planned, else what a plan starts from."""
    fresh = one.status == Status.FLAGGED and one.planned_at is None
    receiver = loads.propose_receiver(one) if fresh else one.receiver
    one.receiver = receiver  # for the text to the customer; this copy is not saved
    start = plans.start(one) if fresh else {"checklist": one.checklist, "notice": one.notice}
    plan = {
        "receiver": receiver,
        "joint_days": one.joint_days,
        "success_plan": one.success_plan or (_template(one) if fresh else ""),
        "notice": start["notice"],
        "notice_on": one.notice_on and one.notice_on.isoformat(),
        "notice_by": one.notice_by or (str(receiver or "") if fresh else ""),
        "notes": one.notes,
        "lines": [line["text"] for line in start["checklist"]],
    }
    if sent.get("verb") in ("plan", "ask"):
        typed = ("joint_days", "success_plan", "notice", "notice_on", "notice_by", "notes")
        plan |= {name: sent.get(name, "") for name in typed}
        plan |= {"receiver": _chosen(sent, "receiver", receiver), "lines": _typed_lines(sent)}
    model = _model(one)
    counted = one.status in (Status.PLANNED, Status.AWAITING) and one.receiver_id
    plan["offered"] = _offered(
        model, {plan["receiver"], one.account.csm}, counted=counted and one.receiver_id
    )
    return plan


def _ticks(one, sent):
    """What is done already, as the form shows it: what was typed, else what is noted."""
    if sent.get("verb") == "tick":
        done = _typed_ticks(one, sent)
        said = {"noticed_on": sent.get("noticed_on", ""), "notes": sent.get("notes", "")}
    else:
        done = {number for number, line in enumerate(one.checklist) if line.get("done")}
        said = {"noticed_on": one.noticed_on.isoformat() if one.noticed_on else "", "notes": one.notes}
    return said | {"lines": [line | {"ticked": number in done} for number, line in enumerate(one.checklist)]}


def _template(one):
    treatment = one.to_segment.treatment
    return treatment.success_plan_template if treatment else ""


def _offered(model, chosen, *, counted=None):
    """[(what they are, [(Csm, sentence)])] to choose from, each with the load after the move, of the fitting kind first.

    counted: the id of a CSM whose expected load has this move in it already.
    """
    found = list(Csm.objects.order_by("name", "pk")[:CSMS])
    found += [one for one in chosen if one and one not in found]
    loaded = loads.loads(found, model)
    kind = model and loads.KINDS[model.csm_kind]
    groups = {"fit": [], "other": []}
    for csm in found:
        load = loaded[csm.pk]
        after = load.expected + (csm.pk != counted) - load.now
        _, text = load.verdict(after)
        groups["fit" if csm.kind == kind else "other"].append((csm, text))
    names = {"fit": f"Fit for {model}" if model else "", "other": "Others"}
    return [(names[key], sorted(rows, key=lambda row: str(row[0]))) for key, rows in groups.items() if rows]


def _typed_plan(sent):
    """The plan of a form, as transitions.plan takes it."""
    return {
        "receiver": _csm(sent.get("receiver", "")),
        "joint_days": _number(sent.get("joint_days", "")),
        "success_plan": sent.get("success_plan", ""),
        "notice": sent.get("notice", ""),
        "notice_on": _day(sent.get("notice_on", "")),
        "notice_by": sent.get("notice_by", ""),
        "checklist": _typed_lines(sent),
        "notes": sent.get("notes", ""),
    }


def _said_planned(one):
    if one.status == Status.AWAITING:
        return "Saved. The request says it as it is now; approvals given before do not count any more."
    return f"The hand-over of {one.account} is planned. Next: ask for approval."


def _kept(one, request):
    """Keep the segment in force, as the form says; the sentence that tells so. Wrong data are such a reason."""
    sent = request.POST
    reason, until = sent.get("reason", ""), _day(sent.get("until", ""))
    if sent.get("verb") == "fix":
        if not reason.strip():
            raise Refused("wrong_data_unexplained")
        if until is None:
            raise Refused("wrong_data_undated")
        reason = f"The data are to be corrected: {reason.strip()}"
    elif sent.get("verb") != "keep":
        raise Refused("step_not_chosen")
    seen = {one.pk: sent.get("seen", "")}
    transitions.keep([one], by=request.user, reason=reason, until=until, seen=seen)
    said = f"{one.account} stays {one.from_segment} {f'until {wording.day(until)}' if until else 'until something material changes'}."
    if sent.get("verb") != "fix" or not request.user.has_perm("accounts.change_account"):
        return said
    link = reverse("admin:accounts_account_edit", args=[one.account_id])
    return format_html('{} <a href="{}" class="dm-link">Correct its data now</a>', said, link)


def _may_take_out(one, user):
    """What the form needs to take it out of its request of many, as an approver; None where that is not possible."""
    if one.status != Status.AWAITING or one.request.accounts < 2:
        return None
    if not permissions.may(permissions.decide(one.request, by=user)):
        return None
    return approvals.token(one.request)


def _at_once(rows, user):
    """Nobody has to approve these: what is asked for is carried out at once."""
    needed, *_ = approvals.requirement(Kind.TIER_CHANGE, plans.impact(rows), by=user)
    return not needed


def _say_asked(request, asked):
    if asked.status == asked.Status.APPLIED:
        messages.success(request, "Done: nobody has to approve it.")
    elif asked.status == asked.Status.FAILED:
        messages.error(request, f"It could not be carried out: {asked.failure}")
    else:
        messages.success(request, f"Asked for approval: {asked.subject}.")


def _happened(events):
    """[(Event, kind in words)] of a timeline."""
    return [{"event": one, "title": TITLES.get(one.kind, "Tier change")} for one in events]


# -- many as one request


def _only_layer():
    return Layer.objects.filter(policy=Layer.Policy.APPROVAL).order_by("-primary", "position", "key").first()


def _candidates(asked, layer, wanted):
    """([Card], how many more there are): what may be asked for together, planned ones first, the most revenue first."""
    found = replace(asked, layer=layer).of(Transition.objects.filter(held_for=""))
    found = (
        found.filter(status=Status.PLANNED)
        if wanted.get("status") == "planned"
        else found.filter(status__in=[Status.FLAGGED, Status.PLANNED])
    )
    if wanted.get("to"):
        found = found.filter(to_segment__key=wanted["to"][:50])
    count = found.count()
    rows = board.cards(
        found.order_by("-status", F("arr").desc(nulls_last=True), "pk")[: transitions.MOST],
        today=timezone.localdate(),
    )
    return rows, count - len(rows)


def _receivers(rows):
    """{service model: [Csm]} to choose from, of the kind each needs."""
    models = {_model(card.one) for card in rows} - {None}
    people = list(Csm.objects.order_by("name", "pk")[:CSMS])
    return {model: [one for one in people if one.kind == loads.KINDS[model.csm_kind]] for model in models}


def _joint_days(rows):
    return rows[0].one.joint_days if rows else 30


# -- what forms send


def _csm(text):
    if not text:
        return None
    found = Csm.objects.filter(pk=int(text)).first() if text.isdecimal() and len(text) < 19 else None
    if found is None:
        raise Refused("csm_gone")
    return found


def _chosen(sent, name, otherwise):
    """The CSM chosen in a form that is shown again, else the one given."""
    if name not in sent:
        return otherwise
    try:
        return _csm(sent[name])
    except Refused:
        return otherwise


def _number(text):
    if not (text.strip().isdecimal() and len(text.strip()) < 5):
        raise Refused("joint_days_unreadable")
    return int(text)


def _day(text):
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise Refused("not_a_date", typed=text[:20]) from None


def _typed_lines(sent):
    """The checklist as typed: a line each."""
    return [line.strip() for line in sent.get("lines", "").splitlines() if line.strip()]


def _typed_ticks(one, sent):
    """The numbers of the lines ticked: a form says their texts, which stay right when the checklist has changed."""
    ticked = {" ".join(text.split()) for text in sent.getlist("done")}
    return {number for number, line in enumerate(one.checklist) if " ".join(line["text"].split()) in ticked}


# -- the account's page


def part(request, account):
    """The tier changes of an account for its page; see settings.ACCOUNT_PAGE_PARTS. Two queries, two more where there are some."""
    related = ["layer", "from_segment", "to_segment__treatment__service_model", "request"]
    found = account.transitions.select_related(*related).defer("request__content")
    rows = list(found.prefetch_related("receiver", "giver").order_by("-pk")[:LAST])
    may_plan = permissions.may(permissions.plan_transition(by=request.user))
    open_ = [one for one in rows if one.is_open]
    latest = {}
    for one in rows:
        latest.setdefault(one.layer_id, one)
    told = _happened(Event.objects.filter(account=account, about="transition").order_by("-id")[:TIMELINE])
    return {
        "actions": [_action(one, may_plan) for one in open_ if one.status in NEXT and may_plan],
        "badges": [_badge(one) for one in open_],
        "holds": {one.layer_id: _hold(one) for one in open_},
        "becomes": {layer: _becomes(one) for layer, one in latest.items() if one.status in BINDING},
        "happened": [
            {
                "on": timezone.localtime(row["event"].at).date(),
                "title": row["title"],
                "text": row["event"].text,
                "who": history.who(row["event"], "actor"),
                "reason": row["event"].reason,
                "url": reverse(PAGE, args=[row["event"].about_id]),
            }
            for row in told
        ]
        + [entry for one in rows for entry in _decided(one)],
    }


def _decided(one):
    """What a tier change's request adds to the timeline: that it was asked for, and a no."""
    url, about = reverse(PAGE, args=[one.pk]), f"{one.layer} {one.from_segment} → {one.to_segment}"
    if one.request and one.origin != Transition.Origin.OVERRIDE:  # an override tells of its own request
        asked = one.request
        on = timezone.localdate(asked.requested_at)
        yield {"on": on, "title": "Approval asked for", "text": about, "who": history.who(asked, "requester"), "reason": asked.why, "url": url}  # fmt: skip
    if one.status == Status.REJECTED:
        on = timezone.localdate(one.ended_at)
        yield {"on": on, "title": "Rejected", "text": about, "who": history.who(one, "ended_by"), "reason": one.end_reason, "url": url}  # fmt: skip


def _approved(one):
    """It has been approved and waits for its day; then there is no date by which somebody decides."""
    return one.request.status == ApprovalRequest.Status.APPROVED or not one.request.is_open


def _takes_effect(one):
    """When one that has been approved does: at the renewal, or after the days without hand-overs."""
    today = timezone.localdate()
    if one.applies_on and one.applies_on > today:
        return f"at the renewal, {wording.day(one.applies_on)}"
    why, until = crossings.quiet([one], today).get(one.pk, (None, None))
    return f"on {wording.day(until)} ({why.label.lower()} before)" if until else "within the day"


def _becomes(one):
    """The segment to come of the layer's last tier change: none after a no, nor once it is in force."""
    return one.to_segment if one.is_open and one.status != Status.JOINT else None


def _action(one, may_plan):
    label = {
        Status.FLAGGED: "Plan the tier change",
        Status.PLANNED: "Ask for approval",
        Status.JOINT: "Hand-over",
    }
    return {
        "label": label[one.status],
        "url": reverse(PAGE, args=[one.pk]),
        "icon": "swap_vert",
        "primary": True,
    }


def _badge(one):
    url = reverse(PAGE, args=[one.pk])
    if one.status == Status.JOINT:
        day = (timezone.localdate() - one.joint_from).days + 1
        return "warn" if day > one.joint_days else "brand", f"Transition, day {day} of {one.joint_days}", url
    said = "held" if one.held_for else one.get_status_display().lower()
    return "warn", f"Tier change {said}", url


def _hold(one):
    """What holds the segment in force, and what comes next, in sentences."""
    text, then = _says(one)
    if one.held_for:
        until = f" until {wording.day(one.held_until)}" if one.held_until else ""
        text = f"{text} It is held{until}: {one.get_held_for_display().lower()}."
        then = f"it is looked at again on {wording.day(one.held_until)}." if one.held_until else then
    return {
        "title": f"{one.layer}: {one.from_segment} → {one.to_segment}.",
        "text": text,
        "next": then,
        "url": reverse(PAGE, args=[one.pk]),
        "button": "Look at the tier change",
    }


def _says(one):
    renewal = f" It would apply at the renewal, {wording.day(one.applies_on)}." if one.applies_on else ""
    waits = "Nothing changes for the customer until a plan is approved."
    if one.status == Status.FLAGGED:
        return (
            f"{WHY.get(one.why, '')}{one.layer} changes need approval. {waits}{renewal}",
            "CS Ops decides in triage.",
        )
    if one.status == Status.PLANNED:
        to = f" to {one.receiver}" if one.receiver_id else ""
        return (
            f"A hand-over{to} is planned, by {history.who(one, 'planned_by') or 'CS Ops'}. {waits}{renewal}",
            "approval is asked for.",
        )
    if one.status == Status.AWAITING and one.request.status == ApprovalRequest.Status.FAILED:
        failed = f"It was approved, but could not be carried out: {one.request.failure}"
        return failed, "CS Ops changes the plan, or tries again on the page of the request."
    if one.status == Status.AWAITING and not _approved(one):
        return f"It waits for approval, asked by {history.who(one.request, 'requester')}. {waits}{renewal}", (
            f"a decision, due {wording.day(one.request.due_at)}."
        )
    if one.status == Status.AWAITING:
        return "It has been approved.", f"it takes effect {_takes_effect(one)}."
    changed = f"Approved: the segment has changed on {wording.day(one.joint_from)}."
    if one.receiver_id in (None, one.giver_id):
        return f"{changed} {one.giver or 'Nobody'} stays the CSM.", "the hand-over is completed."
    return (
        f"{changed} {one.giver or 'Nobody'} and {one.receiver} look after the customer until {wording.day(one.joint_until)}.",
        f"{one.receiver} becomes the CSM once the hand-over is completed.",
    )


def waiting(one):
    """What an open tier change waits for, in words; "" for one that has ended or has to be decided now."""
    if one.held_for:
        until = f" (until {wording.day(one.held_until)})" if one.held_until else ""
        return f"{one.get_held_for_display()}{until}"
    if one.status in (Status.PLANNED, Status.AWAITING, Status.FLAGGED) and one.applies_on:
        return f"Would apply at the renewal, {wording.day(one.applies_on)}"
    if one.status == Status.JOINT:
        return f"Joint coverage until {wording.day(one.joint_until)}"
    if one.status == Status.KEPT:
        return (
            f"Kept until {wording.day(one.kept_until)}"
            if one.kept_until
            else "Kept until something material changes"
        )
    return ""


def asked_for(request):
    """(board.Asked, the same as the rest of an address) of what the page is narrowed to."""
    wanted = request.GET
    layer = wanted.get("layer") and Layer.objects.filter(key=wanted["layer"][:50]).first()
    direction = wanted.get("direction") if wanted.get("direction") in CrossingPolicy.Direction.values else ""
    csm = wanted.get("csm", "")
    if csm != "none" and not (csm.isdecimal() and len(csm) < 19):
        csm = ""
    asked = board.Asked(layer or None, direction, csm, request.user if wanted.get("mine") else None)
    said = {"layer": layer and layer.key, "direction": direction, "csm": csm, "mine": asked.user and "1"}
    return asked, urlencode({name: value for name, value in said.items() if value})


def _together(group, query):
    said = urlencode({"layer": group.layer, "direction": group.direction, "to": group.to})
    return f"{reverse('admin:governance_transition_together')}?{said}{'&' if query else ''}{query}"


def _lists(asked):
    """{lane: address of the list of all that is in it}; the list has no filter by CSM, so there it shows everybody's."""
    said = {"layer__id__exact": asked.layer and asked.layer.pk, "direction__exact": asked.direction}
    lanes = {
        "flagged": {"status__exact": "flagged", "held": "no"},
        "held": {"held": "yes"},
        **{status: {"status__exact": status} for status in ("planned", "awaiting", "joint", "done")},
    }
    return {
        lane: f"{reverse(LIST)}?{urlencode({name: value for name, value in (said | own).items() if value})}"
        for lane, own in lanes.items()
    }
