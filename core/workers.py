"""Messages to workers. Each only wakes one: what there is to do stands in rows, and a sweep finds what no message told of."""

import logging

from celery import current_app

log = logging.getLogger(__name__)


def wake(task, *arguments, times=1):
    """Send so many messages for a task (its name), once what they are about is committed. A broker that fails is logged."""
    try:
        for _ in range(times):
            current_app.send_task(task, arguments, retry=False)
    except Exception as error:  # whatever the broker's library raises
        log.warning("Workers could not be told: %s %s: %s", task, arguments, error)
