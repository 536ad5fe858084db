from core import commands
from governance import tasks
from governance.models import FollowedRun


class Command(commands.Command):
    help = (
        "Looks at what recalculations changed that have ended: flags, updates and closes tier changes, and what else "
        "follows. Workers do this by themselves; without one, run it after `recompute`."
    )

    def handle(self, **options):
        before = set(FollowedRun.objects.values_list("run", flat=True))
        tasks.follow()
        for followed in FollowedRun.objects.exclude(run__in=before).order_by("run"):
            for key, seen in followed.counts.items():
                self.stdout.write(
                    f"Recalculation {followed.run}, {key}: {seen['opened']:,} tier changes flagged ({seen['held']:,} held), "
                    f"{seen['updated']:,} updated, {seen['released']:,} no longer held, {seen['closed']:,} closed"
                )
        if not FollowedRun.objects.exclude(run__in=before).exists():
            self.stdout.write("Every recalculation has been looked at.")
