"""Ways round a sign-off that somebody could think of: each is refused, and says so."""

from datetime import date, timedelta
from threading import Barrier, Thread

import pytest
import yaml
from crossing import TODAY, crossed, down_at_once, make_team, web
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from governing import approved, away, deactivated, fresh, policy, request_of, someone
from overriding import Portfolio
from segmenting import account, change, layer_with, recompute

from accounts import corrections, imports
from accounts.models import Csm
from core.refusals import Refused
from governance import tasks
from governance.changes import alerts, followup, transition_requests, transitions
from governance.models import Alert, AlertRule, Decision, Event, FollowedRun, Override, Transition
from governance.news import notifications
from governance.signoff import approvals, delegations, inbox, people, permissions, policies, requests
from governance.signoff.approvals import token
from governance.signoff.profiles import Row
from segmentation.models import Assignment, AssignmentScore, Move, Run


@pytest.fixture(autouse=True)
def rules_by_hand(settings):
    """How rules are signed off is tested elsewhere."""
    settings.GATES = {gate: path for gate, path in settings.GATES.items() if gate != "rules"}


@pytest.fixture
def team(begun):
    return begun(team_at_once)


def team_at_once():
    team = make_team()
    down_at_once(team)
    return team


def asked(team, **accounts):
    """A request for these tier changes, planned by Ops with the CSM that is there."""
    rows = [transitions.plan(one, by=team.ops, receiver=None) for one in crossed(team, **accounts).values()]
    return transition_requests.ask(rows, by=team.ops, why="They have grown")


def refuses(request, by, sentence):
    with pytest.raises(Refused, match=sentence):
        approvals.approve(fresh(request), by=by, seen=token(fresh(request)))
    assert fresh(request) not in inbox.awaiting(by)


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
    long = "w" * (requests.LONGEST + 1)
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


# -- what the account or the segmentation has become meanwhile


@pytest.mark.parametrize(
    "what", [{"excluded": True, "exclusion_reason": "A test account"}, {"status": "churned"}]
)
def test_who_is_no_customer_any_more_is_not_moved(team, what):
    request = asked(team, acme=(20_000, 200_000))
    change(request.transitions.get().account, **what)
    request = approved(request, team.vera)
    assert (request.status, request.transitions.get().status) == ("failed", "awaiting")
    assert "no active customer any more" in request.failure


def test_nobody_pins_what_is_excluded(db):
    here = Portfolio()
    request = here.ask(here.acme)
    for one in (here.acme, here.beta):
        change(one, excluded=True, exclusion_reason="A test account")
    with pytest.raises(Refused, match="excluded or no customer"):
        here.ask(here.beta)
    assert "excluded or no customer" in approved(request, here.vera).failure
    assert here.now(here.acme) == ("high", "high", False)


def test_on_a_segmentation_that_applies_by_itself_now_nothing_stays_flagged(team):
    joint = crossed(team, gone=(20_000, 200_000))["gone"]
    transition_requests.ask(
        [transitions.plan(joint, by=team.ops, receiver=team.erik)], by=team.ops, why="Grown"
    )
    approved(fresh(joint).request, team.vera)
    found = crossed(team, flagged=(20_000, 200_000), awaits=(20_000, 200_000), later=(200_000, 20_000))
    request = transition_requests.ask(
        [transitions.plan(found["awaits"], by=team.ops, receiver=None)], by=team.ops, why="Grown"
    )
    proposal = policies.for_layer(team.layer, {"policy": "automatic"})
    policy("policy", "Approver", only=True)
    assert approved(policies.ask(proposal, by=team.ops, why="Simpler"), team.vera).status == "applied"

    followup.daily(timezone.localdate())

    assert {fresh(found[name]).status for name in ("flagged", "awaits", "later")} == {"closed"}
    assert fresh(found["later"]).end_reason == f"{team.layer} applies by itself now."
    assert fresh(request).status == "withdrawn"
    joint = transitions.complete(fresh(joint), by=team.ops, reason="All done")
    assert joint.status == "done"
    assert not joint.account.transitions.open().exists()


def test_a_login_is_not_opened_again_past_the_verb(real_db):
    """Roles stay with a closed login, and would count again; the verb takes them away first."""
    vera, boss = someone("vera", "Approver", is_active=False), someone("boss", "Administrator")
    with pytest.raises(DatabaseError, match="cause"), transaction.atomic():
        User.objects.filter(pk=vera.pk).update(is_active=True)
    back = people.reactivate(vera, by=boss, reason="Back from leave")
    assert (back.is_active, people.roles_of(back)) == (True, [])


# -- who has left


@pytest.mark.parametrize("verb", [approvals.ask_for_changes, approvals.reject])
def test_what_somebody_who_has_left_should_do_falls_to_cs_ops(team, verb):
    request = asked(team, acme=(20_000, 200_000))
    stays = someone("stella", "CS Ops")
    deactivated(team.ops)
    notifications.deliver()
    verb(fresh(request), by=team.vera, seen=token(fresh(request)), reason="Which contract?")
    notifications.deliver()
    told = stays.notifications.order_by("pk").last()
    assert (told.urgent, told.why) == (True, "Who asked for it is not there any more, so CS Ops is told.")


# -- dates that people type

OLD = "2024-01-01"


@pytest.fixture
def waiting(db):
    """Acme, Low since yesterday; today the rules say High, as they would of somebody new, and that waits for approval."""
    layer_with()
    account("crowd", arr=60_000, employees=500, usage={"nps": 20, "tickets_90d": 3})
    acme = account("acme", arr=120_000, employees=2_000, usage={"nps": -90, "tickets_90d": 50})
    recompute(TODAY - timedelta(days=1))
    change(acme, nps=60, tickets_90d=0)
    looked_at()
    assert Transition.objects.open().get().status == "flagged"
    return acme


def looked_at():
    recompute(TODAY)
    followup.follow_ended()


def by_import(acme, start, ops):
    recipe = {
        "as_of": str(TODAY),
        "currency": "USD",
        "sources": {"crm": {"file": "crm.csv"}},
        "accounts": "SELECT id AS external_id, CAST(start AS DATE) AS contract_start FROM crm",
    }
    files = {"crm.csv": f"id,start\nacme,{start}\n".encode()}
    imports.commit(imports.create(yaml.safe_dump(recipe), files, by=ops))


def by_form(acme, start, ops):
    corrections.correct(acme, {"contract_start": date.fromisoformat(start)}, by=ops, reason="A typo")


def by_sql(acme, start, ops):
    with connection.cursor() as cursor:
        cursor.execute("update accounts_account set contract_start = %s where id = %s", [start, acme.pk])
        cursor.execute("update segmentation_assignment set provisional = true, fingerprint = null")


@pytest.mark.parametrize("door", [by_import, by_form, by_sql])
def test_nobody_moves_by_being_new_again(waiting, door):
    ops, flagged = someone("ops", "CS Ops"), Transition.objects.open().get()
    for start in (str(TODAY), OLD):
        door(waiting, start, ops)
        looked_at()
        waiting.refresh_from_db()
        assert str(waiting.contract_start) == start
        row = Assignment.objects.get(account=waiting)
        assert (row.effective.key, row.computed.key) == ("low", "high")
        assert fresh(flagged).status == "flagged"
    assert Move.objects.get(account=waiting.pk).why == "initial"


def test_what_the_rules_say_of_somebody_new_again_waits_too(waiting):
    """It is flagged like everything else, not left lying until the account is old enough."""
    change(waiting, nps=-90, tickets_90d=50)
    looked_at()
    assert not Transition.objects.open().exists()
    by_form(waiting, str(TODAY), someone("ops", "CS Ops"))
    looked_at()
    assert Assignment.objects.get(account=waiting).provisional
    assert Transition.objects.open().get().to_segment.key == "high"


def left():
    """All that a recalculation, or what follows from one, could have changed."""
    rows = [Assignment, AssignmentScore, Move, Transition, Override, Alert, Event, Run, FollowedRun]
    return {model: list(model.objects.order_by("pk").values()) for model in rows}


@pytest.mark.parametrize("days", [-2, -900, 1, 900])
def test_another_clock_changes_nothing(db, days):
    here = Portfolio("approval")
    here.pin(here.beta, segment="high")
    gamma = account("gamma", name="Gamma", arr=200_000, contract_start=TODAY)
    AlertRule.objects.create(key="calm", name="Calm", condition="arr > 0")
    change(here.acme, arr=5_000)
    recompute(TODAY)
    tasks.follow()
    change(here.acme, arr=200_000)
    change(gamma, arr=5_000)
    before = left()
    assert all(before.values())
    with pytest.raises(CommandError, match=r"manage\.py simulate tier --version 1 --as-of"):
        call_command("recompute", as_of=str(TODAY + timedelta(days=days)))
    tasks.follow()
    assert left() == before
