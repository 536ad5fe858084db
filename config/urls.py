"""The web admin is the product, under /admin/; other systems come through /api/."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from accounts.admin import saved_views
from accounts.admin.dictionary import dictionary_view
from accounts.admin.suggestions import Suggestions
from governance.admin import audit, imports, logins, notifications
from governance.admin.activations import ask_view
from segmentation.admin import provisional
from segmentation.admin.coverage_page import coverage_view, customers_view
from segmentation.admin.home import completeness_view

urlpatterns = [
    path("api/", include("config.api")),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/data-dictionary/", admin.site.admin_view(dictionary_view), name="data_dictionary"),
    path("admin/completeness/", admin.site.admin_view(completeness_view), name="home_completeness"),
    path("admin/coverage/", admin.site.admin_view(coverage_view), name="coverage"),
    path("admin/coverage/customers/", admin.site.admin_view(customers_view), name="coverage_customers"),
    path("admin/provisional/", admin.site.admin_view(provisional.provisional_view), name="provisional"),
    path(
        "admin/provisional/export/", admin.site.admin_view(provisional.export_view), name="provisional_export"
    ),
    path("admin/inbox/", admin.site.admin_view(notifications.InboxPage.as_view()), name="inbox"),
    path("admin/inbox/<int:pk>/", admin.site.admin_view(notifications.line_view), name="inbox_line"),
    path(
        "admin/inbox/preferences/",
        admin.site.admin_view(notifications.preferences_view),
        name="inbox_preferences",
    ),
    path("admin/imports/<int:pk>/ask/", admin.site.admin_view(imports.ask_view), name="import_ask"),
    path("admin/saved-views/", admin.site.admin_view(saved_views.views_view), name="saved_views"),
    path("admin/saved-views/<int:pk>/", admin.site.admin_view(saved_views.change_view), name="saved_view"),
    path(
        "admin/saved-views/<int:pk>/count/",
        admin.site.admin_view(saved_views.count_view),
        name="saved_view_count",
    ),
    path(
        "admin/saved-views/<int:pk>/delete/",
        admin.site.admin_view(saved_views.delete_view),
        name="saved_view_delete",
    ),
    path("admin/audit/", admin.site.admin_view(audit.audit_view), name="audit"),
    path("admin/audit/export/", admin.site.admin_view(audit.export_view), name="audit_export"),
    path("admin/audit/rules/", admin.site.admin_view(audit.rules_view), name="audit_rules"),
    path("admin/audit/account/<int:pk>/", admin.site.admin_view(audit.account_view), name="audit_account"),
    path("admin/rules/<int:pk>/ask/", admin.site.admin_view(ask_view), name="ask_activation"),
    # For Django's own
    path("admin/autocomplete/", admin.site.admin_view(Suggestions.as_view(admin_site=admin.site))),
    path("admin/password_change/", admin.site.admin_view(logins.OwnPasswordView.as_view())),
    path("admin/", admin.site.urls),
]
