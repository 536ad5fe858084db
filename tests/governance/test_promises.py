"""Promises the database keeps whoever writes, tried with raw SQL and tricks on real commits."""

from contextlib import contextmanager

import pytest
from databases import unsigned
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from governing import NOTED, approved, deactivated, fresh, nobody_approves, policy, request_of, someone
from segmenting import DAY, account, change, layer_with, recompute

from core import guards
from core.history import acting
from core.refusals import Refused
from governance import events
from governance.changes import crossings
from governance.models import ApprovalRequest, Decision, Event, Outbox, Override, Transition
from governance.signoff import people
from governance.signoff.kinds import KINDS
from segmentation.evaluation import causes
from segmentation.models import Assignment, Cause, Layer, Move, Segment

TODAY = timezone.localdate()
APPEND_ONLY = sorted(
    table
    for what, table, name in guards.belonging()
    if (what, name) == ("trigger", "demarc_append_only") and table.startswith(("governance_", "core_"))
)
pytestmark = pytest.mark.usefixtures("noted")


@pytest.fixture
def noted(monkeypatch):
    monkeypatch.setitem(KINDS, "override", NOTED)


@pytest.fixture
def crossed(real_db, settings):
    """An account that the rules would move down, flagged."""
    gates, settings.GATES = settings.GATES, {}
    layer = layer_with()
    settings.GATES = gates
    acme = account(arr=120_000, employees=2_000, usage={"nps": 60})
    recompute(DAY)
    change(acme, arr=500, employees=5)
    recompute(DAY)
    crossings.flag(layer, DAY)
    return Transition.objects.get()


def sql(text, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(text, parameters)


def refused(text, *parameters, match=""):
    with pytest.raises(DatabaseError, match=match), transaction.atomic():
        sql(text, *parameters)


@contextmanager
def with_a_cause(reason=""):
    with transaction.atomic():
        causes.take(Cause.Kind.DECISION, reason=reason)
        yield


def with_cause(text, *parameters):
    with with_a_cause():
        sql(text, *parameters)


def test_what_happened_stays(real_db):
    for setting in ("default", "replica"):
        sql(f"set session_replication_role = {setting}")
        try:
            for table in APPEND_ONLY:
                refused(f"truncate {table} cascade", match="never emptied")
        finally:
            sql("set session_replication_role = default")


def test_where_rules_are_active_the_order_of_segments_stays(crossed):
    layer = crossed.layer
    segments = layer.segments
    for write in (
        lambda: segments.filter(key="tech").update(position=0),
        lambda: segments.filter(key="tech").update(key="z"),
        lambda: segments.create(key="new", name="New", position=0),
        lambda: segments.create(key="new", name="New", position=2),
        lambda: segments.create(key="unused", name="Unused", position=3).delete(),
    ):
        with pytest.raises(DatabaseError, match="approved request that names it"), with_a_cause():
            write()
    segments.create(key="new", name="New", position=3)
    with with_a_cause("The board calls it so"):
        segments.filter(key="tech").update(name="Digital")
    other = Layer.objects.create(key="later", name="Later")
    draft = Segment.objects.create(layer=other, key="one", name="One", position=3)
    Segment.objects.filter(pk=draft.pk).update(position=1)
    with pytest.raises(DatabaseError, match="approved request that names it"), with_a_cause():
        Segment.objects.filter(pk=draft.pk).update(layer=layer, position=9)


TRICKS = [
    "set session_replication_role = replica",
    "set app.cause = '1'",
    "set pgtrigger.ignore = 'all'",
    "create temporary table segmentation_cause as select 1 as id, pg_current_xact_id() as xid, transaction_timestamp() as at",
]


ATTEMPTS = [
    "update segmentation_assignment set effective_id = computed_id",
    "update governance_transition set status = 'planned'",
    "update governance_approvalpolicy set approvals = 0",
    "delete from governance_approvalpolicy",
    "insert into auth_user_groups (user_id, group_id) select u.id, g.id from auth_user u, auth_group g",
    "update auth_group set name = name || ' of old'",
]


def test_no_setting_gets_round_a_cause(crossed):
    someone("mallory")
    for trick in TRICKS:
        try:
            sql(trick)
            for attempt in ATTEMPTS:
                refused(attempt, match="needs a cause|approved request that names it|keep their names")
        finally:
            sql("set session_replication_role = default")
            sql("drop table if exists pg_temp.segmentation_cause")


def test_a_cause_serves_its_own_transaction_only(crossed):
    with transaction.atomic():
        used = causes.take(Cause.Kind.DECISION)
    move = Move.objects.latest("id")
    columns = "account_id, layer_id, from_segment_id, to_segment_id, why, definition_id, at, evidence"
    refused(
        f"insert into segmentation_move ({columns}, cause_id) select {columns}, %s from segmentation_move where id = %s",
        used.pk, move.pk, match="needs a cause",
    )  # fmt: skip
    refused(
        "insert into segmentation_cause (kind, actor_label, channel, reason, xid, at)"
        " select 'decision', 'x', 'x', '', xid, at from segmentation_cause where id = %s;"
        " commit; update governance_transition set status = 'planned'",
        used.pk, match="needs a cause",
    )  # fmt: skip


def test_a_segment_is_not_handed_over_without_an_approved_request(crossed):
    dates = "joint_from = current_date, joint_until = current_date"
    to = "update governance_transition set status = '{}'"
    with pytest.raises(DatabaseError, match="cannot go from flagged to joint"):
        with_cause(f"{to.format('joint')}, {dates}")
    with_cause(to.format("planned"))
    with_cause(to.format("awaiting"))
    with pytest.raises(DatabaseError, match="has not been approved"):
        with_cause(f"{to.format('joint')}, {dates}")
    with pytest.raises(DatabaseError, match="closed, not deleted"):
        with_cause("delete from governance_transition")


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({}, "has not been approved"),
        ({"to": 1}, "has not been approved"),
        ({"receiver": 1}, "has not been approved"),
        ({"applies_on": 1}, "has not been approved"),
        ({"joint_days": 1}, "has not been approved"),
        (None, None),
    ],
)
def test_what_was_approved_of_something_else_does_not_count(crossed, other, match, monkeypatch):
    """None: the very thing; else what of it another request names."""
    monkeypatch.setitem(KINDS, "tier_change", NOTED)
    olga, vera = someone("olga", "CS Ops"), someone("vera", "Approver")
    policy("tier_change", "Approver", 1, only=True)
    named = {"id": crossed.pk, "to": crossed.to_segment_id, "receiver": None}
    named |= {
        "applies_on": crossed.applies_on and crossed.applies_on.isoformat(),
        "joint_days": crossed.joint_days,
    }
    rows = [] if other == {} else [named | dict.fromkeys(other or {}, -1)]
    content = {"accounts": [crossed.account_id], "transitions": rows}
    request = approved(request_of(olga, kind="tier_change", content=content), vera)
    assert request.status == "applied"
    to = "update governance_transition set status = '{}'"
    with_cause(to.format("planned"))
    with_cause(to.format("awaiting"))
    joint = f"{to.format('joint')}, joint_from = current_date, joint_until = current_date, request_id = %s"
    if match is None:
        with_cause(joint, request.pk)
        return
    with pytest.raises(DatabaseError, match=match):
        with_cause(joint, request.pk)


def test_an_override_is_in_force_by_the_request_that_names_it(crossed):
    olga, vera = someone("olga", "CS Ops"), someone("vera", "Approver")
    policy("override", "Approver", 1, only=True)
    text = {"reason_code": "strategic", "text": "They will be large", "expires_on": DAY}
    with transaction.atomic():
        causes.take(Cause.Kind.DECISION, reason="tests")
        one = Override.objects.create(
            account=crossed.account, layer=crossed.layer, segment=crossed.to_segment, **text
        )
    said = {
        "segment": one.segment_id,
        "expires_on": DAY,
        "overrides": [{"id": one.pk}],
        "accounts": [one.account_id],
    }
    start = "update governance_override set status = 'active', started_on = current_date, request_id = %s"
    for number, other in enumerate(
        [{"segment": -1}, {"expires_on": TODAY}, {"overrides": []}, {"accounts": []}]
    ):
        request = approved(request_of(olga, key=f"override:{number}", content=said | other), vera)
        with pytest.raises(DatabaseError, match="has not been approved"):
            with_cause(start, request.pk)
    with_cause(start, approved(request_of(olga, key="override:9", content=said), vera).pk)


@pytest.mark.parametrize("kind", ["override", "role", "import"])
def test_a_request_of_another_kind_names_nothing(crossed, kind, monkeypatch):
    """An import needs nobody in Standard, and what it names is no tier change and no override."""
    monkeypatch.setitem(KINDS, kind, NOTED)
    nobody_approves(kind)
    named = {
        "id": crossed.pk,
        "to": crossed.to_segment_id,
        "receiver": None,
        "applies_on": None,
        "joint_days": crossed.joint_days,
    }
    request = request_of(
        someone("olga", "CS Ops"),
        kind=kind,
        content={"transitions": [named], "accounts": [crossed.account_id]},
    )
    with_cause("update governance_transition set status = 'planned'")
    with_cause("update governance_transition set status = 'awaiting'")
    with pytest.raises(DatabaseError, match="has not been approved"):
        with_cause(
            "update governance_transition set status = 'joint', joint_from = current_date, joint_until = current_date,"
            " request_id = %s",
            request.pk,
        )


def test_a_request_names_what_there_is(crossed):
    with pytest.raises(Refused, match="names what there is"):
        request_of(someone("olga", "CS Ops"), content={"accounts": [10**6]})


def test_nobody_decides_their_own_past_the_verbs(real_db):
    olga, vera = someone("olga", "Approver"), someone("vera", "Approver")
    with transaction.atomic(), unsigned(), acting(label="tests"):
        causes.take(Cause.Kind.DECISION)
        User.objects.filter(pk=olga.pk).update(is_superuser=True)
    policy("override", "Approver", 1, only=True)
    request = request_of(olga)

    def decision(by, **columns):
        said = {"verdict": "approve", "role": "Approver", "by": by.pk, "by_label": by.username}
        said |= {"hash": request.hash, "revision": request.revision, "request": request} | columns
        with transaction.atomic():
            Decision.objects.create(**said)

    with pytest.raises(DatabaseError, match="nobody decides what they requested"):
        decision(olga)
    with pytest.raises(DatabaseError, match="nobody decides what they requested"):
        decision(vera, on_behalf_of=olga.pk)
    with pytest.raises(DatabaseError, match="has changed"):
        decision(vera, hash="x")
    with pytest.raises(DatabaseError, match="only people of the role"):
        decision(vera, role="Finance")
    with pytest.raises(DatabaseError, match="not enough approvals"):
        with_cause("update governance_approvalrequest set status = 'applied'")
    with pytest.raises(DatabaseError, match="keeps the stricter"):
        with_cause("update governance_approvalrequest set needed = '{}'")
    with pytest.raises(DatabaseError, match="an edit is a new revision"):
        with_cause("update governance_approvalrequest set content = '{}'")
    decision(vera)
    with pytest.raises(DatabaseError, match="append-only"):
        sql("update governance_decision set verdict = 'reject', reason = 'x'")
    deactivated(vera)
    with pytest.raises(DatabaseError, match="not enough approvals"):
        with_cause("update governance_approvalrequest set status = 'applied'")
    assert fresh(request).status == "pending"


def test_what_has_ended_stays(real_db):
    olga, vera = someone("olga", "CS Ops"), someone("vera", "Approver")
    policy("override", "Approver", 1, only=True)
    request = approved(request_of(olga), vera)
    assert request.status == "applied"
    for attempt in ("status = 'pending'", "why = 'Other'", "subject = 'Other'"):
        with pytest.raises(DatabaseError, match="stays as it is"):
            with_cause(f"update governance_approvalrequest set {attempt}")
    with pytest.raises(DatabaseError, match="withdrawn, not deleted"):
        with_cause("delete from governance_approvalrequest")


def test_a_person_in_history_can_be_deleted_and_history_stays(real_db):
    chief, olga, vera = (
        someone("chief", "Administrator"),
        someone("olga", "CS Ops"),
        someone("vera", "Approver"),
    )
    someone("second", "Administrator")
    policy("override", "Approver", 1, only=True)
    request = approved(request_of(olga), vera)
    people.delete(vera, by=chief, reason="Has left")
    people.delete(olga, by=chief, reason="Has left")
    assert not User.objects.filter(username__in=["olga", "vera"]).exists()
    assert (fresh(request).requester, fresh(request).requester_label) == (olga.pk, "olga")
    decision = Decision.objects.get()
    assert (decision.by, decision.by_label) == (vera.pk, "vera")
    assert ApprovalRequest.history.filter(history_user_label="vera").exists()


def test_power_is_given_with_a_cause_only(real_db):
    mallory = someone("mallory")
    group = Group.objects.get(name="Approver")
    with pytest.raises(DatabaseError, match="by an approved request that names it"), with_a_cause():
        mallory.groups.add(group)
    with pytest.raises(DatabaseError, match="needs a cause"):
        User.objects.filter(pk=mallory.pk).update(is_superuser=True)
    with pytest.raises(DatabaseError, match="needs a cause"):
        group.permissions.clear()
    with pytest.raises(DatabaseError, match="by an approved request that names it"), with_a_cause():
        mallory.user_permissions.set([group.permissions.first()])
    assert not mallory.groups.exists()


def test_a_changed_segment_is_an_event_of_the_same_transaction(crossed):
    before = set(Event.objects.values_list("pk", flat=True))
    layer = crossed.layer
    with transaction.atomic():
        causes.take(Cause.Kind.DECISION)
        state = Assignment.objects.get()
        state.effective = layer.segments.last()
        with unsigned():
            state.save()
        move = Move.objects.latest("id")
        Move.objects.create(
            account_id=state.account_id, layer=layer, to_segment=state.effective, why="correction", definition=move.definition,
            cause=causes.take(Cause.Kind.DECISION), at=DAY,
        )  # fmt: skip
        assert Event.objects.filter(kind="move").count() == 1
        transaction.set_rollback(True)
    assert set(Event.objects.values_list("pk", flat=True)) == before
    assert Outbox.objects.count() == Event.objects.count()


def test_an_event_belongs_to_the_transaction_of_what_happened(real_db):
    with pytest.raises(RuntimeError, match="belongs to the transaction"):
        events.record("alert_opened", "Nothing happened.")
    assert not Event.objects.exists()
