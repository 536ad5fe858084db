"""Background work on imports. A message only wakes a worker: what there is to do stands in the batch's status."""

from celery import shared_task

from accounts import imports


@shared_task
def work(batch_id):
    """Check or commit an uploaded import."""
    imports.work(batch_id)


@shared_task
def sweep():
    """Go on with imports whose worker died or whose message was lost."""
    imports.sweep()
