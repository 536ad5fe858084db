"""Everything a newcomer needs to look around: tables, presets, a sample portfolio, a first recalculation."""

import json
import logging
import time
from datetime import date

import yaml
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count

from accounts.models import Account
from examples.sample import generate
from segmentation.models import Assignment, Layer

LOGIN = "demo"


class Command(BaseCommand):
    help = "Set up the demonstration (as often as you like) and print what came out as one line of JSON."

    def handle(self, *args, **options):
        if settings.PRODUCTION:
            raise CommandError("the demonstration has a well-known password; not with DEMARC_ENV=production")
        logging.getLogger().setLevel(logging.WARNING)  # the steps below tell enough
        started = time.monotonic()
        self.step("tables", "migrate", interactive=False, verbosity=0)
        self.login()
        self.step("segmentations", "load_presets")
        before, now = sample(settings.DEMARC_HOME / "sample")
        if not Account.objects.exists():  # else going back would change facts twice
            self.step("sample portfolio, two months ago", "import_accounts", str(before), commit=True)
            self.step("recalculation", "recompute", as_of=clock(before))
        self.step("sample portfolio, today", "import_accounts", str(now), commit=True)
        self.step("recalculation", "recompute")
        self.stdout.write(json.dumps(summary() | {"seconds": round(time.monotonic() - started, 1)}))

    def step(self, what, command, *args, **options):
        """Run a command; what it has to say is progress here, and goes to stderr."""
        began = time.monotonic()
        call_command(command, *args, stdout=self.stderr, stderr=self.stderr, **options)
        self.stderr.write(f"{what}: {time.monotonic() - began:.1f} s")

    def login(self):
        users = get_user_model().objects
        if not users.filter(username=LOGIN).exists():
            users.create_superuser(LOGIN, "demo@example.com", LOGIN)
        self.stderr.write(f"log in as {LOGIN} with the password {LOGIN}")


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
    segments = dict(counted.order_by("effective__position"))
    return {"accounts": active.count(), "segmented": sum(segments.values()), "segments": segments}
