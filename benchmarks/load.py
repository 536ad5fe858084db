"""Twenty people at once: pages a second, and what each page takes, beside the same of Django's bare admin.

    python -m benchmarks.load [--accounts 2000] [--users 20] [--seconds 20] [--database NAME]

Our pages are walked alone, then with recalculations one after the other beside them; then a list and a form of a bare
admin (benchmarks/bare_admin.py) on the same database. All are served by gunicorn as `manage.py serve` starts it. Without
--database a portfolio is made in a database of its own: the demonstration, and generated accounts up to the number.
"""

import argparse
import http.client
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import django

from benchmarks.__main__ import ROOT, database, log

PORT = 8790
PATIENCE = 300  # seconds for a page
SEED = 7
ROLES = ["ops", "ops", "vera", "csm", "csm", "finance", "auditor"]  # who is at it, over and over
PEER = {"account list": "list", "approvals": "list"}  # every other page is compared with the form
CLOCK = os.sysconf("SC_CLK_TCK")


# -- the portfolio


def build(accounts):
    """The demonstration, and generated accounts; a recalculation after which some of them want another segment."""
    from django.core.management import call_command

    from accounts.models import Account
    from benchmarks import portfolio

    with open(os.devnull, "w") as nowhere:
        call_command("demo", stdout=nowhere, stderr=sys.stderr)
        portfolio.build(max(0, accounts - Account.objects.count()))
        for change in (lambda: None, portfolio.rescore):
            change()
            call_command("recompute", stdout=nowhere, stderr=nowhere)
        call_command("follow", stdout=nowhere, stderr=nowhere)


# -- who walks where


def walks(users):
    """[(cookie, the pages in the order of one person)], over and over the same for the same portfolio."""
    from django.contrib.auth import get_user_model

    people = {user.username: user for user in get_user_model().objects.filter(username__in=[*ROLES, "demo"])}
    pages = _pages()
    for number, role in zip(range(users), itertools.cycle(ROLES), strict=False):
        user = people[role]
        allowed = [
            (name, urls) for name, permission, urls in pages if not permission or user.has_perm(permission)
        ]
        yield _cookie(user), _walk(allowed, number)


def bare_walks(users):
    from django.contrib.auth import get_user_model

    demo = get_user_model().objects.get(username="demo")
    cookie = _cookie(demo, backend="django.contrib.auth.backends.ModelBackend")
    forms = [f"/admin/accounts/account/{pk}/change/" for pk in _accounts()]
    for number in range(users):
        yield cookie, _walk([("list", ["/admin/accounts/account/"]), ("form", forms)], number)


def _pages():
    """[(name, the permission to see it, its addresses)]"""
    from django.urls import reverse

    from governance.models import ApprovalRequest, Transition

    def each(name, ids):
        return [reverse(name, args=[pk]) for pk in ids]

    accounts = _accounts()
    requests = ApprovalRequest.objects.filter(status="pending").values_list("pk", flat=True)
    changes = Transition.objects.open().order_by("pk").values_list("pk", flat=True)[:200]
    edits = [f"/admin/accounts/account/{pk}/edit/" for pk in accounts]
    pages = [
        ("home", None, [reverse("admin:index")]),
        ("account list", "accounts.view_account", [reverse("admin:accounts_account_changelist")]),
        ("account page", "accounts.view_account", each("admin:accounts_account_change", accounts)),
        ("account form", "accounts.change_account", edits),
        ("board", "governance.view_transition", [reverse("admin:governance_transition_board")]),
        ("triage", "governance.plan_transition", [reverse("admin:governance_transition_triage")]),
        ("tier change", "governance.view_transition", each("admin:governance_transition_change", changes)),
        ("approvals", "governance.view_approvalrequest", [reverse("admin:governance_approvalrequest_changelist")]),
        ("decision", "governance.view_approvalrequest", each("admin:governance_approvalrequest_change", requests)),
    ]  # fmt: skip
    return [page for page in pages if page[2]]


def _accounts():
    from accounts.models import Account

    ids = list(Account.objects.active().order_by("pk").values_list("pk", flat=True))
    return random.Random(SEED).sample(ids, min(len(ids), 500))


def _walk(pages, number):
    """Endless (name, address): all pages in turn, each person from another one on, to other accounts."""
    dice = random.Random(f"{SEED}/{number}")
    start = number % len(pages)
    for name, urls in itertools.cycle(pages[start:] + pages[:start]):
        yield name, dice.choice(urls)


def _cookie(user, *, backend=None):
    """A session, as after logging in; backend: of another site's settings."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = backend or settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"sessionid={session.session_key}"


# -- the servers


@contextmanager
def served(*, bare=False):
    """gunicorn as `manage.py serve` runs it, with our pages or those of benchmarks/bare_admin.py; the process."""
    from config import processes

    command = processes.commands("127.0.0.1", PORT)["web"]
    if bare:
        bare_application = [
            "django.core.wsgi:get_wsgi_application()",
            "--env=DJANGO_SETTINGS_MODULE=benchmarks.bare_settings",
        ]
        at = command.index("config.wsgi")
        command[at : at + 1] = bare_application
    with subprocess.Popen([*command, "--log-level", "error"], cwd=ROOT, start_new_session=True) as process:
        try:
            _wait()
            yield process
        finally:
            process.terminate()


def _wait():
    for _ in range(600):
        try:
            return _get(http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE), "/admin/login/", "")
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("The server did not start.")


def _cpu(process):
    """Seconds of CPU of a server's workers so far; those that ended count with the server."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    times = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in children]
    return sum(int(fields[11]) + int(fields[12]) for fields in times) / CLOCK


@contextmanager
def recalculating():
    """Recalculations one after the other, in a process of their own."""
    stop = threading.Event()

    def again():
        while not stop.is_set():
            command = [sys.executable, "manage.py", "recompute"]
            with subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as run:
                while run.poll() is None and not stop.wait(0.2):
                    pass
                run.terminate()

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# -- the people


def walk(process, people, seconds):
    """{"pages a second", "cpu": ms of the web processes a page, "pages": {name: [seconds]}} of people without pauses."""
    people, took, wrong = list(people), [], []

    def go(cookie, pages):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)
        while time.perf_counter() < until and not wrong:
            name, address = next(pages)
            started = time.perf_counter()
            try:
                status = _get(connection, address, cookie)
            except OSError as error:
                status = error
            took.append((name, time.perf_counter() - started))
            if status != 200:
                wrong.append(f"{address} answers {status}")

    began, spent = time.perf_counter(), _cpu(process)
    until = began + seconds
    threads = [threading.Thread(target=go, args=person) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise RuntimeError(wrong[0])
    pages = {}
    for name, duration in took:
        pages.setdefault(name, []).append(duration)
    lasted = time.perf_counter() - began
    return {"rate": len(took) / lasted, "cpu": (_cpu(process) - spent) / len(took) * 1000, "pages": pages}


def _get(connection, address, cookie):
    try:
        connection.request("GET", address, headers={"Cookie": cookie, "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
    except (
        http.client.RemoteDisconnected,
        BrokenPipeError,
        ConnectionResetError,
    ):  # was kept open for too long
        connection.close()
        connection.request("GET", address, headers={"Cookie": cookie, "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
    answer.read()
    return answer.status


def measure(users, seconds):
    warm = min(seconds, 5)
    figures = {}
    with served() as process:
        walk(process, walks(users), warm)
        figures["alone"] = walk(process, walks(users), seconds)
        with recalculating():
            figures["beside a recalculation"] = walk(process, walks(users), seconds)
    with served(bare=True) as process:
        walk(process, bare_walks(users), warm)
        figures["bare admin"] = walk(process, bare_walks(users), seconds)
    return figures


# -- what is shown


def table(figures):
    bare = figures["bare admin"]
    lines = ["| page | | p50 | p95 | against the bare admin's |", "| --- | --- | ---: | ---: | ---: |"]
    for what, measured in figures.items():
        against = (
            ""
            if measured is bare
            else f"{measured['rate'] / bare['rate']:.2f} x as many pages, {measured['cpu'] / bare['cpu']:.1f} x the CPU a page"
        )
        lines.append(
            f"| all pages | {what} | {measured['rate']:.1f} a second | {measured['cpu']:.0f} ms CPU a page | {against} |"
        )
    for what, measured in figures.items():
        for name, times in measured["pages"].items():
            peer = PEER.get(name, "form")
            ratio = "" if measured is bare else f"{_p50(times) / _p50(bare['pages'][peer]):.1f} x the {peer}"
            lines.append(f"| {name} | {what} | {_p50(times):.2f} s | {_p95(times):.2f} s | {ratio} |")
    return "\n".join(lines)


def _p50(times):
    return statistics.median(times)


def _p95(times):
    return sorted(times)[int(len(times) * 0.95)]


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument(
        "--database", help="one that is there, with the demonstration's people; it is recalculated"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ["DEMARC_LOG_LEVEL"] = "WARNING"
    with database(options.database or "demarc_load", keep=bool(options.database)):
        django.setup()
        if not options.database:
            log(f"{options.accounts:,} accounts: building the portfolio")
            build(options.accounts)
        figures = measure(options.users, options.seconds)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "load.json").write_text(json.dumps(figures) + "\n")
    print(table(figures))


if __name__ == "__main__":
    main()
