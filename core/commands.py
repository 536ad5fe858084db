"""Commands: what each of them enters before it does anything."""

from contextlib import nullcontext

from django.core.management.base import BaseCommand

from core.history import acting
from core.organisation import in_its_time


class Command(BaseCommand):
    """A command: what it writes is written by `label`, through the command line, and its days are the organisation's.

    makes_tables: there may be none yet, so no settings are read; days are those of TIME_ZONE.
    """

    label = "command line"
    makes_tables = False

    def execute(self, *args, **options):
        days = nullcontext() if self.makes_tables else in_its_time()
        with acting(label=self.label, channel="command"), days:
            return super().execute(*args, **options)
