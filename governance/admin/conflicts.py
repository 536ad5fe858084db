"""Conflicts between sources: the list, the page on which one or several are decided, and what the account's page says of them."""

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Case, Value, When
from django.http import Http404, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from accounts import corrections, history
from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from accounts.catalogue import label
from accounts.models import Account, Conflict
from core import badges
from core.refusals import Refused
from core.wording import ago, count, plural
from governance import conflicts, permissions

LIST = "admin:accounts_conflict_changelist"
PAGE = "admin:accounts_conflict_change"
DECIDE = "admin:accounts_conflict_decide"
REPORT = "admin:accounts_conflict_report"
ACCOUNT = "admin:accounts_account_change"
VERBS = {"keep": conflicts.keep, "take": conflicts.take}
BY_PEOPLE = (corrections.MANUAL, conflicts.REPORTED)
LAST = 10  # earlier ones of the same data field, and decided ones in an account's timeline

Status = Conflict.Status


class FactFilter(DropdownFilter):
    title = "data field"
    parameter_name = "fact"

    def lookups(self, request, model_admin):
        return [(fact, label(fact)) for fact in conflicts.REPORTABLE]

    def queryset(self, request, queryset):
        known = self.value() in conflicts.REPORTABLE
        return queryset.filter(fact=self.value()) if known else queryset


class SourceFilter(DropdownFilter):
    title = "source"
    parameter_name = "source"

    def lookups(self, request, model_admin):
        keys = Conflict.objects.order_by().values_list("proposed_source", flat=True).distinct()
        return [(key, source(key)) for key in sorted(keys)]

    def queryset(self, request, queryset):
        return queryset.filter(proposed_source=self.value()) if self.value() else queryset


class ImportFilter(DropdownFilter):
    title = "import"
    parameter_name = "import"

    def lookups(self, request, model_admin):
        wanted = request.GET.get("import", "")
        return [(wanted, f"No. {wanted}")] if wanted.isdecimal() and len(wanted) < 19 else []

    def queryset(self, request, queryset):
        wanted = self.value() or ""
        known = wanted.isdecimal() and len(wanted) < 19
        return queryset.filter(batch=int(wanted)) if known else queryset


@admin.register(Conflict)
class ConflictAdmin(ByVerbs, GovernedAdmin):
    list_display = ["title", "field", "ours", "theirs", "effect", "state"]
    list_display_links = None
    list_filter = [("status", ChoicesDropdownFilter), FactFilter, SourceFilter, ImportFilter]
    list_select_related = ["account"]
    search_fields = ["account__name", "account__external_id", "held_value", "proposed_value"]
    search_help_text = "Account, account ID or value"
    list_before_template = "governance/conflicts/list_before.html"
    empty_text = "Nothing waits. Values from elsewhere than a data field's system of record come here when they would change a segment."
    actions = ["decide_alike"]

    def has_decide_permission(self, request):
        return permissions.may(permissions.resolve_conflict(by=request.user))

    def allowed_lookups(self):
        return super().allowed_lookups() | {"fact", "source", "import", "status__exact"}

    def empty_step(self, request):
        if request.user.has_perm("accounts.view_systemofrecord"):
            return "See the systems of record", reverse("admin:accounts_systemofrecord_changelist")
        return None

    def get_ordering(self, request):
        waiting_first = Case(When(status=Status.OPEN, then=Value(0)), default=Value(1))
        return [waiting_first, "-pk"]

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("decide/", wrap(self.decide_view), name="accounts_conflict_decide"),
            path("report/", wrap(self.report_view), name="accounts_conflict_report"),
            *super().get_urls(),
        ]

    # -- the list

    @admin.display(description="Account", ordering="account__name")
    def title(self, one):
        return format_html('<a href="{}">{}</a>', reverse(PAGE, args=[one.pk]), one.account)

    @admin.display(description="Data field", ordering="fact")
    def field(self, one):
        return label(one.fact)

    @admin.display(description="We have")
    def ours(self, one):
        return _side(value(one.fact, one.held_value), one.held_source, one.held_observed)

    @admin.display(description="Proposed")
    def theirs(self, one):
        return _side(value(one.fact, one.proposed_value), one.proposed_source, one.proposed_observed)

    @admin.display(description="What would change")
    def effect(self, one):
        """A segment before points; the rest is on its page."""
        if not one.effects:
            return "–"
        segments = [effect for effect in one.effects if effect["what"] == conflicts.SEGMENT]
        more = len(one.effects) - 1
        return f"{_effect((segments or one.effects)[0])}{f', and {more} more' if more else ''}"

    @admin.display(description="Status", ordering="status")
    def state(self, one):
        return badges.status(one)

    @admin.action(description="Decide these alike", permissions=["decide"])
    def decide_alike(self, request, queryset):
        """The page that asks; what is sent from there decides."""
        ids = ",".join(
            str(pk)
            for pk in queryset.open().order_by("pk").values_list("pk", flat=True)[: conflicts.MOST + 1]
        )
        if not ids:
            messages.warning(request, "None of these waits for a decision.")
            return None
        return HttpResponseRedirect(f"{reverse(DECIDE)}?ids={ids}")

    # -- deciding

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """Both values of one conflict side by side; the POST decides."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        key = unquote(object_id)
        chosen = _chosen([int(key)] if key.isdecimal() and len(key) < 19 else [])
        if not chosen:
            raise Http404("There is no such conflict.")
        return self._decide(request, chosen)

    def decide_view(self, request):
        """Several conflicts, decided alike."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        sent = request.POST if request.method == "POST" else request.GET
        ids = [int(one) for one in sent.get("ids", "").split(",") if one.isdecimal() and len(one) < 19]
        chosen = _chosen(ids)
        if not chosen:
            messages.warning(request, "Choose the conflicts first.")
            return HttpResponseRedirect(reverse(LIST))
        return self._decide(request, chosen)

    def _decide(self, request, chosen):
        refusal = ""
        if request.method == "POST":
            try:
                return self._decided(request, chosen)
            except Refused as refused:
                refusal = str(refused)
                chosen = _chosen([one.pk for one in chosen])
        one = chosen[0]
        earlier = Conflict.objects.filter(account=one.account_id, fact=one.fact).exclude(pk=one.pk)
        return page(
            request,
            "governance/conflicts/conflict.html",
            title=str(one) if len(chosen) == 1 else f"{len(chosen)} conflicts",
            model_admin=self,
            original=one if len(chosen) == 1 else None,
            one=one if len(chosen) == 1 else None,
            rows=[_row(each) for each in chosen],
            ids=",".join(str(each.pk) for each in chosen),
            seen=" ".join(conflicts.token(each) for each in chosen),
            open=[each for each in chosen if each.status == Status.OPEN],
            asks=any(conflicts.asks(each) for each in chosen if each.status == Status.OPEN),
            questions=_questions(one, request.POST),
            earlier=[_row(each) for each in earlier[:LAST]] if len(chosen) == 1 else [],
            why_not=permissions.resolve_conflict(by=request.user),
            note=request.POST.get("note", ""),
            refusal=refusal,
            status=409 if refusal else 200,
        )

    def _decided(self, request, chosen):
        verb = request.POST.get("verb")
        if verb not in VERBS:
            raise Refused("value_not_chosen")
        answers = {name: request.POST.get(name, "") for name in conflicts.ANSWERS}
        tokens = request.POST.get("seen", "").split()
        seen = {
            one.pk: next((token for token in tokens if token.startswith(f"{one.pk}:")), "") for one in chosen
        }
        note = request.POST.get("note", "")
        VERBS[verb](chosen, by=request.user, note=note, answers=answers, seen=seen)
        many = plural(len(chosen), "value,values")
        said = (
            f"{many} taken over. Segments follow with the next recalculation."
            if verb == "take"
            else f"{many} kept."
        )
        messages.success(request, said)
        return HttpResponseRedirect(reverse(LIST))

    # -- reporting

    def report_view(self, request):
        """The form in which somebody says that a value is wrong; the POST makes it wait for a decision."""
        if not permissions.may(permissions.report_conflict(by=request.user)):
            raise PermissionDenied
        sent = request.POST if request.method == "POST" else request.GET
        key = sent.get("account", "")
        account = (
            Account.objects.select_related("parent").filter(pk=int(key)).first()
            if key.isdecimal() and len(key) < 19
            else None
        )
        if account is None:
            raise Http404("There is no such account.")
        typed = {name: sent.get(name, "") for name in ("fact", "value", "reason")}
        refusal = ""
        if request.method == "POST":
            try:
                conflicts.report(
                    account, typed["fact"], typed["value"], by=request.user, reason=typed["reason"]
                )
                messages.success(request, "Thank you. CS Ops decides, and nothing changes before that.")
                return HttpResponseRedirect(reverse(ACCOUNT, args=[account.pk]))
            except Refused as refused:
                refusal = str(refused)
        return page(
            request,
            "governance/conflicts/report.html",
            title="Report wrong data",
            model_admin=self,
            account=account,
            facts=[(fact, label(fact), value(fact, _now(account, fact))) for fact in conflicts.REPORTABLE],
            typed=typed,
            refusal=refusal,
            status=409 if refusal else 200,
        )


def _chosen(ids):
    return list(Conflict.objects.select_related("account").filter(pk__in=ids).order_by("account__name", "pk"))


def _row(one):
    return {
        "one": one,
        "field": label(one.fact),
        "held": value(one.fact, one.held_value),
        "held_source": source(one.held_source),
        "proposed": value(one.fact, one.proposed_value),
        "proposed_source": source(one.proposed_source),
        "person": history.who(one, "opened_by") if one.proposed_source in BY_PEOPLE else "",
        "effects": [_effect(effect) for effect in one.effects],
    }


def _effect(effect):
    """`Fit by the rules: High → Low`, `Fit: Industry 5 → 1 points`."""
    was, then = effect["was"], effect["then"]
    if effect["what"] == conflicts.SEGMENT:
        return f"{effect['layer']} by the rules: {was or 'needs data'} → {then or 'needs data'}"
    was, then = ("no" if points is None else points for points in (was, then))
    return f"{effect['layer']}: {effect['measure']} {was} → {then} points"


def _questions(one, sent):
    fields = (Conflict._meta.get_field(name) for name in conflicts.ANSWERS)
    return [
        (field.name, field.verbose_name, sent.get(field.name, getattr(one, field.name))) for field in fields
    ]


def _now(account, fact):
    return account.parent.external_id if fact == "parent" and account.parent else getattr(account, fact)


def _side(text, key, observed):
    since = f", {ago(observed)}" if observed else ""
    return format_html('<b>{}</b><div class="dm mute small">{}{}</div>', text, source(key), since)


def value(fact, text):
    """A value of a conflict as people read it."""
    if text in (None, ""):
        return "not known"
    return count(int(text)) if fact == "employees" else text


def source(key):
    """What people call a source: a person's entry has no system."""
    return {
        "manual": "entered by hand",
        conflicts.REPORTED: "reported by a person",
        "": "source not known",
    }.get(key, key)


# -- what the account's page says


def part(request, account):
    """The conflicts of an account for its page; see settings.ACCOUNT_PAGE_PARTS. One query."""
    rows = list(
        account.conflicts.exclude(status__in=[Status.SUPERSEDED, Status.CLOSED])[
            : LAST + len(conflicts.REPORTABLE)
        ]
    )
    report = {"label": "Report wrong data", "url": f"{reverse(REPORT)}?account={account.pk}", "icon": "flag"}
    may = permissions.may(permissions.report_conflict(by=request.user))
    sees = request.user.has_perm("accounts.view_conflict")
    waiting = [one for one in rows if one.status == Status.OPEN]
    return {
        "actions": [report] if may else [],
        "notices": [_notice(waiting, sees)] if waiting else [],
        "happened": [_happened(one, sees) for one in rows if one.status != Status.OPEN],
    }


def _notice(waiting, sees):
    said = "; ".join(f"{label(one.fact).lower()}: {_disagreement(one)}" for one in waiting)
    one = waiting[0]
    url = reverse(PAGE, args=[one.pk])
    if len(waiting) > 1:
        url = f"{reverse(DECIDE)}?ids={','.join(str(one.pk) for one in waiting)}"
    text = f"{plural(len(waiting), 'value waits,values wait')} for a decision. {said[:1].upper()}{said[1:]}."
    return "warn", text, url if sees else ""


def _disagreement(one):
    told = _row(one)
    who = (
        f"{history.who(one, 'opened_by')} reports"
        if one.proposed_source == conflicts.REPORTED
        else f"{told['proposed_source']} says"
    )
    if one.proposed_source == corrections.MANUAL:
        who = f"{history.who(one, 'opened_by')} entered"
    return f"we have {told['held']} ({told['held_source']}), {who} {told['proposed']}"


def _happened(one, sees):
    told = _row(one)
    taken = one.status == Status.TAKEN
    return {
        "on": timezone.localtime(one.decided_at).date(),
        "title": "Sources disagreed",
        "text": f"{told['field']} {'is ' + told['proposed'] if taken else 'stays ' + told['held']}",
        "who": history.who(one, "decided_by"),
        "reason": one.note,
        "url": reverse(PAGE, args=[one.pk]) if sees else "",
    }
