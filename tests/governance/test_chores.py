"""A day's work is done once, from the morning on, and again where it failed."""

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest
from django.db import connection
from django.utils import timezone

from governance import chores, tasks
from governance.models import Chore

MORNING = timezone.make_aware(datetime(2026, 6, 1, 6))


@pytest.mark.parametrize(
    ("zone", "now", "is_done"),
    [
        ("UTC", "2026-06-01T05:59", False),
        ("UTC", "2026-06-01T06:00", True),
        ("America/New_York", "2026-06-01T09:59", False),
        ("America/New_York", "2026-06-01T10:00", True),
        ("Europe/Berlin", "2026-03-29T04:00", True),  # 06:00 on the day the clocks went forward
        ("Europe/Berlin", "2026-10-25T04:59", False),  # 05:59 on the day they went back
    ],
)
def test_it_begins_in_the_organisations_morning(db, zone, now, is_done):
    with timezone.override(zone):
        done = chores.work({"one": lambda: None}, now=datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert done == (["one"] if is_done else [])


def test_each_step_is_done_once_a_day(db):
    done = []
    steps = {"one": lambda: done.append(1), "two": lambda: done.append(2)}
    for hour in range(12):
        chores.work(steps, now=MORNING + timedelta(hours=hour))
    assert done == [1, 2]
    chores.work(steps, now=MORNING + timedelta(days=1))
    assert done == [1, 2, 1, 2]


def test_a_step_that_fails_is_kept_tried_again_and_holds_up_no_other(db):
    done, wrong = [], [ValueError("no figures")]

    def fail():
        if wrong:
            raise wrong.pop()
        done.append("one")

    steps = {"one": fail, "two": lambda: done.append("two")}
    assert chores.work(steps, now=MORNING) == ["two"]
    assert Chore.objects.get(step="one").error == "ValueError: no figures"
    assert chores.work(steps, now=MORNING + timedelta(minutes=1)) == []
    assert chores.work(steps, now=MORNING + chores.KIND.pauses[0] + timedelta(seconds=1)) == ["one"]
    assert Chore.objects.get(step="one").error == ""
    assert done == ["two", "one"]


def test_a_step_that_always_fails_is_given_up_for_the_day(db):
    tries = []

    def fail():
        tries.append(1)
        raise ValueError

    for hour in range(18):
        chores.work({"one": fail}, now=MORNING + timedelta(hours=hour))
    assert len(tries) == chores.KIND.attempts
    assert Chore.objects.get().status == "failed"


def test_two_schedulers_do_it_once(real_db):
    done, together = [], Barrier(4)

    def work():
        together.wait()
        try:
            chores.work({"one": lambda: done.append(1), "two": lambda: done.append(2)}, now=MORNING)
        finally:
            connection.close()

    threads = [Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(done) == [1, 2]


@pytest.mark.parametrize("task", [tasks.follow, tasks.sweep, tasks.daily])
def test_with_nothing_to_do_every_task_does_nothing_however_often(db, task, caplog):
    for _ in range(2):
        task()
    assert "failed" not in caplog.text


def test_a_step_of_a_sweep_that_fails_holds_up_no_other(db, monkeypatch, caplog):
    done = []
    monkeypatch.setattr(tasks.due, "apply_due", lambda at: 1 / 0)
    monkeypatch.setattr(tasks.mail, "send_due", lambda: done.append("mail"))
    tasks.sweep()
    assert done == ["mail"]
    assert "ZeroDivisionError" in caplog.text
