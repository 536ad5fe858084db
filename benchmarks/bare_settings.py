"""The peer of benchmarks/load.py: Django's own admin on the same database, with neither unfold nor a page of ours."""

from config.settings import *  # noqa: F403
from config.settings import MIDDLEWARE, TEMPLATES

_DJANGO = ["auth", "contenttypes", "sessions", "messages", "staticfiles"]
INSTALLED_APPS = [
    "django.contrib.admin.apps.SimpleAdminConfig",  # nothing of ours is registered
    *(f"django.contrib.{name}" for name in _DJANGO),
    "simple_history",
    "accounts",
    "segmentation",
    "governance",
]
MIDDLEWARE = [one for one in MIDDLEWARE if one.startswith(("django.", "whitenoise."))]
TEMPLATES = [TEMPLATES[0] | {"DIRS": []}]
ROOT_URLCONF = "benchmarks.bare_admin"
