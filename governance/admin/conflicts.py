"""Conflicts between sources: the list, the page on which one or several are decided, and what the account's page says of them."""

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Case, Value, When
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from accounts import corrections
from accounts.admin.fields import Choice, Line, Text, ids, number
from accounts.admin.governed import ByVerbs, GovernedAdmin
from accounts.admin.verbs import VerbForm, VerbPage, row
from accounts.catalogue import DISPUTED, label
from accounts.models import Account, Conflict
from accounts.quality.disputes import ENTERED
from core import badges, history
from core.wording import ago, count, plural
from governance.changes import conflicts
from governance.signoff import permissions

LIST = "admin:accounts_conflict_changelist"
PAGE = "admin:accounts_conflict_change"
DECIDE = "admin:accounts_conflict_decide"
REPORT = "admin:accounts_conflict_report"
ACCOUNT = "admin:accounts_account_change"
BY_PEOPLE = (corrections.MANUAL, conflicts.REPORTED)
LAST = 10  # earlier ones of the same data field, and decided ones in an account's timeline

Status = Conflict.Status


class FactFilter(DropdownFilter):
    title = "data field"
    parameter_name = "fact"

    def lookups(self, request, model_admin):
        return [(fact, label(fact)) for fact in DISPUTED]

    def queryset(self, request, queryset):
        return queryset.filter(fact=self.value()) if self.value() in DISPUTED else queryset


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
        return [(wanted, f"No. {wanted}")] if number(wanted) else []

    def queryset(self, request, queryset):
        wanted = number(self.value())
        return queryset.filter(batch=wanted) if wanted else queryset


class DecideForm(VerbForm):
    """One decision about one conflict, or about several alike."""

    part = "decide"
    at = {"conflict_note_missing": "note"}
    buying_centre = Text(needed=True)
    use_case = Text(needed=True)
    contract = Text(needed=True)
    note = Text("Why you decide so", needed=True, help="Kept with the decision. A value that is kept is not asked about again until its source says something else.")  # fmt: skip

    def prepare(self):
        for name in conflicts.ANSWERS:
            self.fields[name].label = Conflict._meta.get_field(name).verbose_name

    def start(self):
        return {name: getattr(self.thing[0], name) for name in conflicts.ANSWERS}

    def questions(self):
        return [self[name] for name in conflicts.ANSWERS]

    def decide(self, verb, outcome):
        note = self.cleaned_data.pop("note")
        tokens = {token.partition(":")[0]: token for token in self.seen.split()}
        seen = {conflict.pk: tokens.get(str(conflict.pk), "") for conflict in self.thing}
        verb(self.thing, by=self.by, note=note, answers=self.cleaned_data, seen=seen)
        self.say(f"{plural(len(self.thing), 'value,values')} {outcome}")
        return reverse(LIST)


class KeepForm(DecideForm):
    def carry_out(self):
        return self.decide(conflicts.keep, "kept.")


class TakeForm(DecideForm):
    def carry_out(self):
        return self.decide(conflicts.take, "taken over. Segments follow with the next recalculation.")


class ConflictPage(VerbPage):
    """Both values of one conflict side by side."""

    template = "governance/conflicts/conflict.html"
    verbs = {"keep": KeepForm, "take": TakeForm}

    def load(self, pk):
        if not self.admin.has_view_permission(self.request):
            raise PermissionDenied
        return [row(Conflict.objects.select_related("account"), pk)]

    def token(self):
        return " ".join(conflicts.token(conflict) for conflict in self.thing)

    def context(self):
        first, single = self.thing[0], len(self.thing) == 1
        waiting = [conflict for conflict in self.thing if conflict.status == Status.OPEN]
        earlier = Conflict.objects.filter(account=first.account_id, fact=first.fact).exclude(pk=first.pk)
        return {
            "title": str(first) if single else f"{len(self.thing)} conflicts",
            "original": first if single else None,
            "one": first if single else None,
            "rows": [_row(conflict) for conflict in self.thing],
            "open": waiting,
            "asks": any(conflicts.asks(conflict) for conflict in waiting),
            "earlier": [_row(conflict) for conflict in earlier[:LAST]] if single else [],
            "why_not": permissions.resolve_conflict(by=self.request.user),
        }


class ConflictsPage(ConflictPage):
    """Several conflicts, decided alike."""

    def load(self):
        if not self.admin.has_view_permission(self.request):
            raise PermissionDenied
        return _chosen(ids(self.sent("ids")))

    def elsewhere(self):
        if self.thing:
            return ""
        messages.warning(self.request, "Choose the conflicts first.")
        return reverse(LIST)


class ReportForm(VerbForm):
    at = {"report_value_missing": "value", "report_unexplained": "reason", "fact_not_reportable": "fact", "value_unreadable": "value"}  # fmt: skip
    fact = Choice("What is wrong", needed=True, help="Other data fields are corrected by those who may.")
    value = Line("What is right", needed=True, help="For the parent account its account ID.")
    reason = Text("How you know", rows=3, needed=True, help="A call, a press release, a link: whoever decides was not there.")  # fmt: skip

    def prepare(self):
        account = self.thing
        self.fields["fact"].offer(
            (fact, f"{label(fact)}: {value(fact, _now(account, fact))}") for fact in conflicts.REPORTABLE
        )

    def carry_out(self):
        typed = self.cleaned_data
        conflicts.report(self.thing, typed["fact"], typed["value"], by=self.by, reason=typed["reason"])
        self.say("Thank you. CS Ops decides, and nothing changes before that.")
        return reverse(ACCOUNT, args=[self.thing.pk])


class ReportPage(VerbPage):
    """Somebody says that a value is wrong; it waits for a decision."""

    title = "Report wrong data"
    template = "governance/conflicts/report.html"
    verbs = {"report": ReportForm}

    def load(self):
        if not permissions.may(permissions.report_conflict(by=self.request.user)):
            raise PermissionDenied
        return row(Account.objects.select_related("parent"), self.sent("account"))

    def context(self):
        return {"account": self.thing}


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
            path("decide/", wrap(ConflictsPage.as_view(admin=self)), name="accounts_conflict_decide"),
            path("report/", wrap(ReportPage.as_view(admin=self)), name="accounts_conflict_report"),
            *super().get_urls(),
        ]

    # -- the list

    @admin.display(description="Account", ordering="account__name")
    def title(self, conflict):
        return format_html('<a href="{}">{}</a>', reverse(PAGE, args=[conflict.pk]), conflict.account)

    @admin.display(description="Data field", ordering="fact")
    def field(self, conflict):
        return label(conflict.fact)

    @admin.display(description="We have")
    def ours(self, conflict):
        return _side(value(conflict.fact, conflict.held_value), conflict.held_source, conflict.held_observed)

    @admin.display(description="Proposed")
    def theirs(self, conflict):
        return _side(
            value(conflict.fact, conflict.proposed_value),
            conflict.proposed_source,
            conflict.proposed_observed,
        )

    @admin.display(description="What would change")
    def effect(self, conflict):
        """A segment before points; the rest is on its page."""
        if not conflict.effects:
            return "–"
        segments = [effect for effect in conflict.effects if effect["what"] == conflicts.SEGMENT]
        more = len(conflict.effects) - 1
        return f"{_effect((segments or conflict.effects)[0])}{f', and {more} more' if more else ''}"

    @admin.display(description="Status", ordering="status")
    def state(self, conflict):
        return badges.status(conflict)

    @admin.action(description="Decide these alike", permissions=["decide"])
    def decide_alike(self, request, queryset):
        """The page that asks; what is sent from there decides."""
        waiting = queryset.open().order_by("pk").values_list("pk", flat=True)[: conflicts.MOST + 1]
        if not waiting:
            messages.warning(request, "None of these waits for a decision.")
            return None
        return HttpResponseRedirect(f"{reverse(DECIDE)}?ids={','.join(map(str, waiting))}")

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return ConflictPage.as_view(admin=self)(request, pk=unquote(object_id))


def _chosen(ids):
    return list(Conflict.objects.select_related("account").filter(pk__in=ids).order_by("account__name", "pk"))


def _row(conflict):
    return {
        "one": conflict,
        "field": label(conflict.fact),
        "held": value(conflict.fact, conflict.held_value),
        "held_source": source(conflict.held_source),
        "proposed": value(conflict.fact, conflict.proposed_value),
        "proposed_source": source(conflict.proposed_source),
        "person": history.who(conflict, "opened_by") if conflict.proposed_source in BY_PEOPLE else "",
        "effects": [_effect(effect) for effect in conflict.effects],
    }


def _effect(effect):
    """`Fit by the rules: High → Low`, `Fit: Industry 5 → 1 points`."""
    was, then = effect["was"], effect["then"]
    if effect["what"] == ENTERED:
        return f"what people entered would be overwritten: {was} → {then or 'not known'}"
    if effect["what"] == conflicts.SEGMENT:
        return f"{effect['layer']} by the rules: {was or 'needs data'} → {then or 'needs data'}"
    before = "no" if was is None else was
    after = "no points" if then is None else plural(then, "point,points")
    return f"{effect['layer']}: {effect['measure']} {before} → {after}"


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
    """The name of a source; a person's entry has no system."""
    return {
        "manual": "entered by hand",
        conflicts.REPORTED: "reported by a person",
        "": "source not known",
    }.get(key, key)


# -- what the account's page says


def part(request, account):
    """The conflicts of an account for its page; see settings.ACCOUNT_PAGE_PARTS. One query."""
    rows = list(
        account.conflicts.exclude(status__in=[Status.SUPERSEDED, Status.CLOSED])[: LAST + len(DISPUTED)]
    )
    report = {"label": "Report wrong data", "url": f"{reverse(REPORT)}?account={account.pk}", "icon": "flag"}
    may = permissions.may(permissions.report_conflict(by=request.user))
    sees = request.user.has_perm("accounts.view_conflict")
    waiting = [conflict for conflict in rows if conflict.status == Status.OPEN]
    return {
        "actions": [report] if may else [],
        "next": [_next(waiting, sees)] if waiting else [],
        "happened": [_happened(conflict, sees) for conflict in rows if conflict.status != Status.OPEN],
    }


def _next(waiting, sees):
    disagreements = "; ".join(
        f"{label(conflict.fact).lower()}: {_disagreement(conflict)}" for conflict in waiting
    )
    conflict = waiting[0]
    url = reverse(PAGE, args=[conflict.pk])
    if len(waiting) > 1:
        url = f"{reverse(DECIDE)}?ids={','.join(str(conflict.pk) for conflict in waiting)}"
    return {
        "title": f"{plural(len(waiting), 'value waits,values wait')} for a decision",
        "text": f"{disagreements[:1].upper()}{disagreements[1:]}.",
        "due": None,
        "url": url if sees else "",
        "button": "Decide",
    }


def _disagreement(conflict):
    shown = _row(conflict)
    who = (
        f"{history.who(conflict, 'opened_by')} reports"
        if conflict.proposed_source == conflicts.REPORTED
        else f"{shown['proposed_source']} says"
    )
    if conflict.proposed_source == corrections.MANUAL:
        who = f"{history.who(conflict, 'opened_by')} entered"
    return f"we have {shown['held']} ({shown['held_source']}), {who} {shown['proposed']}"


def _happened(conflict, sees):
    shown = _row(conflict)
    taken = conflict.status == Status.TAKEN
    return {
        "on": timezone.localtime(conflict.decided_at).date(),
        "title": "Sources disagreed",
        "text": f"{shown['field']} {'is ' + shown['proposed'] if taken else 'stays ' + shown['held']}",
        "who": history.who(conflict, "decided_by"),
        "reason": conflict.note,
        "url": reverse(PAGE, args=[conflict.pk]) if sees else "",
    }
