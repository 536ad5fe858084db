"""The peer of benchmarks/load.py: Django's own admin on the same database, with neither unfold nor a page of ours."""

from config import settings

globals().update({name: value for name, value in vars(settings).items() if name.isupper()})
_DJANGO = ["auth", "contenttypes", "sessions", "messages", "staticfiles"]
INSTALLED_APPS = [
    "django.contrib.admin.apps.SimpleAdminConfig",  # nothing of ours is registered
    *(f"django.contrib.{name}" for name in _DJANGO),
    "simple_history",
    "accounts",
    "segmentation",
    "governance",
]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
MIDDLEWARE = [name for name in settings.MIDDLEWARE if name.startswith(("django.", "whitenoise."))]
TEMPLATES = [settings.TEMPLATES[0] | {"DIRS": []}]
ROOT_URLCONF = "benchmarks.bare_admin"
