"""Settings: what the organisation has set, what the environment fixes of it, and a form that asks for another."""

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.urls import path, reverse

from accounts import currency
from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from core.models import FIELDS, Settings
from core.organisation import fixed_by, organisation, variable
from core.refusals import Refused
from governance import approvals, permissions, policies
from governance.models import ApprovalRequest

from .people import answered

PAGE = "admin:core_settings_changelist"
GROUPS = {
    "The organisation": ("name", "currency", "time_zone"),
    "Overrides and stand-ins": tuple(name for name in FIELDS if name.startswith(("override", "stand_in"))),
    "What checks of rules measure against": tuple(name for name in FIELDS if name.startswith("check")),
    "What an import may take": tuple(name for name in FIELDS if name.startswith("import")),
}


class SettingsForm(forms.ModelForm):
    """The settings, and why they should be others. One that the environment fixes is shown and cannot be typed."""

    why = forms.CharField(
        label="Why",
        max_length=2_000,
        widget=forms.Textarea({"rows": 3}),
        help_text="Those who decide read it, and it is kept.",
    )

    class Meta:
        model = Settings
        fields = FIELDS

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        for name in FIELDS:
            if fixed_by(name):
                self.fields[name].disabled = True
                self.fields[name].help_text = f"Fixed where Demarc runs, by {variable(name)}."
        self.fields["currency"].widget.attrs["list"] = "currencies"

    def groups(self):
        """[(title, its fields)]."""
        return [(title, [self[name] for name in names]) for title, names in GROUPS.items()]

    def clean_currency(self):
        code = self.cleaned_data["currency"]
        if code not in currency.CODES:
            raise forms.ValidationError("This is not the code of a currency, such as USD.")
        return code


@admin.register(Settings)
class SettingsAdmin(ByVerbs, GovernedAdmin):
    """One page with all settings; nothing is written here but requests."""

    exports_list = False

    def get_urls(self):
        ask = path("ask/", self.admin_site.admin_view(self.ask_view), name="core_settings_policy")
        return [ask, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return HttpResponseRedirect(reverse(PAGE))

    def changelist_view(self, request, extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        holds = organisation()
        return page(
            request,
            "demarc/settings.html",
            title="Settings",
            model_admin=self,
            groups=[(title, [_shown(holds, name) for name in names]) for title, names in GROUPS.items()],
            waiting=_waiting(),
            kept=Settings.objects.exists(),
            may_ask=permissions.may(permissions.change_policies(by=request.user)),
        )

    def ask_view(self, request):
        """The form that asks for other settings, or changes the open request for them."""
        if not self.has_view_permission(request) or permissions.change_policies(by=request.user):
            raise PermissionDenied
        waiting = _waiting()
        start = Settings(**(waiting.content["values"] if waiting else policies.of_settings()))
        form = SettingsForm(
            request.POST if request.method == "POST" else None,
            instance=start,
            initial={"why": waiting.why if waiting else ""},
        )
        if form.is_valid():
            try:
                return answered(request, _ask(request, form.cleaned_data, waiting), reverse(PAGE))
            except Refused as refusal:
                form.add_error(None, str(refusal))
        return page(
            request,
            "demarc/settings_ask.html",
            title="Other settings",
            model_admin=self,
            original="Other settings",
            form=form,
            codes=sorted(currency.CODES),
            waiting=waiting,
            seen=approvals.token(waiting) if waiting else "",
            status=409 if form.errors else 200,
        )


def _ask(request, typed, waiting):
    why = typed.pop("why")
    proposal = policies.for_settings(typed)
    if waiting:
        seen = request.POST.get("seen", "")
        return policies.change(waiting, by=request.user, seen=seen, proposal=proposal, why=why)
    return policies.ask(proposal, by=request.user, why=why)


def _waiting():
    return ApprovalRequest.objects.open().filter(kind=policies.KIND, key="policy:settings").first()


def _shown(holds, name):
    """One line of the page: {"label", "help", "value", "variable" that fixes it, or ""}."""
    field = Settings._meta.get_field(name)
    return {
        "label": field.verbose_name,
        "help": field.help_text,
        "value": getattr(holds, name),
        "variable": fixed_by(name),
    }
