"""Declared values: what people proposed and confirmed, for one account or many; proposals that wait come first."""

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Min, Q
from django.http import Http404
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html

from accounts.admin import downloads
from accounts.admin.fields import Day, Row, Text, ids
from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from accounts.admin.verbs import VerbForm, VerbPage, row
from accounts.models import Account
from core import history
from core.wording import plural
from segmentation.authoring import declarations, jobs_to_be_done
from segmentation.models import Declaration, Layer, Segment

LIST = "admin:segmentation_declaration_changelist"
PAGE = "admin:segmentation_declaration_change"
PROPOSE = "admin:segmentation_declaration_propose"
ACCOUNT = "admin:accounts_account_change"
PER_PAGE = 50
NAMED = 20  # accounts named on a page about many

EXPORTED = ["Account ID", "Account", "Segmentation", "Value", "Status", "Holds from", "Why", "Evidence"]
EXPORTED += ["Proposed by", "Proposed at", "Confirmed by", "Confirmed at"]

Status = Declaration.Status
DECIDE = {  # button: the status it leads to, the verb for one, the verb for all of one action, and what is said after
    "confirm": (Status.CONFIRMED, declarations.confirm, declarations.confirm_all, "confirmed"),
    "reject": (Status.REJECTED, declarations.reject, declarations.reject_all, "rejected"),
    "withdraw": (Status.WITHDRAWN, declarations.withdraw, declarations.withdraw_all, "withdrawn"),
}


@admin.register(Declaration)
class DeclarationAdmin(ByVerbs, GovernedAdmin):
    def has_view_permission(self, request, obj=None):
        return _may_view(request.user)

    def has_module_permission(self, request):
        return self.has_view_permission(request)

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("propose/", wrap(ProposePage.as_view(admin=self)), name="segmentation_declaration_propose"),
            *super().get_urls(),
        ]

    # -- all of them

    def changelist_view(self, request, extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        choices = declarations.choices()
        layers = Layer.objects.filter(
            Q(pk__in=[layer.pk for layer in choices]) | Q(declarations__isnull=False)
        )
        layers = list(layers.distinct().order_by("position", "key"))
        layer, text = _filters(request, layers)
        waiting, in_force = _filtered(layer, text)
        return page(
            request,
            "segmentation/declarations/list.html",
            title="Declared values",
            model_admin=self,
            layers=layers,
            layer=layer,
            q=text,
            ready=bool(choices),
            may_export=self.may_export(request),
            waiting=_with_totals(Paginator(_requests(waiting), PER_PAGE).get_page(request.GET.get("w"))),
            in_force=Paginator(in_force, PER_PAGE).get_page(request.GET.get("p")),
            drafts=[layer for layer in declarations.choices(drafts=True) if layer not in choices],
            unused=_unused() if request.user.has_perm("segmentation.view_jobtobedone") else [],
        )

    def export_view(self, request):
        """Give everything the page shows, all of its pages, as CSV; each row tells the filter and the date."""
        if not self.may_export(request):
            raise PermissionDenied
        layer, text = _filters(request, Layer.objects.all())
        filters = " & ".join(
            filter(None, [f"search: {text}" if text else "", f"layer={layer.key}" if layer else ""])
        )
        waiting, in_force = _filtered(layer, text)
        waiting = waiting.select_related("account", "layer", "segment").order_by("proposed_at", "pk")
        rows = (
            _exported(declaration)
            for part in (waiting, in_force)
            for declaration in part.iterator(chunk_size=downloads.ROWS)
        )
        return downloads.csv_list("declared-values", EXPORTED, rows, filters=filters or "everything")

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return DeclarationPage.as_view(admin=self)(request, pk=unquote(object_id))


# -- proposing


class ProposeForm(VerbForm):
    at = {"reason_missing": "reason", "declaration_too_early": "from_date"}
    segment = Row(
        "Value",
        gone="Choose a value.",
        missing="Choose a value.",
        rows=Segment.objects.select_related("layer"),
    )
    from_date = Day("Holds from", needed=True)
    reason = Text(rows=3, needed=True, help="Kept with the value, for everybody who asks later.")
    evidence = Text("Evidence (optional)", help="Where it can be looked up: a call, a contract, a link.")

    def prepare(self):
        self.fields["from_date"].between(None, timezone.localdate())

    def start(self):
        return {"from_date": timezone.localdate()}

    def offer(self, choices):
        """Only these: {segmentation: its segments}."""
        groups = [
            (layer.name, [(segment.pk, str(segment)) for segment in segments])
            for layer, segments in choices.items()
        ]
        offered = groups[0][1] if len(groups) == 1 else groups
        self.fields["segment"].choices = [("", "Choose …"), *offered]
        return self

    def carry_out(self):
        segment, arguments = self.cleaned_data.pop("segment"), self.cleaned_data | {"by": self.by}
        if len(self.thing) > 1:
            outcome = declarations.propose_for(self.thing, segment, **arguments)
            _tell(self.page.request, outcome, f"{segment.layer} {segment} is proposed for", "proposed")
            return reverse(LIST)
        [account] = self.thing
        before = declarations.states(segment.layer, [account.pk])[account.pk].proposed
        seen = self.seen or None  # no segmentation was chosen yet: the page showed none
        if before and self.page.sent("replaces") == str(before.pk):
            declarations.replace(before, segment, seen=seen, **arguments)
        else:
            declarations.propose(account, segment, seen=seen, **arguments)
        self.say(f"{segment} is proposed for {account}. Somebody who confirms declared values decides.")
        return _account_page(account)


class ProposePage(VerbPage):
    """The form for the accounts of the address or of the selection."""

    title = "Propose a value"
    template = "segmentation/declarations/declare.html"
    verbs = {"propose": ProposeForm}

    def load(self):
        if not declarations.may_propose(self.request.user):
            raise PermissionDenied
        accounts = Account.objects.filter(pk__in=ids(self.sent("accounts")))
        return self.about(list(accounts.order_by("name", "pk")[: declarations.MOST + 1]))

    def about(self, accounts):
        if not accounts:
            raise Http404("There is no such account.")
        choices = declarations.choices()
        self.layer = next((layer for layer in choices if layer.key == self.sent("layer")), None)
        self.choices = {self.layer: choices[self.layer]} if self.layer else choices
        self.states = (
            declarations.states(self.layer, [accounts[0].pk]) if self.layer and len(accounts) == 1 else {}
        )
        return accounts

    def token(self):
        return declarations.token(self.states) if self.states else ""

    def form(self, *sent):
        return super().form(*sent).offer(self.choices)

    def context(self):
        accounts = self.thing
        single = accounts[0] if len(accounts) == 1 else None
        state = self.states.get(accounts[0].pk)
        return {
            "accounts": accounts[:NAMED],
            "ids": ",".join(str(account.pk) for account in accounts),
            "count": len(accounts),
            "more": len(accounts) - NAMED,
            "single": single,
            "choices": self.choices,
            "layer": self.layer,
            "state": state,
            "replace_refusal": _replace_refusal(state, self.request.user),
        }


def propose_page(request, accounts):
    """The form that proposes a value for these accounts, which were chosen in a list."""
    view = ProposePage(admin=admin.site._registry[Declaration])
    view.setup(request)
    view.thing = view.about(accounts)
    return view.show()


# -- one of them, or all of one action


class DecideForm(VerbForm):
    """Confirms, rejects or withdraws: `verb` is a key of DECIDE."""

    part = "decide"
    at = {"reason_missing": "reason"}
    reason = Text("Why you decide so")
    on = Day("Ends on", needed=True, help="It holds until the day before. Evaluations as of an earlier day still see it.")  # fmt: skip

    def prepare(self):
        if self.thing.status == Status.CONFIRMED:
            self.fields["reason"].label = "Why it ends"
            self.fields["on"].between(self.thing.from_date, timezone.localdate())
        else:
            self.fields["reason"].help_text = "Needed to reject or withdraw; may be left empty to confirm."
            del self.fields["on"]

    def start(self):
        return {"on": timezone.localdate()}

    def carry_out(self):
        _, verb, verb_for_all, done = DECIDE[self.verb]
        declaration, arguments = self.thing, self.cleaned_data | {"by": self.by, "seen": self.seen}
        if self.verb != "withdraw":
            arguments.pop("on", None)
        if not self.page.alone and declarations.together(declaration).count() > 1:
            outcome = verb_for_all(declaration, **arguments)
            _tell(self.page.request, outcome, f"{declaration.layer} {declaration.segment}", done)
            return reverse(LIST)
        declaration = verb(declaration, **arguments)
        text = f"{declaration.segment} for {declaration.account} is {done}."
        if declaration.status == Status.CONFIRMED or declaration.until_date:
            text = _applied(self.by, text)
        self.say(text)
        return _account_page(declaration.account)


class ConfirmForm(DecideForm):
    verb = "confirm"


class RejectForm(DecideForm):
    verb = "reject"


class WithdrawForm(DecideForm):
    verb = "withdraw"


class DeclarationPage(VerbPage):
    """A declaration: what was declared, by whom and why."""

    template = "segmentation/declarations/declaration.html"
    verbs = {"confirm": ConfirmForm, "reject": RejectForm, "withdraw": WithdrawForm}

    def load(self, pk):
        if not self.admin.has_view_permission(self.request):
            raise PermissionDenied
        queryset = Declaration.objects.select_related("account", "layer", "segment")
        declaration, self.alone = row(queryset, pk, "declared value"), bool(self.sent("one"))
        self.rows = [declaration]
        if declaration.status == Status.PROPOSED and not self.alone:
            made = declarations.together(declaration).select_related("account", "layer", "segment")
            self.rows = list(made.order_by("pk"))
        self.states = declarations.states(declaration.layer, [declared.account_id for declared in self.rows])
        return declaration

    def token(self):
        return declarations.token(self.states)

    def context(self):
        declaration, rows = self.thing, self.rows
        in_force = {declared.pk: self.states[declared.account_id].confirmed for declared in rows}
        return {
            "title": f"{declaration.layer}: {declaration.segment}",
            "original": declaration if len(rows) == 1 else f"{declaration.layer}: {declaration.segment}",
            "one": declaration,
            "alone": self.alone,
            "count": len(rows),
            "rows": [{"one": declared, "now": in_force[declared.pk]} for declared in rows[:NAMED]],
            "more": len(rows) - NAMED,
            "replaced": sum(now is not None for now in in_force.values()),
            "decision": _decision(declaration, self.request.user, self.states),
        }


def of_account(account, user):
    """The declared layers for the account page: what is proposed and in force, and what this person may do."""
    parts = []
    may_view = _may_view(user)
    for number, (layer, segments) in enumerate(declarations.choices().items(), start=1):
        states = declarations.states(layer, [account.pk])
        state = states[account.pk]
        parts.append(
            {
                "layer": layer,
                "state": state,
                "seen": declarations.token(states),
                "form": ProposeForm([account], user, auto_id=f"%s-p{number}").offer({layer: segments}),
                "may_view": may_view,
                "may_propose": declarations.may_propose(user),
                "replace_refusal": _replace_refusal(state, user),
                "decision": _decision(state.proposed, user, states, f"%s-d{number}")
                if state.proposed
                else None,
                "ending": _decision(state.confirmed, user, states, f"%s-e{number}")
                if state.confirmed
                else None,
            }
        )
    return parts


def _may_view(user):
    wanted = ("segmentation.view_declaration", declarations.PROPOSE, declarations.CONFIRM)
    return any(user.has_perm(permission) for permission in wanted)


def _replace_refusal(state, user):
    if state is None or state.proposed is None:
        return ""
    return declarations.refusal(state.proposed, Status.REPLACED, by=user)


def _decision(declaration, user, states, auto_id="%s"):
    """The form and buttons this person has for a declaration, and why not otherwise."""
    refusals = {verb: declarations.refusal(declaration, to, by=user) for verb, (to, *_) in DECIDE.items()}
    allowed = [verb for verb, refusal in refusals.items() if not refusal]
    why_not = refusals["confirm"] if declaration.status == Status.PROPOSED else refusals["withdraw"]
    return {
        "one": declaration,
        "form": DecideForm(declaration, user, auto_id=auto_id),
        "allowed": allowed,
        "why_not": why_not if declaration.status in (Status.PROPOSED, Status.CONFIRMED) else "",
        "seen": declarations.token(states),
    }


def _unused():
    today = timezone.localdate()
    return [job for job in jobs_to_be_done.listed() if jobs_to_be_done.unused(job, at=today)]


def _filters(request, layers):
    """(layer or None, text searched for) of the list's address."""
    layer = next((layer for layer in layers if layer.key == request.GET.get("layer")), None)
    return layer, request.GET.get("q", "")[:100].strip()


def _exported(declaration):
    cells = [
        declaration.account.external_id,
        declaration.account.name,
        declaration.layer,
        declaration.segment,
        declaration.get_status_display(),
    ]
    cells += [
        declaration.from_date,
        declaration.reason,
        declaration.evidence,
        history.who(declaration, "proposed_by"),
        _minute(declaration.proposed_at),
    ]
    return [*map(str, cells), history.who(declaration, "decided_by"), _minute(declaration.decided_at)]


def _minute(moment):
    return timezone.localtime(moment).isoformat(timespec="minutes") if moment else ""


def _filtered(layer, text):
    """(proposals, those in force) of this layer and these accounts; all of them where nothing is asked for."""
    rows = Declaration.objects.filter(layer=layer) if layer else Declaration.objects.all()
    if text:
        rows = rows.filter(Q(account__name__icontains=text) | Q(account__external_id=text))
    in_force = rows.in_force().select_related("account", "layer", "segment")
    return rows.proposed(), in_force.order_by("-decided_at", "-pk")


def _requests(proposals):
    """Proposals by the action they were made in, those that wait longest first."""
    together = ["layer__name", "segment__name", "proposed_by", "proposed_by_label", "proposed_at", "reason"]
    rows = proposals.order_by().values(*together, "from_date", "evidence", "segment_id")
    rows = rows.annotate(first=Min("pk"), accounts=Count("pk"), name=Min("account__name"))
    return rows.annotate(external_id=Min("account__external_id")).order_by("proposed_at", "first")


def _with_totals(rows):
    """Each row's `all`: how many accounts its action is about; a search may find only some of them."""
    action = ("segment_id", "proposed_by", "proposed_at")
    whole = Declaration.objects.proposed().filter(proposed_at__in=[row["proposed_at"] for row in rows])
    totals = {
        tuple(row[name] for name in action): row["total"]
        for row in whole.order_by().values(*action).annotate(total=Count("pk"))
    }
    for shown in rows:
        shown["all"] = totals.get(tuple(shown[name] for name in action), shown["accounts"])
    return rows


def _account_page(account):
    return reverse(ACCOUNT, args=[account.pk]) + "#declared"


def _tell(request, outcome, what, done):
    """Tell what came of an action for many, with the reasons why some were left."""
    if outcome.done:
        text = f"{what} {plural(len(outcome.done), 'account,accounts')}."
        if done != "proposed":
            text = f"{what} is {done} for {plural(len(outcome.done), 'account,accounts')}."
        messages.success(request, _applied(request.user, text) if done == "confirmed" else text)
    for sentence, number in outcome.left.most_common(5):
        messages.warning(request, f"{plural(number, 'account is,accounts are')} left as before: {sentence}")
    if unnamed := sum(outcome.left.values()) - sum(number for _, number in outcome.left.most_common(5)):
        messages.warning(
            request, f"{plural(unnamed, 'more account,more accounts')} left as before, for like reasons."
        )


def _applied(user, text):
    if not user.has_perm("segmentation.recompute_layer"):
        return f"{text} The next recalculation applies it."
    link = reverse("admin:segmentation_run_start")
    return format_html(
        '{} Segments follow with the next recalculation. <a href="{}" style="text-decoration:underline">Recalculate now</a>',
        text,
        link,
    )
