"""The parts that make a running installation, kept together: they live and die as one."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time

from django.conf import settings

from config import embedded
from config.celery import WORKER_FLAGS

PATIENCE = 15  # seconds for a part to end by itself
DIE_WITH_PARENT = 1  # Linux: prctl(PR_SET_PDEATHSIG)


def commands(host, port):
    """Name -> command line of each part."""
    python = [sys.executable, "-W", "ignore::UserWarning:celery.platforms"]  # root in a container is no news
    celery = [*python, "-m", "celery", "--quiet", "-A", "config"]
    web = ["--workers", os.environ.get("WEB_CONCURRENCY", "2"), "--threads", "4", "--no-control-socket"]
    schedule = settings.DEMARC_HOME / "beat-schedule"
    return {
        "web": [sys.executable, "-m", "gunicorn", "config.wsgi", "--bind", f"{host}:{port}", *web],
        "worker": [
            *celery,
            "worker",
            *WORKER_FLAGS,
            "--concurrency",
            os.environ.get("WORKER_CONCURRENCY", "2"),
        ],
        "beat": [*celery, "beat", "--schedule", str(schedule)],
    }


def run(parts):
    """Run `parts` (name -> command line) until one ends or a signal comes, then end them all.

    Returns None after a signal, else the reason, for a person. All output of the parts goes to stderr.
    """
    stopping = []
    handlers = {
        number: signal.signal(number, lambda received, _: stopping.append(received))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    running = {}
    try:
        for name, command in parts.items():
            running[name] = _start(command)
        while not stopping:
            if reason := _ended(running) or _database_gone():
                return reason
            time.sleep(0.2)
        return None
    finally:
        _stop(running, hurry=lambda: len(stopping) > 1)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _start(command):
    # A session of its own: a Ctrl-C in the terminal reaches only us, and we end the parts in order.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        cwd=settings.BASE_DIR,
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _end_with_parent():
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGTERM)


def _ended(running):
    for name, process in running.items():
        code = process.poll()
        if code is not None:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            return f"{name} {how}"
    return None


def _database_gone():
    """The embedded server is a part too, but one that can be started again where it was."""
    if settings.DATABASES["default"]["ENGINE"] != "config.postgres" or embedded.is_alive(
        settings.DEMARC_HOME
    ):
        return None
    try:
        embedded.revive(settings.DEMARC_HOME)
    except embedded.EmbeddedError as error:
        return f"database: {error}"
    return None


def _stop(running, *, hurry):
    for process in running.values():
        _signal(process, signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    while any(process.poll() is None for process in running.values()):
        if hurry() or time.monotonic() > until:
            break
        time.sleep(0.05)
    for process in running.values():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what a part may have left behind
        process.wait()


def _signal(process, number):
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
