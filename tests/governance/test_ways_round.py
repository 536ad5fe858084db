"""Ways round a sign-off that somebody could think of: each is refused, and says so."""

from datetime import timedelta
from threading import Barrier, Thread

import pytest
from crossing import crossed, down_at_once, make_team, web
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from governing import approved, away, fresh, policy, request_of, someone
from overriding import Portfolio
from segmenting import account, layer_with, recompute

from accounts.models import Csm
from accounts.refusals import Refused
from governance import alerts, approvals, delegations, permissions, policies, transitions
from governance.approvals import token
from governance.models import Alert, AlertRule, Decision
from governance.profiles import Row


@pytest.fixture(autouse=True)
def rules_by_hand(settings):
    """How rules are signed off is tested elsewhere."""
    settings.GATES = {gate: path for gate, path in settings.GATES.items() if gate != "rules"}


@pytest.fixture
def team(db):
    team = make_team()
    down_at_once(team)
    return team


def asked(team, **accounts):
    """A request for these tier changes, planned by Ops with the CSM that is there."""
    rows = [transitions.plan(one, by=team.ops, receiver=None) for one in crossed(team, **accounts).values()]
    return transitions.ask(rows, by=team.ops, why="They have grown")


def refuses(request, by, sentence):
    with pytest.raises(Refused, match=sentence):
        approvals.approve(fresh(request), by=by, seen=token(fresh(request)))
    assert fresh(request) not in approvals.awaiting(by)


# -- who looks after the account by now


@pytest.mark.parametrize("how", ["the CSM gets a login", "the account gets another CSM"])
def test_who_has_come_to_look_after_the_account_since_does_not_decide(team, how):
    request = asked(team, acme=(20_000, 200_000))
    assert permissions.may(permissions.decide(request, by=team.vera))
    if how == "the CSM gets a login":
        team.dana.user = team.vera
        Csm.objects.filter(pk=team.dana.pk).update(user=None)
        team.dana.save()
    else:
        team.erik.user = team.vera
        team.erik.save()
        request.transitions.get().account.__class__.objects.update(csm=team.erik)
    refuses(request, team.vera, "look after an account")
    with pytest.raises(DatabaseError, match="an account they look after"), transaction.atomic():
        Decision.objects.create(
            request=request, verdict="approve", role="Approver", by=team.vera.pk, by_label="vera",
            hash=request.hash, revision=request.revision,
        )  # fmt: skip
    assert approved(request, someone("wim", "Approver")).status == "applied"


def test_nor_for_an_override_nor_through_who_stands_in_for_them(db):
    here = Portfolio()
    request = here.ask(here.acme)
    zoe = someone("zoe")
    away(here.vera, zoe)
    Csm.objects.filter(pk=here.csm.pk).update(user=here.vera)
    refuses(request, here.vera, "look after an account")
    refuses(request, zoe, "looks after an account")


def test_an_approval_of_who_has_come_to_look_after_it_counts_no_more(team):
    policy("tier_change", "Approver", 2, only=True)
    request = asked(team, acme=(20_000, 200_000))
    approved(request, team.vera)
    Csm.objects.filter(pk=team.dana.pk).update(user=team.vera)
    request = approved(request, someone("wim", "Approver"))
    assert request.status == "pending"
    assert approved(request, someone("yan", "Approver")).status == "applied"


# -- those who decide about nothing


@pytest.mark.parametrize("role", ["Auditor", "Integration"])
def test_auditors_and_integrations_decide_for_nobody(team, role):
    nora, today = someone("nora", role), timezone.localdate()
    with pytest.raises(Refused, match="decides about nothing"):
        delegations.enter(
            team.vera, by=team.vera, delegate=nora, from_date=today, until_date=today + timedelta(days=1)
        )
    eve = someone("eve")
    away(team.vera, eve)
    someone("eve", role)  # the role came later
    request = asked(team, acme=(20_000, 200_000))
    refuses(request, eve, "do not have that role")
    with pytest.raises(Refused, match="decides about nothing"):
        policies.for_kind("override", [Row("override", role)])


def test_an_auditor_writes_no_comments(team):
    request = asked(team, acme=(20_000, 200_000))
    page = f"/admin/governance/approvalrequest/{request.pk}/change/"
    assert 'value="comment"' not in web(team.audrey).get(page).content.decode()
    answer = web(team.audrey).post(page, {"verb": "comment", "text": "Hm"})
    assert answer.status_code == 409
    assert not request.comments.exists()


# -- what people type


def test_texts_have_an_end(db, noted):
    ops, vera = someone("ops", "CS Ops"), someone("vera", "Approver")
    policy("override", "Approver", only=True)
    long = "w" * (approvals.LONGEST + 1)
    with pytest.raises(Refused, match="4,000 characters"):
        request_of(ops, why=long)
    with pytest.raises(Refused, match="4,000 characters"):
        request_of(ops, evidence=long)
    request = request_of(ops)
    for verb in (approvals.approve, approvals.reject):
        with pytest.raises(Refused, match="4,000 characters"):
            verb(request, by=vera, seen=token(request), reason=long)
    with pytest.raises(Refused, match="4,000 characters"):
        approvals.comment(request, by=ops, text=long)


@pytest.mark.parametrize(
    "page",
    [
        "/admin/auth/user/²/change/",
        "/admin/governance/override/²/change/",
        "/admin/governance/transition/²/change/",
        "/admin/governance/override/ask/?accounts=²",
        "/admin/segmentation/definition/²/change/",
        "/admin/segmentation/run/²/change/",
        "/admin/accounts/account/²/change/",
        "/admin/accounts/importbatch/²/change/",
    ],
)
def test_a_superscript_is_no_number_of_anything(db, page):
    root = someone("root", "CS Ops", "Administrator", is_staff=True, is_superuser=True)
    assert web(root).get(page).status_code in (302, 404)


# -- two at once


def test_two_who_look_for_alerts_at_once_open_each_once(real_db):
    layer_with()
    rule = AlertRule.objects.create(key="calm", name="Calm", condition="arr > 0")
    for number in range(20):
        account(f"a{number}", arr=1_000)
    recompute()
    barrier, failed = Barrier(4), []

    def look():
        try:
            barrier.wait()
            alerts.evaluate(rules=[rule])
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [Thread(target=look) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    assert Alert.objects.count() == 20
