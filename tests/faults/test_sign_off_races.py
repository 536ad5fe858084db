"""People who decide in the same moment: real threads, each with a connection of its own, on a real database.

Every pair of people meets at a barrier and acts. Whatever wins, there is one outcome, and everything tells the same of it.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Barrier
from threading import Event as Happened

import governing
import pytest
from databases import unsigned
from django.db import connection
from django.utils import timezone
from governing import NOTED, fresh, no_policies, policy, request_of, someone
from segmenting import BY_ARR, account, layer_with, recompute
from waiting import PATIENCE, wait_until

from accounts.models import Refusal
from core.history import acting
from core.refusals import Refused
from governance.changes import overrides
from governance.models import ApprovalRequest, Decision, Event, Override
from governance.signoff import approvals, carrying_out, due, policies
from governance.signoff.approvals import token
from governance.signoff.impact import Impact
from governance.signoff.kinds import KINDS
from governance.signoff.profiles import Row
from segmentation.models import Assignment, Move

OTHER = {"account": 1, "segment": "tech"}


def at_once(*crowd):
    """The answer of each of these functions, or its Refused, when all of them begin in the same moment."""
    ready = Barrier(len(crowd))

    def begin(act):
        try:
            ready.wait(timeout=PATIENCE)
            return act()
        except Refused as refused:
            return refused
        finally:
            connection.close()

    with ThreadPoolExecutor(len(crowd)) as pool:
        return list(pool.map(begin, crowd))


def refused(answers):
    return [one for one in answers if isinstance(one, Refused)]


@pytest.fixture
def people(real_db, monkeypatch):
    """Ops of CS Ops and eight approvers; overrides only take notes, and one Approver decides about them."""
    monkeypatch.setitem(KINDS, "override", NOTED)
    governing.notes.clear()
    governing.failing.clear()
    no_policies("override")
    return someone("ops", "CS Ops"), [someone(f"vera{number}", "Approver") for number in range(8)]


def test_of_eight_who_approve_at_once_one_does(people, monkeypatch):
    """25 overrides asked for, each approved by eight people at once: 25 approvals, 25 moves, 25 events."""
    monkeypatch.setitem(KINDS, "override", replace(NOTED, module="governance.changes.overrides"))
    ops, approvers = people
    today = timezone.localdate()
    layer = layer_with(BY_ARR, policy="automatic")
    accounts = [account(f"c{number:02}", arr=200_000) for number in range(25)]
    recompute(at=today)
    low = layer.segments.get(key="low")
    text = {"reason_code": "strategic", "text": "They will be large"}
    requests = [overrides.ask([one], layer, low, by=ops, **text) for one in accounts]
    before = Move.objects.count()

    together = Barrier(len(approvers))

    def approve_all(person):
        told = []
        for request in requests:
            together.wait(timeout=PATIENCE)
            try:
                told.append(approvals.approve(request, by=person, seen=token(request)))
            except Refused as refusal:
                told.append(refusal)
        return told

    answers = at_once(*(partial(approve_all, person) for person in approvers))
    for said in zip(*answers, strict=True):  # of one request
        assert len(refused(said)) == 7
        assert {"nothing to decide" in str(one) for one in refused(said)} == {True}
    assert set(ApprovalRequest.objects.values_list("status", flat=True)) == {"applied"}
    assert Decision.objects.count() == 25
    assert Move.objects.count() - before == 25
    for kind in ("request_approved", "request_applied", "override_started"):
        assert Event.objects.filter(kind=kind).count() == 25
    assert Event.objects.filter(kind="move", about_id__gt=0, data__why="override").count() == 25
    assert set(Assignment.objects.values_list("effective__key", flat=True)) == {"low"}
    assert Override.objects.filter(status="active").count() == 25
    assert Refusal.objects.filter(verb="approvals.approve").count() == 25 * 7
    assert len({told.by for one in answers for told in one if isinstance(told, Decision)}) > 1


def raised(people, rounds):
    """In each round a policy asks for one more approval, and somebody asks for something in the same moment."""
    ops, [vera, *_] = people
    policy("policy", "Approver", only=True)
    for number in range(rounds):
        rows = [Row("override", "Approver", 1 + number % 7, min_accounts=number)]
        change = policies.ask(policies.for_kind("override", rows), by=ops, why="Stricter")
        seen, impact = token(change), Impact(accounts=rounds)
        approved, asked = at_once(
            partial(approvals.approve, change, by=vera, seen=seen),
            partial(request_of, ops, key=str(number), impact=impact),
        )
        assert (approved.request.status, refused([asked])) == ("applied", []), approved.request.failure
        assert fresh(asked).needed["Approver"] >= 1 + number % 7


def test_a_policy_that_is_raised_counts_for_what_is_asked_in_the_same_moment(people):
    raised(people, 20)


@pytest.mark.long
def test_a_policy_that_is_raised_counts_120_times(people):
    raised(people, 120)


def waits_for_policies():
    with connection.cursor() as cursor:
        cursor.execute(
            """select count(*) from pg_locks l join pg_database d on d.oid = l.database
                where l.locktype = 'advisory' and not l.granted and d.datname = current_database()"""
        )
        return cursor.fetchone()[0]


def test_who_asks_while_a_policy_changes_waits_and_needs_what_it_says_then(people, monkeypatch):
    """The lines are written, and whoever asks is at the lock, before the change is committed."""
    ops, [vera, *_] = people
    policy("policy", "Approver", only=True)
    rows = [Row("override", "Approver", 3)]
    change = policies.ask(policies.for_kind("override", rows), by=ops, why="Stricter")
    put, written = policies._PUT["kind"], Happened()

    def put_and_wait(content):
        put(content)
        written.set()
        wait_until(waits_for_policies)

    def ask_meanwhile():
        assert written.wait(PATIENCE)
        return request_of(ops)

    monkeypatch.setitem(policies._PUT, "kind", put_and_wait)
    _, asked = at_once(partial(approvals.approve, change, by=vera, seen=token(change)), ask_meanwhile)
    assert refused([asked]) == []
    assert asked.needed == {"Approver": 3}


def test_where_two_are_needed_two_of_eight_do(people):
    policy("override", "Approver", 2)
    ops, approvers = people
    for number in range(5):
        request = request_of(ops, key=str(number))
        at_once(*(partial(approvals.approve, request, by=by, seen=token(request)) for by in approvers))
        assert fresh(request).status == "applied"
        assert request.decisions.count() == 2


def test_a_double_click_in_the_same_moment_is_one_decision(people):
    ops, [vera, *_] = people
    for number in range(5):
        request = request_of(ops, key=str(number))
        answers = at_once(*[partial(approvals.approve, request, by=vera, seen=token(request))] * 4)
        assert {one.pk for one in answers} == {request.decisions.get().pk}


def rejects(request, seen, ops, other):
    return approvals.reject(request, by=other, seen=seen, reason="No")


def withdraws(request, seen, ops, other):
    return approvals.withdraw(request, by=ops, reason="Other plan")


def edits(request, seen, ops, other):
    changes = ["Acme: Low-Touch → Tech-Touch"]
    return approvals.edit(
        request, content=OTHER, changes=changes, impact=Impact(accounts=1), by=ops, seen=seen
    )


def expires(request, seen, ops, other):
    due.expire(request.expires_at)


PAIRS = [  # who acts against an approval, and where the request is then
    (rejects, "rejected", "request_rejected"),
    (withdraws, "withdrawn", "request_withdrawn"),
    (edits, "pending", "request_edited"),
    (expires, "expired", "request_expired"),
]
SIZES = [pytest.param(15, id="15"), pytest.param(200, id="200", marks=pytest.mark.long)]


@pytest.mark.parametrize("pairs", SIZES)
@pytest.mark.parametrize(("against", "then", "event"), PAIRS)
def test_of_two_who_differ_one_has_their_way(people, pairs, against, then, event):
    """Approve against reject, withdraw, edit and expire: either it was approved and is done, or it was not and is not."""
    ops, [vera, zoe, *_] = people
    done = 0
    for number in range(pairs):
        request = request_of(ops, key=str(number))
        seen = token(request)

        def approve(request=request, seen=seen):
            return approvals.approve(request, by=vera, seen=seen)

        def other(request=request, seen=seen):
            return against(request, seen, ops, zoe)

        if number % 5 == 3:  # either is first now and then, however busy the machine is
            [approval], _ = at_once(approve), at_once(other)
        elif number % 5 == 4:
            _, [approval] = at_once(other), at_once(approve)
        else:
            approval, _ = at_once(approve, other)
        request = fresh(request)
        kinds = set(governing.kinds_of_events(request))
        approved = request.decisions.filter(verdict="approve").exists()
        assert approved is not isinstance(approval, Refused)
        if approved:
            done += 1
            assert (request.status, request.revision) == ("applied", 1)
            assert kinds == {"request_opened", "request_approved", "request_applied"}
            assert [what for what, pk in governing.notes if pk == request.pk] == ["done"]
        else:
            assert request.status == then
            assert kinds == {"request_opened", event}
            assert "done" not in [what for what, pk in governing.notes if pk == request.pk]
    assert 0 < done < pairs


@pytest.mark.parametrize(
    "attempts", [pytest.param(80, id="80"), pytest.param(500, id="500", marks=pytest.mark.long)]
)
def test_stale_decisions_are_refused(people, attempts):
    """Eight people at pages that are out of date, all buttons, while somebody goes on editing."""
    ops, approvers = people
    request = request_of(ops)
    seen = token(request)
    edits(request, seen, ops, None)

    def decide(person, shift):
        def act():
            told = []
            for number in range(attempts // len(approvers) + 1):
                verb = (approvals.approve, approvals.ask_for_changes, approvals.reject)[(number + shift) % 3]
                try:
                    told.append(verb(request, by=person, seen=seen, reason="Fine"))
                except Refused as refusal:
                    told.append(refusal)
            return told

        return act

    def goes_on():
        for number in range(5):
            now = fresh(request)
            content = OTHER | {"number": number}
            approvals.edit(
                now, content=content, changes=[f"Number {number}"], impact=Impact(), by=ops, seen=token(now)
            )

    *answers, _ = at_once(*(decide(person, shift) for shift, person in enumerate(approvers)), goes_on)
    told = [one for some in answers for one in some]
    assert len(told) >= attempts
    assert refused(told) == told
    assert {"edited since you opened it" in str(one) for one in told} == {True}
    assert Decision.objects.count() == 0
    assert (fresh(request).status, fresh(request).revision) == ("pending", 7)
    assert Refusal.objects.count() == len(told)


def test_two_who_ask_for_the_same_at_once_make_one_request(people):
    ops, [vera, *_] = people
    for number in range(5):
        answers = at_once(*(partial(request_of, by, key=str(number)) for by in (ops, vera)))
        [refusal] = refused(answers)
        assert "has asked for approval of this" in str(refusal)
    assert ApprovalRequest.objects.count() == Event.objects.filter(kind="request_opened").count() == 5


def test_due_requests_are_carried_out_once_by_two_who_sweep(people):
    """And the person who leaves in the same moment takes the approval along, or was too late."""
    ops, [vera, *_] = people
    later = timezone.now() + timedelta(days=2)
    requests = [request_of(ops, key=str(number), apply_on=timezone.localdate(later)) for number in range(5)]
    for request in requests:
        approvals.approve(request, by=vera, seen=token(request))

    def leave():
        with acting(label="tests"):
            governing.deactivated(vera)
            return carrying_out.recount(vera)

    with unsigned():  # as if it were that day
        *counts, back = at_once(*[partial(due.apply_due, later)] * 2, leave)
    assert sum(counts) + ApprovalRequest.objects.filter(status="pending").count() == 5
    assert len(back) <= 5
    assert Event.objects.filter(kind="request_applied").count() == sum(counts)
    assert set(ApprovalRequest.objects.values_list("status", flat=True)) <= {"applied", "pending"}
