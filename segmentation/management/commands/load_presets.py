import json

from django.core.management.base import BaseCommand

from core.history import acting
from segmentation import versions


class Command(BaseCommand):
    help = "Creates the ready-made segmentations, where they are not there yet. Prints JSON."

    def handle(self, **options):
        with acting(label="set-up", channel="command"):
            done = versions.load_presets()
        self.stdout.write(json.dumps(done))
