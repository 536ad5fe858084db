"""Background work. A task takes an id, calls one verb, and may run twice without harm."""

import logging

from celery import current_app, shared_task
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist

from accounts.history import acting
from core.refusals import Refused
from segmentation import runs, simulation
from segmentation.models import Run

log = logging.getLogger(__name__)


def wake(task, id, messages):
    """Tell workers of something to do. Nothing depends on it: what no message told of is found by a sweep."""
    try:
        for _ in range(messages):
            task.apply_async([id], retry=False)
    except Exception as error:  # whatever the broker's library raises
        log.warning("Workers could not be told: %s %s: %s", task.name, id, error)


def tell_of_the_end():
    """Tell those who look at what recalculations changed. Nothing depends on it, as above."""
    try:
        for name in settings.AFTER_RUN:
            current_app.send_task(name, retry=False)
    except Exception as error:  # whatever the broker's library raises
        log.warning("Workers could not be told that a recalculation has ended: %s", error)


@shared_task
def work(run_id):
    """Work chunks of a run until none is left."""
    try:
        runs.work(run_id)
    except ObjectDoesNotExist:  # started in a transaction that did not commit, or in another database
        return


@shared_task
def simulate(simulation_id):
    """Work ranges of an impact preview until none is left."""
    try:
        simulation.work(simulation_id)
    except ObjectDoesNotExist:  # as above
        return


@shared_task
def recompute_all():
    """The nightly recalculation of every layer."""
    with acting(label="schedule", channel="schedule"):
        try:
            run = runs.start(trigger=Run.Trigger.SCHEDULE, reason="Nightly recalculation")
        except Refused:  # one is running, or there are no rules yet: tomorrow is another night
            return
    runs.work(run.pk)


@shared_task
def sweep():
    """Find runs and impact previews that no message told of."""
    runs.sweep()
    simulation.sweep()
