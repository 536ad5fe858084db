"""Background work of governance. Everything here may run twice; a step that fails is logged and keeps no other from running.

What is due is found in the database, so no message has to arrive: `follow` is sent when a recalculation has ended, `sweep`
and `daily` come round every few seconds, and a day's work is done once (governance.chores).
"""

import logging

from celery import shared_task
from django.db import connection
from django.utils import timezone

from accounts.history import acting
from governance import chores, mail, notifications

log = logging.getLogger(__name__)


@shared_task
def follow():
    """After a recalculation: who crossed a boundary, which overrides the rules disagree with, whom to alert about."""
    _each(
        {
            "tier changes": _cross,
            "overrides that disagree": _disagree,
            "alerts": _alert,
            "telling people": notifications.deliver,
        }
    )


@shared_task
def sweep():
    """Every few seconds: recalculations that no message told of, requests that are due, people who are to be told."""
    _each(
        {
            "tier changes": _cross,
            "requests that are due": _apply,
            "telling people": notifications.deliver,
            "mail": mail.send_due,
        }
    )


@shared_task
def daily():
    """Once a day, from chores.MORNING in the organisation's zone: what goes by dates."""
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


# -- what the steps call


def _cross():
    from governance import transitions

    transitions.follow_ended()


def _disagree():
    from governance import overrides
    from segmentation.models import Layer

    for layer in Layer.objects.order_by("pk"):
        overrides.disagree(layer, at=timezone.localdate())


def _alert():
    from governance import alerts

    alerts.evaluate(at=timezone.localdate())


def _apply():
    from governance import approvals

    approvals.apply_due(at=timezone.now())


def _expire_overrides():
    from governance import overrides

    overrides.expire(at=timezone.localdate())


def _remind_of_overrides():
    from governance import overrides

    overrides.remind(at=timezone.localdate())


def _expire_requests():
    from governance import approvals

    approvals.expire(at=timezone.now())


def _escalate_requests():
    from governance import approvals

    approvals.escalate(at=timezone.now())


def _transitions_of_the_day():
    from governance import transitions

    transitions.daily(at=timezone.localdate())


# The steps of a day, in this order: an override that ends may flag a tier change; what waits is told last.
DAILY = {
    "overrides that end": _expire_overrides,
    "overrides about to end": _remind_of_overrides,
    "requests that expire": _expire_requests,
    "requests about to expire": _escalate_requests,
    "tier changes": _transitions_of_the_day,
    "alerts": _alert,
}
