"""Declared values: what people proposed and confirmed, for one account or many; proposals that wait come first."""

from datetime import date

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Min, Q
from django.http import Http404, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html

from accounts import exports, history
from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from accounts.models import Account
from core.refusals import Refused
from core.wording import plural
from segmentation import declarations, jobs
from segmentation.models import Declaration, Layer, Segment

LIST = "admin:segmentation_declaration_changelist"
PAGE = "admin:segmentation_declaration_change"
PROPOSE = "admin:segmentation_declaration_propose"
ACCOUNT = "admin:accounts_account_change"
PER_PAGE = 50
NAMED = 20  # accounts named on a page about many

EXPORT_ROWS = 2_000
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
            path("propose/", wrap(self.propose_view), name="segmentation_declaration_propose"),
            *super().get_urls(),
        ]

    # -- all of them

    def changelist_view(self, request, extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        choices = declarations.choices()
        layers = Layer.objects.filter(Q(pk__in=[one.pk for one in choices]) | Q(declarations__isnull=False))
        layers = list(layers.distinct().order_by("position", "key"))
        layer, text = _asked(request, layers)
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
            drafts=[one for one in declarations.choices(drafts=True) if one not in choices],
            unused=_unused() if request.user.has_perm("segmentation.view_job") else [],
        )

    def export_view(self, request):
        """What the page shows, all of its pages, as CSV; each row tells the filter and the date."""
        if not self.may_export(request):
            raise PermissionDenied
        layer, text = _asked(request, Layer.objects.all())
        today = timezone.localdate().isoformat()
        said = " & ".join(
            filter(None, [f"search: {text}" if text else "", f"layer={layer.key}" if layer else ""])
        )
        waiting, in_force = _filtered(layer, text)
        waiting = waiting.select_related("account", "layer", "segment").order_by("proposed_at", "pk")
        rows = (
            [*_exported(one), today, said or "everything"]
            for found in (waiting, in_force)
            for one in found.iterator(chunk_size=EXPORT_ROWS)
        )
        lines = exports.lines([*EXPORTED, "As of", "Filter"], rows)
        answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="declared-values-{today}.csv"'
        return answer

    # -- proposing

    def propose_view(self, request):
        """The form, for the accounts of the address or of the selection; the POST proposes."""
        if not declarations.may_propose(request.user):
            raise PermissionDenied
        sent = request.POST if request.method == "POST" else request.GET
        accounts = _accounts(sent.get("accounts", ""))
        if not accounts:
            raise Http404("There is no such account.")
        typed, refusal = _typed(sent), ""
        if request.method == "POST":
            try:
                return self._propose(request, accounts, typed)
            except Refused as refused:
                refusal = str(refused)
        return propose_page(request, accounts, typed=typed, refusal=refusal, model_admin=self)

    def _propose(self, request, accounts, typed):
        segment = Segment.objects.select_related("layer").filter(pk=typed["segment"] or 0).first()
        if segment is None:
            raise Refused("declared_segment_not_chosen")
        said = {
            "reason": typed["reason"],
            "evidence": typed["evidence"],
            "from_date": _date(typed["from_date"]),
        }
        if len(accounts) > 1:
            outcome = declarations.propose_for(accounts, segment, by=request.user, **said)
            _tell(request, outcome, f"{segment.layer} {segment} is proposed for", "proposed")
            return HttpResponseRedirect(reverse(LIST))
        [account] = accounts
        before = declarations.states(segment.layer, [account.pk])[account.pk].proposed
        seen = typed["seen"] or None  # no segmentation was chosen yet: the page showed none
        if before and typed["replaces"] == str(before.pk):
            declarations.replace(before, segment, by=request.user, seen=seen, **said)
        else:
            declarations.propose(account, segment, by=request.user, seen=seen, **said)
        messages.success(
            request, f"{segment} is proposed for {account}. Somebody who confirms declared values decides."
        )
        return HttpResponseRedirect(_account_page(account))

    # -- one of them, or all of one action

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """What was declared, by whom and why; the POST confirms, rejects or withdraws."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        key = unquote(object_id)
        one = _declaration(int(key)) if key.isdecimal() and len(key) < 19 else None
        if one is None:
            raise Http404("There is no such declared value.")
        alone = "one" in request.POST or "one" in request.GET
        refusal = ""
        if request.method == "POST":
            try:
                return self._decide(request, one, alone)
            except Refused as refused:
                refusal, one = str(refused), _declaration(one.pk)
        return self._page(request, one, alone, refusal)

    def _decide(self, request, one, alone):
        wanted = DECIDE.get(request.POST.get("verb"))
        if wanted is None:
            raise Refused("step_not_chosen")
        _, verb, verb_for_all, done = wanted
        said = {"by": request.user, "reason": request.POST.get("reason", "")}
        said["seen"] = request.POST.get("seen", "")
        if verb is declarations.withdraw and "on" in request.POST:
            said["on"] = _date(request.POST["on"])
        if not alone and declarations.together(one).count() > 1:
            outcome = verb_for_all(one, **said)
            _tell(request, outcome, f"{one.layer} {one.segment}", done)
            return HttpResponseRedirect(reverse(LIST))
        one = verb(one, **said)
        text = f"{one.segment} for {one.account} is {done}."
        if one.status == Status.CONFIRMED or one.until_date:
            text = _applied(request.user, text)
        messages.success(request, text)
        return HttpResponseRedirect(_account_page(one.account))

    def _page(self, request, one, alone, refusal):
        rows = [one]
        if one.status == Status.PROPOSED and not alone:
            rows = list(
                declarations.together(one).select_related("account", "layer", "segment").order_by("pk")
            )
        found = declarations.states(one.layer, [row.account_id for row in rows])
        return page(
            request,
            "segmentation/declarations/declaration.html",
            title=f"{one.layer}: {one.segment}",
            model_admin=self,
            original=one if len(rows) == 1 else f"{one.layer}: {one.segment}",
            one=one,
            alone=alone,
            count=len(rows),
            rows=[{"one": row, "now": found[row.account_id].confirmed} for row in rows[:NAMED]],
            more=len(rows) - NAMED,
            replaced=sum(found[row.account_id].confirmed is not None for row in rows),
            form=_decision(one, request.user, found),
            reason=request.POST.get("reason", ""),
            on=request.POST.get("on", ""),
            today=timezone.localdate(),
            refusal=refusal,
            status=409 if refusal else 200,
        )


def propose_page(request, accounts, *, typed=None, refusal="", model_admin=None):
    """The form that proposes a value for these accounts; `typed` is shown again."""
    typed = typed or _typed({})
    choices = declarations.choices()
    layer = next((one for one in choices if one.key == typed["layer"]), None)
    single = accounts[0] if len(accounts) == 1 else None
    found = {one: declarations.states(one, [single.pk]) for one in choices} if single else {}
    state = found[layer][single.pk] if single and layer else None
    return page(
        request,
        "segmentation/declarations/declare.html",
        title="Propose a value",
        model_admin=model_admin or admin.site._registry[Declaration],
        accounts=accounts[:NAMED],
        ids=",".join(str(one.pk) for one in accounts),
        count=len(accounts),
        more=len(accounts) - NAMED,
        single=single,
        choices={layer: choices[layer]} if layer else choices,
        layer=layer,
        state=state,
        replace_refusal=_replace_refusal(state, request.user),
        seen=declarations.token(found[layer]) if layer and single else "",
        typed=typed,
        today=timezone.localdate(),
        refusal=refusal,
        status=409 if refusal else 200,
    )


def of_account(account, user):
    """The declared layers for the account page: what is proposed and in force, and what this person may do."""
    parts = []
    may_view = _may_view(user)
    for layer, segments in declarations.choices().items():
        found = declarations.states(layer, [account.pk])
        state = found[account.pk]
        parts.append(
            {
                "layer": layer,
                "state": state,
                "choices": {layer: segments},
                "seen": declarations.token(found),
                "may_view": may_view,
                "may_propose": declarations.may_propose(user),
                "replace_refusal": _replace_refusal(state, user),
                "decision": _decision(state.proposed, user, found) if state.proposed else None,
                "ending": _decision(state.confirmed, user, found) if state.confirmed else None,
            }
        )
    return parts


def _may_view(user):
    wanted = ("segmentation.view_declaration", declarations.PROPOSE, declarations.CONFIRM)
    return any(user.has_perm(one) for one in wanted)


def _replace_refusal(state, user):
    if state is None or state.proposed is None:
        return ""
    return declarations.refusal(state.proposed, Status.REPLACED, by=user)


def _decision(one, user, found):
    """What this person may do about a declaration: the buttons, and why not otherwise."""
    refusals = {verb: declarations.refusal(one, to, by=user) for verb, (to, *_) in DECIDE.items()}
    allowed = [verb for verb, refusal in refusals.items() if not refusal]
    why_not = refusals["confirm"] if one.status == Status.PROPOSED else refusals["withdraw"]
    return {
        "one": one,
        "allowed": allowed,
        "why_not": why_not if one.status in (Status.PROPOSED, Status.CONFIRMED) else "",
        "seen": declarations.token(found),
    }


def _unused():
    today = timezone.localdate()
    return [one for one in jobs.listed() if jobs.unused(one, at=today)]


def _asked(request, layers):
    """(layer or None, text searched for) of the list's address."""
    layer = next((one for one in layers if one.key == request.GET.get("layer")), None)
    return layer, request.GET.get("q", "")[:100].strip()


def _exported(one):
    said = [one.account.external_id, one.account.name, one.layer, one.segment, one.get_status_display()]
    said += [
        one.from_date,
        one.reason,
        one.evidence,
        history.who(one, "proposed_by"),
        _minute(one.proposed_at),
    ]
    return [*map(str, said), history.who(one, "decided_by"), _minute(one.decided_at)]


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
        tuple(one[name] for name in action): one["total"]
        for one in whole.order_by().values(*action).annotate(total=Count("pk"))
    }
    for row in rows:
        row["all"] = totals.get(tuple(row[name] for name in action), row["accounts"])
    return rows


def _declaration(pk):
    return Declaration.objects.select_related("account", "layer", "segment").filter(pk=pk).first()


def _accounts(text):
    """The accounts of a list of ids separated by commas, by name; what is no id is left out."""
    ids = {int(one) for one in text.split(",") if one.isdecimal() and len(one) < 19}
    return list(Account.objects.filter(pk__in=ids).order_by("name", "pk")[: declarations.MOST + 1])


def _typed(sent):
    names = ("layer", "segment", "reason", "evidence", "from_date", "seen", "replaces")
    typed = {name: sent.get(name, "") for name in names}
    if not (typed["segment"].isdecimal() and len(typed["segment"]) < 19):
        typed["segment"] = ""
    return typed


def _date(text):
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise Refused("not_a_date", typed=text[:20]) from None


def _account_page(account):
    return reverse(ACCOUNT, args=[account.pk]) + "#declared"


def _tell(request, outcome, what, done):
    """What came of an action for many, with the reasons why some were left."""
    if outcome.done:
        said = f"{what} {plural(len(outcome.done), 'account,accounts')}."
        if done != "proposed":
            said = f"{what} is {done} for {plural(len(outcome.done), 'account,accounts')}."
        messages.success(request, _applied(request.user, said) if done == "confirmed" else said)
    for sentence, number in outcome.left.most_common(5):
        messages.warning(request, f"{plural(number, 'account is,accounts are')} left as before: {sentence}")
    if rest := sum(outcome.left.values()) - sum(number for _, number in outcome.left.most_common(5)):
        messages.warning(
            request, f"{plural(rest, 'more account,more accounts')} left as before, for like reasons."
        )


def _applied(user, said):
    if not user.has_perm("segmentation.recompute_layer"):
        return f"{said} The next recalculation applies it."
    link = reverse("admin:segmentation_run_start")
    return format_html(
        '{} Segments follow with the next recalculation. <a href="{}" style="text-decoration:underline">Recalculate now</a>',
        said,
        link,
    )
