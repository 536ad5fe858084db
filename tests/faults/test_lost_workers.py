"""Real workers, killed with -9 in the middle of a recalculation: it ends by itself, as if nothing had happened.

A table that every chunk writes to is locked from here, so that the workers stand still inside their chunks: some are
claimed, others pending, and nothing depends on luck.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import kombu
import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from segmenting import BY_ARR, DAY, layer_with, portfolio, recompute, state
from waiting import PATIENCE, wait_until

from segmentation.models import Run, RunPart
from segmentation.runs import recalculation

ROOT = Path(__file__).resolve().parents[2]
ACCOUNTS, CHUNK = 120, 10
RECOMPUTE = ("manage.py", "recompute", "--as-of", "2026-06-01")


@pytest.fixture
def undisturbed(real_db, request):
    """Accounts (as many as asked for) and two layers; the state an undisturbed run leaves, which is rolled back."""
    layer_with()
    layer_with(BY_ARR, key="arr", policy="automatic")
    count = getattr(request, "param", ACCOUNTS)
    portfolio(count)
    with transaction.atomic():
        recompute()
        expected = state()
        transaction.set_rollback(True)
    assert len(expected["moves"]) > count
    return expected


@pytest.fixture
def environment(real_db):
    """Short leases and sweeps, so that a test need not wait half a minute."""
    return real_db.environment | {"DEMARC_LEASE": "1", "DEMARC_SWEEP": "1"}


@contextlib.contextmanager
def standing_still(table):
    """Whoever wants to write to the table waits until this ends."""
    parameters = connection.get_connection_params()
    parameters = {
        key: parameters[key] for key in ("host", "port", "user", "password", "dbname") if parameters.get(key)
    }
    with psycopg.connect(**parameters) as other:
        other.execute(f"lock table {table} in exclusive mode")
        yield


def start(environment):
    """Start a run in a process of its own, so that its messages go where `environment` says."""
    code = f"import datetime; from segmentation.runs import recalculation; print(recalculation.start(as_of={DAY!r}, chunk={CHUNK}).pk)"
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", code]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return Run.objects.get(pk=done.stdout)


def claimed():
    return list(RunPart.objects.filter(status="claimed").order_by("id"))


def working(count):
    """The claimed chunks, once that many processes stand still in one each."""

    def found():
        chunks = claimed()
        return chunks if len({chunk.worker for chunk in chunks}) == count else None

    return wait_until(found)


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


def pid_of(chunk):
    return int(chunk.worker.rpartition(":")[2])


def kill(pid, workers, *, whole):
    """Kill -9 the process that works a chunk, and its worker's other processes too if `whole`."""
    main = parent_of(pid)
    assert main in {worker.pid for worker in workers}
    if whole:
        os.killpg(main, signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGKILL)


def ended(run):
    wait_until(lambda: Run.objects.get(pk=run.pk).status != "running")
    run.refresh_from_db()
    return run


def kill_and_compare(spawn_worker, environment, expected, tmp_path, *, table, whole):
    workers = [
        spawn_worker(env=environment),
        spawn_worker("--beat", f"--schedule={tmp_path / 'beat'}", env=environment),
    ]
    with standing_still(table):
        run = start(environment)
        chunks = working(2)
        assert RunPart.objects.filter(status="pending").exists()
        # The first worker: the other one has the beat, and stays.
        [lost] = [chunk for chunk in chunks if parent_of(pid_of(chunk)) == workers[0].pid]
        kill(pid_of(lost), workers, whole=whole)
    run = ended(run)
    assert (run.status, run.error) == ("finished", "")
    assert state() == expected
    assert not run.quarantined.exists()
    token = lost.token  # more than 1 where the machine took a second from claim to work
    lost.refresh_from_db()
    assert (lost.status, lost.token) == ("done", token + 1)
    return run


@pytest.mark.parametrize(
    ("table", "whole"),
    [
        pytest.param("segmentation_assignment", True, marks=pytest.mark.long),
        pytest.param("segmentation_assignmentscore", True, marks=pytest.mark.long),
        ("segmentation_move", True),
        pytest.param("segmentation_cause", False, marks=pytest.mark.long),
        ("segmentation_historicalassignment", False),
    ],
)
def test_a_worker_is_killed(undisturbed, environment, spawn_worker, tmp_path, table, whole):
    kill_and_compare(spawn_worker, environment, undisturbed, tmp_path, table=table, whole=whole)


@pytest.mark.broker
@pytest.mark.parametrize("kind", ["redis", pytest.param("rabbitmq", marks=pytest.mark.long)])
def test_a_worker_is_killed_on_another_broker(
    undisturbed, environment, spawn_worker, tmp_path, kind, request
):
    url = request.getfixturevalue(f"{kind}_url")
    environment |= {"CELERY_BROKER_URL": url}
    with queue_removed(url, environment["DEMARC_QUEUE"]):
        kill_and_compare(
            spawn_worker, environment, undisturbed, tmp_path, table="segmentation_move", whole=True
        )


@contextlib.contextmanager
def queue_removed(url, queue):
    """A durable queue would stay with the broker for ever."""
    try:
        yield
    finally:
        with kombu.Connection(url) as messages:
            messages.default_channel.queue_delete(queue)


@pytest.mark.parametrize(
    "processes", [2, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 4))]
)
def test_any_number_of_processes_gives_the_same(undisturbed, environment, spawn_worker, processes):
    environment |= {"DEMARC_LEASE": "300"}  # nobody is lost, however long one takes
    spawn_worker(concurrency=processes, env=environment)
    with standing_still("segmentation_assignment"):
        run = start(environment)
        working(processes)  # every one of them takes part
    assert ended(run).status == "finished"
    assert state() == undisturbed
    assert set(run.parts.values_list("token", flat=True)) == {1}


@pytest.mark.parametrize("undisturbed", [600], indirect=True)  # three chunks of the size it chooses
def test_the_command_works_beside_workers_and_takes_over_from_lost_ones(
    undisturbed, environment, spawn_worker, spawn
):
    """`recompute` needs no worker, waits for what others hold, and returns when the run has ended."""
    worker = spawn_worker(env=environment)
    with standing_still("segmentation_move"):
        command = spawn(*RECOMPUTE, env=environment)
        chunks = working(2)
        assert command.pid in {pid_of(chunk) for chunk in chunks}
        os.killpg(worker.pid, signal.SIGKILL)
    assert command.wait(timeout=PATIENCE) == 0
    assert Run.objects.get().status == "finished"
    assert state() == undisturbed


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_the_command_is_ended_and_the_next_one_takes_over(undisturbed, environment, spawn, number):
    """No worker anywhere: what the first command left is ended by the next, which then does its own."""
    with standing_still("segmentation_move"):
        command = spawn(*RECOMPUTE, env=environment, stderr=subprocess.PIPE)
        working(1)
        with pytest.raises(CommandError, match="is being recalculated already"):  # somebody is at it
            call_command("recompute")
        command.send_signal(number)
        told = command.communicate(timeout=PATIENCE)[1]
    if number == signal.SIGINT:
        assert command.returncode == 130
        assert told.splitlines()[-1].startswith("CommandError: Interrupted.")
        assert not claimed()  # given back: nobody has to wait for the lease
    wait_until(lambda: recalculation.abandoned())
    another = spawn(*RECOMPUTE, env=environment, stderr=subprocess.PIPE)
    told = another.communicate(timeout=PATIENCE)[1]
    assert another.returncode == 0, told
    run = Run.objects.earliest("pk")
    assert told.startswith(f"Finishing run {run.pk} as of 2026-06-01, which was interrupted")
    assert list(Run.objects.values_list("status", flat=True)) == ["finished", "finished"]
    assert state() == undisturbed
