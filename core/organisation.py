"""The organisation's settings as they hold: the row of core.models.Settings, and above it what the environment fixes."""

from contextlib import contextmanager

from django.conf import settings
from django.utils import timezone

from core.kept import keeping, kept
from core.models import Settings


@kept
def organisation():
    """The Settings that hold, read once within `core.kept.keeping`: `organisation().currency`."""
    row = Settings.objects.first() or Settings()
    for field, value in settings.FIXED.items():
        setattr(row, field, value)
    return row


def fixed_by(field):
    """The environment variable that fixes this setting here; "" where none does."""
    return variable(field) if field in settings.FIXED else ""


def variable(field):
    """The environment variable that would fix a setting: `DEMARC_CURRENCY` for `currency`."""
    return f"DEMARC_{field.upper()}"


@contextmanager
def in_its_time():
    """Within, settings are read once, and days are counted and times shown in the organisation's time zone."""
    with keeping(), timezone.override(organisation().time_zone):
        yield
