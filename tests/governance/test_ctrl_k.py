"""Ctrl+K: accounts, requests, segments, people, pages and actions, as far as the person has the right to see them."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from governing import request_of, someone, without_role
from segmenting import BY_ARR, account, granted, layer_with, recompute

from accounts import lookup
from accounts.models import Account, Csm
from core import search
from governance.signoff.roles import ROLES

LONG = "Northwind Robotics International Holdings and Logistics GmbH"


def found(user, text):
    """{title of a group: [titles of its lines]} of what this person's page shows for a text."""
    client = Client()
    client.force_login(user)
    answer = client.get("/admin/search/", {"s": text})
    assert answer.status_code == 200
    return {group.title: [line.title for line in group.lines] for group in answer.context["groups"]}


def page(user, text):
    client = Client()
    client.force_login(user)
    return client.get("/admin/search/", {"s": text}).content.decode()


@pytest.fixture(autouse=True)
def ungated(settings):
    settings.GATES, settings.AFTER_RUN = {}, []


@pytest.fixture
def ola(db):
    return someone("ola", "CS Ops", is_staff=True)


@pytest.fixture
def cleo(db):
    return someone("cleo", "CSM", is_staff=True)


@pytest.fixture
def accounts(db):
    layer_with(BY_ARR, decides=[])
    dana = Csm.objects.create(email="dana@example.com", name="Dana Diaz")
    made = {
        "A-1": account("A-1", name="Acme", domain="acme.example", arr=10, csm=dana),
        "A-10": account("A-10", name="Acme Labs", domain="labs.example", arr=10),
        "N-7": account("N-7", name=LONG, domain="northwind.example", arr=200_000),
        "Z-1": account("Z-1", name="Great Acme 100% Group", arr=10),
        "Z-2": account("Z-2", name="", domain=None, arr=10),
    }
    recompute()
    return made


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("acme", ["Acme", "Acme Labs", "Great Acme 100% Group"]),
        ("ACME L", ["Acme Labs", "Acme"]),
        ("  acme   labs ", ["Acme Labs"]),
        ("a-1", ["Acme", "Acme Labs"]),
        ("A-10", ["Acme Labs"]),
        ("north", [LONG]),
        ("northwind.ex", [LONG]),
        ("robo holdings", [LONG]),  # words in the middle
        ("z-2", ["Z-2"]),  # by its ID where it has no name
        ("100%", ["Great Acme 100% Group"]),
        ("%", []),
        ("_", []),
        ("nobody", []),
        ("ß", []),
    ],
)
def test_accounts_by_name_id_and_domain_whole_ones_first(accounts, ola, text, names):
    assert found(ola, text).get("Accounts", []) == names


def test_the_one_that_is_called_so_stands_first_and_tells_what_can_be_done_with_it(accounts, ola, cleo):
    Account.objects.create(external_id="acme", name="Zacme")  # its ID is another's name
    groups = found(ola, "acme labs")
    assert list(groups)[:2] == ["Accounts", "With Acme Labs"]
    assert {"Ask for an override", "Correct data", "Report wrong data", "History"} <= set(
        groups["With Acme Labs"]
    )
    assert "Correct data" not in found(cleo, "acme labs")["With Acme Labs"]
    assert found(ola, "Acme")["Accounts"][0] in ("Acme", "Zacme")
    assert not any(title.startswith("With") for title in found(ola, "acme l-nothing"))


def test_a_flagged_account_offers_its_plan(cleo):
    from crossing import crossed, make_team

    from core.history import acting

    with acting(label="tests"):
        team = make_team()
    rows = crossed(team, acme=(50_000, 150_000))
    client = Client()
    client.force_login(team.ops)
    groups = client.get("/admin/search/", {"s": "acme"}).context["groups"]
    [plan] = [line for group in groups for line in group.lines if line.title == "Plan the tier change"]
    assert plan.url == f"/admin/governance/transition/{rows['acme'].pk}/change/"
    assert client.get(plan.url).status_code == 200
    assert "Plan the tier change" not in page(team.cleo, "acme")


@pytest.mark.parametrize(
    ("text", "title", "who"),
    [
        ("recalc", "Recalculate", {"CS Ops"}),
        ("import", "Import accounts", {"CS Ops", "RevOps", "Integration"}),
        ("together plan", "Plan tier changes together", {"CS Ops"}),
        ("plan the tier change", "Plan tier changes together", {"CS Ops"}),
        ("stand in", "Name a stand-in", {"Approver", "Finance", "RevOps"}),
        ("approve", "Decide about requests", {"Approver", "Finance", "RevOps"}),
        ("new person", "Add a person", {"Administrator"}),
    ],
)
def test_actions_are_for_who_may_do_them(db, text, title, who):
    people = {role: someone(role.lower().replace(" ", ""), role, is_staff=True) for role in ROLES}
    assert {
        role for role, user in people.items() if title in found(user, text).get("What you can do", [])
    } == who


def test_every_action_leads_to_a_page_that_answers(ola):
    chief = User.objects.create_superuser("chief")
    client = Client()
    client.force_login(chief)
    groups = client.get("/admin/search/").context["groups"]  # nothing typed: all one may do
    assert [group.title for group in groups] == ["What you can do"]
    lines = groups[0].lines
    assert len(lines) == len(search._actions) > 10
    assert {line.url: client.get(line.url).status_code for line in lines} == {line.url: 200 for line in lines}


def test_segments_requests_people_and_pages(accounts, noted, ola):
    request = request_of(ola)
    vera = someone("vera", "Approver", is_staff=True, first_name="Vera", last_name="Lind")
    ada = someone("ada", "Administrator", is_staff=True)
    assert found(ola, "high")["Segments"] == ["High"]
    assert found(ola, "tier")["Segments"] == ["Tier"]
    assert found(ola, f"#{request.pk}")["Requests"] == [request.subject]
    assert found(ola, request.subject[:6])["Requests"] == [request.subject]
    assert found(ada, "lind")["People"] == ["vera"]
    assert found(vera, "dana")["CSMs"] == ["Dana Diaz"]
    assert found(ola, "audit")["Pages"] == ["Audit trail"]
    assert found(ola, "recalc")["Pages"] == ["Recalculations"]


def test_nobody_finds_what_they_may_not_see(accounts, noted, ola):
    request = request_of(ola)
    nobody = User.objects.create(username="nobody", is_staff=True)
    for text in ("acme", "high", "tier", request.subject, "dana", "ola", "recalc", "import"):
        assert found(nobody, text) == {}
    assert found(granted(nobody, "view_account"), "acme")["Accounts"]
    assert found(without_role(ola, "CS Ops"), request.subject) == {"Requests": [request.subject]}  # one's own
    ola = someone("ola", "CS Ops")
    assert "People" not in found(ola, "ola")  # she may not see who logs in


def test_without_a_login_nothing_is_found(accounts):
    assert "/admin/login/" in Client().get("/admin/search/", {"s": "acme"})["Location"]
    outsider = User.objects.create(username="outsider")  # no staff
    client = Client()
    client.force_login(outsider)
    assert client.get("/admin/search/", {"s": "acme"}).status_code == 302


def test_nothing_found_says_so_and_what_is_typed_is_text(accounts, ola):
    said = page(ola, "<b>zzz</b>")
    assert "Nothing found for “&lt;b&gt;zzz&lt;/b&gt;”" in said
    assert "<b>zzz" not in said
    for text in ("%", "\\", "'", "_" * 300, "é" * 300, "(((", "99999999999999999999", "#", "٣"):
        assert "Accounts" not in found(ola, text)


def test_more_than_are_shown_is_said(ola):
    for number in range(search.SHOWN + 3):
        account(f"M-{number:02}", name=f"Many {number:02}")
    assert found(ola, "many")["Accounts"] == [f"Many {number:02}" for number in range(search.SHOWN)]
    assert "More accounts fit: type more of the name." in page(ola, "many")
    assert "More accounts fit" not in page(ola, "many 01")


def test_what_takes_too_long_is_cut_and_said(accounts, ola, monkeypatch):
    monkeypatch.setattr(lookup, "PATIENCE", 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into accounts_account (external_id, name, kind, status, excluded, exclusion_reason, currency, custom, provenance, created_at) select 'slow-' || n, 'Slow xx ' || n, 'customer', 'active', false, '', 'USD', '{}', '{}', now() from generate_series(1, 20000) n"
        )
    said = page(ola, "qq zz")
    assert "Too many accounts have these letters somewhere" in said
    assert lookup.find(
        "acme", most=8
    ).accounts  # what begins so is there all the same, and later queries have their time
    with connection.cursor() as cursor:
        cursor.execute("show statement_timeout")
        assert cursor.fetchone()[0] == "0"
        cursor.execute("show enable_seqscan")
        assert cursor.fetchone()[0] == "on"


@pytest.mark.parametrize("column", lookup.COLUMNS)
def test_beginnings_are_read_from_an_index_in_its_order(db, column):
    rows = next(
        rows
        for name, rows in zip(lookup.COLUMNS, lookup._beginning("acme%", 9), strict=True)
        if name == column
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_sort = off"
        )
    plan = rows.select_related(None).explain()
    assert re.search(rf"Index Scan using account_begins_{column}.*Index Cond: .*ACME", plan, re.DOTALL)


def test_as_many_queries_for_many_accounts_as_for_few(accounts, ola):
    client = Client()
    client.force_login(ola)

    def asked():
        with CaptureQueriesContext(connection) as queries:
            client.get("/admin/search/", {"s": "ac"})
        return len(queries)

    asked()
    few = asked()
    for number in range(30):
        account(f"X-{number}", name=f"Acme {number}")
    assert asked() <= few
