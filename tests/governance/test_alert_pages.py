"""Alerts in the web admin: who sees them, who acknowledges, and rules that cannot be used are told at the field."""

import json

import pytest
from django.contrib.auth.models import User
from django.test import Client
from segmenting import DAY, account, granted, layer_with

from accounts.models import Csm
from governance.changes import alerts
from governance.models import Alert, AlertRule

G = "/admin/governance/"
SEES = ("view_alert", "view_alertrule", "view_account")
RULE = {"name": "Angry", "key": "angry", "condition": "nps < 0", "audience": "csm", "active": "on"}


def client_of(name, *permissions):
    user, _ = User.objects.get_or_create(username=name, is_staff=True)
    client = Client()
    client.user = granted(user, *SEES, *permissions)
    client.force_login(client.user)
    return client


@pytest.fixture
def ops(db):
    return client_of("ops", "add_alertrule", "change_alertrule", "acknowledge_alert")


@pytest.fixture
def cleo(db):
    return client_of("cleo", "acknowledge_alert")


@pytest.fixture
def alert(ops, cleo):
    csm = Csm.objects.create(email="cleo@example.com", user=cleo.user)
    account("acme", name="Acme", csm=csm, usage={"nps": -20})
    account("other", name="Other", usage={"nps": -20})
    AlertRule.objects.create(key="angry", name="Angry", condition="nps < 0")
    alerts.evaluate(DAY)
    return Alert.objects.get(account__external_id="acme")


def test_a_rule_is_made_where_it_can_be_used_and_shows_where_it_holds(ops):
    account("acme", name="Acme", usage={"nps": -20})
    wrong = ops.post(f"{G}alertrule/add/", RULE | {"condition": "nsp < 0"})
    assert b"Did you mean &#x27;nps&#x27;" in wrong.content
    assert not AlertRule.objects.exists()
    assert ops.post(f"{G}alertrule/add/", RULE).status_code == 302
    made = AlertRule.objects.get()
    assert made.history.get().history_user_label == "ops"
    shown = ops.get(f"{G}alertrule/{made.pk}/holds/").content.decode()
    assert "1 account" in shown
    assert "Acme" in shown
    assert "NPS is below 0" in ops.get(f"{G}alertrule/").content.decode()  # in words
    assert "NPS is below 0" in shown
    assert "No condition yet" in ops.get(f"{G}alertrule/add/").content.decode()  # and not "everybody else"
    assert ops.post(f"{G}alertrule/{made.pk}/change/", RULE | {"name": "Cross"}).status_code == 302
    made.refresh_from_db()
    assert (made.name, made.history.count()) == ("Cross", 2)


@pytest.fixture
def lifecycle(settings):
    gates, settings.GATES = settings.GATES, {}
    layer_with(key="life-cycle")
    settings.GATES = gates


def rows(*found):
    made = [
        {"field": field, "operator": operator, "values": list(values)} for field, operator, *values in found
    ]
    return json.dumps({"join": "all", "rows": made})


def test_a_condition_made_of_rows_is_saved_as_text_and_an_unfinished_one_is_kept(ops, lifecycle):
    sent = RULE | {
        "condition": "",
        "condition.rows": rows(("arr", ">=", "100000"), ("label.life_cycle", "=", "")),
    }
    unfinished = ops.post(f"{G}alertrule/add/", sent)
    assert not AlertRule.objects.exists()
    assert "Give a value." in unfinished.content.decode()
    assert "label.life_cycle&quot;, &quot;operator&quot;: &quot;=&quot;" in unfinished.content.decode()
    sent["condition.rows"] = rows(("arr", ">=", "100000"), ("label.life_cycle", "=", "high"))
    assert ops.post(f"{G}alertrule/add/", sent).status_code == 302
    assert AlertRule.objects.get().condition == "arr >= 100000 AND label.life_cycle = 'high'"


@pytest.mark.parametrize(
    ("sent", "said", "shown"),
    [
        ({}, "Say when people are alerted.", []),
        ({"condition": "nps < 0"}, "This condition can be used.", ["nps"]),
        ({"condition": "nps < arr"}, "This condition can be used.", None),
        ({"condition": "before.arr > 5"}, "Say since how many days: the condition looks at what was before.", ["before.arr"]),
        ({"condition": "before.arr > 5", "days": "30"}, "This condition can be used.", ["before.arr"]),
        ({"condition.rows": rows(("nps", "<", "x"))}, "'x' is no number", None),
        ({"condition.rows": "[[["}, "", None),
    ],
)  # fmt: skip
def test_a_condition_is_checked_as_it_is_typed(ops, sent, said, shown):
    found = ops.post(f"{G}alertrule/check/", sent).json()
    assert said in found["said"]
    [rule] = found["rules"]
    assert shown == (rule["rows"] and [one["field"] for one in rule["rows"]["rows"]])
    assert (
        client_of("audrey").post(f"{G}alertrule/check/", sent).status_code,
        AlertRule.objects.count(),
    ) == (403, 0)


def test_the_rows_offer_what_a_condition_may_use(ops, lifecycle):
    page = ops.get(f"{G}alertrule/add/").content.decode()
    for name in ("arr", "renewal_lead_days", "label.life_cycle", "composite.life_cycle", "score.life_cycle.worth",
                 "before.industry", "before.label.life_cycle"):  # fmt: skip
        assert f'"name": "{name}"' in page
        assert alerts.problems(f"{name} is null", days=30) == []
    assert '"previous"' not in page


def test_the_csm_acknowledges_the_alert_of_their_account_and_no_other(alert, cleo):
    shown = cleo.get(f"{G}alert/?state=mine").content.decode()
    assert "Acme" in shown
    assert "Other" not in shown
    address = f"{G}alert/{alert.pk}/change/"
    assert "Acknowledge it" in cleo.get(address).content.decode()
    assert cleo.post(address, {"note": "Called them"}).status_code == 302
    alert.refresh_from_db()
    assert (alert.status, alert.acknowledged_by_label, alert.note) == ("acknowledged", "cleo", "Called them")
    foreign = Alert.objects.exclude(pk=alert.pk).get()
    address = f"{G}alert/{foreign.pk}/change/"
    assert "Only CS Ops and the CSM of Other" in cleo.get(address).content.decode()
    assert cleo.post(address, {}).status_code == 409
    foreign.refresh_from_db()
    assert foreign.status == "open"


def test_many_are_acknowledged_together_those_of_others_are_left_out(alert, cleo, ops):
    every = list(Alert.objects.values_list("pk", flat=True))
    sent = {"action": "acknowledge", "_selected_action": every}
    shown = cleo.post(f"{G}alert/", sent, follow=True).content.decode()
    assert "1 alert is acknowledged." in shown
    assert "1 alert was left out: Only CS Ops and the CSM of Other acknowledge its alerts." in shown
    assert set(Alert.objects.values_list("status", "acknowledged_by_label")) == {
        ("acknowledged", "cleo"),
        ("open", ""),
    }
    assert "1 alert is acknowledged." in ops.post(f"{G}alert/", sent, follow=True).content.decode()
    assert set(Alert.objects.values_list("status", flat=True)) == {"acknowledged"}
    assert '<option value="acknowledge">' in cleo.get(f"{G}alert/").content.decode()
    assert '<option value="acknowledge">' not in client_of("audrey").get(f"{G}alert/").content.decode()


def test_an_auditor_looks_and_a_stranger_does_not(alert):
    auditor = client_of("audrey", "export_accounts")
    for address in (f"{G}alert/", f"{G}alert/{alert.pk}/change/", f"{G}alertrule/", f"{G}alert/export/"):
        assert auditor.get(address).status_code == 200
    assert auditor.post(f"{G}alert/{alert.pk}/change/", {}).status_code == 409
    assert auditor.post(f"{G}alertrule/add/", RULE).status_code == 403
    stranger = Client()
    stranger.force_login(User.objects.create(username="stranger", is_staff=True))
    assert stranger.get(f"{G}alert/").status_code == 403
    assert stranger.get(f"{G}alert/{alert.pk}/change/").status_code == 403


def test_the_account_says_what_holds(alert, cleo):
    shown = cleo.get(f"/admin/accounts/account/{alert.account_id}/change/").content.decode()
    assert f"{G}alert/{alert.pk}/change/" in shown
    assert "Alert: Angry" in shown


@pytest.mark.parametrize("odd", ["0", "99999999999999999999", "x", "1'"])
def test_an_alert_that_is_not_there(ops, odd):
    assert ops.get(f"{G}alert/{odd}/change/").status_code == 404
