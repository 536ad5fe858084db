"""A day's work: each step once a day, however many schedulers ask for it, and again where it failed."""

import logging
from datetime import timedelta

from django.db import connection
from django.db.models import F, Max, Q
from django.utils import timezone

from governance.models import Chore

log = logging.getLogger(__name__)

MORNING = 6  # o'clock, in the organisation's zone
TIER_CHANGES = "tier changes"  # the step that looks at what goes by dates
LEASE = timedelta(minutes=10)  # a step whose process was lost, or which failed, is tried again after this
ATTEMPTS = 6  # a day


def work(steps, *, now=None):
    """Do those steps ({name: function}) of today that are not done yet; returns the names of those done now.

    Before MORNING nothing is done. A step that fails keeps its error and is tried again; the others go on.
    """
    now = now or timezone.now()
    local = timezone.localtime(now)
    if local.hour < MORNING:
        return []
    day = local.date()
    todo = set(steps) - set(Chore.objects.filter(day=day).exclude(_open(now)).values_list("step", flat=True))
    return [name for name in steps if name in todo and _claim(day, name, now) and _do(day, name, steps[name])]


def last(step):
    """The last day on which a step was done, or None."""
    return Chore.objects.filter(step=step).exclude(done_at=None).aggregate(last=Max("day"))["last"]


def _open(now):
    free = Q(leased_until=None) | Q(leased_until__lt=now)
    return Q(done_at=None, attempts__lt=ATTEMPTS) & free


def _claim(day, name, now):
    """True for the one process that may do it now."""
    Chore.objects.bulk_create([Chore(day=day, step=name)], ignore_conflicts=True)
    mine = Chore.objects.filter(_open(now), day=day, step=name)
    return mine.update(attempts=F("attempts") + 1, leased_until=now + LEASE) == 1


def _do(day, name, step):
    chore = Chore.objects.filter(day=day, step=name)
    try:
        step()
    except Exception as error:
        log.exception("%s of %s: failed", name, day)
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
        chore.update(error=f"{type(error).__name__}: {error}"[:2000])
        return False
    chore.update(done_at=timezone.now(), leased_until=None, error="")
    return True
