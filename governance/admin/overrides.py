"""Overrides: the form that asks for one, the list of them, the page about each, and what the account's page says of them."""

from datetime import timedelta

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import Q
from django.urls import path, reverse
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter, RelatedDropdownFilter

from accounts import revenue
from accounts.admin.governed import ByVerbs, GovernedAdmin
from accounts.admin.people import CsmFilter
from core import badges, history
from core.organisation import organisation
from core.wording import day, plural
from governance.changes import overrides
from governance.models import Override
from governance.signoff import permissions

from . import sections
from .override_pages import AskPage, EditPage, OverridePage, after, disagreement

LIST = "admin:governance_override_changelist"
PAGE = "admin:governance_override_change"
ASK = "admin:governance_override_ask"
REQUEST = "admin:governance_approvalrequest_change"
ACCOUNT = "admin:accounts_account_change"
ACCOUNTS = "admin:accounts_account_changelist"
LAST = 10  # ended overrides in an account's timeline

Status = Override.Status


class StateFilter(DropdownFilter):
    title = "what needs attention"
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return [
            ("active", "In force"),
            ("requested", "Waiting for approval"),
            ("expiring", f"Ends within {plural(organisation().override_reminder_days, 'day,days')}"),
            ("disagreeing", "The rules disagree"),
            ("ended", "Ended or refused"),
        ]

    def queryset(self, request, queryset):
        soon = timezone.localdate() + timedelta(days=organisation().override_reminder_days)
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
            path("ask/", wrap(AskPage.as_view(admin=self)), name="governance_override_ask"),
            path(
                "<int:pk>/edit/",
                wrap(EditPage.as_view(admin=self)),
                name="governance_override_change_request",
            ),
            *super().get_urls(),
        ]

    # -- the list

    @admin.display(description="Account", ordering="account__name")
    def title(self, override):
        return override.account

    @admin.display(description="Segmentation", ordering="layer__name")
    def segmentation(self, override):
        return override.layer

    @admin.display(description="Segment", ordering="segment__name")
    def segment_shown(self, override):
        before = override.from_segment if override.from_segment_id != override.segment_id else None
        return f"{before} → {override.segment}" if before else f"stays {override.segment}"

    @admin.display(description="Status", ordering="status")
    def state(self, override):
        return badges.status(override)

    @admin.display(description="Ends", ordering="expires_on")
    def ends(self, override):
        return day(override.ended_on or override.expires_on)

    @admin.display(description="Rules disagree", ordering="disagrees_since")
    def disagrees(self, override):
        return disagreement(override) or "–"

    @admin.display(description="CSM", ordering="account__csm__name")
    def csm(self, override):
        return override.account.csm or "–"

    @admin.display(description="Asked by", ordering="requested_by_label")
    def asked_by(self, override):
        return history.who(override, "requested_by")

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return OverridePage.as_view(admin=self)(request, pk=unquote(object_id))


# -- what the account's page says


def part(request, account):
    """The overrides of an account for its page; see settings.ACCOUNT_PAGE_PARTS. One query, and one for the requests."""
    rows = list(account.overrides.select_related("layer", "segment", "request").order_by("-pk")[: LAST + 10])
    now = [override for override in rows if override.status in (Status.ACTIVE, Status.REQUESTED)]
    may = permissions.may(permissions.request_override([account], by=request.user))
    action = {
        "label": "Ask for an override",
        "url": f"{reverse(ASK)}?accounts={account.pk}",
        "icon": "push_pin",
    }
    # An override that waits for a decision says more about what comes next than the one in force.
    holds = {
        override.layer_id: _hold(override)["text"]
        for override in sorted(now, key=lambda override: override.status == Status.REQUESTED)
    }
    return {
        "actions": [action] if may else [],
        "badges": [_badge(override) for override in now],
        "next": [_hold(override) for override in now],
        "holds": holds,
        "becomes": {override.layer_id: None for override in now if override.status == Status.ACTIVE},
        "happened": [
            entry for override in rows if override.status != Status.REQUESTED for entry in _happened(override)
        ],
    }


def _hold(override):
    """The hold on the segment for the account's page: the override in force, or the one that waits for a decision."""
    if override.status == Status.ACTIVE:
        how_long = disagreement(override)
        text = f"An override holds it since {day(override.started_on)} ({override.get_reason_code_display().lower()})."
        if how_long:
            text += f" The rules have disagreed {how_long}."
        return {
            "title": f"{override.layer} stays {override.segment}, whatever the rules say",
            "text": f"{text} It ends on {day(override.expires_on)}. {after(override)}",
            "due": override.expires_on,
            "url": reverse(PAGE, args=[override.pk]),
            "button": "Look at the override",
        }
    return {
        "title": f"{override.layer}: an override to {override.segment} waits for approval",
        "text": f"{history.who(override, 'requested_by')} asked on {day(override.requested_at)} for an override to {override.segment}. Nothing changes before a decision.",
        "due": timezone.localdate(override.request.due_at) if override.request else None,
        "url": reverse(REQUEST, args=[override.request_id])
        if override.request
        else reverse(PAGE, args=[override.pk]),
        "button": "Look at the request",
    }


def _badge(override):
    text = f"Override until {day(override.expires_on)}"
    if override.status == Status.REQUESTED:
        return "warn", "Override waits for approval", reverse(PAGE, args=[override.pk])
    return "brand", text, reverse(PAGE, args=[override.pk])


def _happened(override):
    """An override's entries of the timeline: when it began, and when it ended or was refused."""
    url, about = reverse(PAGE, args=[override.pk]), f"{override.layer} {override.segment}"
    if override.started_on:
        yield {
            "on": override.started_on,
            "title": "Override",
            "text": f"{about}, until {day(override.expires_on)}",
            "who": history.who(override, "requested_by"),
            "reason": override.text,
            "url": url,
        }
    if override.ended_on:
        yield {
            "on": override.ended_on,
            "title": f"Override {override.get_status_display().lower()}",
            "text": about,
            "who": history.who(override, "ended_by"),
            "reason": override.end_reason,
            "url": url,
        }


# -- on the page of its request


def _on_request_page(request):
    """The overrides that wait for a request, or waited, each with the ARR of its account."""
    related = ("account", "layer", "segment")
    pins = list(request.overrides.select_related(*related).order_by("pk")[: sections.NAMED])
    worth = revenue.of([pin.account_id for pin in pins], timezone.localdate())
    for pin in pins:
        pin.arr = worth[pin.account_id]
    return {"overrides": pins, "named": sections.NAMED}


sections.SECTIONS[overrides.KIND] = sections.Section("governance/approvals/overrides.html", _on_request_page)
