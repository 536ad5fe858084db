"""Pages of those who look after accounts, and small lists accounts refer to. People who log in are governance's."""

from django.contrib import admin
from unfold.contrib.filters.admin import DropdownFilter

from accounts.models import Account, Csm, Product, SourceSystem

from .fields import number
from .governed import GovernedAdmin, PlainAdmin

CSMS = 500  # offered to choose from
# Accounts looked after by nobody who can log in, of whatever reason; and those whose CSM could.
NOBODY = {
    "nobody": "Nobody who can log in",
    "closed": "A CSM whose login is closed",
    "none": "No CSM",
}


class CsmFilter(DropdownFilter):
    """By who looks after the account: a list of accounts, or of what belongs to an `account`."""

    title = "CSM"
    parameter_name = "csm"

    def lookups(self, request, model_admin):
        return [(str(csm.pk), str(csm)) for csm in Csm.objects.all()[:CSMS]] + [*NOBODY.items()]

    def queryset(self, request, queryset):
        """Any CSM there is, also one beyond those offered."""
        csm = "csm" if queryset.model is Account else "account__csm"
        wanted = self.value() or ""
        if wanted == "none":
            return queryset.filter(**{csm: None})
        if wanted == "nobody":  # no CSM, or one without a login, or with a closed one
            return queryset.exclude(**{f"{csm}__user__is_active": True})
        if wanted == "closed":
            return queryset.filter(**{f"{csm}__user__is_active": False})
        chosen = Csm.objects.filter(pk=number(wanted)).first()
        return queryset.filter(**{csm: chosen}) if chosen else queryset


@admin.register(Csm)
class CsmAdmin(GovernedAdmin):
    empty_text = "CSMs come with an import (the column csm, an e-mail address), or are added here."
    list_display = ["name", "email", "kind", "user"]
    list_filter = ["kind"]
    list_select_related = ["user"]
    search_fields = ["name", "email"]
    autocomplete_fields = ["user"]


@admin.register(Product)
class ProductAdmin(PlainAdmin):
    empty_text = "Products come with the subscriptions of an import, or are added here."
    list_display = ["key", "name"]
    search_fields = ["key", "name"]


@admin.register(SourceSystem)
class SourceSystemAdmin(PlainAdmin):
    empty_text = "The systems data comes from, such as a CRM. They come with an import, or are added here."
    list_display = ["key", "name"]
    search_fields = ["key", "name"]
