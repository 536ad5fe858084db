"""Rows about accounts leave Demarc by whoever may export accounts, from whichever list; others see no button."""

import codecs

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.models import Account
from governance.signoff.roles import ROLES

NAMED = {"transition", "override", "alert", "conflict", "declaration", "approvalrequest"}
# A list may be empty as first shown; the button is for what there is.
SHOWS_ROWS = {"override": {"state": "all"}, "approvalrequest": {"tab": "all"}}


def about_accounts():
    """The models with a list of their own whose rows are about accounts, by a field or in what they say."""
    return [
        model
        for model in apps.get_models()
        if admin.site.is_registered(model) and model is not Account
        if any(one.related_model is Account for one in model._meta.fields)
        or getattr(admin.site.get_model_admin(model), "about_accounts", False)
    ]


def test_they_are_these():
    assert {model._meta.model_name for model in about_accounts()} == NAMED


@pytest.mark.parametrize("role", ROLES)
def test_the_button_and_the_file_are_for_who_may(world, role):
    _, users = world
    client = Client()
    client.force_login(users[role])
    may = "accounts.export_accounts" in ROLES[role].may
    for model in about_accounts():
        listed = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        page = client.get(listed, SHOWS_ROWS.get(model._meta.model_name, {}))
        answer = client.get(f"{listed}export/")
        assert answer.status_code == (200 if may else 403), listed
        if may:
            header = b"".join(answer.streaming_content).splitlines()[0]
            assert header.startswith(codecs.BOM_UTF8)  # else Excel takes it for another encoding
            assert b"<" not in header
        if page.status_code == 200:
            assert (f'href="{listed}export/' in page.content.decode()) is may, listed
        else:
            assert not may
