"""Roles are asked for, others decide, and nobody gives power to themselves; people leave, and history stays."""

from datetime import timedelta
from io import StringIO

import pytest
from databases import unsigned
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from governing import approved, away, fresh, kinds_of_events, nobody_approves, policy, request_of, someone
from segmenting import account, layer_with

from accounts.models import Csm
from core.history import acting
from core.refusals import Refused
from governance.models import Delegation, Event
from governance.signoff import approvals, delegations, people, roles
from governance.signoff.approvals import token
from segmentation.authoring import declarations
from segmentation.evaluation import causes
from segmentation.models import Cause

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin():
    return someone("admin", "Administrator")


@pytest.fixture
def vera():
    return someone("vera", "Approver")


@pytest.fixture
def max():
    return someone("max", "CSM")


# -- what a role may


def test_the_database_has_the_roles_with_exactly_their_permissions(db):
    held = {
        group.name: sorted(
            f"{app}.{name}"
            for app, name in group.permissions.values_list("content_type__app_label", "codename")
        )
        for group in Group.objects.filter(name__in=roles.ROLES)
    }
    assert held == {name: role.permissions() for name, role in roles.ROLES.items()}


def test_an_auditor_sees_all_and_changes_nothing():
    verbs = {one.partition(".")[2].partition("_")[0] for one in roles.ROLES["Auditor"].permissions()}
    assert verbs <= {"view", "export"}
    assert {"view", "export"} <= verbs


@pytest.mark.parametrize(
    ("permission", "who"),
    [
        ("governance.decide_request", {"Approver", "Finance", "RevOps"}),
        ("governance.change_policies", {"CS Ops", "Administrator"}),
        ("governance.request_override", {"CS Ops", "CSM"}),
        ("governance.plan_transition", {"CS Ops"}),
        ("auth.change_user", {"Administrator"}),
        ("accounts.import_accounts", {"CS Ops", "RevOps", "Integration"}),
        ("accounts.export_accounts", {"CS Ops", "Approver", "Finance", "RevOps", "Auditor"}),
    ],
)
def test_who_holds_power(permission, who):
    assert {name for name, role in roles.ROLES.items() if permission in role.permissions()} == who


# -- asking for a role


def test_a_role_is_asked_for_by_an_administrator_and_given_once_somebody_else_approves(admin, vera, max):
    request = people.ask(max, by=admin, why="Joins operations", add=["CS Ops"], remove=["CSM"])
    assert (request.status, people.roles_of(max)) == ("pending", ["CSM"])
    assert request.changes == [
        "max gets the role CS Ops: Define segmentations, import, triage and plan tier changes, ask for whatever needs an approval.",
        "max loses the role CSM.",
    ]
    assert approved(request, vera).status == "applied"
    assert people.roles_of(max) == ["CS Ops"]
    event = Event.objects.get(kind="role_changed")
    assert event.data == {"user": max.pk, "label": "max", "add": ["CS Ops"], "remove": ["CSM"]}
    assert (event.actor_label, event.reason) == ("vera", "Joins operations")


@pytest.mark.parametrize("who", ["vera", "max", "ops"])
def test_only_administrators_ask(who, admin, max):
    asking = someone(who, *{"vera": ["Approver"], "max": ["CSM"], "ops": ["CS Ops"]}[who])
    with pytest.raises(Refused, match="Only administrators look after people"):
        people.ask(max, by=asking, why="Please", add=["Approver"])


def test_nobody_decides_about_their_own_roles(admin, vera):
    request = people.ask(vera, by=admin, why="Money too", add=["Finance"])
    with pytest.raises(Refused, match="This request is about you"):
        approvals.approve(request, by=vera, seen=token(request))
    own = people.ask(admin, by=admin, why="For a while", add=["Approver"])
    both = someone("admin", "Approver")  # even with the role, what one asked for others decide
    with pytest.raises(Refused, match="your own request"):
        approvals.approve(own, by=both, seen=token(own))


def test_a_request_is_locked_before_its_person_whoever_comes(admin, vera, max):
    """Two who lock in different orders wait for one another in a circle, and one of them fails."""
    request = people.ask(max, by=admin, why="Joins operations", add=["CS Ops"])
    for act in (
        lambda: people.change(request, by=admin, seen=token(request), add=["CS Ops", "Finance"]),
        lambda: approved(request, vera),
    ):
        with CaptureQueriesContext(connection) as queries:
            act()
        locks = [one["sql"] for one in queries if one["sql"].endswith("UPDATE")]
        tables = [sql.partition(' FROM "')[2].partition('"')[0] for sql in locks]
        assert tables.index("governance_approvalrequest") < tables.index("auth_user")


def test_what_changed_since_it_was_asked_is_not_given(admin, vera, max):
    request = people.ask(max, by=admin, why="Joins operations", add=["CS Ops", "Finance"])
    someone("max", "Finance")
    request = approved(request, vera)
    assert (request.status, people.roles_of(max)) == ("failed", ["Finance", "CSM"])
    assert "have changed since this was asked for" in request.failure
    assert "request_applied" not in kinds_of_events(request)


@pytest.mark.parametrize(
    ("add", "remove", "said"),
    [
        ([], [], "nothing to ask for"),
        (["CSM"], [], "nothing to ask for"),
        (["Chief"], [], "There is no role Chief"),
        (["CSM"], ["CSM"], "given and taken at once"),
    ],
)
def test_what_makes_no_sense_is_refused(add, remove, said, admin, max):
    with pytest.raises(Refused, match=said):
        people.ask(max, by=admin, why="Why not", add=add, remove=remove)


def test_in_a_light_organisation_a_role_is_given_at_once_and_logged(admin, max):
    nobody_approves("role")
    request = people.ask(max, by=admin, why="Small team", add=["CS Ops"])
    assert (request.status, people.roles_of(max)) == ("applied", ["CS Ops", "CSM"])
    assert Event.objects.filter(kind="role_changed", reason="Small team").exists()


def test_the_last_administrator_stays(admin, vera):
    with pytest.raises(Refused, match="the last Administrator"):
        people.ask(admin, by=admin, why="Enough", remove=["Administrator"])
    second = someone("second", "Administrator")
    request = people.ask(admin, by=second, why="Leaves", remove=["Administrator"])
    people.deactivate(second, by=admin, reason="Gone first")  # now admin is the last one
    request = approved(request, vera)
    assert (request.status, "the last Administrator" in request.failure) == ("failed", True)
    boss = User.objects.create_superuser("boss")
    for verb in (people.deactivate, people.delete):
        with pytest.raises(Refused, match="the last Administrator"):
            verb(admin, by=boss, reason="Why not")


@pytest.mark.parametrize(
    "write",
    [
        lambda user, group: user.groups.add(group),
        lambda user, group: user.user_permissions.add(Permission.objects.get(codename="decide_request")),
        lambda user, group: User.groups.through.objects.bulk_create([User.groups.through(user=user, group=group)]),
        lambda user, group: group.permissions.add(Permission.objects.get(codename="decide_request")),
        lambda user, group: group.permissions.clear(),
        lambda user, group: User.objects.filter(pk=user.pk).update(is_superuser=True),
        lambda user, group: connection.cursor().execute(
            "insert into auth_user_groups (user_id, group_id) values (%s, %s)", [user.pk, group.pk]
        ),
    ],
)  # fmt: skip
def test_past_the_verbs_nobody_gets_power(write, real_person):
    user, group = real_person
    with pytest.raises(IntegrityError, match=r"needs a cause|by an approved request"), transaction.atomic():
        write(user, group)


@pytest.fixture
def real_person(django_db_blocker):
    """A person made without a cause in this transaction, so that none is lying about."""
    return User.objects.create(username="eve"), Group.objects.get(name="CS Ops")


# -- set-up


def test_the_first_roles_are_given_at_set_up_and_never_again(admin, max):
    boss = User.objects.create_superuser("boss")
    with unsigned():
        people.set_up(max, by=boss, add=["Approver"])
    assert people.roles_of(max) == ["Approver", "CSM"]
    with pytest.raises(Refused, match="There are people who decide about roles"):
        people.set_up(boss, by=boss, add=["Approver"])
    people.deactivate(max, by=admin, reason="So that nobody is left")
    with pytest.raises(Refused, match="There are people who decide about roles"):
        people.set_up(boss, by=boss, add=["Approver"])


def test_nobody_else_gives_roles_at_set_up(admin, max):
    with pytest.raises(Refused, match="Roles are given by a request"):
        people.set_up(max, by=admin, add=["Approver"])
    with pytest.raises(Refused, match="Roles are given by a request"):
        people.set_up(max, add=["Approver"])  # a script is not the machine's own command


def test_the_command_sets_up_profile_and_first_roles(max):
    User.objects.create(username="vera")
    told = StringIO()
    with unsigned():
        call_command("governance", profile="light", role=["vera=Approver", "max=CS Ops"], stdout=told)
    assert people.roles_of(max) == ["CS Ops", "CSM"]
    for said in ("Governance profile: Light", "Rules: Nobody has to approve", "Approver: vera"):
        assert said in told.getvalue()
    policy("role", "Approver", only=True)
    with pytest.raises(CommandError, match="There are people who decide"):
        call_command("governance", role=["max=Approver"])
    with pytest.raises(CommandError, match="nobody called 'zoe'"):
        call_command("governance", role=["zoe=Approver"])


# -- people who leave


def test_who_leaves_no_longer_counts(admin, vera, noted):
    ops = someone("ops", "CS Ops")
    policy("override", "Approver", 1, only=True)
    request = request_of(ops, apply_on=timezone.localdate() + timedelta(days=9))
    assert approved(request, vera).status == "approved"
    people.deactivate(vera, by=admin, reason="Has left")
    request = fresh(request)
    assert request.status == "pending"
    assert "request_recounted" in kinds_of_events(request)


def test_who_loses_the_role_no_longer_counts(admin, vera, noted):
    policy("override", "Approver", 1, only=True)
    wim = someone("wim", "Approver")
    request = request_of(someone("ops", "CS Ops"), apply_on=timezone.localdate() + timedelta(days=9))
    assert approved(request, vera).status == "approved"
    approved(people.ask(vera, by=admin, why="Other work", remove=["Approver"]), wim)
    assert fresh(request).status == "pending"


def test_who_comes_back_asks_for_roles_anew(admin, vera, max):
    people.deactivate(max, by=admin, reason="A year off")
    people.reactivate(max, by=admin, reason="Back")
    assert (fresh(max).is_active, people.roles_of(max)) == (True, [])


@pytest.mark.parametrize("verb", [people.deactivate, people.reactivate, people.delete])
def test_only_administrators_open_and_close_logins(verb, admin, vera, max):
    if verb is people.reactivate:
        people.deactivate(max, by=admin, reason="Left")
    with pytest.raises(Refused, match="Only administrators"):
        verb(fresh(max), by=vera, reason="Because")
    with pytest.raises(Refused, match="Say why"):
        verb(fresh(max), by=admin, reason=" ")
    with pytest.raises(Refused, match=r"yourself|your own|can log in already"):
        verb(admin, by=admin, reason="Enough")


def test_deleting_somebody_who_appears_in_history_leaves_history(admin, vera, noted):
    ops = someone("ops", "CS Ops")
    policy("override", "Approver", 1, only=True)
    done = approved(request_of(ops), vera)
    waiting = approved(
        request_of(ops, key="override:2", apply_on=timezone.localdate() + timedelta(days=9)), vera
    )
    away(vera, ops)
    with acting(by=admin):
        csm = Csm.objects.create(email="vera@example.com", user=vera)
    people.delete(vera, by=admin, reason="Asked to be forgotten")
    assert not User.objects.filter(username="vera").exists()
    assert not Delegation.objects.exists()
    assert done.decisions.get().by_label == "vera"
    assert done.history.first().history_user_label == "vera"
    assert fresh(waiting).status == "pending"
    assert fresh(csm).history.count() == 2


# -- absence

TODAY = timezone.localdate


def test_one_enters_ones_own_absence_and_the_other_one_decides(vera, noted):
    policy("override", "Approver", 1, only=True)
    wim, ops = someone("wim", "CSM"), someone("ops", "CS Ops")
    request = request_of(ops)
    said = {"delegate": wim, "from_date": TODAY(), "until_date": TODAY() + timedelta(days=7)}
    made = delegations.enter(vera, by=vera, **said)
    assert delegations.enter(vera, by=vera, **said) == made  # a second click
    request = approved(request, wim)
    assert (request.status, request.decisions.get().on_behalf_of_label) == ("applied", "vera")
    delegations.end(made, by=vera)
    assert (Delegation.objects.count(), Delegation.history.count()) == (0, 2)


def test_an_administrator_enters_that_of_others_but_never_becomes_the_delegate(admin, vera, max):
    said = {"from_date": TODAY(), "until_date": TODAY()}
    with pytest.raises(Refused, match="cannot make yourself"):
        delegations.enter(vera, by=admin, delegate=admin, **said)
    with pytest.raises(Refused, match="You enter your own absence"):
        delegations.enter(vera, by=max, delegate=max, **said)
    with pytest.raises(Refused, match="no role that decides"):
        delegations.enter(vera, by=admin, delegate=max, **said)
    made = delegations.enter(vera, by=admin, delegate=someone("wim", "Finance"), **said)
    with pytest.raises(Refused, match="Only the person who is away"):
        delegations.end(made, by=max)


def test_a_login_an_administrator_has_just_made_stands_in_for_nobody(admin, vera):
    """Roles are signed off; a stand-in without one would be the way round that."""
    puppet = someone("puppet")
    said = {"from_date": TODAY(), "until_date": TODAY()}
    for by, sentence in ((admin, "no role that decides"), (vera, "has no role")):
        with pytest.raises(Refused, match=sentence):
            delegations.enter(vera, by=by, delegate=puppet, **said)
    causes.take(Cause.Kind.DECISION, reason="tests")
    with pytest.raises(DatabaseError, match="who stands in has a role"), transaction.atomic():
        Delegation.objects.create(absent=vera, delegate=puppet, **said)


@pytest.mark.parametrize(
    ("delegate", "first", "last", "said"),
    [
        ("vera", 0, 1, "for themselves"),
        ("gone", 0, 1, "cannot log in"),
        ("max", 2, 1, "before the first"),
        ("max", -9, -1, "are over"),
        ("max", 0, 400, "for 366 days at most"),
        ("max", 5, 6, "stands in from"),
    ],
)
def test_absences_that_make_no_sense_are_refused(delegate, first, last, said, vera, max):
    someone("gone", is_active=False)
    away(vera, someone("wim"), days=7)
    day = timezone.localdate()
    with pytest.raises(Refused, match=said):
        delegations.enter(
            vera,
            by=vera,
            delegate=User.objects.get(username=delegate),
            from_date=day + timedelta(days=first),
            until_date=day + timedelta(days=last),
        )


# -- declared values


def test_a_csm_proposes_values_for_the_accounts_they_look_after(max):
    job = [{"segment": "high", "when": "declared = 'high'"}, {"segment": "tech", "when": "arr >= 0"}]
    with override_settings(GATES={}):
        high = layer_with({"rules": job}, segments=["high", "tech"]).segments.get(key="high")
    mine, other = account("mine", csm=Csm.objects.create(email="max@example.com", user=max)), account("other")
    assert declarations.propose(mine, high, by=max, reason="Named by the board").account == mine
    with pytest.raises(Refused, match="other is looked after by somebody else"):
        declarations.propose(other, high, by=max, reason="Named by the board")
    with pytest.raises(Refused, match="looked after by somebody else"):
        declarations.propose_for([mine, other], high, by=max, reason="Named by the board")
    ops = someone("ops", "CS Ops")
    assert declarations.propose(other, high, by=ops, reason="Named by the board").account == other
