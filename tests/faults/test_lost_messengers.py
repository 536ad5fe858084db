"""Real processes that tell and mail people, killed with -9 in the middle: everybody is told once, and nobody is forgotten."""

import contextlib
import os
import signal
from datetime import timedelta

import psycopg
from django.conf import settings
from django.core import mail as sent
from django.db import connection, transaction
from django.utils import timezone
from governing import someone
from waiting import PATIENCE, wait_until

from accounts.history import acting
from governance import events, mail, notifications
from governance.models import Notification, Outbox

TELL = "import django; django.setup(); from governance import {0}; {0}.{1}()"


@contextlib.contextmanager
def standing_still(table):
    """Whoever wants to write to the table waits until this ends; it is read, and its rows are locked, as before."""
    names = ("host", "port", "user", "password", "dbname")
    known = {name: value for name in names if (value := connection.get_connection_params().get(name))}
    with psycopg.connect(**known) as other:
        other.execute(f"lock table {table} in share mode")
        yield other


def waiting_for_lock(other):
    here = "(select oid from pg_database where datname = current_database())"
    waiting = f"select count(*) from pg_locks where not granted and database = {here}"
    return other.execute(waiting).fetchone()[0] > 0


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tell(user, count, **data):
    with transaction.atomic(), acting(label="tests"):
        for number in range(count):
            events.record("role_changed", f"No. {number}", data={"user": user.pk} | data)


def test_what_a_killed_process_was_telling_is_told_once(real_db, spawn):
    olga = someone("olga", "CS Ops")
    tell(olga, 20)
    environment = real_db.environment | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    # It has claimed the events, and waits to write the lines.
    with standing_still("governance_notification") as other:
        process = spawn("-c", TELL.format("notifications", "deliver"), env=environment)
        wait_until(lambda: waiting_for_lock(other))
        assert process.poll() is None
        kill(process)
    assert Notification.objects.count() == 0
    assert notifications.deliver() == 0  # they are still claimed
    later = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
    assert notifications.deliver(now=later) == 20
    assert olga.notifications.count() == 20
    assert not Outbox.objects.exists()


def test_what_a_killed_process_was_mailing_is_mailed_later(real_db, spawn):
    olga = someone("olga", "CS Ops", email="olga@example.com")
    tell(olga, 1, urgent=True)
    notifications.deliver()
    line = Notification.objects.get()
    # It has claimed the message, and is killed before the server has it.
    code = TELL.format("mail", "send_due").replace(
        "mail.send_due", "mail.message = lambda *rows, **to: os.kill(os.getpid(), 9); mail.send_due"
    )
    environment = real_db.environment | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    process = spawn("-c", "import os; " + code, env=environment)
    assert process.wait(timeout=PATIENCE) == -signal.SIGKILL
    line.refresh_from_db()
    assert line.mail.attempts == 1
    assert mail.send_due(now=line.mail.leased_until) == 0  # it is still claimed
    assert mail.send_due(now=line.mail.leased_until + timedelta(seconds=1)) == 1
    assert [message.to for message in sent.outbox] == [["olga@example.com"]]
