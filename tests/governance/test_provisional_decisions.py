"""The account after its provisional period: its CSM is told, or going down waits for a plan."""

from datetime import date, timedelta

import pytest
from databases import unsigned
from django.core import mail as sent
from django.test import Client
from django.utils import timezone
from governing import approved, no_policies, someone
from segmenting import account, change, layer_with, recompute

from accounts.models import Csm
from governance.changes import followup, overrides, overrides_in_force
from governance.models import Event, Notification, Transition
from governance.news import mail, notifications
from segmentation.models import Assignment

START = date(2026, 6, 1)
DECIDED = START + timedelta(days=30)
LOWER = {"nps": -90, "tickets_90d": 50}


@pytest.fixture(autouse=True)
def rules_as_needed(settings):
    settings.GATES = {}


@pytest.fixture
def acme(db):
    """A new account in High, of Cleo's, and somebody else about whom everything is known."""
    account("crowd", arr=60_000, employees=500, usage={"nps": 20, "tickets_90d": 3})
    cleo = someone("cleo", "CSM", email="cleo@example.com", is_staff=True)
    csm = Csm.objects.create(email="cleo@example.com", user=cleo)
    return account(arr=120_000, employees=2_000, contract_start=START, name="Acme", csm=csm)


def decide(layer, acme, **usage):
    """Two recalculations: on the first day, and on the day it is decided."""
    recompute(START)
    change(acme, **usage)
    recompute(DECIDED)
    followup.follow_ended()
    notifications.deliver()
    return Assignment.objects.select_related("effective").get(account=acme, layer=layer)


def test_the_decision_applies_at_once_and_the_csm_hears_of_it_with_a_link(acme):
    row = decide(layer_with(), acme, **LOWER)
    assert (row.effective.key, row.provisional) == ("low", False)
    assert not Transition.objects.exists()
    line = Notification.objects.get(user__username="cleo")
    assert line.text == "Acme moved from High to Low (Tier): decided after the provisional period."
    assert line.why == "You look after Acme."
    mail.send_due(now=line.mail.due)
    [message] = sent.outbox
    assert message.to == ["cleo@example.com"]
    assert line.link in message.body
    web = Client()
    web.force_login(line.user)
    page = web.get(line.link)
    assert page.status_code == 200
    assert "Acme" in page.content.decode()


def test_where_the_layer_wants_it_going_down_waits_for_a_plan(acme):
    layer = layer_with()
    layer.plan_provisional_downgrades = True
    with unsigned():
        layer.save()
    row = decide(layer, acme, **LOWER)
    assert (row.effective.key, row.computed.key, row.provisional) == ("high", "low", False)
    [one] = Transition.objects.select_related("to_segment")
    assert (one.status, one.origin, one.to_segment.key) == ("flagged", "provisional", "low")
    kinds = Notification.objects.filter(user__username="cleo").values_list("event__kind", flat=True)
    assert list(kinds) == ["transition_flagged"]


def test_nobody_is_flagged_while_provisional(acme):
    layer = layer_with()
    recompute(START)
    change(acme, arr=30_000, employees=10)
    recompute(START + timedelta(days=10))
    followup.follow_ended()
    assert not Transition.objects.exists()
    assert Assignment.objects.get(account=acme, layer=layer).effective.key == "tech"


def test_when_an_override_of_somebody_new_ends_people_decide_as_they_are_told(acme):
    """A segment people pinned was decided: the next recalculation does not move the account past them."""
    no_policies("override")
    layer, olga, vera = layer_with(), someone("olga", "CS Ops"), someone("vera", "Approver")
    today = timezone.localdate()
    change(acme, contract_start=today)
    recompute(today)
    high = layer.segments.get(key="high")
    said = {"reason_code": "strategic", "text": "A pilot"}
    request = approved(overrides.ask([acme], layer, high, by=olga, **said), vera)
    change(acme, arr=10_000, employees=10)
    recompute(today)
    overrides_in_force.end(request.overrides.get(), by=olga, reason="The pilot is over")
    recompute(today)
    followup.follow_ended()
    one = Transition.objects.open().get()
    assert (one.status, one.origin, one.to_segment.key) == ("flagged", "expiry", "tech")
    row = Assignment.objects.get(account=acme, layer=layer)
    assert (row.effective.key, row.provisional) == ("high", True)
    told = Event.objects.get(kind="override_ended").text
    assert told.endswith("The rules say Tech: that is put before people as a tier change.")
