"""A list and a form of accounts as Django's admin gives them: the columns, search and filters are those of our list."""

from django.contrib import admin
from django.urls import path

from accounts.models import Account


class BareAdmin(admin.ModelAdmin):
    list_display = ["name", "arr", "csm", "kind", "status", "external_id"]
    list_select_related = ["csm"]
    list_filter = ["kind", "status", "excluded"]
    list_per_page = 50
    search_fields = ["name", "external_id", "domain"]
    raw_id_fields = ["parent"]
    show_full_result_count = False


site = admin.AdminSite()
site.register(Account, BareAdmin)
urlpatterns = [path("admin/", site.urls)]
