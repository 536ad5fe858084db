from core import commands
from core.history import acting
from governance.changes import alerts


class Command(commands.Command):
    help = "Create the alert rules that come with Demarc where they are not there yet; what people changed is left alone."

    def handle(self, **options):
        with acting(label=self.label, reason="Alert rules of the library"):
            made = alerts.load_shipped()
        self.stdout.write(
            f"{made} of {len(alerts.SHIPPED)} alert rules created, {len(alerts.SHIPPED) - made} left as they are"
        )
