"""Tasks that show from outside what a worker does; loaded with `--include probe`."""

import os
import signal

from celery import shared_task
from django.contrib.auth.models import Group


@shared_task
def note(name):
    Group.objects.create(name=name)


@shared_task
def die_once(name):
    """Is killed the first time, and leaves a note the second."""
    if Group.objects.get_or_create(name=f"{name} began")[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    Group.objects.get_or_create(name=f"{name} ended")
