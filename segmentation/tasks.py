"""Background work. A task takes an id, calls one verb, and may run twice without harm."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from celery import shared_task
from django.core.exceptions import ObjectDoesNotExist

from core.history import acting
from core.organisation import organisation
from core.refusals import Refused
from segmentation.models import Run
from segmentation.previews import simulation
from segmentation.runs import recalculation


@shared_task
def work(run_id):
    """Work chunks of a run until none is left."""
    try:
        recalculation.work(run_id)
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
def nightly():
    """Once an hour: the nightly recalculation, if this is its hour."""
    if datetime.now(UTC).hour == night():
        recompute_all()


def night():
    """The hour in UTC of the nightly recalculation, today: an hour off after a clock change, never a day."""
    own = organisation()
    local = datetime.now(ZoneInfo(own.time_zone)).replace(hour=own.night_hour, minute=0)
    return local.astimezone(UTC).hour


@shared_task
def recompute_all():
    """The nightly recalculation of every layer."""
    with acting(label="schedule", channel="schedule"):
        try:
            run = recalculation.start(trigger=Run.Trigger.SCHEDULE, reason="Nightly recalculation")
        except Refused:  # one is running, or there are no rules yet: tomorrow is another night
            return
    recalculation.work(run.pk)


@shared_task
def sweep():
    """Find runs and impact previews that no message told of."""
    recalculation.sweep()
    simulation.sweep()
