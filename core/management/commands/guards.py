from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from core import guards


class Command(BaseCommand):
    help = (
        "Compare the promises the database keeps (triggers, functions, constraints) with what belongs there."
    )

    def add_arguments(self, parser):
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--install", action="store_true", help="put functions and triggers back, then compare"
        )
        what.add_argument(
            "--due", action="store_true", help="for developers: fail where a frozen copy is due"
        )
        what.add_argument(
            "--freeze", action="store_true", help="for developers: write the copies that are due"
        )
        what.add_argument(
            "--keep", action="store_true", help="for developers: write promises.txt from a fresh database"
        )

    def handle(self, *, install, due, freeze, keep, **options):
        if due:
            self._none_due()
        elif freeze:
            for path in guards.freeze():
                self.stderr.write(f"written: {path.parent.parent.name}/migrations/{path.name}")
        elif keep:
            guards.keep()
        else:
            if install:
                self._install()
            self._compare()

    def _none_due(self):
        if apps := guards.due():
            raise CommandError(
                f"The frozen guards of {', '.join(apps)} are due: `manage.py guards --freeze`."
            )

    def _install(self):
        with transaction.atomic():
            guards.install_all()

    def _compare(self):
        lost = guards.differences()
        for phrase in lost:
            self.stdout.write(phrase)
        if lost:
            raise CommandError(f"{len(lost)} promises are not kept.")
        self.stderr.write("The database keeps all that Demarc promises.")
