from django.contrib.auth.models import User
from django.core.management.base import CommandError

from core import commands
from core.refusals import Refused
from governance.models import Profile
from governance.signoff import people, policies, profiles
from governance.signoff.kinds import KINDS
from governance.signoff.roles import ROLES


class Command(commands.Command):
    help = (
        "Sets governance up: which profile an organisation starts from, and who has which role while there is nobody yet "
        "who could decide about it. Without arguments it tells who decides what."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--profile", choices=list(profiles.PROFILES), help="start from this profile; at set-up only"
        )
        parser.add_argument(
            "--role", action="append", default=[], metavar="USER=ROLE", help=f"give a role (may be repeated): {', '.join(ROLES)}"
        )  # fmt: skip

    def handle(self, *, profile, role, **options):
        given = {}
        for assignment in role:
            name, _, wanted = assignment.partition("=")
            given.setdefault(name.strip(), []).append(wanted.strip())
        try:
            if profile:
                profiles.choose(profile)
            self.give(given)
        except Refused as refusal:
            raise CommandError(str(refusal)) from None
        self.tell()

    def give(self, given):
        """All at once: after the first Approver there is somebody who decides."""
        people.set_up_together({self.person(name): roles for name, roles in given.items()})

    def person(self, name):
        person = User.objects.filter(username=name).first()
        if person is None:
            raise CommandError(
                f"There is nobody called {name!r}; create the login first (manage.py createsuperuser, or in the admin)."
            )
        return person

    def tell(self):
        self.stdout.write(f"Governance profile: {Profile.objects.get()}")
        for kind, sentences in policies.sentences_by_kind().items():
            self.stdout.write(f"{KINDS[kind].label}: {' '.join(sentences)}")
        for name in ROLES:
            members = User.objects.filter(is_active=True, groups__name=name).order_by("username")
            self.stdout.write(f"{name}: {', '.join(member.username for member in members) or 'nobody'}")
