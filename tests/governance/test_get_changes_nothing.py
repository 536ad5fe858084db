"""Following a link, or opening a page again, writes nothing: whatever changes something is sent by a form."""

import re

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from governing import someone
from worlds import addresses, url_of

from governance.signoff.roles import ROLES

WRITES = re.compile(
    r"\s*(with\b.*\b)?(insert into|update|delete from|merge into|truncate|copy)\b", re.I | re.S
)
OWN = re.compile(
    r'"?django_session|axes_|"auth_user" SET "last_login|core_callcount|core_change'
)  # what a visit itself leaves; the feed numbers what has become final
ABOUT = {
    "admin:accounts_conflict_report": "account={account}",
    "admin:accounts_conflict_decide": "ids={conflict}",
    "admin:governance_override_ask": "accounts={account}",
    "admin:segmentation_declaration_propose": "accounts={account}",
    "admin:segmentation_definition_compare": "new={definition}",
    "admin:segmentation_simulation_start": "definition={definition}",
    "saved_views": "list=accounts.account",
}


@pytest.fixture
def web(world):
    client = Client()
    client.force_login(someone("chief", *ROLES, is_staff=True, is_superuser=True))
    client.get("/admin/")
    return client


def written(client, url):
    """The statements that write, of one GET; 405 and redirects are answers too."""
    with CaptureQueriesContext(
        connection,
    ) as seen:
        answer = client.get(url)
        if answer.streaming:
            list(answer.streaming_content)
    assert answer.status_code < 500, url
    return [one["sql"][:200] for one in seen if WRITES.match(one["sql"]) and not OWN.search(one["sql"])]


def test_no_address_writes_when_it_is_followed(web, world):
    made, _ = world
    wrong = {}
    for name, arguments in addresses():
        if "logout" in name:
            continue
        url = url_of(name, arguments, made)
        if name in ABOUT:
            url += "?" + ABOUT[name].format_map({thing: row.pk for thing, row in made.items()})
        if statements := written(web, url):
            wrong[url] = statements
    assert wrong == {}


def test_no_action_of_a_list_is_taken_by_its_address(web, world):
    """Neither those of Django, sent with the rows, nor unfold's, which are links."""
    wrong = {}
    for model, model_admin in admin.site._registry.items():
        for kind in ("actions_list", "actions_row", "actions_detail", "actions_submit_line"):
            assert not getattr(model_admin, kind, None), (model_admin, kind)
        opts = model._meta
        for action in model_admin.actions or ():
            row = model._base_manager.values_list("pk", flat=True).first()
            url = f"/admin/{opts.app_label}/{opts.model_name}/?action={action}&_selected_action={row}"
            if statements := written(web, url):
                wrong[url] = statements
    assert wrong == {}
