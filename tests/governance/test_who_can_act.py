"""Somebody whose login is closed does nothing any more: others are told, get the work, and nothing new is given to them."""

import pytest
from crossing import crossed, fresh, make_team, page_of, sent, text, web
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from governing import approved, deactivated, policy, request_of, someone
from segmenting import account

from accounts.models import Account, Csm
from core.refusals import Refused
from governance import events
from governance.changes import loads, override_cases, overrides, transition_requests, transitions
from governance.models import Event, Notification, Transition
from governance.news import audiences, notifications
from governance.news.audiences import Context
from governance.reading import home
from governance.signoff import approvals, due, people

CLOSED = "The login of Dana is closed"
COUNTED = "kind__exact=customer&status__exact=active&excluded__exact=0"


@pytest.fixture(autouse=True)
def rules_as_they_come(settings):
    settings.GATES, settings.AFTER_RUN = {}, []


@pytest.fixture
def team(begun):
    return begun(make_team)


def stuck():
    return list(Event.objects.filter(kind="request_stuck").order_by("pk").values_list("about_id", flat=True))


def told(event, *finders):
    """The people told of an event, and why, by what notifications.KINDS says of its kind."""
    how, context = notifications.KINDS[event.kind], Context([event])
    found = [find(event, context) for find in finders or (*how.at_once, *how.later)]
    return [f"{user}: {why.sentence('it')}" for people in found for user, why in people.items()]


def happens(kind, one, **columns):
    with transaction.atomic():
        return events.record(kind, f"{kind} {one}.", account=one, **columns)


def approve(request, by):
    request.refresh_from_db()
    return approvals.approve(request, by=by, seen=approvals.token(request))


# -- who is told


def test_an_alert_on_an_account_of_a_closed_login_is_told_to_cs_ops(db):
    olga = someone("olga", "CS Ops", is_staff=True)
    logins = {
        "gone": someone("gone", "CSM", is_active=False),
        "without": None,
        "there": someone("there", "CSM"),
    }
    for name, user in logins.items():
        csm = Csm.objects.create(email=f"{name}@x.test", name=name.capitalize(), user=user)
        account(name, name=f"{name} Ltd", csm=csm)
    account("none", name="none Ltd")
    reasons = [
        told(happens("alert_opened", one, data={"audience": "csm"})) for one in Account.objects.order_by("pk")
    ]
    assert reasons == [
        ["olga: Gone, who looks after it, does not log in, so CS Ops is told."],
        ["olga: Without, who looks after it, does not log in, so CS Ops is told."],
        ["there: You look after it."],
        ["olga: Nobody looks after it, so CS Ops is told."],
    ]
    listed = reverse("admin:accounts_account_changelist")
    for wanted, names in {"nobody": "gone without none", "closed": "gone", "none": "none"}.items():
        shown = text(web(olga).get(listed, {"csm": wanted}))
        assert [name for name in (*logins, "none") if f"{name} Ltd" in shown] == names.split()
    [row] = [row for row in home.waiting(olga, at=timezone.now()) if "nobody who can log in" in row.what]
    assert (row.number, row.url) == (1, f"{listed}?csm=closed&{COUNTED}")


def test_so_is_joint_coverage_of_people_who_left(team):
    """Siblings: whoever takes an account over, or gives it away, may have left by then."""
    one = crossed(team, acme=(50_000, 120_000))["acme"]
    Transition.objects.filter(pk=one.pk).update(giver=team.erik, receiver=team.dana)
    deactivated(team.cleo)
    late = happens("transition_overdue", one.account, about=one)
    assert told(late, audiences.receiver, audiences.giver) == [
        "ops: Dana, who takes it over, does not log in, so CS Ops is told.",
        "ops: Erik, who hands it over, does not log in, so CS Ops is told.",
    ]
    notifications.deliver()
    assert Notification.objects.filter(user=team.ops, event=late, urgent=True).exists()


# -- to whom nothing is given


def test_nobody_hands_over_to_a_closed_login(team):
    found = crossed(team, acme=(50_000, 120_000), beta=(50_000, 120_000), cora=(50_000, 120_000))
    transitions.plan(found["acme"], by=team.ops, receiver=team.dana)
    transitions.plan(found["beta"], by=team.ops, receiver=team.dana)
    request = transition_requests.ask([fresh(found["acme"])], by=team.ops, why="Grown")
    deactivated(team.cleo)
    with pytest.raises(Refused, match=CLOSED) as refused:
        approve(request, team.vera)
    assert (refused.value.code, fresh(found["acme"]).status) == ("csm_login_closed", "awaiting")
    with pytest.raises(Refused, match=CLOSED):  # planned before
        transition_requests.ask([fresh(found["beta"])], by=team.ops, why="Grown")
    team.dana.refresh_from_db()
    with pytest.raises(Refused, match=CLOSED):
        transitions.plan(found["cora"], by=team.ops, receiver=team.dana)
    assert loads.propose_receiver(fresh(found["cora"])) != team.dana
    # The page says so at the field, with what was typed.
    answer = web(team.ops).post(page_of(found["cora"]), sent(found["cora"], "plan", receiver=team.dana.pk))
    assert answer.status_code == 409
    assert CLOSED in text(answer)
    assert "Dana (as now)" not in text(web(team.ops).get(page_of(found["cora"])))


def test_what_was_approved_before_is_not_carried_out_for_one(team):
    """Siblings: the day that comes, and the hand-over that is completed."""
    found = crossed(team, acme=(50_000, 120_000), beta=(50_000, 120_000))
    for one in found.values():
        Account.objects.filter(pk=one.account_id).update(csm=team.erik)
        transitions.plan(fresh(one), by=team.ops, receiver=team.dana)
    joint, later = fresh(found["acme"]), fresh(found["beta"])
    approved(transition_requests.ask([joint], by=team.ops, why="Grown"), team.vera)
    request = transition_requests.ask([later], by=team.ops, why="Grown")
    deactivated(team.cleo)
    with pytest.raises(Refused, match=CLOSED):
        transition_requests.start(fresh(later), timezone.localdate(), None)
    with pytest.raises(Refused, match=CLOSED):
        transition_requests.carry_out(type(request).objects.get(pk=request.pk), by=None, at=None)
    with pytest.raises(Refused, match=CLOSED):
        transitions.complete(fresh(joint), by=team.ops, reason="All done")
    assert fresh(joint).account.csm == team.erik


def test_nor_do_they_get_an_account_by_an_override_or_a_correction_nor_a_role(team):
    """Siblings: the other ways by which somebody gets something."""
    one = crossed(team, acme=(50_000, 120_000))["acme"]
    Account.objects.filter(pk=one.account_id).update(csm=team.erik)
    policy("override", "Approver", only=True)
    segment = team.layer.segments.get(key="tech")
    wanted = {"reason_code": "strategic", "text": "Because", "plan": override_cases.Plan(team.dana, "", "")}
    request = overrides.ask([one.account], team.layer, segment, by=team.ops, **wanted)
    bart, boss = someone("bart"), someone("boss", "Administrator")
    policy("role", "Approver", only=True)
    role = people.ask(bart, by=boss, why="Needed", add=["CSM"])
    deactivated(team.cleo)
    deactivated(bart)
    for asked, code in ((request, "csm_login_closed"), (role, "person_not_active")):
        with pytest.raises(Refused) as refused:
            approve(asked, team.vera)
        assert refused.value.code == code
    team.dana.refresh_from_db()
    wanted["plan"] = override_cases.Plan(team.dana, "", "")
    with pytest.raises(Refused, match=CLOSED):
        overrides.ask([one.account], team.layer, segment, by=team.ops, **wanted)
    correct = reverse("admin:accounts_account_edit", args=[one.account_id])
    answer = web(team.ops).post(correct, {"csm": team.dana.pk, "reason": "Theirs", "name": "Acme"})
    assert CLOSED in text(answer)
    assert fresh(one).account.csm == team.erik


# -- requests that wait for somebody who has left


def test_when_the_last_one_of_a_role_leaves_it_is_said_at_once(db, noted):
    olga, boss = someone("olga", "CS Ops"), someone("boss", "Administrator")
    fay = someone("fay", "Finance")
    policy("override", "Finance", 1, only=True)
    request = request_of(olga)
    own = request_of(fay, key="2")  # nobody else could decide it from the beginning
    assert stuck() == [own.pk]
    people.deactivate(fay, by=boss, reason="Left")
    assert stuck() == [own.pk, request.pk]
    assert "nobody active has the role Finance" in Event.objects.filter(kind="request_stuck").first().text
    rita = someone("rita", "Finance")  # after her it waits for nobody again
    people.deactivate(rita, by=boss, reason="Left too")
    assert stuck() == [own.pk, request.pk, request.pk, own.pk]


def test_so_does_a_role_that_is_taken_a_person_who_is_deleted_and_the_next_morning(db, noted):
    """Siblings: the role goes another way, or by one that tells nobody."""
    olga, boss = someone("olga", "CS Ops"), someone("boss", "Administrator")
    rea, fay, vera = someone("rea", "RevOps"), someone("fay", "Finance"), someone("vera", "Approver")
    requests = {}
    for role in ("RevOps", "Finance", "Approver"):
        policy("override", role, 1, only=True)
        requests[role] = request_of(olga, key=role).pk
    people.delete(rea, by=boss, reason="Gone")
    assert stuck() == [requests["RevOps"]]
    policy("role", "Approver", 1, only=True)
    approved(people.ask(fay, by=boss, why="Another job", remove=["Finance"]), vera)
    assert stuck() == [requests["RevOps"], requests["Finance"]]
    vera.groups.clear()
    due.say_stuck(timezone.now())
    due.say_stuck(timezone.now())
    assert stuck() == list(requests.values())


def test_changes_asked_of_somebody_who_leaves_and_their_accounts_fall_to_cs_ops(db, noted):
    someone("stella", "CS Ops")
    boss, vera = someone("boss", "Administrator"), someone("vera", "Approver")
    cleo = Csm.objects.create(email="cleo@x.test", name="Cleo", user=someone("cleo", "CSM"))
    account("acme", csm=cleo)
    request = request_of(cleo.user)
    approvals.ask_for_changes(request, by=vera, seen=approvals.token(request), reason="Which?")
    people.deactivate(cleo.user, by=boss, reason="Left")
    assert stuck() == [request.pk]
    [left] = Event.objects.filter(kind="accounts_left")
    assert left.text == "Cleo does not log in any more: 1 account to give to somebody else."
    assert told(left) == ["stella: You are in CS Ops."]
