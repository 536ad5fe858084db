"""Refusals that the stories of the other tests do not come to: what cannot be read, and what came too late."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from crossing import TODAY, crossed, fresh, make_team
from django.contrib.auth.models import User
from governing import away, deactivated, request_of, someone
from refusing import refused
from segmenting import account

from accounts import saved_views
from accounts.admin.suggestions import check_search
from governance import (
    activations,
    alerts,
    approvals,
    delegations,
    overrides,
    people,
    policies,
    profiles,
    transitions,
)
from governance.admin import approvals as approval_pages
from governance.admin import overrides as override_pages
from governance.admin import people as people_pages
from governance.admin import policies as policy_pages
from governance.admin import transitions as transition_pages
from governance.models import AlertRule, Transition
from governance.profiles import Row
from segmentation import exports
from segmentation.admin import declarations as declaration_pages
from segmentation.admin import simulations as simulation_pages
from segmentation.models import Layer, Segment

SENT = SimpleNamespace(method="POST", POST={"verb": "dance"})


@pytest.mark.parametrize(
    ("code", "read"),
    [
        ("person_not_chosen", lambda: people_pages._person("x")),
        ("absence_day_missing", lambda: people_pages._date("soon", "first")),
        ("number_too_large", lambda: policy_pages._whole("21", "Approvals needed", most=20)),
        ("number_unreadable", lambda: policy_pages._whole("many", "Approvals needed", most=20)),
        ("number_negative", lambda: policies.number("-1", "ARR", decimal=True)),
        ("crossing_number_unreadable", lambda: policy_pages._typed_crossing({"hold_days": "20000"})),
        ("joint_days_unreadable", lambda: transition_pages._number("many")),
        ("csm_gone", lambda: transition_pages._csm("9999999")),
        ("not_a_date", lambda: transition_pages._day("soon")),
        ("not_a_date", lambda: override_pages._date("soon")),
        ("not_a_date", lambda: declaration_pages._date("soon")),
        ("preview_day_unreadable", lambda: simulation_pages._day("soon")),
        ("step_not_chosen", lambda: approval_pages._step(SENT, None)),
        ("search_too_long", lambda: check_search("word " * 50)),
        ("format_unknown", lambda: exports.assignments(format="xls")),
        ("kind_unknown", lambda: policies.for_kind("gift", [])),
        ("too_many_policy_lines", lambda: policies.for_kind("role", [Row("role")] * 99)),
        ("role_unknown", lambda: policies.for_kind("role", [Row("role", role="Chief")])),
        ("role_decides_nothing", lambda: policies.for_kind("role", [Row("role", role="Auditor", approvals=1)])),
        ("policy_invalid", lambda: policies.for_kind("role", [Row("role", due_days=9, expire_days=1)])),
        ("profile_unknown", lambda: policies.for_profile("grand")),
        ("profile_not_there", lambda: profiles.choose("grand")),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(code, read, db):
    with refused(code):
        read()


def test_views_that_cannot_be_saved(db):
    olga = someone("olga")
    for text, code in (("", "saved_view_empty"), ("q=" + "x" * 10_000, "saved_view_too_long")):
        with refused(code):
            saved_views.save("accounts.account", text, name="Mine", shared=False, by=olga)


# -- people


def test_what_an_administrator_cannot_do_with_logins(db):
    admin, max, root = someone("admin", "Administrator"), someone("max"), someone("root", is_superuser=True)
    for code, act in {
        "login_of_your_own": lambda: people.deactivate(admin, by=admin, reason="x"),
        "deleting_yourself": lambda: people.delete(admin, by=admin, reason="x"),
        "superuser_needed": lambda: people.deactivate(root, by=admin, reason="x"),
        "login_open_already": lambda: people.reactivate(max, by=admin, reason="x"),
        "deleting_people_not_allowed": lambda: people.delete(admin, by=max, reason="x"),
    }.items():
        with refused(code):
            act()
    gone = deactivated(max)
    with refused("login_closed_already"):
        people.deactivate(gone, by=admin, reason="x")
    with refused("login_closed"):
        people.ask(gone, by=admin, why="x", add=["CSM"])
    nobody = User(pk=10**8, username="nobody")
    with refused("person_gone"):
        people.deactivate(nobody, by=admin, reason="x")


def test_absences(db):
    vera, wim, audrey = someone("vera", "Approver"), someone("wim"), someone("audrey", "Auditor")
    made = away(vera, wim)
    delegations.end(made, by=vera)
    with refused("absence_ended_already"):
        delegations.end(made, by=vera)
    with refused("delegate_decides_nothing"):
        delegations.enter(vera, by=vera, delegate=audrey, from_date=TODAY, until_date=TODAY)


# -- requests


def test_what_is_said_about_a_request(noted, db):
    ops, audrey = someone("ops", "CS Ops"), someone("audrey", "Auditor")
    request = request_of(ops)
    for code, act in {
        "comments_of_no_decider": lambda: approvals.comment(request, by=audrey, text="x"),
        "comment_missing": lambda: approvals.comment(request, by=ops, text=" "),
        "withdrawal_unexplained": lambda: approvals.withdraw(request, by=ops, reason=""),
        "request_unstorable": lambda: request_of(ops, key="2", content={"arr": float("nan")}),
        "request_text_unstorable": lambda: request_of(ops, key="2", content={"why": "a\0b"}),
    }.items():
        with refused(code):
            act()


def test_rules_that_were_discarded_are_not_activated(db):
    with refused("definition_discarded"):
        activations.carry_out(SimpleNamespace(content={"definition": 10**8}, why=""), by=None, at=None)


# -- tier changes and overrides


@pytest.fixture
def team(db, settings):
    settings.GATES, settings.AFTER_RUN = {}, []  # rules as they come
    return make_team()


def test_what_cannot_be_done_with_tier_changes(team):
    rows = crossed(team, acme=(50_000, 120_000), beta=(50_000, 150_000))
    acme, beta = rows["acme"], rows["beta"]
    other = Layer.objects.create(key="other", name="Other")
    for code, act in {
        "transition_kept_into_the_past": lambda: transitions.keep(
            [acme], by=team.ops, reason="x", until=TODAY
        ),
        "keeping_unexplained": lambda: transitions.keep([acme], by=team.ops, reason=" "),
        "transition_not_planned": lambda: transitions.ask([acme], by=team.ops, why="x"),
        "too_many_transitions": lambda: transitions.ask([], by=team.ops, why="x"),
        "joint_days_out_of_range": lambda: transitions.plan(acme, by=team.ops, joint_days=999),
        "checklist_too_long": lambda: transitions.plan(
            acme, by=team.ops, checklist=[str(number) for number in range(99)]
        ),
        "text_too_long": lambda: transitions.plan(acme, by=team.ops, notes="x" * 9_999),
        "text_unstorable": lambda: transitions.plan(acme, by=team.ops, notes="a\0b"),
        "planning_not_allowed": lambda: transitions.plan(acme, by=team.cleo),
    }.items():
        with refused(code):
            act()
    with refused("transitions_of_several_segmentations"):
        transitions._check_ready([acme, Transition(layer=other, status="planned")])
    for one in (acme, beta):
        transitions.plan(one, by=team.ops, joint_days=0)
    request = transitions.ask([acme, beta], by=team.ops, why="Both")
    acme, beta = fresh(acme), fresh(beta)
    with refused("transition_awaits_approval"):
        transitions.unplan(acme, by=team.ops)
    with refused("taking_out_unexplained"):
        transitions.take_out(request, acme, by=team.vera, reason="", seen=approvals.token(request))
    with refused("transition_not_approved"):
        transitions.complete(acme, by=team.cleo)
    with refused("account_not_chosen"):
        sent = SimpleNamespace(POST={"transition": "x"}, user=team.vera)
        approval_pages._take_out(sent, request, "", "x")
    approvals.approve(request, by=team.vera, seen=approvals.token(request))
    joint = fresh(acme)
    with refused("notice_in_the_future"):
        transitions.tick(joint, by=team.cleo, noticed_on=joint.joint_until + timedelta(days=400))
    with refused("transition_cannot_change", match="cannot change now: The tier change of Acme is"):
        transitions._check_approved(joint, SimpleNamespace(pk=0), None)


def test_what_an_override_cannot_be_of(team):
    acme = account("acme", arr=1)
    high = Segment.objects.get(layer=team.layer, key="high")
    of_products = Layer.objects.create(key="adoption", name="Adoption", scope="product")
    adopted = Segment.objects.create(layer=of_products, key="adopted", name="Adopted")
    said = {"by": team.ops, "reason_code": "strategic", "text": "x"}
    with refused("override_of_products"):
        overrides.ask([acme], of_products, adopted, **said)
    with refused("segment_of_another_segmentation"):
        overrides.ask([acme], of_products, high, **said)
    with refused("override_reason_not_chosen"):
        overrides.ask([acme], team.layer, high, **said | {"reason_code": "mood"})
    with refused("override_text_too_long"):
        overrides.ask([acme], team.layer, high, **said | {"text": "x" * 9_999})


# -- alerts


def test_an_alert_rule_that_cannot_be_used(db):
    ops = someone("ops", "CS Ops")
    with refused("alert_condition_unusable", match="There is no data field 'mood'"):
        alerts.save_rule(AlertRule(key="mood", name="Mood", condition="mood > 1"), by=ops)
