import json

from core import commands
from segmentation.authoring import versions


class Command(commands.Command):
    label = "set-up"
    help = "Creates the ready-made segmentations, where they are not there yet. Prints JSON."

    def handle(self, **options):
        done = versions.load_presets()
        self.stdout.write(json.dumps(done))
