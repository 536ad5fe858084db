"""Refusals that the stories of the other tests do not come to: what cannot be read, and what came too late."""

from datetime import date, timedelta
from types import SimpleNamespace

import pytest
from crossing import DAY, TODAY, crossed, fresh, make_team
from django.contrib.auth.models import User
from django.utils import timezone
from governing import approved, away, deactivated, policy, request_of, someone
from refusing import refused
from segmenting import account, by_now, recompute

from accounts import saved_views
from accounts.admin.suggestions import check_search
from accounts.imports import batches
from accounts.models import Account, ImportBatch
from config import schema
from core import guards, texts
from governance.admin import transitions as transition_admin
from governance.changes import (
    activations,
    alerts,
    conflicts,
    import_gate,
    override_cases,
    override_rows,
    override_transitions,
    overrides,
    plans,
    transition_requests,
    transitions,
)
from governance.models import AlertRule, Override, Profile, Transition
from governance.signoff import approvals, delegations, people, policies, profiles
from governance.signoff.profiles import Row
from segmentation.admin import rules as rules_pages
from segmentation.evaluation import decisions, run_rules
from segmentation.models import Layer, Segment
from segmentation.previews import simulation
from segmentation.reading import explain, exports
from segmentation.rules.document import DocumentErrors, Problem
from segmentation.runs import recalculation

of = SimpleNamespace


@pytest.mark.parametrize(
    ("code", "read"),
    [
        ("search_too_long", lambda: check_search("word " * 50)),
        ("format_unknown", lambda: exports.assignments(format="xls")),
        ("kind_unknown", lambda: policies.for_kind("gift", [])),
        ("too_many_policy_lines", lambda: policies.for_kind("role", [Row("role")] * 99)),
        ("role_unknown", lambda: policies.for_kind("role", [Row("role", role="Chief")])),
        ("role_decides_nothing", lambda: policies.for_kind("role", [Row("role", role="Auditor", approvals=1)])),
        ("policy_invalid", lambda: policies.for_kind("role", [Row("role", due_days=9, expire_days=1)])),
        ("profile_unknown", lambda: policies.for_profile("grand")),
        ("profile_not_there", lambda: profiles.choose("grand")),
        ("profile_unchanged", lambda: policies.for_profile(Profile.objects.get().name)),
        ("crossings_apply_by_themselves", lambda: policies.for_crossing(Layer(policy="automatic"), "up", {})),
        ("product_layer_needs_no_approval", lambda: policies.for_layer(Layer.objects.create(key="new", scope="product"), {"policy": "approval"})),
        ("direction_unknown", lambda: policies.for_crossing(Layer(policy="approval"), "sideways", {})),
        ("import_files_gone", lambda: batches.ask_commit(of(uploads=of(exists=lambda: False)), by=None)),
        ("import_not_previewed", lambda: import_gate.ask(ImportBatch(status="failed"), by=someone("ops", "CS Ops"), why="x")),
        ("file_of_unknown_layer", lambda: rules_pages.ImportForm.layer(of(cleaned_data={"file": of(key="nope")}))),
        ("preview_gone", lambda: simulation._locked(of(pk=10**8))),
        ("import_gone", lambda: import_gate.carry_out(of(content={"import": 10**8}), by=None, at=None)),
        ("never_recalculated", lambda: decisions.basis_of([1], Layer.objects.create(key="new"), at=TODAY)),
        ("primary_layer_unknown", explain.primary_layer),
        ("layer_without_rules", lambda: explain._now(None, Layer.objects.create(key="new"), None, None)),
        ("transition_applies_later", lambda: transition_requests.edit_request(of(request=of(is_open=False), applies_on=TODAY), by=None)),
        ("transition_account_left", lambda: transition_requests._check_approved(of(status="awaiting", request_id=1, account_id=0, account="Acme"), of(pk=1), None)),
        ("override_in_force_already", lambda: override_rows.go(Override(status="active", account=Account(name="Acme")), "requested")),
        ("taking_back_unexplained", lambda: texts.needed(" ", "taking_back_unexplained")),
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


def test_what_came_otherwise_than_it_was_approved():
    asked = {"segment": 1, "expires_on": "2026-12-31", "reason_code": "strategic", "text": "x"}
    row = of(segment_id=1, expires_on=date(2026, 12, 31), reason_code="strategic", text="x", layer="Tier")
    row.account = Account(name="Acme", kind="customer", excluded=True)
    with refused("override_of_no_customer"):
        raise override_cases.Case(row.account, Segment(layer=Layer())).obstacle
    with refused("override_account_left"):
        overrides._check_still(row, of(), asked, {})
    with refused("override_without_segment"):
        overrides._check_still(row, None, asked, {})
    with refused("override_not_as_approved"):
        overrides._check_still(row, None, asked | {"text": "y"}, {})


def test_what_somebody_else_was_faster_with(db, monkeypatch):
    with refused("run_just_ended"):
        raise recalculation._busy([of(layer_id=0)])
    with refused("import_rows_rejected_since"):
        raise import_gate._why_not(ImportBatch(status="previewed"))
    batch = batches.create("", {})
    batch.parts.create(status="claimed", leased_until=timezone.now() + timedelta(minutes=1))
    with refused("import_busy"):
        batches.preview(batch)
    gone = of(exists=lambda: True, first=lambda: None)
    requests = of(objects=of(open=lambda: of(filter=lambda **about: gone)))
    monkeypatch.setattr(approvals, "ApprovalRequest", requests)
    with refused("request_changed_in_the_same_moment"):
        approvals._create(kind="role", key="role:1")


def test_rules_that_cannot_be_read_are_not_used(monkeypatch):
    def unreadable(pk):
        raise DocumentErrors([Problem("", "Add at least one rule.")])

    monkeypatch.setattr(run_rules, "document_of", unreadable)
    with refused("definition_unusable", match="cannot be used: Add at least one rule"):
        recalculation._pinned(None, of(pk=1))


def test_a_database_that_is_not_as_it_should_be(monkeypatch):
    monkeypatch.setattr(schema, "connection", of(close=lambda: None))
    monkeypatch.setattr(schema, "unapplied", lambda: ["accounts.0009_more"])
    with refused("database_behind"):
        schema.check()
    monkeypatch.setattr(schema, "unapplied", list)
    monkeypatch.setattr(guards, "differences", lambda: ["trigger x on y is gone"] * 5)
    with refused("database_unguarded", match="gone, and 2 more. `manage.py guards` lists it all"):
        schema.check()


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
    with refused("person_not_active"):
        asked = of(content={"user": gone.pk, "add": ["CSM"], "remove": []}, why="x")
        people.carry_out(asked, by=None, at=None)
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


def test_whoever_stands_in_does_not_decide_a_second_time(noted, db):
    policy("override", "Approver", 2, only=True)
    vera, wim = someone("vera", "Approver"), someone("wim")
    away(vera, wim)
    request = approved(request_of(someone("ops", "CS Ops")), vera)
    with refused("absent_has_decided"):
        approvals.approve(request, by=wim, seen=approvals.token(request))


def test_rules_that_were_discarded_are_not_activated(db):
    with refused("definition_discarded"):
        activations.carry_out(of(content={"definition": 10**8}, why=""), by=None, at=None)


# -- tier changes and overrides


@pytest.fixture
def team(begun, settings):
    settings.GATES, settings.AFTER_RUN = {}, []  # rules as they come
    return begun(make_team)


def test_what_cannot_be_done_with_tier_changes(team):
    rows = crossed(team, acme=(50_000, 120_000), beta=(50_000, 150_000))
    acme, beta = rows["acme"], rows["beta"]
    other = Layer.objects.create(key="other", name="Other")
    for code, act in {
        "transition_kept_into_the_past": lambda: transitions.keep(
            [acme], by=team.ops, reason="x", until=TODAY
        ),
        "keeping_unexplained": lambda: transitions.keep([acme], by=team.ops, reason=" "),
        "transition_not_planned": lambda: transition_requests.ask([acme], by=team.ops, why="x"),
        "too_many_transitions": lambda: transition_requests.ask([], by=team.ops, why="x"),
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
        transition_requests._check_ready([acme, Transition(layer=other, status="planned")])
    for one in (acme, beta):
        transitions.plan(one, by=team.ops, joint_days=0)
    request = transition_requests.ask([acme, beta], by=team.ops, why="Both")
    acme, beta = fresh(acme), fresh(beta)
    with refused("transition_awaits_approval"):
        transitions.unplan(acme, by=team.ops)
    with refused("taking_out_unexplained"):
        transition_requests.take_out(request, acme, by=team.vera, reason="", seen=approvals.token(request))
    with refused("transition_not_approved"):
        transitions.complete(acme, by=team.cleo)
    with refused("account_not_chosen"):
        form = transition_admin.TakeOutForm(request, team.vera, {"transition": "", "reason": "x"})
        assert form.is_valid()
        form.take()
    approvals.approve(request, by=team.vera, seen=approvals.token(request))
    joint = fresh(acme)
    with refused("transition_not_in_request"):
        transition_requests.take_out(request, joint, by=team.vera, reason="x", seen=approvals.token(request))
    with refused("transition_approved_already"):
        transitions.plan(joint, by=team.ops)
    with refused("transition_step_impossible"):
        transitions.keep([joint], by=team.ops, reason="x")
    with refused("transitions_gone"):
        gone = of(content={plans.WITHIN: [{"id": 10**8}]}, why="x", pk=0)
        transition_requests.carry_out(gone, by=None, at=None)
    with refused("notice_in_the_future"):
        transitions.tick(joint, by=team.cleo, noticed_on=joint.joint_until + timedelta(days=400))
    transitions.complete(joint, by=team.ops, reason="x")
    with refused("transition_ended_already"):
        transitions.complete(joint, by=team.ops, reason="x")
    with refused("transition_cannot_change", match="cannot change now: The tier change of Acme is"):
        transition_requests._check_approved(joint, of(pk=0), None)


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
    with refused("text_too_long"):
        overrides.ask([acme], team.layer, high, **said | {"text": "x" * 9_999})


def test_an_override_request_that_is_changed(team, monkeypatch):
    acme = account("acme", arr=20_000)
    recompute(by_now(DAY))
    high = Segment.objects.get(layer=team.layer, key="high")
    other = Layer.objects.create(key="other", name="Other")
    elsewhere = Segment.objects.create(layer=other, key="here", name="Here")
    said = {"by": team.ops, "reason_code": "strategic", "text": "x"}
    request = overrides.ask([acme], team.layer, high, **said)
    seen = approvals.token(request)
    with refused("override_of_another_segmentation"):
        overrides.change(request, seen=seen, segment=elsewhere, **said)
    monkeypatch.setattr(overrides, "requested_rows", lambda request: [])
    with refused("override_decided_already"):
        overrides.change(request, seen=seen, segment=high, **said)
    with refused("policy_of_another_request"):
        policies.change(request, by=someone("admin", "Administrator"), seen=seen, proposal=policies.for_kind("role", []))  # fmt: skip


def test_no_override_begins_in_the_middle_of_a_hand_over(monkeypatch):
    joint = of(from_segment="High", to_segment="Low", joint_until=TODAY)
    monkeypatch.setattr(override_transitions, "supersede", lambda override, at: None)
    monkeypatch.setattr(override_transitions, "_open", lambda account, layer: joint)
    override = of(account="Acme", layer="Tier", from_segment="High")
    with refused("account_being_handed_over", match=r"Acme is being handed over \(High → Low"):
        override_transitions.from_override(override, plan=None, by=None, at=TODAY)


# -- data and alerts


def test_conflicts_that_are_not_decided(db):
    ops = someone("ops", "CS Ops")
    with refused("text_too_long"):
        conflicts.keep([], by=ops, note="x" * 9_999)
    with refused("too_many_conflicts"):
        conflicts.keep([None] * 999, by=ops, note="x")


def test_an_alert_rule_that_cannot_be_used(db):
    ops = someone("ops", "CS Ops")
    with refused("alert_rules_not_allowed"):
        alerts.save_rule(AlertRule(), by=someone("max"))
    with refused("alert_condition_unusable", match="There is no data field 'mood'"):
        alerts.save_rule(AlertRule(key="mood", name="Mood", condition="mood > 1"), by=ops)
