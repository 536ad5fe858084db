"""Background work: Celery on whatever broker the environment names, else on the database itself.

A message only wakes a worker: what must be done is a row first, and the sweep finds what no message told of.
So nothing here keeps results, and no setting has to make delivery certain.
"""

import os
from importlib.util import find_spec

from celery import Celery, signals
from celery.contrib.django.task import DjangoTask
from celery.schedules import crontab, schedule
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

LONGEST_TASK = 25 * 60  # seconds; RabbitMQ gives up on a message after 30 minutes without an ack
INVISIBLE_FOR = (
    LONGEST_TASK + 5 * 60
)  # a message is handed out again when its worker has said nothing that long

# Options for each kind of broker. Where they come from: docs of kombu's transports, and measurements.
TRANSPORT_OPTIONS = {
    "pgmq": {
        "init_extension": False,  # its SQL is installed by config/migrations
        "use_notify": True,
        "wait_time_seconds": 0,
        "polling_interval": 0.1,
        "visibility_timeout": INVISIBLE_FOR,
        "pool_size": 2,
    },
    "redis": {"visibility_timeout": INVISIBLE_FOR},
    "rediss": {"visibility_timeout": INVISIBLE_FOR},
}
# A dead broker holds nobody up for long who sends a message: the row is there, and the sweep finds it.
GIVE_UP_SOON = {"connect_retries_timeout": 1, "interval_start": 0.2, "interval_step": 0.2}
# Options of every worker: mingle and gossip make queues named after the host, which pgmq cuts off.
WORKER_FLAGS = ("--without-mingle", "--without-gossip")


def broker_url():
    """CELERY_BROKER_URL, else the default database as a pgmq:// address."""
    if settings.CELERY_BROKER_URL:
        return settings.CELERY_BROKER_URL
    from config import database

    configured = settings.DATABASES["default"]
    if configured["ENGINE"] == "config.postgres":
        from config.postgres.base import locate

        locate(configured)
    return database.to_url(configured, scheme="pgmq")


def configuration():
    """Celery's settings; computed when first needed, since the address may mean starting a server."""
    url = broker_url()
    return {
        "broker_url": url,
        "broker_transport_options": GIVE_UP_SOON | TRANSPORT_OPTIONS.get(url.partition(":")[0], {}),
        "visibility_timeout": INVISIBLE_FOR,  # Redis reads it in three places
        "result_backend_transport_options": {"visibility_timeout": INVISIBLE_FOR},
        "broker_connection_retry_on_startup": True,
        "worker_cancel_long_running_tasks_on_connection_loss": True,  # they are redelivered
        "task_default_queue": settings.QUEUE,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,  # else a task whose process was killed counts as done
        "task_time_limit": LONGEST_TASK,
        "worker_prefetch_multiplier": 4,  # with 1, pgmq manages two tasks a second
        "worker_enable_remote_control": False,  # its queues carry the host's name
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "timezone": "UTC",  # beat loses or doubles an entry when a zone changes its clocks
        "beat_schedule": beat_schedule(),
    }


def beat_schedule():
    """The timetable of what happens by the clock; sweeps expire unread, so that a stopped worker finds no pile of them."""
    entries = {
        "recompute": {
            "task": "segmentation.tasks.nightly",  # asks whether it is night where the organisation is
            "schedule": crontab(minute=0),
            "options": {"expires": 30 * 60},
        },
        "sweep runs": _sweep("segmentation.tasks.sweep"),
        "sweep imports": _sweep("accounts.tasks.sweep"),
        "sweep requests and messages": _sweep("governance.tasks.sweep"),
        "the day's work": _sweep("governance.tasks.daily"),  # asks whether it is done; does it once a day
    }
    return {name: entry for name, entry in entries.items() if find_spec(entry["task"].rpartition(".")[0])}


def _sweep(task):
    seconds = settings.SWEEP_SECONDS
    return {"task": task, "schedule": schedule(seconds), "options": {"expires": seconds}}


class Work(DjangoTask):
    """A task; whatever it writes is written through a worker."""

    def __call__(self, *args, **options):
        from core.history import acting  # models are ready only when there is work
        from core.organisation import in_its_time

        if self.request.called_directly:
            return super().__call__(*args, **options)
        with acting(channel="worker"), in_its_time():
            return super().__call__(*args, **options)


app = Celery("demarc", task_cls=Work)
app.add_defaults(configuration)
app.autodiscover_tasks()


@signals.worker_init.connect
@signals.beat_init.connect
def refuse_unfit_database(**_):
    """No worker and no scheduler on a database that is behind or has lost its guards (SystemExit: Celery only logs the rest)."""
    from config import schema
    from core.refusals import Refused

    try:
        schema.check()
    except Refused as refusal:
        raise SystemExit(str(refusal)) from None
