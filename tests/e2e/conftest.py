"""A real browser on a real web server and a portfolio of sixty accounts."""

import contextlib

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.db import connections
from playwright.sync_api import expect, sync_playwright
from segmenting import portfolio, recompute
from waiting import PATIENCE
from window import Window

from accounts.models import Account
from segmentation.authoring import versions

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
expect.set_options(timeout=PATIENCE * 1000)  # its own five seconds are little for a busy machine


def sixty_accounts():
    """Make the accounts `segmented` promises: seconds to make, and none to copy."""
    # The server hashes with Django's own hasher; the tests' quick one is unknown to it.
    password = PBKDF2PasswordHasher().encode("secret", "salt", iterations=1000)
    User.objects.create(username="chief", password=password, is_staff=True, is_superuser=True)
    versions.load_presets()
    portfolio(60)
    Account.objects.filter(external_id="c00050").update(name="Northwind Robotics", industry="SaaS")
    recompute()


@pytest.fixture
def template(request, template, worlds):
    return worlds(sixty_accounts)[0] if "segmented" in request.fixturenames else template


@pytest.fixture
def segmented(real_db):
    """Sixty accounts on the presets, recalculated; and somebody who may do everything (chief / secret)."""
    return real_db


@pytest.fixture
def browser(chromium, monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright keeps an event loop in this thread
    with (
        sync_playwright() as playwright,
        contextlib.closing(playwright.chromium.launch(executable_path=chromium, args=FLAGS)) as opened,
    ):
        connections.close_all()  # within that loop Django keeps connections apart, also from test to test
        yield opened
        connections.close_all()


@pytest.fixture
def window(segmented, web_server, browser):
    """A window in which `chief` is logged in; it must not have had problems in the end."""
    made = Window(browser, web_server)
    made.log_in_as(User.objects.get(username="chief"))
    made.visit("/admin/")
    yield made
    assert made.problems == []
