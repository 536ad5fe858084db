"""Every address of the application, for every role, read and sent to: what it answers stands in role_matrix.txt.

A new address without a line fails, as does an answer that has changed. When that is meant:
`ROLE_MATRIX=1 pytest tests/governance/test_role_matrix.py`, and read the difference.

Pages are not rendered here (others do that), and each request is rolled back.
"""

import logging
import os
import re
from itertools import groupby
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.template.backends.django import Template
from django.test import Client
from worlds import addresses, url_of

from governance.signoff.roles import ROLES

TABLE = Path(__file__).with_name("role_matrix.txt")
WHO = ["nobody", *ROLES]
# Pages of a person alone: to log in and out, their own messages, views and wishes.
OWN = {
    "django_session",
    "accounts_savedview",
    "governance_notification",
    "governance_preference",
    "accounts_refusal",
}
OWN |= {"auth_user"}  # one's own password
OWN |= {"core_callcount"}  # what the API is asked is counted


def said(answer):
    """The meaning of an answer."""
    if answer.status_code == 302 and "/admin/login/" in answer["Location"]:
        return "log in"
    return {200: "page", 302: "goes on", 403: "no", 404: "none", 405: "not so", 409: "refused"}.get(
        answer.status_code, str(answer.status_code)
    )


class Written:
    """The tables that statements write to."""

    def __init__(self):
        self.tables = set()

    def __call__(self, execute, sql, params, many, context):
        if found := re.match(r'\s*(?:INSERT INTO|UPDATE|DELETE FROM) "?(\w+)', str(sql), re.IGNORECASE):
            self.tables.add(found[1])
        return execute(sql, params, many, context)


@pytest.mark.long
def test_every_role_gets_what_the_table_says_at_every_address(world, monkeypatch):
    made, users = world
    monkeypatch.setattr(logging.getLogger("django.request"), "disabled", True)  # a trace for each no
    monkeypatch.setattr(Template, "render", lambda self, context=None, request=None: "")
    monkeypatch.setattr(admin.site, "each_context", lambda request: {})  # the menu; it answers nothing
    clients = {who: Client(raise_request_exception=False) for who in WHO}
    for role, user in users.items():
        clients[role].force_login(user)
    cookies = {who: client.cookies.copy() for who, client in clients.items()}
    lines, wrong = [], []
    known = [(name, url_of(name, arguments, made)) for name, arguments in addresses()]
    for name, url in known:
        for method in ("get", "post"):
            answers = {}
            for who, client in clients.items():
                client.cookies = cookies[who].copy()
                seen = Written()
                with transaction.atomic(), connection.execute_wrapper(seen):
                    answers[who] = said(getattr(client, method)(url))
                    transaction.set_rollback(True)
                changed = seen.tables - OWN
                if changed and (method == "get" or who in ("nobody", "Auditor")):
                    wrong.append(f"{who} changes {', '.join(sorted(changed))}: {method} {name}")
            lines += _lines(method, name, answers)
    text = "\n".join(lines) + "\n"
    if os.environ.get("ROLE_MATRIX"):
        TABLE.write_text(text, encoding="utf-8")
    assert wrong == []
    assert text.splitlines() == TABLE.read_text(encoding="utf-8").splitlines()


def _lines(method, name, answers):
    """`get admin:index | page: CS Ops, Approver | log in: nobody`."""
    order = sorted(answers.items(), key=lambda one: one[1])
    groups = [
        f"{outcome}: {', '.join(sorted((who for who, _ in group), key=WHO.index))}"
        for outcome, group in groupby(order, key=lambda one: one[1])
    ]
    return [" | ".join([f"{method} {name}", *groups])]


def test_nothing_answers_with_a_server_error():
    text = TABLE.read_text(encoding="utf-8")
    assert not re.search(r"\| 5\d\d", text)


@pytest.mark.parametrize("name", [name for name, _ in addresses()])
def test_every_address_has_its_lines(name):
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    assert {"get", "post"} == {line.split()[0] for line in lines if line.split()[1] == name}


def test_an_auditor_is_let_in_everywhere_to_look(db):
    assert User.objects.filter(groups__name="Auditor").count() == 0
    closed = [
        line.split()[1]
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if line.startswith("get ") and re.search(r"\| no: [^|]*Auditor", line)
    ]
    looking = [one for one in closed if one.endswith(("_changelist", "_history", "_export"))]
    assert looking == []
