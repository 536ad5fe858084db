"""Settings: what the organisation has set, what the environment fixes of it, and a form that asks for another."""

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.urls import path, reverse

from accounts import currency
from accounts.admin.fields import of_model
from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from core.models import FIELDS, Settings
from core.organisation import fixed_by, organisation, variable
from governance.models import ApprovalRequest
from governance.signoff import permissions, policies

from .policy_pages import PolicyForm, PolicyPage

PAGE, KEY = "admin:core_settings_changelist", "policy:settings"
GROUPS = {
    "The organisation": ("name", "currency", "time_zone"),
    "Hours, and signing in": ("night_hour", "morning_hour", "lockout_minutes"),
    "Contracts": ("renewal_grace_days",),
    "Overrides and stand-ins": tuple(name for name in FIELDS if name.startswith(("override", "stand_in"))),
    "What checks of rules measure against": tuple(name for name in FIELDS if name.startswith("check")),
    "Recalculations": tuple(name for name in FIELDS if name.startswith("facts")),
    "What an import may take": tuple(name for name in FIELDS if name.startswith("import")),
}


class SettingsForm(PolicyForm):
    """The settings, and why they should be others. One that the environment fixes is shown and cannot be typed."""

    at = PolicyForm.at | {"currency_unknown": "currency"}

    def prepare(self):
        self.fields = forms.fields_for_model(Settings, FIELDS, formfield_callback=of_model) | self.fields
        self.fields["currency"].widget.attrs["list"] = "currencies"
        for name in filter(fixed_by, FIELDS):
            self.fields[name].disabled = True
            self.fields[name].help_text = f"Fixed where Demarc runs, by {variable(name)}."

    def now(self):
        return policies.of_settings()

    def groups(self):
        """[(title, its fields)]."""
        return [(title, [self[name] for name in names]) for title, names in GROUPS.items()]

    def proposal(self):
        return policies.for_settings(self.cleaned_data)


class SettingsPage(PolicyPage):
    template = "core/settings/ask.html"
    verbs = {"ask": SettingsForm}

    def find(self):
        return organisation()

    def key(self, holds):
        return KEY

    def heading(self):
        return "Other settings"

    def details(self):
        return {"codes": sorted(currency.CODES)}


@admin.register(Settings)
class SettingsAdmin(ByVerbs, GovernedAdmin):
    """One page with all settings; nothing is written here but requests."""

    exports_list = False

    def get_urls(self):
        page_path = path(
            "ask/", self.admin_site.admin_view(SettingsPage.as_view(admin=self)), name="core_settings_policy"
        )
        return [page_path, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return HttpResponseRedirect(reverse(PAGE))

    def changelist_view(self, request, extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        holds = organisation()
        return page(
            request,
            "core/settings/list.html",
            title="Organisation",
            model_admin=self,
            groups=[(title, [_shown(holds, name) for name in names]) for title, names in GROUPS.items()],
            waiting=ApprovalRequest.objects.open().filter(kind=policies.KIND, key=KEY).first(),
            kept=Settings.objects.exists(),
            may_ask=permissions.may(permissions.change_policies(by=request.user)),
        )


def _shown(holds, name):
    """One line of the page: {"label", "help", "value", "variable" that fixes it, or ""}."""
    field = Settings._meta.get_field(name)
    return {
        "label": field.verbose_name,
        "help": field.help_text,
        "value": getattr(holds, name),
        "variable": fixed_by(name),
    }
