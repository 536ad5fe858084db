"""The status table: where a version of rules may go, who may send it there, and that there is no other way."""

from itertools import product
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction
from segmenting import BY_ARR, answered, layer_with, person

from core.refusals import Refused
from segmentation.authoring import versions
from segmentation.authoring.versions import DONE, PERMISSIONS
from segmentation.evaluation import causes
from segmentation.models import Cause, Definition, Segment

STATUSES = list(Definition.Status)
VERBS = sorted(PERMISSIONS)
WORKFLOW = Path(__file__).parents[2] / "docs" / "workflow.md"


@pytest.fixture
def layer(db):
    return layer_with()


def version_at(status, layer):
    """A version with this status, by the way people take."""
    olga = person()
    if status == "retired":
        one = layer.definitions.get(status="active")
        versions.activate(filled_draft(layer), by=olga, reason="Newer")
        return Definition.objects.get(pk=one.pk)
    one = filled_draft(layer)
    if status in ("in_review", "rejected"):
        one = versions.submit(one, by=olga, reason="Look at it")
    if status == "rejected":
        one = versions.reject(one, by=olga, reason="No")
    if status == "active":
        one = versions.activate(one, by=olga, reason="Yes")
    assert one.status == status
    return one


def filled_draft(layer):
    draft = versions.create_draft(layer, by=person())
    return answered(versions.save_draft(draft, BY_ARR, by=person()))


def take(verb, version, *, by, reason="Because"):
    return getattr(versions, verb)(version, by=by, reason=reason)


@pytest.mark.parametrize(("verb", "status"), list(product(VERBS, STATUSES)))
def test_each_step_goes_from_where_the_table_says(layer, verb, status):
    one = version_at(status, layer)
    targets = [step.target for step in versions.STATUSES.steps if (step.verb, step.source) == (verb, status)]
    if targets:
        done = take(verb, one, by=person())
        assert [done.status] == targets
        assert Definition.objects.get(pk=one.pk).status == done.status
    else:
        label = one.get_status_display().lower()
        with pytest.raises(Refused, match=rf"Version {one.version} is {label}; only .* can be "):
            take(verb, one, by=person())
        assert Definition.objects.get(pk=one.pk).status == status


@pytest.mark.parametrize(("source", "target"), list(product(STATUSES, STATUSES)))
def test_the_database_keeps_the_same_table(layer, source, target):
    one = version_at(source, layer)
    if target == "active" and source != target:  # room for it
        sql("update segmentation_definition set status = 'retired' where status = 'active'")
    attempt = "update segmentation_definition set status = %s where id = %s"
    if target == source or (source, target) in versions.STATUSES.moves:
        sql(attempt, target, one.pk)
    else:
        with pytest.raises(DatabaseError, match=f"cannot go from {source} to {target}"):
            sql(attempt, target, one.pk)


@pytest.mark.parametrize("status", [one for one in STATUSES if one != "draft"])
@pytest.mark.parametrize(
    "change",
    [
        "document = '{\"rules\": []}'",
        "hash = 'x'",
        "version = 99",
        "layer_id = layer_id + 1",
        "created_by_label = 'x'",
    ],
)
def test_what_is_no_draft_is_fixed(layer, status, change):
    one = version_at(status, layer)
    with pytest.raises(DatabaseError, match="no draft cannot be changed"):
        sql(f"update segmentation_definition set {change} where id = %s", one.pk)
    with pytest.raises(DatabaseError, match="cannot be deleted"):
        sql("delete from segmentation_definition where id = %s", one.pk)


@pytest.mark.parametrize("change", ["document = '{}'", "hash = 'x'"])
def test_the_step_itself_smuggles_nothing_in(layer, change):
    one = version_at("in_review", layer)
    with pytest.raises(DatabaseError, match="no draft cannot be changed"):
        sql(f"update segmentation_definition set status = 'rejected', {change} where id = %s", one.pk)


@pytest.mark.parametrize("status", ["active", "retired", "rejected"])
@pytest.mark.parametrize(
    "change", ["reason = 'x'", "submitted_at = now()", "rejected_by_label = 'x'", "activated_by = 7"]
)
def test_a_decision_is_fixed(layer, status, change):
    one = version_at(status, layer)
    with pytest.raises(DatabaseError, match="no draft cannot be changed"):
        sql(f"update segmentation_definition set {change} where id = %s", one.pk)


@pytest.mark.parametrize("status", [one for one in STATUSES if one != "draft"])
def test_a_version_begins_as_a_draft(layer, status):
    causes.take(Cause.Kind.DECISION)
    with pytest.raises(DatabaseError, match=f"cannot begin as {status}"), transaction.atomic():
        Definition.objects.create(layer=layer, version=7, status=status, document=BY_ARR)


def sql(text, *parameters):
    with transaction.atomic(), connection.cursor() as cursor:
        causes.take(Cause.Kind.DECISION)
        cursor.execute(text, parameters)


# -- who, and why


@pytest.mark.parametrize(
    "step",
    [step for step in versions.STATUSES.steps if step.verb in PERMISSIONS],
    ids=lambda step: f"{step.verb} {step.source}",
)
def test_each_step_needs_its_permission_and_most_a_reason(layer, step):
    one = version_at(step.source, layer)
    permission = PERMISSIONS[step.verb].split(".")[1]
    others = {"change_definition", "activate_definition", "view_definition"} - {permission}
    outsider, entitled = person("otto", *others), person("ida", permission)
    for who in (outsider, None):
        with pytest.raises(Refused, match=f"not allowed to {step.verb} rules"):
            take(step.verb, one, by=who)
    if step.needs_reason:
        with pytest.raises(Refused, match=f"Say why these rules are {DONE[step.verb]}"):
            take(step.verb, one, by=entitled, reason="  ")
    assert [other.verb for other in versions.steps(one, by=outsider)] == [
        other.verb
        for other in versions.STATUSES.steps
        if other.source == step.source and other.who != step.who
    ]
    assert step in versions.steps(one, by=entitled)
    take(step.verb, one, by=entitled)


def test_a_decision_names_who_when_and_why(layer):
    draft = filled_draft(layer)
    sent = versions.submit(draft, by=person("olga"), reason="Simpler", seen=draft.hash)
    assert (sent.reason, sent.submitted_by_label, sent.submitted_at is not None) == ("Simpler", "olga", True)
    no = versions.reject(sent, by=person("vera"), reason="Too simple", seen=sent.hash)
    assert (no.reason, no.rejected_by_label, no.rejected_at is not None) == ("Too simple", "vera", True)
    told = [(one.status, one.history_change_reason, one.history_user_label) for one in no.history.all()[:2]]
    assert told == [("rejected", "Too simple", "vera"), ("in_review", "Simpler", "olga")]
    assert layer.definitions.get(status="active").version == 1
    assert versions.create_draft(layer, by=person()).version == 3


def test_what_was_reviewed_is_what_becomes_active(layer):
    sent = versions.submit(filled_draft(layer), by=person(), reason="Simpler")
    active = versions.activate(sent, by=person("vera"), reason="Agreed", seen=sent.hash)
    assert (active.document, active.hash) == (sent.document, sent.hash)
    assert (active.submitted_by_label, active.activated_by_label, active.reason) == ("olga", "vera", "Agreed")
    assert layer.definitions.get(version=1).status == "retired"


def test_what_was_reviewed_stays_even_where_it_would_be_written_otherwise_today(layer):
    draft = filled_draft(layer)  # without the rules' keys, which the canonical form has
    sql("update segmentation_definition set status = 'in_review' where id = %s", draft.pk)
    active = versions.activate(draft, by=person(), reason="Agreed")
    assert (active.document, active.hash) == (BY_ARR, draft.hash)


def test_back_to_draft_and_in_again(layer):
    sent = versions.submit(filled_draft(layer), by=person(), reason="Simpler")
    draft = versions.withdraw(sent, by=person())
    assert (draft.status, draft.submitted_at, draft.submitted_by_label) == ("draft", None, "")
    draft = versions.save_draft(draft, {"rules": [{"segment": "low"}]}, by=person())
    again = versions.submit(draft, by=person(), reason="Again")
    assert [rule["segment"] for rule in again.document["rules"]] == ["low"]


def test_rules_in_review_are_not_edited_and_block_another_draft(layer):
    sent = versions.submit(filled_draft(layer), by=person(), reason="Simpler")
    for verb in (
        lambda: versions.save_draft(sent, {}, by=person()),
        lambda: versions.discard_draft(sent, by=person()),
    ):
        with pytest.raises(Refused, match="Version 2 is in review, no draft any more"):
            verb()
    with pytest.raises(Refused, match="Version 2 of Tier is in review"):
        versions.create_draft(layer, by=person())
    with pytest.raises(DatabaseError), transaction.atomic():
        Definition.objects.create(layer=layer, version=3, document=BY_ARR)


def test_only_complete_rules_are_reviewed(layer):
    draft = versions.create_draft(layer, by=person())
    draft = versions.save_draft(draft, {"rules": [{"segment": "hgih"}]}, by=person())
    with pytest.raises(Refused, match="not complete"):
        versions.submit(draft, by=person(), reason="x")
    Segment.objects.filter(key="low").update(treatment=None)
    draft = versions.save_draft(draft, {"rules": [{"segment": "low"}]}, by=person())
    with pytest.raises(Refused, match="how its customers are served"):
        versions.submit(draft, by=person(), reason="x")


def test_a_stale_page_decides_nothing(layer):
    draft = filled_draft(layer)
    with pytest.raises(Refused, match="since you opened them"):
        versions.submit(draft, by=person(), reason="x", seen="what was there before")


# -- the table as people read it


def test_the_workflow_page_shows_the_status_table():
    text = WORKFLOW.read_text(encoding="utf-8")
    assert f"```mermaid\n{versions.STATUSES.diagram()}\n```" in text
    assert versions.STATUSES.markdown() in text
