"""Commands: what each of them enters before it does anything."""

from django.core.management.base import BaseCommand

from core.history import acting
from core.organisation import in_its_time


class Command(BaseCommand):
    """A command: what it writes is written by `label`, through the command line, and its days are the organisation's."""

    label = "command line"

    def execute(self, *args, **options):
        with acting(label=self.label, channel="command"), in_its_time():
            return super().execute(*args, **options)
