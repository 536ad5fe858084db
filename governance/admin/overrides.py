"""Overrides: the form that asks for one, the list of them, the page about each, and what the account's page says of them."""

from datetime import date, timedelta

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter, RelatedDropdownFilter

from accounts import history
from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from accounts.admin.people import CsmFilter
from accounts.models import Account, Csm
from core import badges
from core.refusals import Refused
from core.wording import day, plural
from governance import approvals, overrides, permissions
from governance.models import Kind, Override, Transition
from segmentation import scopes
from segmentation.models import Layer, Segment
from segmentation.treatments import FIELDS

from . import triage

LIST = "admin:governance_override_changelist"
PAGE = "admin:governance_override_change"
ASK = "admin:governance_override_ask"
REQUEST = "admin:governance_approvalrequest_change"
ACCOUNT = "admin:accounts_account_change"
ACCOUNTS = "admin:accounts_account_changelist"
NAMED = 20  # accounts named on a page about many
LAST = 10  # ended overrides in an account's timeline
TYPED = ("segment", "reason_code", "text", "evidence", "expires_on", *overrides.ANSWERS, "receiver", "success_plan", "notice")  # fmt: skip

Status = Override.Status


class StateFilter(DropdownFilter):
    title = "what needs attention"
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return [
            ("active", "In force"),
            ("requested", "Waiting for approval"),
            ("expiring", f"Ends within {overrides.REMIND_DAYS} days"),
            ("disagreeing", "The rules disagree"),
            ("ended", "Ended or refused"),
        ]

    def queryset(self, request, queryset):
        soon = timezone.localdate() + timedelta(days=overrides.REMIND_DAYS)
        narrowed = {
            "active": Q(status=Status.ACTIVE),
            "requested": Q(status=Status.REQUESTED),
            "expiring": Q(status=Status.ACTIVE, expires_on__lte=soon),
            "disagreeing": Q(status=Status.ACTIVE, disagrees_since__isnull=False),
            "ended": ~Q(status__in=[Status.ACTIVE, Status.REQUESTED]),
        }
        return queryset.filter(narrowed.get(self.value(), Q()))


@admin.register(Override)
class OverrideAdmin(ByVerbs, GovernedAdmin):
    list_display = [
        "title",
        "segmentation",
        "segment_shown",
        "state",
        "reason_code",
        "ends",
        "disagrees",
        "csm",
        "asked_by",
    ]
    list_filter = [
        StateFilter,
        ("reason_code", ChoicesDropdownFilter),
        ("layer", RelatedDropdownFilter),
        CsmFilter,
    ]  # fmt: skip
    list_select_related = ["account__csm", "layer", "segment", "from_segment"]
    search_fields = ["account__name", "account__external_id", "text"]
    search_help_text = "Account, account ID or explanation"
    list_before_template = "governance/overrides/list_before.html"
    empty_text = "An override is asked for on an account's page, or for several accounts from their list."

    def allowed_lookups(self):
        return super().allowed_lookups() | {"state", "csm", "reason_code__exact", "layer__id__exact"}

    def empty_step(self, request):
        return "Look at the accounts", reverse(ACCOUNTS)

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("ask/", wrap(self.ask_view), name="governance_override_ask"),
            path("<int:override_id>/edit/", wrap(self.edit_view), name="governance_override_change_request"),
            *super().get_urls(),
        ]

    # -- the list

    @admin.display(description="Account", ordering="account__name")
    def title(self, one):
        return one.account

    @admin.display(description="Segmentation", ordering="layer__name")
    def segmentation(self, one):
        return one.layer

    @admin.display(description="Segment", ordering="segment__name")
    def segment_shown(self, one):
        before = one.from_segment if one.from_segment_id != one.segment_id else None
        return f"{before} → {one.segment}" if before else f"stays {one.segment}"

    @admin.display(description="Status", ordering="status")
    def state(self, one):
        return badges.status(one)

    @admin.display(description="Ends", ordering="expires_on")
    def ends(self, one):
        return day(one.ended_on or one.expires_on)

    @admin.display(description="Rules disagree", ordering="disagrees_since")
    def disagrees(self, one):
        return disagreement(one) or "–"

    @admin.display(description="CSM", ordering="account__csm__name")
    def csm(self, one):
        return one.account.csm or "–"

    @admin.display(description="Asked by", ordering="requested_by_label")
    def asked_by(self, one):
        return history.who(one, "requested_by")

    # -- asking

    def ask_view(self, request):
        """The form for the accounts of the address; the POST asks."""
        if not request.user.has_perm("governance.request_override"):
            raise PermissionDenied
        sent = request.POST if request.method == "POST" else request.GET
        accounts = _accounts(sent.get("accounts", ""))
        if not accounts:
            messages.warning(request, "Choose the accounts first.")
            return HttpResponseRedirect(reverse(ACCOUNTS))
        if len(accounts) > overrides.MOST:
            messages.error(request, f"At most {overrides.MOST} accounts at a time: narrow the list first.")
            return HttpResponseRedirect(reverse(ACCOUNTS))
        typed, refusal = _typed(sent), permissions.request_override(accounts, by=request.user)
        if request.method == "POST":
            try:
                return self._ask(request, accounts, typed)
            except Refused as refused:
                refusal = str(refused)
        return self._form(request, accounts, typed, refusal)

    def _ask(self, request, accounts, typed):
        segment = _segment(typed)
        if segment is None:
            raise Refused("segment_not_chosen")
        left = []
        if "leave_out" in request.POST:
            cases = overrides.look(accounts, segment)
            left = [one for one in cases if one.obstacle]
            accounts = [one.account for one in cases if not one.obstacle]
        asked = overrides.ask(accounts, segment.layer, segment, by=request.user, **_said(typed))
        if left:
            messages.warning(request, f"{plural(len(left), 'account is,accounts are')} left out.")
        return _asked(request, asked, "The override is asked for.")

    def edit_view(self, request, override_id):
        """The form for what an open request asks; the POST changes it, and approvals given so far are void."""
        one = Override.objects.select_related("request", "segment__layer").filter(pk=override_id).first()
        if one is None or one.request is None or not self.has_view_permission(request):
            raise Http404("There is no such override.")
        asked = one.request
        if one.status != Status.REQUESTED:
            messages.warning(request, "This is decided already.")
            return HttpResponseRedirect(reverse(PAGE, args=[one.pk]))
        ids = list(asked.overrides.values_list("account", flat=True))
        accounts = list(Account.objects.filter(pk__in=ids).select_related("csm").order_by("name", "pk"))
        refusal = permissions.edit_request(asked, by=request.user)
        typed = _typed(request.POST) if request.method == "POST" else _kept(one) | _chosen(request.GET)
        if request.method == "POST":
            try:
                return self._edit(request, asked, typed)
            except Refused as refused:
                refusal = str(refused)
        return self._form(request, accounts, typed, refusal, asked=asked, one=one)

    def _edit(self, request, asked, typed):
        segment = _segment(typed)
        if segment is None:
            raise Refused("segment_not_chosen")
        seen = request.POST.get("seen", "")
        asked = overrides.change(asked, by=request.user, seen=seen, segment=segment, **_said(typed))
        return _asked(request, asked, "The request is changed.")

    def _form(self, request, accounts, typed, refusal, asked=None, one=None):
        segment = _segment(typed)
        cases = overrides.look(accounts, segment) if segment else []
        if asked:
            for case in cases:
                case.requested = None
        today = timezone.localdate()
        return page(
            request,
            "governance/overrides/ask.html",
            title="Change the request" if asked else "Ask for an override",
            model_admin=self,
            original=f"{one.account}: {one.segment}" if one else None,
            accounts=accounts[:NAMED],
            ids=",".join(str(one.pk) for one in accounts),
            more=len(accounts) - NAMED,
            count=len(accounts),
            single=accounts[0] if len(accounts) == 1 else None,
            layers=_layers(one.layer_id if one else None),
            segment=segment,
            cases=[case for case in cases if not case.obstacle],
            left=[case for case in cases if case.obstacle],
            answers=[Override._meta.get_field(name) for name in overrides.ANSWERS],
            reasons=Override.Reason.choices,
            csms=Csm.objects.all()[:500],
            typed=typed,
            answered={name: typed[name] for name in overrides.ANSWERS},
            tomorrow=today + timedelta(days=1),
            latest=today + timedelta(days=overrides.MOST_DAYS),
            usual=today + timedelta(days=overrides.DAYS),
            asked=asked,
            seen=approvals.token(asked) if asked else "",
            coming=_coming(cases, segment) if segment else None,
            back=triage.back(request),
            refusal=refusal,
            status=409 if refusal and request.method == "POST" else 200,
        )

    # -- one of them

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """What was pinned, by whom and why; the POST ends it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        key = unquote(object_id)
        known = key.isdecimal() and len(key) < 19
        found = Override.objects.select_related("account__csm", "layer", "segment", "from_segment", "request")
        one = found.filter(pk=int(key)).first() if known else None
        if one is None:
            raise Http404("There is no such override.")
        refusal = ""
        if request.method == "POST":
            try:
                overrides.end(one, by=request.user, reason=request.POST.get("reason", ""))
                messages.success(request, f"The override of {one.account} has ended. {_after(one)}")
                return HttpResponseRedirect(reverse(PAGE, args=[one.pk]))
            except Refused as refused:
                refusal, one = str(refused), found.get(pk=one.pk)
        end_refusal = permissions.end_override(one, by=request.user)
        others = Override.objects.filter(account=one.account_id, layer=one.layer_id).exclude(pk=one.pk)
        return page(
            request,
            "governance/overrides/override.html",
            title=f"Override of {one.account}",
            model_admin=self,
            original=f"{one.account}: {one.segment}",
            one=one,
            disagreement=disagreement(one),
            answers=[
                (field.verbose_name, getattr(one, field.name))
                for field in map(Override._meta.get_field, overrides.ANSWERS)
                if getattr(one, field.name)
            ],
            state=one.account.assignments.filter(layer=one.layer_id, product=None).select_related("computed").first(),
            transitions=one.transitions.select_related("to_segment"),
            together=one.request.overrides.count() - 1 if one.request else 0,
            others=others.select_related("segment")[:NAMED],
            after=_after(one),
            end_refusal=end_refusal,
            may_ask=permissions.may(permissions.request_override([one.account], by=request.user)),
            reason=request.POST.get("reason", ""),
            today=timezone.localdate(),
            refusal=refusal,
            status=409 if refusal else 200,
        )  # fmt: skip


def disagreement(one):
    """`for 12 days`: how long the rules have said another segment than an override in force; "" where they agree."""
    if one.status != Status.ACTIVE or one.disagrees_since is None:
        return ""
    days = (timezone.localdate() - one.disagrees_since).days
    return f"for {plural(days, 'day,days')}" if days > 0 else "since today"


# -- what the account's page says


def part(request, account):
    """The overrides of an account for its page; see settings.ACCOUNT_PAGE_PARTS. One query, and one for the requests."""
    rows = list(account.overrides.select_related("layer", "segment", "request").order_by("-pk")[: LAST + 10])
    now = [one for one in rows if one.status in (Status.ACTIVE, Status.REQUESTED)]
    may = permissions.may(permissions.request_override([account], by=request.user))
    ask = {"label": "Ask for an override", "url": f"{reverse(ASK)}?accounts={account.pk}", "icon": "push_pin"}
    # What waits for a decision says more about what comes next than what is in force.
    holds = {one.layer_id: _hold(one) for one in sorted(now, key=lambda one: one.status == Status.REQUESTED)}
    return {
        "actions": [ask] if may else [],
        "badges": [_badge(one) for one in now],
        "holds": holds,
        "becomes": {one.layer_id: None for one in now if one.status == Status.ACTIVE},
        "happened": [entry for one in rows if one.status != Status.REQUESTED for entry in _happened(one)],
    }


def _hold(one):
    """What holds the segment on the account's page: the override in force, or the one that waits for a decision."""
    if one.status == Status.ACTIVE:
        title = f"{one.layer} stays {one.segment} until {day(one.expires_on)}, whatever the rules say: an override."
        said = disagreement(one)
        text = f"An override holds it since {day(one.started_on)} ({one.get_reason_code_display().lower()})."
        if said:
            text += f" The rules have disagreed {said}."
        return {
            "title": title,
            "text": text,
            "next": f"it ends on {day(one.expires_on)}. {_after(one)}",
            "url": reverse(PAGE, args=[one.pk]),
            "button": "Look at the override",
        }
    return {
        "title": f"{one.layer}: an override to {one.segment} waits for approval.",
        "text": f"{history.who(one, 'requested_by')} asked on {day(one.requested_at)} for an override to {one.segment}. Nothing changes before a decision.",
        "next": f"somebody decides by {day(one.request.due_at)}." if one.request else "",
        "url": reverse(REQUEST, args=[one.request_id]) if one.request else reverse(PAGE, args=[one.pk]),
        "button": "Look at the request",
    }


def _badge(one):
    text = f"Override until {day(one.expires_on)}"
    if one.status == Status.REQUESTED:
        return "warn", "Override waits for approval", reverse(PAGE, args=[one.pk])
    return "brand", text, reverse(PAGE, args=[one.pk])


def _happened(one):
    """An override's entries of the timeline: when it began, and when it ended or was refused."""
    url, about = reverse(PAGE, args=[one.pk]), f"{one.layer} {one.segment}"
    if one.started_on:
        yield {
            "on": one.started_on,
            "title": "Override",
            "text": f"{about}, until {day(one.expires_on)}",
            "who": history.who(one, "requested_by"),
            "reason": one.text,
            "url": url,
        }
    if one.ended_on:
        yield {
            "on": one.ended_on,
            "title": f"Override {one.get_status_display().lower()}",
            "text": about,
            "who": history.who(one, "ended_by"),
            "reason": one.end_reason,
            "url": url,
        }


def _after(one):
    """What the segmentation's policy decides once an override has ended."""
    if one.layer.policy == Layer.Policy.AUTOMATIC:
        return "The rules decide again at once."
    return "Where the rules say another segment, a tier change is flagged then."


# -- the form


def _asked(request, asked, said):
    """The page of the request, and what came of it."""
    asked.refresh_from_db()
    if asked.status == asked.Status.APPLIED:
        said = "The override is in force: no approval was needed."
    elif asked.status == asked.Status.FAILED:
        messages.error(request, f"It could not be put in force: {asked.failure}")
    messages.success(request, said)
    return HttpResponseRedirect(triage.with_back(reverse(REQUEST, args=[asked.pk]), request))


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
    """What will happen: who decides, what becomes of the accounts, what changes for the customer, when it ends."""
    layer = segment.layer
    cases = [one for one in cases if not one.obstacle]
    if not cases:
        return None
    needed, due, expire = approvals.requirement(Kind.OVERRIDE, overrides.impact_on(cases))
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


def _accounts(text):
    """The accounts of a list of ids separated by commas, by name; what is no id is left out."""
    ids = {int(one) for one in text.split(",") if one.isdecimal() and len(one) < 19}
    found = Account.objects.filter(pk__in=ids).select_related("csm").order_by("name", "pk")
    return list(found[: overrides.MOST + 1])


def _segment(typed):
    if not typed["segment"]:
        return None
    return (
        Segment.objects.select_related("layer", "treatment__service_model")
        .filter(pk=typed["segment"])
        .first()
    )


def _typed(sent):
    """What was typed, as texts; an id that is none is left out."""
    typed = {name: sent.get(name, "") for name in TYPED}
    for name in ("segment", "receiver"):
        if not (typed[name].isdecimal() and len(typed[name]) < 19):
            typed[name] = ""
    return typed


def _chosen(sent):
    """The segment of the address, where it names one."""
    typed = _typed(sent)
    return {"segment": typed["segment"]} if typed["segment"] else {}


def _kept(one):
    """What the open request asks for now, as it would be typed."""
    plan = one.request.content["plan"]
    typed = {name: getattr(one, name) for name in TYPED if hasattr(one, name)}
    return typed | {
        "segment": str(one.segment_id),
        "expires_on": one.expires_on.isoformat(),
        "receiver": str(plan["receiver"] or ""),
        "success_plan": plan["success_plan"],
        "notice": plan["notice"],
    }


def _said(typed):
    """What was typed as `overrides.ask` takes it."""
    receiver = Csm.objects.filter(pk=typed["receiver"]).first() if typed["receiver"] else None
    said = {name: typed[name] for name in ("reason_code", "text", "evidence", *overrides.ANSWERS)}
    plan = overrides.Plan(receiver, typed["success_plan"], typed["notice"])
    return said | {"expires_on": _date(typed["expires_on"]), "plan": plan}


def _date(text):
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise Refused("not_a_date", typed=text[:20]) from None
