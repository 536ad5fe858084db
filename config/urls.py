"""The web admin is the product: everything is under /admin/."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from accounts.admin.dictionary import dictionary_view
from segmentation.admin.home import completeness_view

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/data-dictionary/", admin.site.admin_view(dictionary_view), name="data_dictionary"),
    path("admin/completeness/", admin.site.admin_view(completeness_view), name="home_completeness"),
    path("admin/", admin.site.urls),
]
