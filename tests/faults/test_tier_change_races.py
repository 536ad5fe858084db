"""Tier changes in the same moment: recalculations followed by several workers, people against people and against the rules."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from databases import unsigned
from django.db import connection, transaction
from django.utils import timezone
from governing import fresh, policy, someone
from segmenting import BY_ARR, account, change, layer_with, recompute
from test_sign_off_races import at_once, refused
from waiting import wait_until

from accounts.models import Csm
from governance.changes import followup, transition_requests, transitions
from governance.models import CrossingPolicy, Event, FollowedRun, Transition
from governance.signoff import approvals
from segmentation.evaluation import causes
from segmentation.models import Assignment, Cause, Move, Run

DAY = timezone.localdate() - timedelta(days=5)


@pytest.fixture
def crossed(real_db, settings):
    """`crossed(n)`: as many tier changes, flagged, up from Tech to High."""
    settings.GATES, settings.AFTER_RUN = {}, []
    policy("tier_change", "Approver", only=True)
    layer_with(BY_ARR)

    def cross(count, *, look=True):
        rows = [account(f"c{number:02}", arr=50_000) for number in range(count)]
        recompute(DAY)
        followup.follow_ended()
        for one in rows:
            change(one, arr=200_000)
        recompute(DAY + timedelta(days=1))
        if look:
            followup.follow_ended()
        return list(Transition.objects.order_by("pk"))

    return cross


def test_a_recalculation_followed_by_several_workers_is_followed_once(crossed):
    crossed(40, look=False)
    run = Run.objects.latest("pk")
    told = at_once(*[partial(followup.follow, run)] * 4)
    assert sum(one is not None for one in told) == 1
    assert Transition.objects.open().count() == 40
    assert Event.objects.filter(kind="transition_flagged").count() == 40
    assert FollowedRun.objects.filter(run=run.pk).count() == 1


def test_looked_at_twice_at_once_each_crossing_is_flagged_once(crossed):
    """The morning's look and that after a recalculation."""
    crossed(40, look=False)
    layer = Assignment.objects.first().layer
    at_once(*[partial(followup.flag, layer, DAY + timedelta(days=2))] * 4)
    assert Transition.objects.count() == 40
    assert Event.objects.filter(kind="transition_flagged").count() == 40


def test_keep_against_ask(crossed):
    ops, other = someone("ops", "CS Ops"), someone("otto", "CS Ops")
    rows = crossed(10)
    for one in rows:
        transitions.plan(one, by=ops)
    for one in rows:
        answers = at_once(
            partial(transitions.keep, [one], by=other, reason="A one-off order"),
            partial(transition_requests.ask, [one], by=ops, why="They have grown"),
        )
        assert len(refused(answers)) == 1
        kept = isinstance(answers[0], list)
        assert (fresh(one).status, fresh(one).request is None) == (
            ("kept", True) if kept else ("awaiting", False)
        )


def test_approve_against_the_rules(crossed):
    """The account comes back in the moment it is approved: it moved and is handed over, or it never moved."""
    ops, vera = someone("ops", "CS Ops"), someone("vera", "Approver")
    csm = Csm.objects.create(email="ada@x.test", name="Ada")
    rows = crossed(9)
    requests = {}
    for one in rows:
        transitions.plan(one, by=ops, receiver=csm)
        requests[one.pk] = transition_requests.ask([one], by=ops, why="They have grown")
        change(one.account, arr=50_000)
    recompute(DAY + timedelta(days=2))
    layer = rows[0].layer
    seen = {pk: approvals.token(request) for pk, request in requests.items()}
    for one in rows[:3]:
        at_once(
            partial(approvals.approve, requests[one.pk], by=vera, seen=seen[one.pk]),
            partial(followup.flag, layer, DAY + timedelta(days=2)),
        )
    outcomes = set()
    for one in rows:
        request, moved = (
            fresh(requests[one.pk]),
            Move.objects.filter(account_id=one.account_id, why="transition"),
        )
        assert (fresh(one).status, request.status, moved.count()) in {
            ("joint", "applied", 1), ("closed", "withdrawn", 0)}  # fmt: skip
        outcomes.add(fresh(one).status)
    assert "closed" in outcomes


def test_completed_by_two_at_once(crossed):
    ops, other, vera = someone("ops", "CS Ops"), someone("otto", "CS Ops"), someone("vera", "Approver")
    csm = Csm.objects.create(email="ada@x.test", name="Ada")
    rows = [transitions.plan(one, by=ops, receiver=csm) for one in crossed(6)]
    request = transition_requests.ask(rows, by=ops, why="They have grown")
    approvals.approve(request, by=vera, seen=approvals.token(request))
    for one in rows:
        answers = at_once(*[partial(transitions.complete, one, by=by, reason="Small") for by in (ops, other)])
        [refusal] = refused(answers)
        assert refusal.code != "guarded_by_the_database"  # who waits for the row sees what the other did
    assert Event.objects.filter(kind="transition_done").count() == 6
    assert {fresh(one.account).csm for one in rows} == {csm}


def test_the_rules_lock_in_the_order_people_do(crossed):
    """The later one is closed first, the earlier one updated: neither is touched while a person holds the earlier one."""
    early, late = crossed(2)
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION, reason="tests")
        CrossingPolicy.objects.create(layer=early.layer, direction="up", at_renewal=True)
    change(early.account, renewal_date=timezone.localdate() + timedelta(days=90))
    change(late.account, arr=50_000)
    recompute(DAY + timedelta(days=2))
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Transition.objects.select_for_update().get(pk=early.pk)
            follows = pool.submit(in_a_thread, followup.follow_ended)
            wait_until(somebody_waits_for_me)
            assert Transition.objects.select_for_update(nowait=True).get(pk=late.pk).status == "flagged"
        assert follows.result() == 1
    assert (fresh(early).applies_on is None, fresh(late).status) == (False, "closed")


def somebody_waits_for_me():
    with connection.cursor() as cursor:
        cursor.execute(
            "select exists (select from pg_locks where not granted and pg_backend_pid() = any(pg_blocking_pids(pid)))"
        )
        return cursor.fetchone()[0]


def test_who_waited_for_a_tier_change_sees_where_it_leads_by_now(crossed):
    """It is sent elsewhere, and somebody else is to take it over, while a person who plans it waits for its row."""
    [one] = crossed(1)
    ops, erik = someone("ops", "CS Ops"), Csm.objects.create(email="erik@x.test", name="Erik")
    low = one.layer.segments.get(key="low")
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(), unsigned():
            causes.take(Cause.Kind.DECISION, reason="tests")
            Transition.objects.filter(pk=one.pk).update(to_segment=low, receiver=erik, notes="By now")
            kept = pool.submit(in_a_thread, transitions.keep, [one], by=ops, reason="A one-off order")
            wait_until(somebody_waits_for_me)
        [one] = kept.result()
    assert (one.to_segment, one.receiver, one.notes, fresh(one).status) == (low, erik, "By now", "kept")


def in_a_thread(verb, *given, **named):
    try:
        return verb(*given, **named)
    finally:
        connection.close()
