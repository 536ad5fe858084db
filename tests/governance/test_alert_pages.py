"""Alerts in the web admin: who sees them, who acknowledges, and rules that cannot be used are told at the field."""

import html
import json

import pytest
from django.contrib.auth.models import User
from django.test import Client
from segmenting import DAY, account, granted, layer_with

from accounts.models import Csm
from governance.changes import alerts
from governance.models import Alert, AlertRule, Event

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
    assert "nps &lt; 0" in ops.get(f"{G}alertrule/").content.decode()
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


def lines(client, **query):
    """The accounts of the list, in its order, each with its reasons."""
    shown = client.get(f"{G}alert/", query)
    return [
        (alert.account.name, [each.rule.name for each in alert.together])
        for alert in shown.context["cl"].result_list
    ]


@pytest.fixture
def ranked(ops, cleo):
    """Two rules, one of them urgent, that hold on accounts of Cleo and of nobody."""
    csm = Csm.objects.create(email="cleo@example.com", user=cleo.user)
    facts = {
        "small": (1_000, -20, csm),
        "large": (900_000, -20, None),
        "worst": (5_000, -60, None),
        "fine": (9, 9, csm),
    }
    for name, (arr, nps, whose) in facts.items():
        account(name, name=name, arr=arr, csm=whose, usage={"nps": nps})
    AlertRule.objects.create(key="angry", name="Angry", condition="nps < 0")
    AlertRule.objects.create(key="furious", name="Furious", condition="nps < -50", urgent=True)
    alerts.evaluate(DAY)


def test_alerts_are_a_line_an_account_ones_own_first_then_urgent_then_by_arr(ranked, ops, cleo):
    assert lines(cleo) == [("small", ["Angry"])]  # the menu opens theirs
    everybodys = [("worst", ["Furious", "Angry"]), ("large", ["Angry"]), ("small", ["Angry"])]
    assert lines(ops) == everybodys
    assert "3 accounts, 4 alerts" in ops.get(f"{G}alert/").content.decode()
    assert lines(cleo, state="unresolved") == [everybodys[2], *everybodys[:2]]
    # Siblings: what is seen to already comes after what waits, and a filter of the list decides which reasons there are.
    alerts.acknowledge(Alert.objects.get(account__name="large"), by=ops.user)
    alerts.acknowledge(Alert.objects.get(account__name="worst", rule__key="furious"), by=ops.user)
    assert lines(ops) == [("worst", ["Angry", "Furious"]), everybodys[2], everybodys[1]]
    assert lines(ops, state="acknowledged") == [("worst", ["Furious"]), ("large", ["Angry"])]
    assert lines(ops, q="worst", rule__id__exact=AlertRule.objects.get(key="angry").pk) == [
        ("worst", ["Angry"])
    ]
    exported = client_of("ops", "export_accounts").get(f"{G}alert/export/")
    text = b"".join(exported.streaming_content).decode()
    assert [text.count(name) for name in ("worst", "large", "small")] == [2, 1, 1]  # an export is of alerts


def test_acknowledge_does_as_many_as_it_says(ops, cleo):
    """566 were chosen, 500 done, and 66 left without a word."""
    csm = Csm.objects.create(email="cleo@example.com", user=cleo.user)
    rule = AlertRule.objects.create(key="angry", name="Angry", condition="nps < 0")
    other = AlertRule.objects.create(key="cross", name="Cross", condition="nps < 1")
    for number in range(510):
        one = account(f"a{number}", name=f"Account {number}", csm=csm if number else None)
        Alert.objects.create(rule=rule, account=one, opened_on=DAY)
        if number < 50:
            Alert.objects.create(rule=other, account=one, opened_on=DAY)
    first = Alert.objects.filter(rule=other).order_by("pk")[5:7].values_list("pk", flat=True)
    sent = {"action": "acknowledge", "_selected_action": list(first), "select_across": "1"}
    shown = cleo.post(f"{G}alert/?state=unresolved", sent, follow=True).content.decode()
    assert "558 alerts are acknowledged." in shown
    assert "2 alerts were left out: Only CS Ops and the CSM of Account 0" in shown
    assert Alert.objects.filter(status="acknowledged", acknowledged_by_label="cleo").count() == 558
    assert Alert.history.filter(status="acknowledged").count() == 558
    events = Event.objects.filter(kind="alert_acknowledged")
    assert events.count() == 558
    assert events.first().actor_label == "cleo"
    # Siblings: what is there stays as it is said, with one rule's alerts alone, and by a second click.
    assert alerts.acknowledge_all(Alert.objects.filter(rule=other), by=cleo.user)[0] == 0
    sent["_selected_action"] = [Alert.objects.filter(status="open").first().pk]
    shown = ops.post(f"{G}alert/?rule__id__exact={other.pk}", sent, follow=True).content.decode()
    assert "1 alert is acknowledged." in shown
    assert list(Alert.objects.filter(status="open").values_list("rule__key", flat=True)) == ["angry"]


def test_a_condition_is_named_with_what_is_meant_and_counted_before_it_is_saved(ops, lifecycle):
    for name, nps in {"acme": -20, "other": -5, "calm": 30}.items():
        account(name, name=name, usage={"nps": nps})
    found = ops.post(f"{G}alertrule/check/", {"condition": "nps < 0"}).json()
    assert found["said"] == "This condition can be used. It holds on 2 of 3 accounts now."
    wrong = {
        "status = 'chruned'": "Did you mean 'churned'?",
        "label.life_cycle = 'nonsense'": "label.life_cycle is never 'nonsense'. It is one of ",
        "usage_change_30d < -20": "Did you mean -0.2?",
        "before.status = 'aktive'": "Did you mean 'active'?",
    }
    for condition, said in wrong.items():
        sent = {"condition": condition, "days": "30"}
        assert said in ops.post(f"{G}alertrule/check/", sent).json()["said"]
        assert said in html.unescape(ops.post(f"{G}alertrule/add/", RULE | sent).content.decode())
    assert not AlertRule.objects.exists()
