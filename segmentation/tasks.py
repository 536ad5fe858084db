"""Background work. A task takes an id, calls one verb, and may run twice without harm."""

from celery import shared_task
from django.core.exceptions import ObjectDoesNotExist

from core.history import acting
from core.refusals import Refused
from segmentation import runs, simulation
from segmentation.models import Run


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
