"""Run web, worker and beat together."""

import os
import socket

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from config import processes, schema
from core.refusals import Refused


class Command(BaseCommand):
    help = "Run web, worker and scheduler; Ctrl-C ends them all, and a part that fails ends the others."

    def add_arguments(self, parser):
        parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=os.environ.get("PORT", 8000))

    def handle(self, *args, host, port, **options):
        refuse_taken(host, port)
        check_database()
        settings.DEMARC_HOME.mkdir(parents=True, exist_ok=True)  # the scheduler keeps its state there
        self.stderr.write(f"Demarc is on http://{host}:{port}/ — Ctrl-C ends it")
        reason = processes.run(processes.commands(host, port))
        if reason:
            raise CommandError(f"stopped: {reason}")
        self.stderr.write("stopped")


def check_database():
    """Before anything starts, too: each of three parts would say it. Starts the embedded server for them."""
    try:
        schema.check()
    except OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise CommandError(f"the database cannot be reached: {reason}") from None
    except Refused as refusal:
        raise CommandError(str(refusal)) from None


def refuse_taken(host, port):
    """Before anything starts: gunicorn would try for a while and fill the screen."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"port {port} on {host} cannot be used ({error.strerror}); choose one: PORT=8001"
            ) from None
