"""Alerts: found by conditions over facts and labels, told once, and gone when they hold no more."""

from datetime import timedelta

import pytest
from databases import unsigned
from django.contrib.auth.models import User
from django.utils import timezone
from segmenting import BY_ARR, DAY, RULES, account, change, granted, layer_with, recompute

from accounts.models import Account, Csm, Signal
from core.history import acting
from core.refusals import Refused
from governance.changes import alerts
from governance.models import Alert, AlertRule, Event
from segmentation.authoring import versions

NEXT = DAY + timedelta(days=1)


@pytest.fixture(autouse=True)
def rules_as_they_come(settings):
    """How rules are signed off is tested elsewhere."""
    settings.GATES, settings.AFTER_RUN = {}, []


def rule(condition, *, told=True, **fields):
    """An alert rule; `told`: its silent first evaluation is behind it."""
    made = AlertRule.objects.create(key="rule", name="A rule", condition=condition, **fields)
    if told:
        alerts.evaluate(DAY)
    return AlertRule.objects.get(pk=made.pk)


def held(at=NEXT):
    alerts.evaluate(at)
    return sorted(Alert.objects.exclude(status="resolved").values_list("account__external_id", flat=True))


def ops(name="ops"):
    user, _ = User.objects.get_or_create(username=name)
    return granted(user, "acknowledge_alert", "change_alertrule")


def test_an_alert_is_told_once_and_resolved_when_it_holds_no_more(db):
    acme = account(usage={"nps": 40})
    rule("nps < 0")
    change(acme, nps=-10)
    assert held() == ["acme"]
    assert held() == ["acme"]  # still open: not again
    [alert] = Alert.objects.all()
    assert (alert.status, alert.silent, alert.opened_on, alert.evidence) == (
        "open",
        False,
        NEXT,
        {"nps": "-10"},
    )
    assert [event.account for event in Event.objects.filter(kind="alert_opened")] == [acme]
    change(acme, nps=0)
    assert held(NEXT + timedelta(days=1)) == []
    alert.refresh_from_db()
    assert (alert.status, alert.resolved_on) == ("resolved", NEXT + timedelta(days=1))
    change(acme, nps=-1)
    assert held() == ["acme"]  # it came again, and is told again
    assert Event.objects.filter(kind="alert_opened").count() == 2
    assert alert.history.count() == 2


def test_the_first_evaluation_of_a_rule_tells_nobody(db):
    account(usage={"nps": -10})
    made = rule("nps < 0", told=False)
    assert held(DAY) == ["acme"]
    assert Alert.objects.get().silent
    assert not Event.objects.filter(kind="alert_opened").exists()
    made.refresh_from_db()
    other = account("other", usage={"nps": -10})
    assert held() == ["acme", "other"]
    assert [event.account for event in Event.objects.filter(kind="alert_opened")] == [other]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("label.tier = 'high'", ["large"]),
        ("score.tier.worth >= 4 and score.tier.behaviour <= 2", ["large"]),
        ("label.size = 'tech' and arr < 1000", ["small"]),
        ("composite.tier < 2.5", ["small"]),
        ("days_to_renewal <= renewal_lead_days", ["large"]),
    ],
)
def test_conditions_read_facts_scores_and_labels_of_every_segmentation(db, condition, expected):
    layer = layer_with(
        {**RULES, "rules": [{"segment": "high", "when": "score.worth >= 4"}, {"segment": "tech"}]},
        decides=("touch_frequency", "renewal_lead_days"),
    )
    layer_with(BY_ARR, key="size", policy="automatic")
    treatment = layer.segments.get(key="high").treatment
    treatment.renewal_lead_days = 120
    with unsigned():
        treatment.save()
    account("large", arr=150_000, employees=2_000, renewal_date=DAY + timedelta(days=100), usage={"nps": -50})
    account("small", arr=500, employees=2, renewal_date=DAY + timedelta(days=10), usage={"nps": -50})
    recompute()
    rule(condition)
    assert held() == expected


def test_what_changed_since_some_days(db):
    layer_with(BY_ARR, policy="automatic")
    acme, other = account(arr=150_000), account("other", arr=150_000)
    recompute(DAY - timedelta(days=40))
    change(acme, arr=10)
    recompute(DAY - timedelta(days=3))
    fell = "before.label.tier = 'high' and label.tier <> 'high'"
    rule(fell, days=7)
    assert held(DAY) == ["acme"]
    assert held(DAY + timedelta(days=10)) == []  # it has been so for longer
    AlertRule.objects.all().update(active=False)
    with acting(label="import"):
        other.industry = "Healthcare"
        other.save()
    AlertRule.objects.create(key="industry", name="Industry", condition="industry <> before.industry", days=7)
    today = timezone.localdate(other.history.latest().history_date)
    assert held(today) == []  # before, it was not known: no change
    Account.objects.filter(pk=other.pk).update(industry="Technology")
    assert held(today + timedelta(days=8)) == ["other"]


def test_who_has_left_has_no_alerts(db):
    acme = account(usage={"nps": -10})
    rule("nps < 0")
    assert held() == ["acme"]
    change(acme, status="churned")
    assert held() == []


@pytest.mark.parametrize(
    ("condition", "days", "said"),
    [
        ("nps <", None, "near .<."),
        ("nsp < 0", None, "Did you mean 'nps'"),
        ("label.nothing = 'x'", None, "no segmentation 'nothing'"),
        ("previous = 'x'", None, "of one segmentation"),
        ("before.industry <> industry", None, "since how many days"),
        ("pg_sleep(10)", None, "cannot be used here"),
    ],
)
def test_a_condition_that_cannot_be_used_is_refused_and_one_that_broke_keeps_its_alerts(
    db, condition, days, said
):
    with pytest.raises(Refused, match=said):
        alerts.save_rule(AlertRule(key="rule", name="A rule", condition=condition, days=days), by=ops())
    assert not AlertRule.objects.exists()
    acme = account(usage={"nps": -10})
    made = rule("nps < 0")
    AlertRule.objects.filter(pk=made.pk).update(condition=condition, days=days)
    change(acme, nps=10)
    assert held() == ["acme"]
    assert AlertRule.objects.get().error


def test_acknowledging(db):
    csm = Csm.objects.create(
        email="cleo@example.com", user=granted(User.objects.create(username="cleo"), "acknowledge_alert")
    )
    acme, other = account(usage={"nps": -10}, csm=csm), account("other", usage={"nps": -10})
    rule("nps < 0")
    mine, foreign = Alert.objects.get(account=acme), Alert.objects.get(account=other)
    with pytest.raises(Refused, match="Only CS Ops and the CSM of other"):
        alerts.acknowledge(foreign, by=csm.user)
    done = alerts.acknowledge(mine, by=csm.user, note="Called them")
    assert (done.status, done.note, done.acknowledged_by_label) == ("acknowledged", "Called them", "cleo")
    assert alerts.acknowledge(mine, by=csm.user) == done
    with pytest.raises(Refused, match="acknowledged already"):
        alerts.acknowledge(mine, by=ops())
    with pytest.raises(Refused, match="not allowed"):
        alerts.acknowledge(foreign, by=User.objects.create(username="nobody"))
    assert held() == ["acme", "other"]  # acknowledged, and not opened again


def test_a_changed_condition_begins_anew_and_silently(db):
    account(usage={"nps": -10})
    made = rule("nps < -50")
    made.condition = "nps < 0"
    alerts.save_rule(made, by=ops())
    assert held() == ["acme"]
    assert not Event.objects.filter(kind="alert_opened").exists()


def test_a_condition_that_changes_while_it_is_looked_at_begins_anew_too(db, monkeypatch):
    account(usage={"nps": -10})
    made = rule("nps < -50")
    look = alerts._holding

    def change_meanwhile(one, *args):
        monkeypatch.setattr(alerts, "_holding", look)
        made.condition = "nps < 0"
        alerts.save_rule(made, by=ops())
        return look(one, *args)

    monkeypatch.setattr(alerts, "_holding", change_meanwhile)
    assert held() == []
    assert held() == ["acme"]
    assert not Event.objects.filter(kind="alert_opened").exists()


@pytest.mark.parametrize("left", [False, True])
def test_many_are_resolved_with_few_queries_and_a_history_row_each(db, django_assert_max_num_queries, left):
    for number in range(30):
        account(f"a{number}", usage={"nps": -10})
    made = rule("nps < 0")
    if left:
        Account.objects.update(status="churned")
    else:
        made.condition = "nps < -20"
        alerts.save_rule(made, by=ops())
    with django_assert_max_num_queries(40):
        assert held() == []
    last = [one.history.latest() for one in Alert.objects.all()]
    assert {(row.status, row.resolved_on, row.history_type, row.history_user_label) for row in last} == {
        ("resolved", NEXT, "~", "alerts")
    }


def test_the_shipped_rules_can_be_used(db):
    versions.load_presets()
    assert alerts.load_shipped() == len(alerts.SHIPPED)
    assert alerts.load_shipped() == 0
    acme = account(
        arr=200_000,
        renewal_date=DAY + timedelta(days=100),
        usage={"nps": 10, "login_days_30d": 0, "tickets_90d": 30},
    )
    Signal.objects.create(account=acme, signal="sponsor_departed", at=DAY - timedelta(days=5))
    recompute()
    alerts.evaluate(DAY)
    assert not AlertRule.objects.exclude(error="").exists()
    assert "sponsor-departed" in Alert.objects.values_list("rule__key", flat=True)
    count, [found] = alerts.holding_now(AlertRule.objects.get(key="sponsor-departed"), at=DAY)
    assert (count, found) == (1, acme)
