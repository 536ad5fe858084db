"""The admin's site: unfold's, without what it works out for every page and none of ours shows."""

from django.contrib.admin import site
from django.contrib.admin.apps import AdminConfig as DjangosConfig
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.functional import SimpleLazyObject
from unfold.sites import UnfoldAdminSite

from config import menu
from core import pages, search


class AdminConfig(DjangosConfig):
    default_site = "config.site.Site"

    def ready(self):
        super().ready()
        pages.register_models(site._registry)
        search.register(80, menu.found)


class Site(UnfoldAdminSite):
    def get_app_list(self, request, app_label=None):
        """Looked up where a page shows it: our menu is drawn from config.menu, home has no list of models."""
        return SimpleLazyObject(lambda: super(Site, self).get_app_list(request, app_label))

    def get_sidebar_list(self, request):
        """The menu as HTML; templates/unfold/helpers/app_list.html shows it."""
        return menu.drawn(request)

    def get_urls(self):
        return [path("settings/", self.admin_view(self.settings_view), name="settings"), *super().get_urls()]

    def settings_view(self, request):
        """The pages that are not in this person's menu."""
        groups = menu.grouped(request.user)
        context = {**self.each_context(request), "title": menu.REST.title, "groups": groups}
        return TemplateResponse(request, "core/rest.html", context)

    def search(self, request, extra_context=None):
        """The lines core.search finds, as the part of a page that static/demarc/search.js shows; nothing of it is kept."""
        text = request.GET.get("s", "").strip()
        context = {"groups": search.find(request, text), "text": text}
        return render(request, "core/search/found.html", context)


def subheader(request):
    """Below the product's name: the organisation, where it has set its own."""
    from core.organisation import organisation  # models are ready only when there is a page

    return organisation().name or "Customer segments, explained"
