"""Web, worker and scheduler as one; messages on every broker."""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import probe
import pytest
from django.contrib.auth.models import Group
from django.db import connection
from waiting import PATIENCE, answers, free_port, wait_until

from accounts.models import Account, Subscription
from config import celery
from config.celery import WORKER_FLAGS
from segmentation.models import Assignment, Move

TESTS = Path(__file__).resolve().parent


@pytest.fixture
def serving(real_db, spawn, tmp_path):
    """`manage.py serve`, ready: (process, port, pids by part)."""
    port = free_port()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = real_db.environment | {
        "DEMARC_HOME": str(tmp_path),
        "PORT": str(port),
        "WORKER_CONCURRENCY": "1",
    }
    process = spawn("manage.py", "serve", env=environment, **pipes)
    wait_until(lambda: answers("127.0.0.1", port) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    parts = wait_until(lambda: len(found := children(process.pid)) == 3 and found)
    # The worker has its queue once it consumes: from then on it handles signals itself.
    wait_until(lambda: queue_exists(real_db))
    return process, port, parts


def queue_exists(real_db):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pgmq.meta WHERE queue_name = %s", [real_db.environment["DEMARC_QUEUE"]]
        )
        return cursor.fetchone()[0]


def children(pid):
    """Command line word -> pid of the parts started by `pid`."""
    found = {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        found |= {part: child for part in ("gunicorn", "worker", "beat") if part in words}
    return found


def family(pid):
    """`pid` and all that descend from it."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [each for child in listed for each in family(int(child))]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_one_signal_ends_every_part(serving, number):
    process, port, _ = serving
    assert b"Demarc" in urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
    everyone = family(process.pid)
    assert len(everyone) >= 6  # supervisor, gunicorn and its workers, the worker and its pool, beat
    process.send_signal(number)
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "")
    assert [pid for pid in everyone if is_running(pid)] == []


@pytest.mark.parametrize(
    "part", ["worker", *(pytest.param(part, marks=pytest.mark.long) for part in ("gunicorn", "beat"))]
)
def test_a_part_that_fails_ends_the_whole_and_says_why(serving, part):
    process, _, parts = serving
    everyone = family(process.pid)
    os.kill(parts[part], signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE)
    name = "web" if part == "gunicorn" else part
    assert (process.returncode, out) == (1, "")
    assert err.strip().endswith(f"stopped: {name} was ended by SIGKILL")
    wait_until(lambda: not any(map(is_running, everyone)))


def test_killing_the_whole_leaves_no_orphan(serving):
    process, _, _ = serving
    everyone = family(process.pid)
    process.kill()
    wait_until(lambda: not any(map(is_running, everyone)))


def test_a_taken_port_is_one_clear_line(real_db, spawn):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = spawn(
            "manage.py", "serve", env=real_db.environment | {"PORT": str(port)}, stderr=subprocess.PIPE
        )
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err.startswith(f"CommandError: port {port} on 127.0.0.1 cannot be used")
    assert len(err.strip().splitlines()) == 1


ALONE = {
    "web": ["-m", "gunicorn", "config.wsgi", "--no-control-socket", "--bind=127.0.0.1:0"],
    "worker": ["-m", "celery", "--quiet", "-A", "config", "worker", *WORKER_FLAGS],
    "beat": ["-m", "celery", "--quiet", "-A", "config", "beat"],
}


@pytest.fixture
def behind(real_db):
    """The environment of a database that lacks the newest migration of the messages' queue."""
    with connection.cursor() as cursor:
        cursor.execute("delete from django_migrations where app = 'config' and name like '0002%'")
    return real_db.environment


SENTENCE = "The database lacks 1 migration of this version (config.0002_listen_one_at_a_time): "


def test_serve_on_a_database_that_is_behind_is_one_clear_line(behind, spawn):
    environment = behind | {"PORT": str(free_port())}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = spawn("manage.py", "serve", env=environment, **pipes)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"CommandError: {SENTENCE}")
    assert "`manage.py migrate`" in err
    assert "`make run`" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("part", ALONE)
def test_a_part_started_by_hand_says_the_same(behind, spawn, tmp_path, part):
    schedule = [f"--schedule={tmp_path / 'schedule'}"] if part == "beat" else []
    process = spawn(*ALONE[part], *schedule, env=behind, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode
    assert SENTENCE in said
    assert "Traceback" not in said


def test_serve_without_a_database_is_one_clear_line(real_db, spawn):
    url = real_db.url.rpartition("/")[0] + "/not_there"
    environment = real_db.environment | {"PORT": str(free_port()), "DATABASE_URL": url}
    process = spawn("manage.py", "serve", env=environment, stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err.startswith("CommandError: the database cannot be reached: ")
    assert len(err.strip().splitlines()) == 1


@pytest.fixture(
    params=[
        "pgmq",
        pytest.param("redis_url", marks=[pytest.mark.broker, pytest.mark.long]),
        pytest.param("rabbitmq_url", marks=pytest.mark.broker),
    ]
)
def broker(request, real_db, monkeypatch):
    """The environment of a worker on one of the brokers; messages from here go there too."""
    environment = real_db.environment | {"PYTHONPATH": str(TESTS)}
    if request.param != "pgmq":
        url = request.getfixturevalue(request.param)
        monkeypatch.setattr(celery.conf, "broker_url", url)
        environment["CELERY_BROKER_URL"] = url
    return environment


def test_a_message_reaches_a_worker_with_a_long_host_name(broker, spawn_worker):
    spawn_worker("--include=probe", f"--hostname=worker@{'long-' * 12}host", env=broker)
    probe.note.delay("there")
    wait_until(lambda: Group.objects.filter(name="there").exists())


def test_a_task_whose_process_is_killed_is_done_again(broker, spawn_worker):
    spawn_worker("--include=probe", env=broker)
    probe.die_once.delay("task")
    wait_until(lambda: Group.objects.filter(name="task ended").exists())


def test_the_demonstration_twice_changes_nothing_and_prints_one_line_of_json(real_db, spawn, tmp_path):
    printed, written = [], []
    for _ in range(2):
        environment = real_db.environment | {"DEMARC_HOME": str(tmp_path)}
        process = spawn("-W", "error", "manage.py", "demo", env=environment, stdout=subprocess.PIPE)
        printed.append(json.loads(process.communicate(timeout=PATIENCE)[0]))
        printed[-1].pop("seconds")
        rows = (Move, Account.history, Assignment.history, Subscription.history)
        written.append([getattr(model, "objects", model).count() for model in rows])
    assert written[0] == written[1]
    assert printed[0] == printed[1]
    assert printed[0]["accounts"] >= 500
    assert printed[0]["segmented"] == sum(printed[0]["segments"].values()) >= 0.9 * printed[0]["accounts"]
    assert list(printed[0]["segments"]) == ["high-touch", "low-touch", "tech-touch"]
