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
from segmentation.evaluation import run_rules
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
        "csm_login_closed": "receiver",
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

    def arguments(self):
        """The values typed, as `overrides.ask` takes them."""
        if self.page.segment is None:
            raise Refused("segment_not_chosen")
        given = self.cleaned_data
        plan = override_cases.Plan(given["receiver"], given["success_plan"], given["notice"])
        names = ("reason_code", "text", "evidence", "expires_on", *override_cases.ANSWERS)
        return {name: given[name] for name in names} | {"plan": plan, "by": self.by}

    def carry_out(self):
        arguments, accounts, left = self.arguments(), self.thing, []
        if self.page.sent("leave_out"):
            left = [case for case in self.page.cases if case.obstacle]
            accounts = [case.account for case in self.page.cases if not case.obstacle]
        approval_request = overrides.ask(accounts, self.page.segment.layer, self.page.segment, **arguments)
        if left:
            self.say(f"{plural(len(left), 'account is,accounts are')} left out.", messages.WARNING)
        return self.to_request(approval_request, "The override is asked for.")

    def to_request(self, approval_request, message):
        """The address of the request; what came of it is said."""
        approval_request.refresh_from_db()
        if approval_request.status == approval_request.Status.APPLIED:
            message = "The override is in force: no approval was needed."
        elif approval_request.status == approval_request.Status.FAILED:
            self.say(f"It could not be put in force: {approval_request.failure}", messages.ERROR)
        self.say(message)
        return triage.with_back(reverse(REQUEST, args=[approval_request.pk]), self.page.request)


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
        approval_request = overrides.change(
            self.page.asked_for, seen=self.seen, segment=self.page.segment, **self.arguments()
        )
        return self.to_request(approval_request, "The request is changed.")


class EditPage(AskPage):
    title = "Change the request"
    verbs = {"edit": EditForm}

    def load(self, pk):
        pin = row(Override.objects.select_related("request", "segment__layer"), pk)
        if pin.request is None or not self.admin.has_view_permission(self.request):
            raise Http404("There is no such override.")
        self.override, self.asked_for = pin, pin.request
        accounts = Account.objects.filter(pk__in=pin.request.overrides.values("account"))
        thing = self.about(accounts, _segment(self.sent("segment")) or pin.segment)
        for case in self.cases:
            case.requested = None  # that is this one
        return thing

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
    gone = run_rules.gone()
    ordered = layers.order_by("-primary", "position", "key").prefetch_related("segments")
    return {
        layer: sorted(
            (segment for segment in layer.segments.all() if (layer.pk, segment.key) not in gone),
            key=lambda segment: (segment.position, segment.key),
        )
        for layer in ordered
    }


def _coming(cases, segment):
    """Say what will happen: who decides, what becomes of the accounts, what changes for the customer, when it ends."""
    layer = segment.layer
    cases = [case for case in cases if not case.obstacle]
    if not cases:
        return None
    needed, due, expire = requirement(overrides.KIND, override_cases.impact_on(cases))
    accounts = [case.account.pk for case in cases]
    open_changes = Transition.objects.open().filter(account__in=accounts, layer=layer)
    return {
        "needed": needed,
        "due": due,
        "expire": expire,
        "planned": any(case.planned for case in cases),
        "moving": sum(case.moves for case in cases),
        "service": _service(cases[0], layer) if len(cases) == 1 and cases[0].moves else [],
        "waiting": open_changes.count(),
        "gated": layer.policy == Layer.Policy.APPROVAL,
        "refused": [case for case in cases if case.refused][:NAMED],
    }


def _service(case, layer):
    """[(what, now, then)] of how the customer is served, as far as the two segments differ."""
    now = case.state.effective.treatment if case.state.effective else None
    then = case.segment.treatment
    fields = [
        (
            FIELDS[name],
            FIELDS[name].shown(getattr(now, name, None)),
            FIELDS[name].shown(getattr(then, name, None)),
        )
        for name in layer.decides
    ]
    return [(field.label, before, after) for field, before, after in fields if before != after]


def _segment(key):
    segments = Segment.objects.select_related("layer", "treatment__service_model")
    return segments.filter(pk=number(key)).first()


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
        override, user = self.thing, self.request.user
        others = Override.objects.filter(account=override.account_id, layer=override.layer_id).exclude(
            pk=override.pk
        )
        now = override.account.assignments.filter(layer=override.layer_id, product=None)
        questions = [Override._meta.get_field(name) for name in override_cases.ANSWERS]
        return {
            "title": f"Override of {override.account}",
            "original": f"{override.account}: {override.segment}",
            "one": override,
            "disagreement": disagreement(override),
            "answers": [
                (question.verbose_name, answer)
                for question in questions
                if (answer := getattr(override, question.name))
            ],
            "state": now.select_related("computed").first(),
            "transitions": override.transitions.select_related("to_segment"),
            "together": override.request.overrides.count() - 1 if override.request else 0,
            "others": others.select_related("segment")[:NAMED],
            "after": after(override),
            "end_refusal": permissions.end_override(override, by=user),
            "may_ask": permissions.may(permissions.request_override([override.account], by=user)),
            "today": timezone.localdate(),
        }


def disagreement(override):
    """`for 12 days`: how long the rules have said another segment than an override in force; "" where they agree."""
    if override.status != Status.ACTIVE or override.disagrees_since is None:
        return ""
    days = (timezone.localdate() - override.disagrees_since).days
    return f"for {plural(days, 'day,days')}" if days > 0 else "since today"


def after(override):
    """Say what the segmentation's policy decides once an override has ended."""
    if override.layer.policy == Layer.Policy.AUTOMATIC:
        return "The rules decide again at once."
    return "Where the rules say another segment, a tier change is flagged then."
