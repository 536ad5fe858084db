"""Home is different for everybody: what waits for them, one step first, and never a button they may not use."""

import html
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from governing import away, policy, request_of, someone
from segmenting import account, change, layer_with, recompute

from accounts.models import Conflict, Csm
from core.history import acting
from governance.changes import crossings
from governance.models import Alert, AlertRule, ApprovalRequest, Transition
from governance.reading import home
from governance.signoff import approvals
from segmentation.evaluation import causes
from segmentation.models import Cause, Declaration

pytestmark = pytest.mark.django_db
NOW = timezone.now


@pytest.fixture(autouse=True)
def ungated(settings):
    settings.GATES, settings.AFTER_RUN = {}, []


@pytest.fixture
def week(noted):
    """Two crossings, one of them planned; a request, a disagreement, a proposal, an alert, an override that ends soon."""
    layer = layer_with()
    ops, cleo = someone("ops", "CS Ops"), someone("cleo", "CSM")
    csm = Csm.objects.create(email="cleo@example.com", name="Cleo", user=cleo)
    today = timezone.localdate()
    accounts = [
        account(name, arr=150_000, employees=5_000, csm=csm, usage={"nps": 60})
        for name in ("acme", "zeta", "umbra")
    ]
    recompute(today - timedelta(days=1))
    for one in accounts[:2]:
        change(one, arr=500, employees=5)
    recompute(today)
    crossings.flag(layer, today)
    policy("override", "Approver", 1, only=True)
    request_of(ops)
    high = layer.segments.first()
    with transaction.atomic(), acting(by=ops, reason="A week"):
        causes.take(Cause.Kind.DECISION)
        Transition.objects.filter(account=accounts[1]).update(status="planned", held_for="")
        Transition.objects.filter(account=accounts[0]).update(held_for="")
        Conflict.objects.create(
            account=accounts[0], fact="industry", proposed_source="crm", proposed_observed=today
        )
        Declaration.objects.create(
            account=accounts[2], layer=layer, segment=high, reason="Named", from_date=today, proposed_by=ops.pk, proposed_by_label="ops"
        )  # fmt: skip
        rule = AlertRule.objects.create(key="calm", name="Calm", condition="nps > 0")
        Alert.objects.create(rule=rule, account=accounts[2], opened_on=today)
    return layer


def waits(user):
    return {one.what: one.number for one in home.waiting(user, at=NOW())}


def page(user):
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    return client.get("/admin/").content.decode()


OPS = {
    "Tier changes to triage": 1,
    "Plans to send for approval": 1,
    "Values two sources disagree about": 1,
    "Declared values to confirm": 1,
}


@pytest.mark.parametrize(
    ("name", "role", "sees"),
    [
        ("vera", "Approver", {"Requests to decide": 1, "Declared values to confirm": 1}),
        ("olga", "CS Ops", OPS),
        (
            "ops",
            "CS Ops",
            {what: number for what, number in OPS.items() if what != "Declared values to confirm"},
        ),
        (
            "cleo",
            "CSM",
            {"Alerts on your accounts": 1, "Your accounts in another segment than the rules say": 2},
        ),
        ("rita", "RevOps", {"Values two sources disagree about": 1}),
        ("fay", "Finance", {}),
        ("ann", "Auditor", {}),
        ("ada", "Administrator", {}),
        ("bot", "Integration", {}),
    ],
)
def test_each_sees_what_waits_for_them(name, role, sees, week):
    someone("vera", "Approver")
    assert waits(someone(name, role)) == sees


def test_the_tier_changes_beside_those_to_triage_are_named_in_the_same_line(week):
    shown = page(someone("olga", "CS Ops"))
    assert "Plan them, or keep the account where it is. Besides these: 1 planned.</span>" in shown
    with transaction.atomic(), acting(by=someone("ops"), reason="A week"):
        causes.take(Cause.Kind.DECISION)
        Transition.objects.filter(status="planned").update(held_for="days")
    assert "Besides these: 1 held.</span>" in page(someone("olga"))


def test_a_request_nobody_can_decide_waits_for_cs_ops(week):
    assert waits(someone("olga", "CS Ops"))["Requests nobody can decide"] == 1


def test_a_stand_in_sees_what_waits_for_who_is_away(week):
    wim = someone("wim", "CSM")
    away(someone("vera", "Approver"), wim)
    assert waits(wim) == {"Requests to decide": 1}


def test_what_came_back_waits_for_who_asked(week):
    vera, ops = someone("vera", "Approver"), someone("ops")
    request = ApprovalRequest.objects.get()
    approvals.ask_for_changes(request, by=vera, seen=approvals.token(request), reason="Until when?")
    assert waits(ops)["Your requests that came back"] == 1
    assert waits(vera) == {"Declared values to confirm": 1}


def test_the_first_thing_is_the_one_button(week):
    shown = page(someone("vera", "Approver"))
    assert "Requests to decide: 1. They wait for your approval." in shown
    assert shown.count("btn primary") == 1
    assert 'href="/admin/governance/approvalrequest/?tab=mine"' in shown


def test_a_csm_sees_their_accounts_and_an_auditor_what_was_recorded(week):
    mine, audit = page(someone("cleo")), page(someone("ann", "Auditor"))
    assert (
        "Your accounts" in mine,
        "3 active customers" in mine,
        "$151,000 ARR" in mine or "$151K ARR" in mine,
    ) == (True, True, True)
    assert ("Recorded since yesterday" in mine, "Recorded since yesterday" in audit) == (False, True)
    assert "Your accounts" not in audit


@pytest.mark.parametrize("role", ["Auditor", "CSM", "Approver", "Administrator"])
def test_nobody_is_asked_to_import_who_may_not(role):
    shown = page(someone("x", role))
    assert "Import your accounts" not in shown


def test_home_asks_as_often_for_many_as_for_few(week):
    def asked(user):
        with CaptureQueriesContext(connection) as queries:
            home.waiting(user, at=NOW())
        return len(queries)

    olga, vera, cleo = someone("olga", "CS Ops"), someone("vera", "Approver"), someone("cleo")
    before = [asked(User.objects.get(pk=one.pk)) for one in (olga, vera, cleo)]
    ops = someone("ops")
    for number in range(5):
        request_of(ops, key=f"override:more-{number}")
    assert [asked(User.objects.get(pk=one.pk)) for one in (olga, vera, cleo)] == before


def test_the_accounts_of_a_csm_that_are_counted_are_those_listed(week):
    cleo = someone("cleo")
    csm = Csm.objects.get(name="Cleo")
    paused = account("paused", arr=10, csm=csm, status="paused")
    client = Client()
    cleo.is_staff = True
    cleo.save()
    client.force_login(cleo)
    shown = client.get("/admin/").content.decode()
    assert "3 active customers" in shown
    for what, number in (("active customers", 3), ("Your accounts in another segment", 2)):
        url = re.search(rf'<a[^>]* href="([^"]+)">[^<]*{what}', shown)[1]
        assert client.get(html.unescape(url)).context["cl"].result_count == number
    assert paused.csm == csm
