"""Databases, processes and brokers for the tests.

Ordinary tests take pytest-django's `db`: one transaction, rolled back. Tests that need real commits, several
connections or several processes take `real_db`: a database of their own, cloned (25 ms) from a migrated one that no
test has used, and dropped afterwards. (pytest-django's `transactional_db` cannot be used: it empties tables with
TRUNCATE, which append-only history refuses.)

The database server is the one of DATABASE_URL, else an embedded one of the tests' own under .demarc/test. It stays up
for the next run; `make clean` stops it.
"""

import contextlib
import copy
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import databases
import kombu.pools
import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection, connections, transaction
from django.test.utils import setup_databases, teardown_databases
from django.utils import timezone
from refusing import Met
from waiting import answers, free_port, is_served, wait_until

from config import celery, database, embedded
from config.celery import WORKER_FLAGS
from core.kept import keeping

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
IN_CI = os.environ.get("CI") == "true"
met = Met()
# Tests of these need something from outside; in CI it has to be there.
OUTSIDE = ("browser", "broker", "conformance", "data")
DATABASES = {"db", "real_db", "begun", "really_begun"}  # fixtures, one of which a test with a database takes


def pytest_configure(config):
    """Point Django and every process started from here at the tests' database server."""
    met.watch()
    if not hasattr(
        config, "workerinput"
    ):  # pytest-xdist's workers inherit it; a run that a test starts is its own
        os.environ["DEMARC_TEST_RUN"] = f"{time.time_ns():x}"
    _stay_within_today()
    if "DATABASE_URL" in os.environ:
        return
    home = ROOT / ".demarc" / "test"
    try:
        address = embedded.start(home, fast=True)
    except embedded.EmbeddedError:  # without fsync a crash of the machine may leave it unusable
        embedded.clean(home)
        address = embedded.start(home, fast=True)
    os.environ["DATABASE_URL"] = address.url  # pytest-xdist's workers and all other processes inherit it
    os.environ["DEMARC_HOME"] = str(home)


def _stay_within_today():
    """Late in the day the tests' organisation is where it is morning: no midnight falls between two of its todays."""
    if timezone.localtime().hour >= 20:
        behind = min(
            datetime.now(UTC).hour - 8, 12
        )  # hours behind Greenwich: there it is eight, or nearly noon
        zone = f"Etc/GMT{behind:+d}"
        os.environ["DEMARC_TIME_ZONE"] = os.environ["TZ"] = settings.TIME_ZONE = zone
        settings.FIXED = settings.FIXED | {"time_zone": zone}
        time.tzset()
        timezone.get_default_timezone.cache_clear()


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment, django_db_blocker):
    """The migrated database, under a name no other run uses.

    pytest-django's own makes none when no test takes `db`. Settings were read before pytest_configure ran, so the
    server it found is put in here.
    """
    default = settings.DATABASES["default"]
    default.update(database.from_url(os.environ["DATABASE_URL"]))
    connections["default"].close()
    del connections["default"]
    migrated = os.environ.get("DEMARC_TEST_TEMPLATE") or _migrated(default, django_db_blocker)
    default["TEST"] |= {
        "NAME": "_".join(
            ["test", os.environ["DEMARC_TEST_RUN"], os.environ.get("PYTEST_XDIST_WORKER", "alone")]
        ),
        "TEMPLATE": migrated,
    }
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, aliases=["default"], serialized_aliases=[])
        connection.close()
    with databases.copied(default["NAME"], name=databases.unused(default["NAME"])):
        yield
    with django_db_blocker.unblock():
        teardown_databases(made, verbosity=0)


def _migrated(default, blocker):
    """The name of the database of this run that is migrated once; the first process to ask makes it, others wait."""
    default["TEST"]["NAME"] = name = databases.migrated(os.environ["DEMARC_TEST_RUN"])
    with databases.server() as server:
        server.execute("select pg_advisory_lock(hashtext(%s))", [name])
        if not server.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
            with blocker.unblock():
                setup_databases(verbosity=0, interactive=False, aliases=["default"], serialized_aliases=[])
                connection.close()
                connection.settings_dict["NAME"] = default["NAME"] = database.from_url(
                    os.environ["DATABASE_URL"]
                )["NAME"]
    return name


def pytest_unconfigure(config):
    """The process that others were started from drops the database they were copies of."""
    if hasattr(config, "workerinput") or "DEMARC_TEST_TEMPLATE" in os.environ:
        return
    settings.DATABASES["default"].update(database.from_url(os.environ["DATABASE_URL"]))
    with databases.server() as server:
        server.execute(
            f'DROP DATABASE IF EXISTS "{databases.migrated(os.environ["DEMARC_TEST_RUN"])}" WITH (FORCE)'
        )


@dataclass(frozen=True)
class RealDatabase:
    """A database of one test's own; `environment` makes another process use it."""

    name: str
    url: str

    @property
    def environment(self):
        return {**os.environ, "DATABASE_URL": self.url, "DEMARC_QUEUE": f"t_{self.name[-32:]}"}


@pytest.fixture
def template(django_db_setup):
    """The name of the database that `real_db` is a copy of."""
    return databases.unused(connection.settings_dict["NAME"])


@pytest.fixture
def real_db(request, template, django_db_blocker, monkeypatch):
    """A fresh migrated database with real commits; Django, its threads, Celery and child processes use it.

    Yields a RealDatabase. Do not combine with `db`, `django_db` or fixtures built on them (admin_client, ...).
    """
    if "db" in request.fixturenames or request.node.get_closest_marker("django_db"):
        raise pytest.UsageError("a test takes real_db or db, not both")
    with _real(template, django_db_blocker, monkeypatch) as made:
        yield made


@pytest.fixture
def really_begun(worlds, django_db_blocker, monkeypatch):
    """`really_begun(make)`: what `make()` made, in a copy of the database it was made in, as `real_db` is."""
    with contextlib.ExitStack() as opened:

        def begin(make):
            name, made = worlds(make)
            opened.enter_context(_real(name, django_db_blocker, monkeypatch))
            return copy.deepcopy(made)

        yield begin


@contextlib.contextmanager
def _real(template, blocker, monkeypatch):
    """A copy of that database, for Django, Celery and the processes started from here."""
    with databases.copied(template) as name, databases.using(name, blocker):
        made = RealDatabase(name=name, url=database.to_url(connection.settings_dict))
        for variable in ("DATABASE_URL", "DEMARC_QUEUE"):
            monkeypatch.setenv(variable, made.environment[variable])
        with _celery_on(made):
            yield made


@pytest.fixture(scope="session")
def worlds(django_db_setup, django_db_blocker):
    """`worlds(make)`: the database in which `make()` was called and committed, and what it returned. Once a process."""
    made, template = {}, databases.unused(connection.settings_dict["NAME"])
    with contextlib.ExitStack() as databases_made:

        def of(make):
            if make not in made:
                name = databases_made.enter_context(databases.copied(template))
                with databases.using(name, django_db_blocker):
                    made[make] = name, make()
            return made[make]

        yield of


@pytest.fixture
def begun(worlds, django_db_blocker):
    """`begun(make)`: what `make()` made, in a database where that is committed; what the test writes is rolled back.

    For what many tests begin with: it is made once in each process. In place of `db`, not beside it.
    """
    with contextlib.ExitStack() as opened:

        def begin(make):
            name, made = worlds(make)
            opened.enter_context(databases.using(name, django_db_blocker))
            opened.enter_context(transaction.atomic())
            opened.callback(transaction.set_rollback, True)
            return copy.deepcopy(made)

        yield begin


@contextlib.contextmanager
def _celery_on(made):
    """Let this process' messages go where `made` says."""
    before = celery.conf.broker_url, celery.conf.task_default_queue
    celery.conf.task_default_queue = made.environment["DEMARC_QUEUE"]
    if not settings.CELERY_BROKER_URL:
        celery.conf.broker_url = database.to_url(connection.settings_dict, scheme="pgmq")
    _forget_broker()
    try:
        yield
    finally:
        _forget_broker()
        celery.conf.broker_url, celery.conf.task_default_queue = before


def _forget_broker():
    """Do what Celery does in a new process: open connections anew, and read the queue's name anew."""
    kombu.pools.reset()
    celery._after_fork()
    celery.__dict__.pop("amqp", None)


@pytest.fixture
def spawn(request):
    """`spawn(*arguments, **options)` starts `python *arguments` in the project, killed with its children at the end.

    Options go to subprocess.Popen. After `real_db` the process uses that database.
    """
    started = []

    def start(*arguments, **options):
        options = {
            "cwd": ROOT,
            "stdin": subprocess.DEVNULL,
            "text": True,
            "start_new_session": True,
        } | options
        command = [sys.executable, *(str(argument) for argument in arguments)]
        process = subprocess.Popen(command, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()  # not communicate(): an orphan, should there be one, would hold the pipes open
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()


@pytest.fixture
def spawn_worker(real_db, spawn):
    """`spawn_worker(concurrency=1, **options)` starts a real Celery worker on the test's database."""

    def start(*arguments, concurrency=1, **options):
        flags = [*WORKER_FLAGS, f"--concurrency={concurrency}", *arguments]
        return spawn("-m", "celery", "--quiet", "-A", "config", "worker", *flags, **options)

    return start


@pytest.fixture
def web_server(real_db, spawn):
    """The address of a real web server (gunicorn) on the test's database."""
    port = free_port()
    process = spawn(
        "-m", "gunicorn", "config.wsgi", "--no-control-socket", f"--bind=127.0.0.1:{port}", "--threads=4"
    )
    site = f"http://127.0.0.1:{port}"
    # Listening is not enough: a worker that begins while a test sets up without sign-off does not start.
    wait_until(lambda: is_served(f"{site}/admin/login/") or process.poll() is not None)
    assert process.poll() is None, "gunicorn does not start"
    return site


@pytest.fixture
def redis_url():
    return _broker("REDIS_URL", "redis://127.0.0.1:6379/0", 6379)


@pytest.fixture
def rabbitmq_url():
    return _broker("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//", 5672)


def _broker(variable, default, port):
    if variable in os.environ:
        return os.environ[variable]
    if not answers("127.0.0.1", port):
        pytest.skip(f"nothing answers on port {port}; start it or set {variable}")
    return default


@pytest.fixture
def chromium():
    """The path of Debian's chromium."""
    return shutil.which("chromium") or pytest.skip("chromium is not installed")


@pytest.fixture(scope="session")
def published_data():
    """The folder of the published data sets, which lie beside the project and not in it."""
    folder = SHARED / "data"
    return folder if folder.is_dir() else pytest.skip("the published data sets are not here")


@pytest.fixture(autouse=True)
def quick_passwords(settings):
    """Hashing a password well takes a quarter of a second; logging in is not what most tests are about."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def alone(request, settings):
    """Accounts and segmentation by themselves, without governance at their gates; tests/governance/ overrides this.

    The database asks for sign-off in `real_db` alone, whose other processes would not start without.
    """
    settings.GATES = {}
    settings.AFTER_RUN = []
    if "real_db" not in request.fixturenames and (
        "db" in request.fixturenames or request.node.get_closest_marker("django_db")
    ):
        request.getfixturevalue("db")
        databases.without_sign_off()


@pytest.fixture(autouse=True)
def usual_settings(request):
    """Where a test has no database, the organisation has what it has before anybody sets anything."""
    if DATABASES & set(request.fixturenames) or request.node.get_closest_marker("django_db"):
        yield
        return
    from core.models import Settings

    with keeping(organisation=Settings()):
        yield


@pytest.fixture(autouse=True)
def nothing_kept():
    """Figures counted in one test are not shown in the next."""
    cache.clear()


# -- what was not run ---------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI nothing that needs the outside may be skipped."""
    report = yield
    kinds = [kind for kind in OUTSIDE if item.get_closest_marker(kind)]
    if kinds and report.skipped:
        if IN_CI:
            report.outcome, report.longrepr = (
                "failed",
                f"skipped in CI ({', '.join(kinds)}): {report.longrepr[2]}",
            )
        else:
            report.not_run = kinds[0]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """A whole file skipped at import would say nothing about what it needs."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome, report.longrepr = "failed", f"skipped in CI: {report.longrepr}"
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """A worker of pytest-xdist has ended: what it met counts too."""
    met.codes.update(node.workeroutput["refusals"] if hasattr(node, "workeroutput") else ())


def pytest_sessionfinish(session, exitstatus):
    """A run of everything fails where a refusal is one no test has met."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["refusals"] = sorted(met.codes)
    elif exitstatus == 0 and met.missing(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    if missing := met.missing(config):
        terminalreporter.write_line(f"REFUSALS NO TEST HAS MET: {', '.join(missing)}", red=True)
    skipped = terminalreporter.stats.get("skipped", [])
    for kind in OUTSIDE:
        count = sum(getattr(report, "not_run", None) == kind for report in skipped)
        if count:
            terminalreporter.write_line(
                f"NOT RUN HERE: {count} {kind} test(s), the reasons are below", yellow=True
            )
