"""A day's work: each step once a day, however many schedulers ask for it, and again where it failed."""

from datetime import timedelta

from django.db.models import Max
from django.utils import timezone

from core.organisation import organisation
from core.work import Kind
from governance.models import Chore

TIER_CHANGES = "tier changes"  # the step that looks at what goes by dates


def work(steps, *, now=None):
    """Do those steps ({name: function}) of today that are not done yet; returns the names of those done now.

    Before `organisation().morning_hour` nothing is done. A step that fails keeps its error and is tried again; the others go on.
    """
    now, done = now or timezone.now(), []
    local = timezone.localtime(now)
    if local.hour < organisation().morning_hour:
        return done
    of_today = Chore.objects.filter(day=local.date())
    begun = set(of_today.values_list("step", flat=True))
    missing = [Chore(day=local.date(), step=name) for name in steps if name not in begun]
    Chore.objects.bulk_create(missing, ignore_conflicts=True)
    KIND.turns(steps, done, at=now, day=local.date(), step__in=list(steps))
    return done


def _do(chores, steps, done):
    for chore in chores:
        steps[chore.step]()
        done.append(chore.step)


KIND = Kind(parts=Chore, do=_do, apart=True, attempts=6, pauses=(timedelta(minutes=10),))


def last(step):
    """The last day on which a step was done, or None."""
    return Chore.objects.filter(step=step, status="done").aggregate(last=Max("day"))["last"]
