"""Cut-offs over the whole portfolio are measured once, whatever happens to who measures them: real processes."""

import signal
from contextlib import contextmanager

import databases
import pytest
from django.db import connection, transaction
from segmenting import DAY, account, layer_with
from waiting import PATIENCE, wait_until

from segmentation.evaluation import frames
from segmentation.models import Assignment, Run, RunLayer
from segmentation.runs import recalculation

FIFTHS = {
    "dimensions": [
        {"key": "worth", "criteria": [{"key": "arr", "cells": "quintiles", "missing": "skip"}]},
    ],
    "rules": [
        {"segment": "high", "top": "2 by composite"},
        {"segment": "low", "when": "points.arr >= 3"},
        {"segment": "tech"},
    ],
}
# The second segmentation ranks by what the first one's quintiles make.
OVER_IT = {"rules": [{"segment": "high", "top": "1 by composite.tier"}, {"segment": "tech"}]}


def tiers(accounts):
    layer_with(FIFTHS, policy="automatic")
    layer_with(OVER_IT, key="over", policy="automatic")
    for number in range(accounts):
        account(f"a{number:02}", arr=number * 1000)


@contextmanager
def nothing_can_be_read():
    """Whoever reads accounts waits, until the end of the block."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("lock table accounts_account in access exclusive mode")
        yield


def waiting(database):
    """How many other connections of this database wait for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_stat_clear_snapshot()")
        cursor.execute(
            "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'",
            [database.name],
        )
        return cursor.fetchone()[0]


def labels(key):
    found = Assignment.objects.filter(layer__key=key).order_by("account__external_id")
    return [segment for (segment,) in found.values_list("effective__key")]


def test_who_measures_is_killed_and_the_next_one_measures(real_db, spawn):
    tiers(10)
    run = recalculation.start(as_of=DAY, chunk=3)
    with nothing_can_be_read():
        code = f"from segmentation.runs import recalculation; recalculation.work({run.pk})"
        process = spawn("manage.py", "shell", "-c", code, env=real_db.environment | {"DEMARC_LEASE": "1"})
        wait_until(lambda: waiting(real_db) == 1)
        assert recalculation.abandoned() == []  # somebody is at it
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert RunLayer.objects.filter(run=run, cutoffs__isnull=True).count() == 2
    wait_until(lambda: recalculation.abandoned() == [run])
    assert recalculation.work(run.pk, wait=True).status == Run.Status.FINISHED
    assert labels("tier") == ["tech"] * 4 + ["low"] * 4 + ["high"] * 2
    assert labels("over") == ["tech"] * 8 + ["high"] * 2  # equal ones stay together


def test_of_several_processes_one_measures(real_db, spawn):
    tiers(10)
    run = recalculation.start(as_of=DAY, chunk=2)
    code = f"from segmentation.runs import recalculation; recalculation.work({run.pk}, wait=True)"
    with nothing_can_be_read():
        processes = [spawn("manage.py", "shell", "-c", code) for _ in range(3)]
        wait_until(lambda: waiting(real_db) == 1)
    assert [process.wait(timeout=PATIENCE) for process in processes] == [0, 0, 0]
    run.refresh_from_db()
    assert run.status == Run.Status.FINISHED
    assert labels("tier") == ["tech"] * 4 + ["low"] * 4 + ["high"] * 2
    again = recalculation.work(recalculation.start(as_of=DAY, chunk=3).pk, wait=True)
    assert [one.counts["changed"] for one in again.layers.all()] == [0, 0]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arr", "expected"),
    [
        ([], []),
        ([5], ["high"]),
        ([5, 5, 5, 5], ["high"] * 4),
        ([None, None], [None, None]),
        ([None, 7], [None, "high"]),
    ],
)
def test_portfolios_of_hardly_anybody(arr, expected):
    tiers(0)
    for number, value in enumerate(arr):
        account(f"a{number}", arr=value)
    run = recalculation.work(recalculation.start(as_of=DAY).pk, wait=True)
    assert run.status == Run.Status.FINISHED
    assert labels("tier") == expected


def test_postgresql_is_told_of_tables_that_were_filled(real_db):
    def unseen():
        with connection.cursor() as cursor:
            cursor.execute("select relname from pg_class where relpages = 0 and pg_relation_size(oid) > 0")
            return {name for (name,) in cursor.fetchall()}

    tiers(3)
    recalculation.work(recalculation.start(as_of=DAY).pk, wait=True)
    with databases.superuser(real_db.name) as chief:  # as right after they were filled
        chief.execute(
            "update pg_class set relpages = 0, reltuples = -1 where relname = any(%s)", [frames.READ]
        )
    assert "segmentation_assignment" in unseen()
    recalculation.start(as_of=DAY)
    assert not {"segmentation_assignment", "segmentation_assignmentscore", "segmentation_move"} & unseen()
