"""Who looks after accounts, and the small lists accounts refer to. People who log in are governance's."""

from django.contrib import admin

from accounts.models import Csm, Product, SourceSystem

from .governed import GovernedAdmin, PlainAdmin


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
