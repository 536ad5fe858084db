"""Accounts: the list, the page that says why, and the form to correct what is known."""

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.db.models import Exists, OuterRef, Prefetch
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.module_loading import import_string
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts import catalogue, corrections, revenue
from accounts.admin.fields import number
from accounts.admin.governed import GovernedAdmin, page
from accounts.admin.people import CsmFilter
from accounts.catalogue import ACCOUNT_FACTS
from accounts.models import Account
from accounts.quality import contradictions
from core import badges, wording
from core.raw_sql import within_seconds
from core.refusals import Refused
from segmentation.authoring import declarations
from segmentation.models import Assignment, Layer, Segment, ServiceModel
from segmentation.reading import stays

from . import account_page
from .account_choice import ChoicePage, check_view
from .account_list import ASKED, FIRST, OWN, WHERE, AccountChanges, asked, exported, primary_layer
from .declarations import of_account, propose_page
from .in_bulk import AssignPage, ExcludePage, asking, too_many

RENEWALS = {"overdue": "warn", "lost": "bad"}  # what is told of a renewal in the list: its colour
FEW_FOUND = 500  # accounts found by a search that are put in order by themselves
_FIRST = ["name", "domain", "parent", "kind", "status", "excluded", "exclusion_reason", "csm"]
CORRECTABLE = _FIRST + [name for name in ACCOUNT_FACTS if name not in (*_FIRST, "external_id")]


class OfPrimary(DropdownFilter):
    """A filter over the assignment of the primary segmentation."""

    def queryset(self, request, queryset):
        wanted = self.value()
        if not wanted or wanted not in dict(self.lookup_choices):
            return queryset
        states = Assignment.objects.filter(account=OuterRef("pk"), layer=primary_layer(), product=None)
        return queryset.filter(Exists(self.narrowed(states, wanted)))


class SegmentFilter(OfPrimary):
    title = "segment"
    parameter_name = "segment"

    def lookups(self, request, model_admin):
        layer = Layer.objects.filter(primary=True).prefetch_related("segments").first()
        segments = (
            sorted(layer.segments.all(), key=lambda segment: (segment.position, segment.key)) if layer else []
        )
        return [(segment.key, segment.name) for segment in segments] + [("none", "No segment")]

    def narrowed(self, states, wanted):
        if wanted == "none":
            return states.filter(effective=None)
        return states.filter(effective=Segment.objects.filter(layer=primary_layer(), key=wanted).first())


class ServiceModelFilter(OfPrimary):
    title = "service model"
    parameter_name = "service_model"

    def lookups(self, request, model_admin):
        return [*ServiceModel.objects.values_list("key", "name"), ("none", "No service model")]

    def queryset(self, request, queryset):
        if self.value() != "none":
            return super().queryset(request, queryset)
        served = Assignment.objects.filter(account=OuterRef("pk"), layer=primary_layer(), product=None)
        return queryset.exclude(Exists(served.filter(effective__treatment__service_model__isnull=False)))

    def narrowed(self, states, wanted):
        return states.filter(effective__treatment__service_model__key=wanted)


class StateFilter(OfPrimary):
    title = "what needs attention"
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return [
            ("differs", "Rules say another segment"),
            ("provisional", "Provisional"),
            ("needs-data", "Needs data"),
            ("thin", "Thin data"),
            ("too-long", "Longer in a segment than expected"),
            ("contradicts", "Status and contract contradict each other"),
        ]

    def queryset(self, request, queryset):
        """Two of them are of any segmentation, or of the account itself."""
        today = timezone.localdate()
        if self.value() == "too-long":
            return queryset.filter(pk__in=stays.too_long(today).values("account"))
        if self.value() == "contradicts":
            return contradictions.among(queryset, today)
        return super().queryset(request, queryset)

    def narrowed(self, states, wanted):
        return {
            "differs": states.differing,
            "provisional": lambda: states.filter(provisional=True),
            "needs-data": states.needs_data,
            "thin": lambda: states.filter(score__thin=True),
        }[wanted]()


class CorrectionForm(forms.ModelForm):
    """Correct what is known about an account; the reason is kept in its history."""

    reason = forms.CharField(
        max_length=400,
        widget=UnfoldAdminTextInputWidget,
        help_text="Kept in the history, for whoever asks later.",
        label="Reason for the change",
    )

    class Meta:
        model = Account
        fields = CORRECTABLE

    def clean_csm(self):
        csm = self.cleaned_data["csm"]
        if csm != self.instance.csm:
            try:
                corrections.check_csm(csm)
            except Refused as refusal:
                raise forms.ValidationError(str(refusal)) from None
        return csm


@admin.register(Account)
class AccountAdmin(GovernedAdmin):
    exports_list = False  # the button is its own
    list_display = [FIRST, *OWN.values()]
    list_filter = [
        SegmentFilter,
        StateFilter,
        CsmFilter,
        ServiceModelFilter,
        ("kind", ChoicesDropdownFilter),
        ("status", ChoicesDropdownFilter),
        "excluded",
    ]
    list_select_related = ["csm"]
    search_fields = ["name", "external_id", "domain"]
    empty_text = "They come from a CRM export. You see everything before it is saved."
    search_help_text = "Name, account ID or web domain"
    list_before_template = "segmentation/account/list_before.html"
    ordering = ["name"]
    autocomplete_fields = ["csm", "parent"]
    actions = ["assign_csm", "exclude_accounts", "declare"]

    def get_search_results(self, request, queryset, search_term):
        """Look up what is found before it is put in order: PostgreSQL may else walk all accounts in that order."""
        matching, several = super().get_search_results(request, queryset, search_term)
        if search_term:
            ids = list(matching.order_by().values_list("pk", flat=True)[: FEW_FOUND + 1])
            if len(ids) <= FEW_FOUND:
                matching = queryset.filter(pk__in=ids)
        return matching, several

    def allowed_lookups(self):
        further = {kind.parameter_name for kind in _further_filters()}
        return super().allowed_lookups() | {"segment", "state", "csm", "service_model", *ASKED} | further

    def get_list_display(self, request):
        return asked(request).display

    def get_list_filter(self, request):
        return [*super().get_list_filter(request), *_further_filters()]

    def empty_step(self, request):
        if request.user.has_perm("accounts.import_accounts"):
            return "Import your accounts", reverse("admin:accounts_importbatch_upload")
        return None

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def get_queryset(self, request):
        state = Assignment.objects.filter(layer=primary_layer(), product=None).select_related(
            "effective", "computed"
        )
        accounts = super().get_queryset(request)
        return accounts.prefetch_related(Prefetch("assignments", queryset=state, to_attr="primary_state"))

    def get_changelist(self, request, **kwargs):
        return AccountChanges

    def get_urls(self):
        info = self.opts.app_label, self.opts.model_name
        wrap = self.admin_site.admin_view
        return [
            path("export/", wrap(self.export_view), name="{}_{}_export".format(*info)),
            path("total/", wrap(self.total_view), name="{}_{}_total".format(*info)),
            path("choice/", wrap(ChoicePage.as_view(admin=self)), name="{}_{}_choice".format(*info)),
            path(
                "choice/check/", wrap(require_POST(self.check_view)), name="{}_{}_choice_check".format(*info)
            ),
            path("assign/", wrap(AssignPage.as_view(admin=self)), name="{}_{}_assign".format(*info)),
            path("exclude/", wrap(ExcludePage.as_view(admin=self)), name="{}_{}_exclude".format(*info)),
            path("<path:object_id>/edit/", wrap(self.edit_view), name="{}_{}_edit".format(*info)),
            *super().get_urls(),
        ]

    # -- the list

    @admin.display(description="Account", ordering="name")
    def title(self, account):
        return account.name or account.external_id

    @admin.display(description="Segment", ordering="segment")
    def segment(self, account):
        state = account.primary_state[0] if account.primary_state else None
        renewal = getattr(account, "renewal_status", "")  # known of what is on the page
        late = [(RENEWALS[renewal], f"renewal {renewal}")] if renewal in RENEWALS else []
        if state is None:
            return badges.badge("not evaluated")
        parts = [("brand", state.effective.name)] if state.effective else []
        parts += late
        if state.computed is None:
            parts.append(("bad", "Needs data"))
        elif state.effective and state.computed_id != state.effective_id:
            parts.append(("warn", f"rules say {state.computed.name}"))
        if state.provisional:
            parts.append(("", "Provisional"))
        return format_html_join(" ", "{}", ([badges.badge(text, colour)] for colour, text in parts))

    @admin.display(description="ARR", ordering="arr")
    def arr_shown(self, account):
        return wording.money(account.arr_now)

    @admin.display(description="CSM", ordering="csm")
    def manager(self, account):
        return account.csm or "–"

    def changelist_view(self, request, extra_context=None):
        return super().changelist_view(request, self._above(request) | (extra_context or {}))

    def _above(self, request):
        """Context of what stands above the list."""
        given, listing = request.GET.urlencode(), asked(request)
        without = request.GET.copy()
        without.pop(WHERE, None)
        return {
            "as_of": timezone.localdate(),
            "export_url": f"{reverse('admin:accounts_account_export')}?{given}",
            "total_url": f"{reverse('admin:accounts_account_total')}?{given}",
            "choice_url": f"{reverse('admin:accounts_account_choice')}?{given}",
            "without_filter": f"?{without.urlencode()}",
            "filter_said": listing.filter.in_words() if listing.filter else listing.where,
            "filter_problem": listing.problem,
            "filter_doubts": listing.filter.doubts() if listing.filter else [],
            "may_export": request.user.has_perm("accounts.export_accounts"),
            "may_import": request.user.has_perm("accounts.import_accounts"),
        }

    def export_view(self, request):
        """Exactly the list as shown, as CSV."""
        if not request.user.has_perm("accounts.export_accounts"):
            raise PermissionDenied
        return self.filtered(request, lambda: exported(self._usable(request)))

    def total_view(self, request):
        """Say what the accounts of the whole list come to, also those on other pages."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return self.filtered(
            request, lambda: HttpResponse(self._total(request), content_type="text/plain; charset=utf-8")
        )

    def _total(self, request):
        changes = self._usable(request)
        try:
            with within_seconds():
                arr = revenue.total(changes.queryset, timezone.localdate())
        except DatabaseError:
            return f"{changes.counted}; adding up their ARR takes too long: narrow the list first"
        return f"{changes.counted}, ARR {wording.money(arr)}"

    def _usable(self, request):
        """The list, where what is asked of it can be done."""
        asked(request).check()
        return self.get_changelist_instance(request)

    def check_view(self, request):
        """Say what is wrong with a condition as it is typed now, or how many it finds."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return check_view(request)

    # -- what can be done with those that are ticked

    def get_actions(self, request):
        own = super().get_actions(request)
        if self.actions is None or IS_POPUP_VAR in request.GET:
            return own
        further = [
            action for action in map(import_string, settings.ACCOUNT_LIST_ACTIONS) if action.may(request.user)
        ]
        return {
            action.__name__: (action, action.__name__, action.short_description) for action in further
        } | own

    @admin.action(description="Assign a CSM", permissions=["change"])
    def assign_csm(self, request, queryset):
        return asking(AssignPage, self, request, queryset)

    @admin.action(description="Exclude", permissions=["change"])
    def exclude_accounts(self, request, queryset):
        return asking(ExcludePage, self, request, queryset)

    def has_declare_permission(self, request):
        return declarations.may_propose(request.user)

    @admin.action(description="Propose a declared value", permissions=["declare"])
    def declare(self, request, queryset):
        """The page that asks; what is sent from there proposes."""
        accounts = list(queryset.order_by("name", "pk")[: declarations.MOST + 1])
        if len(accounts) > declarations.MOST:
            messages.error(request, too_many(declarations.MOST))
            return None
        return propose_page(request, accounts)

    # -- the page that says why

    def change_view(self, request, object_id, form_url="", extra_context=None):
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        context = account_page.context(
            request,
            number(unquote(object_id)),
            Account.objects.all(),
            may_edit=self.has_change_permission(request),
        )
        if not context:
            raise Http404("There is no such account.")
        return page(
            request,
            "segmentation/account/account.html",
            title=str(context["account"]),
            model_admin=self,
            original=context["account"],
            declared=of_account(context["account"], request.user),
            **context,
        )

    def edit_view(self, request, object_id):
        if not self.has_change_permission(request):
            raise PermissionDenied
        extra = {"title": "Correct data", "show_save_and_add_another": False}
        return self.changeform_view(request, object_id, "", extra)

    def get_form(self, request, obj=None, change=False, **kwargs):
        return super().get_form(request, obj, change, form=CorrectionForm, **kwargs)

    def save_model(self, request, account, form, change):
        facts = {name: form.cleaned_data[name] for name in form.changed_data if name != "reason"}
        request.queued = corrections.correct(
            account, facts, by=request.user, reason=form.cleaned_data["reason"]
        )

    def response_change(self, request, account):
        if request.queued:
            names = ", ".join(catalogue.label(conflict.fact) for conflict in request.queued)
            messages.warning(
                request,
                f"{names}: waits for a decision, because it would change a segment and another source has the last word, "
                "or an override is in force. Everything else is saved.",
            )
        else:
            messages.success(request, "Saved. The segments follow with the next recalculation.")
        return HttpResponseRedirect(reverse("admin:accounts_account_change", args=[account.pk]))


def _further_filters():
    """Filters of apps further right: list filter classes, named by the settings."""
    return [import_string(path) for path in settings.ACCOUNT_LIST_FILTERS]
