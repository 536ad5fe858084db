"""Everything a newcomer needs to look around: tables, presets, a sample portfolio, a first recalculation."""

import json
import logging
import time
from datetime import date

import yaml
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import Count
from django.utils import timezone

from accounts.models import Account, Csm
from core import commands
from core.history import acting
from core.refusals import Refused
from examples.sample import generate
from governance.changes import alerts, board, conflicts, loads, overrides, transition_requests, transitions
from governance.models import ApprovalRequest
from governance.signoff import approvals, people
from segmentation.models import Assignment, Layer

LOGIN = "demo"  # may everything; the others have one role each, and their name as password
LOGINS = {
    LOGIN: ["CS Ops", "Approver"],
    "ops": ["CS Ops"],
    "vera": ["Approver"],
    "finance": ["Finance"],
    "revops": ["RevOps"],
    "csm": ["CSM"],
    "auditor": ["Auditor"],
    "integration": ["Integration"],
    "admin": ["Administrator"],
}


class Command(commands.Command):
    label = "demonstration"
    makes_tables = True
    help = "Set up the demonstration (as often as you like) and print what came out as one line of JSON."

    def handle(self, *args, **options):
        if settings.PRODUCTION:
            raise CommandError("the demonstration has a well-known password; not with DEMARC_ENV=production")
        logging.getLogger().setLevel(logging.WARNING)  # the steps below tell enough
        started = time.monotonic()
        self.step("tables", "migrate", interactive=False, verbosity=0)
        self.logins()
        self.step("segmentations", "load_presets")
        self.step("alert rules", "load_alert_rules")
        before, now = sample(settings.DEMARC_HOME / "sample")
        if not Account.objects.exists():  # else going back would change facts twice
            self.step("sample portfolio, two months ago", "import_accounts", str(before), commit=True)
            self.step("recalculation", "recompute", as_of=clock(before))
            alerts.evaluate(date.fromisoformat(clock(before)))  # what held then is no news
        self.step("sample portfolio, today", "import_accounts", str(now), commit=True)
        self.step("recalculation", "recompute", as_of=timezone.localdate().isoformat())
        self.step("what follows from it", "follow")
        looks_after_accounts("csm")
        kinds_of_csms()
        story()
        self.tell_logins()
        self.stdout.write(json.dumps(summary() | {"seconds": round(time.monotonic() - started, 1)}))

    def step(self, what, command, *args, **options):
        """Run a command; what it has to say is progress here, and goes to stderr."""
        began = time.monotonic()
        call_command(command, *args, stdout=self.stderr, stderr=self.stderr, **options)
        self.stderr.write(f"{what}: {time.monotonic() - began:.1f} s")

    def logins(self):
        users = get_user_model().objects
        names = set(users.values_list("username", flat=True))
        for name in LOGINS:
            if name not in names:
                make = users.create_superuser if name == LOGIN else users.create_user
                make(name, f"{name}@example.com", name, is_staff=True)
        new = users.filter(username__in=LOGINS, groups=None, is_active=True)
        try:
            people.set_up_together({user: LOGINS[user.username] for user in new})
        except Refused as refusal:  # there is somebody who decides about roles by now
            self.stderr.write(str(refusal))

    def tell_logins(self):
        self.stderr.write(
            f"log in as {LOGIN} with the password {LOGIN}, or with the password of the same name as "
            + ", ".join(f"{name} ({roles[0]})" for name, roles in LOGINS.items() if name != LOGIN)
        )


def looks_after_accounts(name):
    """Let this login be the CSM with most accounts, unless it is one already, or somebody else is that CSM."""
    user = get_user_model().objects.get(username=name)
    if hasattr(user, "csm"):
        return
    free = Csm.objects.filter(kind=Csm.Kind.PERSON, user=None).exclude(name__icontains="pool")
    free = free.annotate(number=Count("accounts"))
    csm = free.order_by("-number", "pk").first()
    if csm is not None:
        with acting(label=Command.label, reason="A login for the demonstration"):
            csm.user = user
            csm.save()


def kinds_of_csms():
    """The pool of the sample is a pool, and there is a digital programme: each segment finds who it needs."""
    with acting(label=Command.label, reason="Who looks after accounts in the demonstration"):
        for pool in Csm.objects.filter(kind=Csm.Kind.PERSON, user=None, name__icontains="pool"):
            pool.kind = Csm.Kind.POOL
            pool.save()
        digital = {"name": "Digital programme", "kind": Csm.Kind.DIGITAL}
        Csm.objects.get_or_create(email="digital@example.com", defaults=digital)


def story():
    """Tell a week: tier changes planned, asked for, approved; an override and a role asked for; a wrong value reported.

    Told once, as long as nobody has asked for anything.
    """
    if ApprovalRequest.objects.exists():
        return
    ops, vera, csm, admin = (
        get_user_model().objects.get(username=login) for login in ("ops", "vera", "csm", "admin")
    )
    flagged = list(board.to_decide().filter(arr__lt=500_000, applies_on=None)[:5])
    renewing = list(board.to_decide().filter(arr__gt=0).exclude(applies_on=None).order_by("-arr", "pk")[:4])
    for transition in flagged[:4]:
        transitions.plan(transition, by=ops, receiver=loads.propose_receiver(transition))
    if len(flagged) == 5:
        done = transition_requests.ask(flagged[:1], by=ops, why="Agreed with the customer in the last review")
        approvals.approve(done, by=vera, seen=approvals.token(done), reason="Long overdue")
        transition_requests.ask(
            flagged[1:3], by=ops, why="They have crossed the boundary, and it is no accident"
        )
    if renewing:  # much revenue together: Finance decides too
        for transition in renewing:
            transitions.plan(transition, by=ops, receiver=loads.propose_receiver(transition))
        transition_requests.ask(
            renewing, by=ops, why="Usage has fallen for two quarters; we tell them before the renewal"
        )
    pin = Assignment.objects.filter(layer__primary=True, overridden=False, account__csm__user=csm)
    pin = (
        pin.filter(account__transitions=None)
        .exclude(effective=None)
        .select_related("account", "layer", "effective")
    )
    if assignment := pin.order_by("-account__arr", "pk").first():
        overrides.ask(
            [assignment.account],
            assignment.layer,
            assignment.effective,
            by=csm,
            reason_code="strategic",
            text="They are our reference in their industry, and speak at our conference in spring.",
            evidence="Minutes of the board meeting",
        )
    if grown := csm.csm.accounts.filter(employees__gt=0).order_by("-arr", "pk").first():
        reason = "They wrote of the new office in their newsletter"
        conflicts.report(grown, "employees", str(2 * grown.employees), by=csm, reason=reason)
    people.ask(csm, by=admin, why="Helps operations with triage this quarter", add=["CS Ops"])


def sample(folder):
    """The recipes of the sample's two exports, the older first; made once, so that a second demo changes nothing."""
    recipes = [folder / name / "recipe.yaml" for name in ("before", "now")]
    if not all(recipe.exists() for recipe in recipes):
        generate.write(folder, date.today())
    return recipes


def clock(recipe):
    return str(yaml.safe_load(recipe.read_text())["as_of"])


def summary():
    """Active customers, how many of them have a segment on the primary layer, and which."""
    active = Account.objects.active()
    inside = Assignment.objects.filter(layer=Layer.objects.get(primary=True), account__in=active)
    counted = inside.exclude(effective=None).values_list("effective__key").annotate(accounts=Count("id"))
    segments = dict(counted.order_by("effective__position", "effective__key"))
    return {"accounts": active.count(), "segmented": sum(segments.values()), "segments": segments}
