"""Rules become active by an approved request, and by nothing else."""

import pytest
from governing import (
    approved,
    fresh,
    kinds_of_events,
    no_policies,
    nobody_approves,
    policy,
    someone,
)
from segmenting import BY_ARR, RULES, account, answered, granted, layer_with, recompute

from core.refusals import Refused
from governance.changes import activations
from governance.models import ApprovalRequest
from governance.signoff import approvals, due
from governance.signoff.approvals import token
from segmentation.authoring import versions
from segmentation.models import Definition
from segmentation.previews import simulation

pytestmark = pytest.mark.django_db


@pytest.fixture
def layer(settings):
    """A layer with active rules, and the gate shut from now on."""
    no_policies("definition")
    gates, settings.GATES = settings.GATES, {}
    made = layer_with(RULES)
    settings.GATES = gates
    return made


@pytest.fixture
def ops():
    return granted(someone("ops", "CS Ops"), "change_definition", "preview_rules", "activate_definition")


@pytest.fixture
def vera():
    return someone("vera", "Approver")


def draft_of(layer, by, document=BY_ARR):
    found = versions.open_version(layer) or versions.create_draft(layer, by=by)
    return answered(versions.save_draft(found, document, by=by, seen=found.hash))


def test_rules_are_sent_approved_and_active(layer, ops, vera):
    request = activations.ask(draft_of(layer, ops), by=ops, why="Only ARR counts")
    version = fresh(layer.definitions.get(version=2))
    assert (version.status, request.status) == ("in_review", "pending")
    assert request.changes == activations.changes(version)
    assert any("ARR" in sentence for sentence in request.changes)
    assert request.simulation is None
    request = approved(request, vera)
    assert (request.status, fresh(version).status, fresh(version).activated_by_label) == (
        "applied",
        "active",
        "vera",
    )
    assert fresh(version).reason == "Only ARR counts"
    assert layer.definitions.get(version=1).status == "retired"
    assert kinds_of_events(request) == ["request_opened", "request_approved", "request_applied"]


def test_whoever_wrote_rules_does_not_decide_about_them_though_somebody_else_sends_them(layer, ops, vera):
    author, second = (
        granted(someone(name, "CS Ops", "Approver"), "change_definition") for name in ("author", "second")
    )
    request = activations.ask(draft_of(layer, author), by=ops, why="Only ARR counts")
    with pytest.raises(Refused, match="You wrote or edited what is asked for"):
        approved(request, author)
    approvals.ask_for_changes(request, by=vera, seen=token(request), reason="And below 100,000?")
    other = {"rules": [{"segment": "high", "when": "arr >= 200000"}, {"segment": "tech", "when": "arr >= 0"}]}
    request = activations.ask(draft_of(layer, second, other), by=ops, why="From 200,000")
    with pytest.raises(Refused, match="You wrote or edited what is asked for"):
        approved(request, second)
    assert request.editors == sorted([author.pk, second.pk])
    assert approved(request, vera).status == "applied", "who asked for changes has written nothing"


def test_past_the_request_nobody_takes_a_step(layer, ops, vera):
    draft = draft_of(layer, ops)
    boss = granted(someone("boss", "Approver"), "change_definition", "activate_definition")
    boss.is_superuser = True
    for step in (versions.submit, versions.activate):
        with pytest.raises(Refused, match="send them for approval"):
            step(draft, by=boss, reason="At once")
    activations.ask(draft, by=ops, why="Only ARR counts")
    for step in (versions.withdraw, versions.reject, versions.activate):
        with pytest.raises(Refused, match="waits for approval, which ops has asked for"):
            step(fresh(draft), by=boss, reason="At once")
    assert fresh(draft).status == "in_review"


@pytest.mark.parametrize(
    ("verdict", "then"),
    [("reject", "rejected"), ("ask_for_changes", "draft"), ("withdraw", "draft"), ("expire", "draft")],
)
def test_what_is_decided_against_leaves_the_active_rules(layer, ops, vera, verdict, then):
    request = activations.ask(draft_of(layer, ops), by=ops, why="Only ARR counts")
    if verdict == "withdraw":
        approvals.withdraw(request, by=ops, reason="Too early")
    elif verdict == "expire":
        assert due.expire(request.expires_at) == 1
    else:
        getattr(approvals, verdict)(request, by=vera, seen=token(request), reason="Not yet")
    assert layer.definitions.get(version=2).status == then
    assert layer.definitions.get(version=1).status == "active"


def test_after_changes_were_asked_for_it_is_the_same_request(layer, ops, vera):
    request = activations.ask(draft_of(layer, ops), by=ops, why="Only ARR counts")
    approvals.ask_for_changes(request, by=vera, seen=token(request), reason="And below 100,000?")
    other = {"rules": [{"segment": "high", "when": "arr >= 200000"}, {"segment": "tech", "when": "arr >= 0"}]}
    again = activations.ask(draft_of(layer, ops, other), by=ops, why="Only ARR counts, from 200,000")
    assert (again.pk, again.revision, again.status) == (request.pk, 2, "pending")
    assert any("200" in sentence for sentence in again.changes)
    with pytest.raises(Refused, match="edited since you opened it"):
        approvals.approve(again, by=vera, seen=token(request))
    assert approved(again, vera).status == "applied"


def test_handed_in_again_as_it_was_it_may_be_decided_again(layer, ops, vera):
    request = activations.ask(draft_of(layer, ops), by=ops, why="Only ARR counts")
    approvals.ask_for_changes(request, by=vera, seen=token(request), reason="Why?")
    again = activations.ask(fresh(layer.definitions.get(version=2)), by=ops, why="Only ARR counts")
    assert (again.revision, again.hash) == (2, request.hash)
    assert approved(again, vera).status == "applied"


def test_the_preview_of_exactly_these_rules_is_attached_and_frozen(layer, ops):
    for number in range(3):
        account(f"c{number}", arr=150_000 - number * 60_000, employees=10, usage={"nps": 10})
    recompute()
    draft = draft_of(layer, ops)
    preview = simulation.start(draft, by=ops)
    simulation.work(preview.pk)
    assert activations.preview_of(draft) == fresh(preview)
    request = activations.ask(draft, by=ops, why="Only ARR counts")
    assert request.simulation == preview
    assert fresh(preview).frozen_at is not None
    found = [row for row in simulation.report(fresh(preview))["by_rules"] if row["from"] != row["to"]]
    assert request.accounts == sum(row["accounts"] for row in found) > 0
    assert request.top_tier is any("high" in (row["from"], row["to"]) for row in found)


def test_a_preview_of_other_rules_is_not_attached(layer, ops):
    draft = draft_of(layer, ops)
    preview = simulation.start(draft, by=ops)
    simulation.work(preview.pk)
    other = draft_of(layer, ops, {"rules": [{"segment": "high", "when": "arr >= 5"}, {"segment": "tech"}]})
    with pytest.raises(Refused, match="of other rules"):
        activations.ask(other, by=ops, why="x", simulation=fresh(preview))
    assert activations.ask(other, by=ops, why="x").simulation is None


def test_without_a_preview_those_count_who_move_today(layer, ops):
    account("a", arr=100)
    account("b", arr=50)
    account("c", arr=70, kind="partner")
    request = activations.ask(draft_of(layer, ops), by=ops, why="x")
    assert (request.accounts, request.arr, request.top_tier) == (2, 150, False)


@pytest.mark.parametrize("previewed", [False, True])
def test_money_in_another_currency_reaches_every_threshold_of_rules(layer, ops, previewed):
    policy("definition", "Finance", min_arr=1_000_000)
    account("a", arr=100, currency="JPY")
    recompute()
    draft = draft_of(layer, ops, {"rules": [{"segment": "tech"}]})
    if previewed:
        simulation.work(simulation.start(draft, by=ops).pk)
    request = activations.ask(draft, by=ops, why="x")
    assert (request.simulation is not None, request.accounts, request.arr) == (previewed, 1, 0)
    assert request.needed == {"Finance": 1}


def test_nobody_has_to_approve_in_a_light_organisation(layer, ops):
    nobody_approves("definition")
    request = activations.ask(draft_of(layer, ops), by=ops, why="Only ARR counts")
    assert request.status == "applied"
    assert layer.definitions.get(version=2).activated_by_label == "ops"
    other = granted(someone("olaf"), "change_definition")
    request = activations.ask(draft_of(layer, ops, RULES), by=other, why="As before")
    assert (request.status, request.needed) == ("pending", {"CS Ops": 1})


def test_only_who_may_change_rules_sends_them(layer, ops):
    with pytest.raises(Refused, match="not allowed to submit"):
        activations.ask(draft_of(layer, ops), by=someone("eve"), why="x")
    assert not ApprovalRequest.objects.exists()


def test_warnings_are_answered_before_somebody_is_asked(layer, ops):
    found = versions.create_draft(layer, by=ops)
    draft = versions.save_draft(found, BY_ARR, by=ops, seen=found.hash)
    assert versions.examine(draft).unacknowledged
    with pytest.raises(Refused, match="Acknowledge first"):
        activations.ask(draft, by=ops, why="x")
    assert fresh(draft).status == "draft"


def test_a_discarded_draft_fails_with_the_reason(layer, ops, vera):
    request = activations.ask(draft_of(layer, ops), by=ops, why="x")
    approvals.ask_for_changes(request, by=vera, seen=token(request), reason="No")
    versions.discard_draft(layer.definitions.get(version=2), by=ops)
    approvals.resubmit(request, by=ops, seen=token(fresh(request)))
    request = approved(request, vera)
    assert (request.status, "discarded" in request.failure) == ("failed", True)
    approvals.withdraw(request, by=ops, reason="Discarded")
    assert Definition.objects.filter(layer=layer).count() == 1


def test_who_approves_needs_no_right_to_activate(layer, ops):
    policy("definition", "Board", only=True)
    fay = someone("fay", "Board")
    assert not fay.has_perm("segmentation.activate_definition")
    request = approved(activations.ask(draft_of(layer, ops), by=ops, why="Only ARR counts"), fay)
    assert (request.status, layer.definitions.get(version=2).status) == ("applied", "active")
