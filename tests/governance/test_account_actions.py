"""Verbs for accounts chosen in their list: by the functions, rights and refusals of one, and nothing is cut off."""

import html
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from crossing import TOGETHER, crossed, make_team
from django.test import Client
from governing import deactivated, someone
from segmenting import account, granted, layer_with, recompute

from accounts.models import Account, Conflict, Csm, SourceSystem, SystemOfRecord
from governance.changes import alerts, overrides
from governance.models import Alert, AlertRule

A = "/admin/accounts/account/"


def client_of(user):
    client = Client()
    client.force_login(user)
    client.user = user
    return client


def text(answer):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode())))


def choose(client, action, *accounts, address=A, across=False):
    sent = {"action": action, "_selected_action": [one.pk for one in accounts]}
    return client.post(address, sent | ({"select_across": "1"} if across else {}), follow=True)


def carry_out(client, page, **typed):
    """Send the form of the page that asks, as it is."""
    form = re.search(
        r'<form method="post" action="([^"]*)" class="card narrow-card">(.*?)</form>',
        page.content.decode(),
        re.S,
    )
    hidden = re.findall(r'<input type="hidden" name="(accounts|list)" value="([^"]*)"', form[2])
    return client.post(form[1], {name: html.unescape(value) for name, value in hidden} | typed, follow=True)


@pytest.fixture
def ops(db):
    return client_of(granted(someone("olga", "CS Ops", is_staff=True), "change_account"))


@pytest.fixture
def layer(db, settings):
    settings.GATES, settings.AFTER_RUN = {}, []  # rules as they come
    layer_with(policy="automatic")
    recompute()


@pytest.fixture
def three(db):
    return [account(name, name=name.capitalize(), arr=1_000) for name in ("acme", "beta", "gamma")]


@pytest.fixture
def ada(db):
    return Csm.objects.create(email="ada@example.com", name="Ada")


# -- a CSM


def test_a_csm_is_assigned_to_many_as_to_one(ops, three, ada):
    acme, beta, gamma = three
    Account.objects.filter(pk=gamma.pk).update(csm=ada)
    page = choose(ops, "assign_csm", *three, address=f"{A}?q=a")
    assert "Assign a CSM: 3 accounts" in text(page)
    assert "Acme, Beta, Gamma" in text(page)
    answer = carry_out(ops, page, csm=ada.pk, reason="New territories")
    assert answer.request["PATH_INFO"] == A
    assert answer.request["QUERY_STRING"] == "q=a"  # the list as it was
    said = text(answer)
    assert "2 accounts: the CSM is assigned." in said
    assert "1 account is left as before (Gamma): Ada is the CSM already." in said
    for one in (acme, beta):
        one.refresh_from_db()
        assert (one.csm, one.provenance["csm"][0]) == (ada, "manual")
        assert one.history.first().history_change_reason == "New territories"


def test_what_would_wait_for_one_waits_among_many(ops, three, ada):
    """Another system has the last word on who looks after an account for which people have decided that."""
    crm = SourceSystem.objects.create(key="crm", name="CRM")
    SystemOfRecord.objects.create(fact="csm", source=crm)
    page = choose(ops, "assign_csm", *three)
    answer = carry_out(ops, page, csm=ada.pk, reason="New territories")
    one_by_one = Conflict.objects.filter(fact="csm", status="open").count()
    done = Account.objects.filter(csm=ada).count()
    assert one_by_one + done == 3
    if one_by_one:
        assert "waits for a decision" in text(answer)


def test_a_csm_whose_login_is_closed_is_refused_as_for_one(ops, three, ada):
    ada.user = someone("ada")
    ada.save()
    page = choose(ops, "assign_csm", *three)
    deactivated(ada.user)
    answer = carry_out(ops, page, csm=ada.pk, reason="New territories")
    assert answer.status_code in (200, 409)
    assert not Account.objects.filter(csm=ada).exists()
    assert "choose another" in text(answer).lower()


@pytest.mark.parametrize(
    ("typed", "sentence"), [({"reason": "x"}, "Choose a CSM."), ({"csm": 1}, "Say why.")]
)
def test_what_is_missing_is_said_and_nothing_is_done(ops, three, ada, typed, sentence):
    page = choose(ops, "assign_csm", *three)
    answer = carry_out(ops, page, **typed | ({"csm": ada.pk} if "csm" in typed else {}))
    assert sentence in text(answer)
    assert not Account.objects.filter(csm=ada).exists()


def test_all_that_match_are_meant_with_all_pages_and_nothing_is_cut_off(ops, ada, monkeypatch):
    for number in range(60):
        account(f"x{number:02}", name=f"X{number}", arr=number)
    account("other", name="Other", arr=5)
    address = f"{A}?where=external_id+LIKE+%27x%25%27"
    page = choose(ops, "assign_csm", Account.objects.first(), address=address, across=True)
    assert "Assign a CSM: 60 accounts" in text(page)
    assert "and 40 more" in text(page)
    assert "60 accounts: the CSM is assigned." in text(carry_out(ops, page, csm=ada.pk, reason="All"))
    assert Account.objects.filter(csm=ada).count() == 60
    monkeypatch.setattr("segmentation.admin.in_bulk.AssignPage.most", 59)
    page = choose(ops, "assign_csm", Account.objects.first(), address=address, across=True)
    assert "At most 59 accounts at a time, and nothing was done: narrow the list first." in text(page)


# -- excluding


def test_accounts_are_excluded_with_a_reason(ops, three):
    acme, beta, _ = three
    Account.objects.filter(pk=beta.pk).update(excluded=True, exclusion_reason="A test")
    page = choose(ops, "exclude_accounts", acme, beta)
    said = text(carry_out(ops, page, reason="Ours"))
    assert "1 account: excluded." in said
    assert "1 account is left as before (Beta): Excluded already: “A test”" in said
    found = dict(Account.objects.values_list("external_id", "exclusion_reason"))
    assert found == {"acme": "Ours", "beta": "A test", "gamma": ""}


def test_one_that_is_refused_keeps_no_other(ops, three, monkeypatch):
    from accounts import corrections
    from core.refusals import Refused

    written = corrections.correct

    def correct(account, *arguments, **named):
        if account.external_id == "beta":
            raise Refused("parent_is_itself", account=account)
        return written(account, *arguments, **named)

    monkeypatch.setattr(corrections, "correct", correct)
    said = text(carry_out(ops, choose(ops, "exclude_accounts", *three), reason="Ours"))
    assert "2 accounts: excluded." in said
    assert "1 account is left as before (Beta):" in said


def test_whoever_may_not_change_one_may_not_change_many(three, ada):
    carl = client_of(someone("carl", "CSM", is_staff=True))
    if carl.user.has_perm("accounts.change_account"):
        pytest.skip("CSMs correct accounts here")
    for action in ("assign_csm", "exclude_accounts"):
        assert "No action selected" in text(choose(carl, action, *three))
    ids = ",".join(str(one.pk) for one in three)
    for page, typed in (("assign", {"csm": ada.pk}), ("exclude", {})):
        sent = {"accounts": ids, "reason": "x"} | typed
        assert carl.post(f"{A}{page}/", sent).status_code == 403
    assert not Account.objects.exclude(csm=None, excluded=False).exists()


# -- governance


def test_the_tier_changes_of_the_chosen_are_planned_on_the_page_there_is(db, settings):
    settings.GATES, settings.AFTER_RUN = {}, []
    team = make_team()
    changes = crossed(
        team, acme=(5_000, 200_000), beta=(5_000, 300_000), gamma=(5_000, 400_000), delta=(5_000, 5_000)
    )
    web = client_of(team.ops)
    chosen = list(Account.objects.filter(external_id__in=["acme", "beta", "delta"]))
    answer = choose(web, "plan", *chosen)
    address = urlsplit(answer.request["PATH_INFO"] + "?" + answer.request["QUERY_STRING"])
    assert address.path == TOGETHER
    assert parse_qs(address.query)["layer"] == ["tier"]
    page = answer.content.decode()
    assert {int(key) for key in re.findall(r'name="one" value="(\d+)"', page)} == {
        changes["acme"].pk, changes["beta"].pk,
    }  # fmt: skip
    assert "1 chosen account has no tier change of Tier to plan and is not below." in text(answer)
    delta = Account.objects.get(external_id="delta")
    assert "None of these accounts has a tier change" in text(choose(web, "plan", delta))
    audrey = choose(client_of(team.audrey), "plan", *chosen)
    assert audrey.request["PATH_INFO"] == A
    assert '<option value="plan"' not in audrey.content.decode()


def test_an_override_is_asked_for_on_the_page_there_is(ops, three, layer):
    answer = choose(ops, "override", *three)
    assert "Ask for an override: 3 accounts" in text(answer)
    for number in range(overrides.MOST):
        account(f"x{number}")
    answer = choose(ops, "override", *three, across=True)
    assert "At most 200 accounts at a time" in text(answer)


def test_the_alerts_of_the_chosen_are_acknowledged(ops, three, layer):
    rule = AlertRule.objects.create(key="small", name="Small", condition="arr <= 1000", active=True)
    other = AlertRule.objects.create(key="any", name="Any", condition="arr >= 0", active=True)
    alerts.evaluate()
    assert Alert.objects.filter(status="open").count() == 6
    page = choose(ops, "acknowledge", *three[:2])
    assert "Acknowledge alerts: 2 accounts" in text(page)
    assert "4 open alerts on them" in text(page)
    assert "4 alerts are acknowledged." in text(carry_out(ops, page, note="Seen"))
    left = Alert.objects.filter(status="open")
    assert {(alert.account_id, alert.rule_id) for alert in left} == {
        (three[2].pk, rule.pk),
        (three[2].pk, other.pk),
    }
    assert set(Alert.objects.exclude(status="open").values_list("note", flat=True)) == {"Seen"}
    page = choose(ops, "acknowledge", three[0])
    assert "No alert is open on these accounts." in text(carry_out(ops, page))


def test_alerts_of_somebody_elses_accounts_are_left_and_told(three):
    carl = someone("carl", "CSM", is_staff=True)
    mine = Csm.objects.create(email="carl@example.com", name="Carl", user=carl)
    Account.objects.filter(pk=three[0].pk).update(csm=mine)
    AlertRule.objects.create(key="small", name="Small", condition="arr <= 1000", active=True)
    alerts.evaluate()
    web = client_of(carl)
    said = text(carry_out(web, choose(web, "acknowledge", *three)))
    assert "1 alert is acknowledged." in said
    assert "1 alert was left out: Only CS Ops and the CSM of Beta acknowledge its alerts." in said
    assert "CSM of Gamma" in said
    assert Alert.objects.filter(status="open").count() == 2
