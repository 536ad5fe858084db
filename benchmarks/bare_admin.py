"""A list and a form of accounts as Django's admin gives them: the columns, search and filters are those of our list."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.bare_settings"

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from django.contrib import admin  # noqa: E402
from django.urls import path  # noqa: E402

from accounts.models import Account  # noqa: E402


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
