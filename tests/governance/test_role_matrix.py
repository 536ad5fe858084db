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
from databases import unsigned
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.template.backends.django import Template
from django.test import Client
from django.urls import get_resolver, reverse
from django.urls.resolvers import URLResolver
from django.utils import timezone
from governing import someone
from segmenting import account, change, layer_with, person, recompute

from accounts.history import acting
from accounts.models import Conflict, Csm, ImportBatch, Product, SavedView, SourceSystem, SystemOfRecord
from governance import delegations, people
from governance.models import Alert, AlertRule, ApprovalPolicy, Event, Notification, Override, Transition
from governance.roles import ROLES
from segmentation import causes, versions
from segmentation.models import Cause, Declaration, Job, Simulation

TABLE = Path(__file__).with_name("role_matrix.txt")
DAY = timezone.localdate
WHO = ["nobody", *ROLES]
# Of a person alone: what they log in and out with, their own messages, views and wishes.
OWN = {
    "django_session",
    "accounts_savedview",
    "governance_notification",
    "governance_preference",
    "accounts_refusal",
}
OWN |= {"auth_user"}  # one's own password
LEFT_OUT = {"view_on_site"}  # Django's own way to a page; nothing here has one


@pytest.fixture
def world(db, settings):
    """One of everything, and a person for each role."""
    settings.GATES = {}
    settings.MIDDLEWARE = [one for one in settings.MIDDLEWARE if "gzip" not in one]
    users = {role: someone(role.lower().replace(" ", "-"), role, is_staff=True) for role in ROLES}
    layer = layer_with()
    acme = account("acme", arr=120_000, employees=40, usage={"nps": 30})
    recompute(DAY())
    change(acme, arr=1)
    run = recompute(DAY())
    olga = person()
    draft = versions.create_draft(layer, by=olga)
    high, tech = layer.segments.get(key="high"), layer.segments.get(key="tech")
    with transaction.atomic(), unsigned(), acting(by=olga, reason="A world to walk through"):
        causes.take(Cause.Kind.DECISION)
        rule = AlertRule.objects.create(key="calm", name="Calm", condition="nps > 0")
        said = {"account": acme, "layer": layer}
        transition = Transition.objects.filter(**said).first() or Transition.objects.create(
            **said, from_segment=high, to_segment=tech, direction="down", crossed_on=DAY()
        )
        made = {
            "user": users["CSM"],
            "group": Group.objects.get(name="Auditor"),
            "account": acme,
            "layer": layer,
            "approvalpolicy": ApprovalPolicy.objects.first(),
            "segment": high,
            "treatment": high.treatment,
            "servicemodel": high.treatment.service_model,
            "definition": draft,
            "run": run,
            "transition": transition,
            "override": Override.objects.create(
                **said, segment=high, reason_code="other", text="Why not", expires_on=DAY()
            ),
            "alertrule": rule,
            "alert": Alert.objects.create(rule=rule, account=acme, opened_on=DAY()),
            "csm": Csm.objects.create(email="c@example.com"),
            "product": Product.objects.create(key="app"),
            "sourcesystem": SourceSystem.objects.create(key="crm", name="CRM"),
            "systemofrecord": SystemOfRecord.objects.create(
                fact="industry", source=SourceSystem.objects.get(key="crm")
            ),
            "conflict": Conflict.objects.create(
                account=acme, fact="industry", proposed_source="crm", proposed_observed=DAY()
            ),
            "importbatch": ImportBatch.objects.create(name="June", status="previewed"),
            "job": Job.objects.create(segment=tech),
            "declaration": Declaration.objects.create(
                **said, segment=high, reason="So they say", from_date=DAY(), proposed_by_label="olga"
            ),
            "simulation": Simulation.objects.create(
                layer=layer, document={}, hash="x", as_of=DAY(), status="cancelled"
            ),
            "savedview": SavedView.objects.create(owner=olga.pk, name="Mine", listing="accounts.account"),
            "event": Event.objects.create(kind="request_opened", text="Something happened."),
        }
        made["notification"] = Notification.objects.create(user=olga, event=made["event"], link="/")
    made["approvalrequest"] = people.ask(users["CSM"], by=users["Administrator"], why="Helps", add=["CS Ops"])
    made["delegation"] = delegations.enter(
        users["Finance"], by=users["Finance"], delegate=users["CSM"], from_date=DAY(), until_date=DAY()
    )
    return made, users


def addresses():
    """[(name, names of its arguments)] of every address that has a name, once."""
    found = set()

    def walk(resolver, space):
        for one in resolver.url_patterns:
            if isinstance(one, URLResolver):
                walk(one, f"{one.namespace}:" if one.namespace else space)
            elif one.name and one.name not in LEFT_OUT:
                arguments = tuple(one.pattern.converters) or tuple(one.pattern.regex.groupindex)
                found.add((space + one.name, arguments))

    walk(get_resolver(), "")
    return sorted(found)


OTHERS = {"direction": "down", "kind": "role", "app_label": "accounts"}
ABOUT = {"saved_view": "savedview", "inbox": "notification", "import_ask": "importbatch", "ask_activation": "definition",
         "audit_account": "account"}  # fmt: skip


def url_of(name, arguments, made):
    """The address with the world's things in it."""
    bare = name.removeprefix("admin:")
    model = re.match(r"(?:accounts|segmentation|governance|auth)_([a-z]+)_", bare)
    about = (
        model[1] if model else next((thing for start, thing in ABOUT.items() if bare.startswith(start)), "")
    )
    values = {}
    for argument in arguments:
        thing = "layer" if argument == "layer" else about
        values[argument] = OTHERS[argument] if argument in OTHERS else made[thing].pk
    return reverse(name, kwargs=values)


def said(answer):
    """What an answer comes to."""
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
