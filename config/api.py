"""The addresses of the API: what each app registers, its schema, and a page about it without requests elsewhere."""

from django.urls import include, path, re_path
from django.utils.module_loading import autodiscover_modules
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from core.api import changes
from core.api.problems import Problem
from core.api.resources import RESOURCES, register

VERSION = "v1"


def nowhere(request):
    """Answer as the API does where it has no address."""
    return Problem(404, "not_found").plain()


def patterns():
    """The patterns below /api/."""
    autodiscover_modules("api")
    register(changes.Changes)
    router = SimpleRouter(trailing_slash=False)
    for resource in sorted(RESOURCES, key=lambda resource: resource.path):
        router.register(resource.path, resource, basename=resource.path)
    return [
        path(f"{VERSION}/schema", SpectacularAPIView.as_view(), name="schema"),
        path(f"{VERSION}/docs", SpectacularSwaggerSplitView.as_view(url_name="api:schema"), name="docs"),
        path(f"{VERSION}/", include(router.urls)),
        re_path("", nowhere),
    ]


urlpatterns = patterns()
app_name = "api"
