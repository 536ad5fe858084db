"""The promises of work, for each kind of it: killed, late, two at once, always failing, untold, not due yet."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg
import pytest
from databases import unsigned
from django.core import mail as sent
from django.db import connection, transaction
from django.utils import timezone
from governing import someone
from importing import GOOD, recipe
from segmenting import BY_ARR, DAY, draft_of, layer_with, person, portfolio, recompute
from waiting import wait_until

from accounts import imports
from accounts.imports import batches
from accounts.models import Csm, ImportBatch
from core.history import acting
from governance import chores, events
from governance.models import Notification
from governance.news import mail, notifications
from segmentation.models import Assignment, Simulation
from segmentation.previews import simulation
from segmentation.runs import recalculation

NOON = timezone.localtime().replace(hour=12, minute=0)
LATE = max(NOON, timezone.now()) + timedelta(hours=1)  # every lease has ended by then


@dataclass(frozen=True)
class Case:
    """A kind of work. make(n): that many parts to do; code: how another process does them, which stands still where it
    needs `table`; go: how this one does; outcome: how many are done, the number made where each is done once."""

    kind: object
    make: Callable
    code: str
    table: str
    go: Callable
    outcome: Callable


def run(count):
    layer_with(BY_ARR)
    portfolio(count)
    recalculation.start(as_of=DAY, chunk=1)


def preview(count):
    layer = layer_with(BY_ARR, policy="automatic")
    portfolio(count)
    recompute()
    draft = draft_of(layer, {"rules": [{"segment": "low", "when": "arr >= 0"}]})
    made = simulation.start(draft, by=person("petra", "preview_rules"), as_of=DAY)
    made.parts.all().delete()
    accounts = sorted(Assignment.objects.values_list("account", flat=True))
    for account in accounts:
        made.parts.create(first=account, last=account)


def uploads(count):
    for _ in range(count):
        imports.create(recipe({"crm.csv": GOOD}), {"crm.csv": GOOD.encode()}, label="ops")


STEPS = """
from datetime import timedelta
from django.utils import timezone
from accounts.models import Csm
from governance import chores
at = timezone.localtime().replace(hour=12, minute=0) + timedelta(hours={later})
steps = {{name: lambda name=name: Csm.objects.get_or_create(email=name) for name in chores.Chore.objects.values_list("step", flat=True)}}
chores.work(steps, now=at)
"""


def steps(count):
    day = timezone.localtime(NOON).date()
    chores.Chore.objects.bulk_create(chores.Chore(day=day, step=f"{n}@x") for n in range(count))


def things_told(count):
    olga = someone("olga", "CS Ops", email="olga@example.com")
    with transaction.atomic(), unsigned(), acting(label="tests"):
        for number in range(count):
            events.record("role_changed", f"No. {number}", data={"user": olga.pk, "urgent": True})


def mails(count):
    for number in range(count):
        user = someone(f"olga{number}", "CS Ops", email=f"olga{number}@example.com")
        with transaction.atomic(), unsigned(), acting(label="tests"):
            events.record("role_changed", "A role", data={"user": user.pk, "urgent": True})
    notifications.deliver()


CASES = {
    "recalculation": Case(
        recalculation.KIND, run, "from segmentation.runs import recalculation; recalculation.sweep()", "segmentation_assignment",
        recalculation.sweep, lambda: Assignment.history.count(),
    ),
    "preview": Case(
        simulation.KIND, preview, "from segmentation.previews import simulation; simulation.sweep()", "accounts_account",
        simulation.sweep, lambda: simulation.progress(Simulation.objects.get())["accounts_done"],
    ),
    "import": Case(
        batches.KIND, uploads, "from accounts import imports; imports.sweep()", "accounts_account",
        imports.sweep, lambda: ImportBatch.objects.filter(status="previewed").count(),
    ),
    "chore": Case(
        chores.KIND, steps, STEPS.format(later=0), "accounts_csm",
        lambda: exec(STEPS.format(later=1), {}), lambda: Csm.objects.count(),
    ),
    "outbox": Case(
        notifications.KIND, things_told, "from governance.news import notifications; notifications.deliver()",
        "governance_notification", lambda: notifications.deliver(now=LATE), lambda: Notification.objects.count(),
    ),
    "mail": Case(
        mail.KIND, mails, "from governance.news import mail; mail.send_due()", "governance_notification",
        lambda: mail.send_due(now=LATE), lambda: len(sent.outbox),
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def standing_in(real_db, case, spawn):
    """A process that works the kind, once it waits for the table in the middle of a part; with the lock it waits for."""
    other = psycopg.connect(real_db.url)
    other.execute(f"lock table {case.table} in access exclusive mode")
    environment = real_db.environment | {"DEMARC_LEASE": "1", "DJANGO_SETTINGS_MODULE": "config.settings"}
    process = spawn("-c", f"import django; django.setup(); {case.code}", env=environment)
    waiting = "select count(*) from pg_locks l join pg_database d on d.oid = l.database where not granted and datname = %s"
    with psycopg.connect(real_db.url, autocommit=True) as watch:
        wait_until(lambda: watch.execute(waiting, [real_db.name]).fetchone()[0] or process.poll() is not None)
    assert process.poll() is None
    return process, other


def test_what_a_killed_process_was_at_is_done_once_by_the_next(real_db, spawn, case):
    case.make(2)
    process, lock = standing_in(real_db, case, spawn)
    with lock:
        assert case.kind.parts.objects.filter(status="claimed").exists()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def done():
        case.go()
        return case.outcome() == 2

    wait_until(done)
    assert not case.kind.parts.objects.open().exists()
    case.go()
    assert case.outcome() == 2


def test_who_is_at_a_part_keeps_it_however_long_it_takes(real_db, spawn, case):
    case.make(1)
    process, lock = standing_in(real_db, case, spawn)
    with lock:
        later = max(LATE, timezone.now() + timedelta(days=1))
        assert case.kind.claim(at=later) == []
        lock.rollback()
        process.wait(timeout=300)
    assert case.kind.parts.objects.filter(status__in=["pending", "claimed", "failed"]).count() == 0


def test_whoever_comes_late_writes_nothing(real_db, case):
    case.make(1)
    late = case.kind.claim()
    case.kind.parts.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert [part.pk for part in case.kind.claim()] == [part.pk for part in late]
    before = case.outcome()
    assert case.kind.attempt(late, lambda: pytest.fail("It has begun"), []) == 0
    assert case.outcome() == before
    assert case.kind.parts.objects.get().status == "claimed"


def test_two_at_once_do_each_part_once(real_db, case):
    case.make(2)

    def go():
        try:
            case.go()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        [one.result() for one in [pool.submit(go), pool.submit(go)]]
    case.go()
    assert case.outcome() == 2
    assert not case.kind.parts.objects.filter(attempts__gt=1).exists()


def test_a_part_that_always_fails_is_given_up_and_holds_up_no_other(real_db, case):
    case.make(2)
    bad, worked = case.kind.parts.objects.order_by("pk").first().pk, []

    def do(parts, *given):
        if bad in {part.pk for part in parts}:
            raise ValueError("no figures")
        worked.extend(part.pk for part in parts)

    kind = replace(case.kind, do=do)
    for day in range(10):
        kind.turns(at=LATE + timedelta(days=day))
    part = kind.parts.objects.get(pk=bad)
    assert (part.status, part.error) == ("failed", "ValueError: no figures")
    assert part.attempts == (kind.attempts if kind.pauses else 1)
    assert len(worked) == (0 if getattr(kind, "whole", False) else 1)


def test_what_no_message_told_of_is_found(real_db, case, monkeypatch):
    monkeypatch.setattr("core.workers.wake", lambda *message, **times: None)
    case.make(2)
    case.go()
    assert case.outcome() == 2


def test_what_is_due_later_is_not_done_earlier(real_db, case):
    case.make(1)
    case.kind.parts.objects.update(due=LATE + timedelta(hours=2))
    case.go()
    assert case.kind.claim(at=LATE) == []
    assert case.kind.parts.objects.get().attempts == 0
    assert len(case.kind.claim(at=LATE + timedelta(hours=3))) == 1


def test_a_lane_that_is_slow_delays_no_other(real_db):
    """Three messages to one address and one to another: while one is at the first lane, the next takes the other."""
    mails(2)
    slow, other = mail.Mail.objects.order_by("pk")
    for _ in range(2):
        mail.Mail.objects.create(user=slow.user, lane=slow.lane, due=slow.due)
    one_by_one = replace(mail.KIND, most=1)
    [first] = one_by_one.claim(at=LATE)
    [second] = one_by_one.claim(at=LATE)
    assert [first, second] == [slow, other]
    assert one_by_one.claim(at=LATE) == []
    assert [part.lane for part in replace(mail.KIND).claim(at=LATE + timedelta(hours=1))] == [slow.lane] * 3
