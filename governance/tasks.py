"""Background work of governance. Everything here may run twice; a step that fails is logged and keeps no other from running.

Work that is due is found in the database, so no message has to arrive. `follow` is sent when a recalculation has ended;
`sweep` and `daily` come round every few seconds. A day's work is done once (governance.chores).
"""

import logging

from celery import shared_task
from django.db import connection
from django.utils import timezone

from core.history import acting
from governance import chores
from governance.changes import alerts, followup, overrides_in_force
from governance.news import mail, notifications
from governance.signoff import due
from segmentation.models import Layer

log = logging.getLogger(__name__)


@shared_task
def follow():
    """After a recalculation: who crossed a boundary, which overrides the rules disagree with, whom to alert about."""
    _each(FOLLOW)


@shared_task
def sweep():
    """Every few seconds: recalculations that no message told of, requests that are due, people who are to be told."""
    _each(SWEEP)


@shared_task
def daily():
    """Once a day, from the morning on in the organisation's zone: what goes by dates."""
    with acting(label="schedule", channel="schedule"):
        chores.work(DAILY)


def _each(steps):
    with acting(label="schedule", channel="schedule"):
        for name, step in steps.items():
            try:
                step()
            except Exception:  # the others have to happen; the next sweep tries this one again
                log.exception("%s: failed", name)
                _forget()


def _forget():
    """Give up what a failed step left of a transaction or a connection."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


# -- the steps


def _disagree():
    for layer in Layer.objects.order_by("pk"):
        overrides_in_force.disagree(layer, at=timezone.localdate())


# In this order: an override that ends may flag a tier change.
DAILY = {
    "overrides to segments that are no more": lambda: overrides_in_force.end_gone(at=timezone.localdate()),
    "overrides that end": lambda: overrides_in_force.expire(at=timezone.localdate()),
    "overrides that disagree": _disagree,
    "overrides about to end": lambda: overrides_in_force.remind(at=timezone.localdate()),
    "requests that expire": lambda: due.expire(at=timezone.now()),
    "requests about to expire": lambda: due.escalate(at=timezone.now()),
    "requests nobody can decide": lambda: due.say_stuck(at=timezone.now()),
    chores.TIER_CHANGES: lambda: followup.daily(at=timezone.localdate()),
    "alerts": lambda: alerts.evaluate(at=timezone.localdate()),
}
FOLLOW = {
    "tier changes": lambda: followup.follow_ended(),
    "overrides to segments that are no more": lambda: overrides_in_force.end_gone(at=timezone.localdate()),
    "overrides that disagree": _disagree,
    "alerts": lambda: alerts.evaluate(at=timezone.localdate()),
    "telling people": lambda: notifications.deliver(),
}
SWEEP = {
    "tier changes": lambda: followup.follow_ended(),
    "requests that are due": lambda: due.apply_due(at=timezone.now()),
    "telling people": lambda: notifications.deliver(),
    "mail": lambda: mail.send_due(),
}
