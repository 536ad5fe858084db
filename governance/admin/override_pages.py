"""The form that asks for an override or changes the request for one, and the page about one, which ends it."""

from datetime import timedelta

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.urls import reverse
from django.utils import timezone

from accounts.admin.fields import Choice, Day, Row, Text, ids, number
from accounts.admin.verbs import VerbForm, VerbPage, row
from accounts.models import Account, Csm
from core.organisation import organisation
from core.refusals import Refused
from core.wording import plural
from governance.changes import override_cases, overrides, overrides_in_force
from governance.models import Override, Transition
from governance.signoff import approvals, permissions
from governance.signoff.requirements import requirement
from segmentation import scopes
from segmentation.models import Layer, Segment
from segmentation.treatments import FIELDS

from . import triage

PAGE = "admin:governance_override_change"
REQUEST = "admin:governance_approvalrequest_change"
ACCOUNTS = "admin:accounts_account_changelist"
NAMED = 20  # accounts named on a page about many

Status = Override.Status


# -- asking


class AskForm(VerbForm):
    at = {
        "override_reason_not_chosen": "reason_code",
        "override_unexplained": "text",
        "override_end_impossible": "expires_on",
    }
    reason_code = Choice("Reason", choices=Override.Reason.choices, needed=True)
    text = Text("Explanation", rows=3, needed=True)
    buying_centre = Text()
    use_case = Text()
    contract = Text()
    evidence = Text("Evidence (optional)", help="Where it can be looked up: a contract, a mail, a link.")
    expires_on = Day("Ends on", needed=True)
    receiver = Row("New CSM", gone="This CSM is not there any more: choose another one.", rows=Csm.objects.all(), empty="The CSM stays",
                   help="Joint coverage begins with the approval. The CSM changes when somebody completes the tier change, never by itself.")  # fmt: skip
    success_plan = Text("Success plan (optional)")
    notice = Text("What the customer is told (optional)")

    def prepare(self):
        today, whom = timezone.localdate(), "this account" if len(self.thing) == 1 else "these accounts"
        self.fields["expires_on"].between(
            today + timedelta(days=1), today + timedelta(days=organisation().override_days_at_most)
        )
        self.fields["expires_on"].help_text = (
            f"{plural(organisation().override_days, 'day,days')} unless you say otherwise, at most "
            f"{organisation().override_days_at_most}. You are reminded {organisation().override_reminder_days} days before."
        )
        self.fields["text"].help_text = f"Why the rules are not right for {whom}. Whoever decides reads it, and so does everybody who asks later."  # fmt: skip
        for name in override_cases.ANSWERS:
            self.fields[name].label = Override._meta.get_field(name).verbose_name

    def start(self):
        return {"expires_on": timezone.localdate() + timedelta(days=organisation().override_days)}

    def answers(self):
        return [self[name] for name in override_cases.ANSWERS]

    def said(self):
        """The values typed, as `overrides.ask` takes them."""
        if self.page.segment is None:
            raise Refused("segment_not_chosen")
        given = self.cleaned_data
        plan = override_cases.Plan(given["receiver"], given["success_plan"], given["notice"])
        names = ("reason_code", "text", "evidence", "expires_on", *override_cases.ANSWERS)
        return {name: given[name] for name in names} | {"plan": plan, "by": self.by}

    def carry_out(self):
        said, accounts, left = self.said(), self.thing, []
        if self.page.sent("leave_out"):
            left = [case for case in self.page.cases if case.obstacle]
            accounts = [case.account for case in self.page.cases if not case.obstacle]
        asked = overrides.ask(accounts, self.page.segment.layer, self.page.segment, **said)
        if left:
            self.say(f"{plural(len(left), 'account is,accounts are')} left out.", messages.WARNING)
        return self.asked(asked, "The override is asked for.")

    def asked(self, asked, said):
        """The address of the request; what came of it is said."""
        asked.refresh_from_db()
        if asked.status == asked.Status.APPLIED:
            said = "The override is in force: no approval was needed."
        elif asked.status == asked.Status.FAILED:
            self.say(f"It could not be put in force: {asked.failure}", messages.ERROR)
        self.say(said)
        return triage.with_back(reverse(REQUEST, args=[asked.pk]), self.page.request)


class AskPage(VerbPage):
    """The form for the accounts of the address."""

    title = "Ask for an override"
    template = "governance/overrides/ask.html"
    verbs = {"ask": AskForm}
    override = asked_for = None  # what the open request asks for, and the request, where that is changed

    def load(self):
        if not self.request.user.has_perm("governance.request_override"):
            raise PermissionDenied
        accounts = Account.objects.filter(pk__in=ids(self.sent("accounts")))
        return self.about(accounts, _segment(self.sent("segment")))

    def about(self, accounts, segment):
        accounts = list(accounts.select_related("csm").order_by("name", "pk")[: overrides.MOST + 1])
        self.segment = segment
        self.cases = override_cases.look(accounts, segment) if segment else []
        return accounts

    def elsewhere(self):
        if not self.thing:
            messages.warning(self.request, "Choose the accounts first.")
        elif len(self.thing) > overrides.MOST:
            messages.error(
                self.request, f"At most {overrides.MOST} accounts at a time: narrow the list first."
            )
        else:
            return ""
        return reverse(ACCOUNTS)

    def why_not(self):
        return permissions.request_override(self.thing, by=self.request.user)

    def context(self):
        accounts, segment = self.thing, self.segment
        return {
            "accounts": accounts[:NAMED],
            "ids": ",".join(str(account.pk) for account in accounts),
            "more": len(accounts) - NAMED,
            "count": len(accounts),
            "single": accounts[0] if len(accounts) == 1 else None,
            "layers": _layers(self.override and self.override.layer_id),
            "segment": segment,
            "cases": [case for case in self.cases if not case.obstacle],
            "left": [case for case in self.cases if case.obstacle],
            "coming": _coming(self.cases, segment) if segment else None,
            "asked": self.asked_for,
            "back": triage.back(self.request),
            "why_not": self.why_not(),
        }


class EditForm(AskForm):
    """Changes what an open request asks for; approvals given so far are void."""

    def start(self):
        pin, plan = self.page.override, self.page.asked_for.content["plan"]
        kept = {name: getattr(pin, name) for name in self.fields if hasattr(pin, name)}
        return kept | plan

    def carry_out(self):
        asked = overrides.change(
            self.page.asked_for, seen=self.seen, segment=self.page.segment, **self.said()
        )
        return self.asked(asked, "The request is changed.")


class EditPage(AskPage):
    title = "Change the request"
    verbs = {"edit": EditForm}

    def load(self, pk):
        pin = row(Override.objects.select_related("request", "segment__layer"), pk)
        if pin.request is None or not self.admin.has_view_permission(self.request):
            raise Http404("There is no such override.")
        self.override, self.asked_for = pin, pin.request
        accounts = Account.objects.filter(pk__in=pin.request.overrides.values("account"))
        found = self.about(accounts, _segment(self.sent("segment")) or pin.segment)
        for case in self.cases:
            case.requested = None  # that is this one
        return found

    def elsewhere(self):
        if self.override.status == Status.REQUESTED:
            return ""
        messages.warning(self.request, "This is decided already.")
        return reverse(PAGE, args=[self.override.pk])

    def token(self):
        return approvals.token(self.asked_for)

    def why_not(self):
        return permissions.edit_request(self.asked_for, by=self.request.user)

    def context(self):
        return super().context() | {"original": f"{self.override.account}: {self.override.segment}"}


def _layers(only):
    """{segmentation: its segments} that accounts can be pinned on: those with active rules."""
    layers = Layer.objects.filter(scope__in=scopes.ONE_LABEL, definitions__status="active").distinct()
    if only:
        layers = layers.filter(pk=only)
    found = layers.order_by("-primary", "position", "key").prefetch_related("segments")
    return {
        one: sorted(one.segments.all(), key=lambda segment: (segment.position, segment.key)) for one in found
    }


def _coming(cases, segment):
    """Say what will happen: who decides, what becomes of the accounts, what changes for the customer, when it ends."""
    layer = segment.layer
    cases = [one for one in cases if not one.obstacle]
    if not cases:
        return None
    needed, due, expire = requirement(overrides.KIND, override_cases.impact_on(cases))
    accounts = [one.account.pk for one in cases]
    open_changes = Transition.objects.open().filter(account__in=accounts, layer=layer)
    return {
        "needed": needed,
        "due": due,
        "expire": expire,
        "planned": any(one.planned for one in cases),
        "moving": sum(one.moves for one in cases),
        "service": _service(cases[0], layer) if len(cases) == 1 and cases[0].moves else [],
        "waiting": open_changes.count(),
        "gated": layer.policy == Layer.Policy.APPROVAL,
        "refused": [one for one in cases if one.refused][:NAMED],
    }


def _service(case, layer):
    """[(what, now, then)] of how the customer is served, as far as the two segments differ."""
    now = case.state.effective.treatment if case.state.effective else None
    then = case.segment.treatment
    said = [
        (
            FIELDS[name],
            FIELDS[name].shown(getattr(now, name, None)),
            FIELDS[name].shown(getattr(then, name, None)),
        )
        for name in layer.decides
    ]
    return [(field.label, before, after) for field, before, after in said if before != after]


def _segment(key):
    found = Segment.objects.select_related("layer", "treatment__service_model")
    return found.filter(pk=number(key)).first()


# -- one of them


class EndForm(VerbForm):
    at = {"override_unexplained": "reason", "reason_missing": "reason"}
    reason = Text("Why it ends", needed=True)

    def carry_out(self):
        overrides_in_force.end(self.thing, by=self.by, **self.cleaned_data)
        self.say(f"The override of {self.thing.account} has ended. {after(self.thing)}")
        return reverse(PAGE, args=[self.thing.pk])


class OverridePage(VerbPage):
    """An override: what was pinned, by whom and why."""

    template = "governance/overrides/override.html"
    verbs = {"end": EndForm}

    def load(self, pk):
        if not self.admin.has_view_permission(self.request):
            raise PermissionDenied
        return row(
            Override.objects.select_related("account__csm", "layer", "segment", "from_segment", "request"), pk
        )

    def context(self):
        one, user = self.thing, self.request.user
        others = Override.objects.filter(account=one.account_id, layer=one.layer_id).exclude(pk=one.pk)
        now = one.account.assignments.filter(layer=one.layer_id, product=None)
        questions = [Override._meta.get_field(name) for name in override_cases.ANSWERS]
        return {
            "title": f"Override of {one.account}",
            "original": f"{one.account}: {one.segment}",
            "one": one,
            "disagreement": disagreement(one),
            "answers": [
                (question.verbose_name, answer)
                for question in questions
                if (answer := getattr(one, question.name))
            ],
            "state": now.select_related("computed").first(),
            "transitions": one.transitions.select_related("to_segment"),
            "together": one.request.overrides.count() - 1 if one.request else 0,
            "others": others.select_related("segment")[:NAMED],
            "after": after(one),
            "end_refusal": permissions.end_override(one, by=user),
            "may_ask": permissions.may(permissions.request_override([one.account], by=user)),
            "today": timezone.localdate(),
        }


def disagreement(one):
    """`for 12 days`: how long the rules have said another segment than an override in force; "" where they agree."""
    if one.status != Status.ACTIVE or one.disagrees_since is None:
        return ""
    days = (timezone.localdate() - one.disagrees_since).days
    return f"for {plural(days, 'day,days')}" if days > 0 else "since today"


def after(one):
    """Say what the segmentation's policy decides once an override has ended."""
    if one.layer.policy == Layer.Policy.AUTOMATIC:
        return "The rules decide again at once."
    return "Where the rules say another segment, a tier change is flagged then."
