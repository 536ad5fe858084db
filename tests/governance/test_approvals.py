"""Requests and decisions: who may say what about which revision, and what follows."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from databases import unsigned
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from governing import (
    approved,
    away,
    deactivated,
    failing,
    fresh,
    kinds_of_events,
    no_policies,
    nobody_approves,
    policy,
    request_of,
    someone,
    without_role,
)
from segmenting import account

from accounts.models import Refusal
from core.history import acting
from core.refusals import Refused
from governance.models import ApprovalRequest, Decision, Event
from governance.signoff import approvals, carrying_out, due, inbox, permissions, requests, requirements
from governance.signoff.approvals import token
from governance.signoff.impact import Impact
from segmentation.evaluation import causes
from segmentation.models import Cause

pytestmark = pytest.mark.django_db
WORKFLOW = Path(__file__).parents[2] / "docs" / "workflow.md"
OTHER = {"account": 1, "segment": "tech"}


@pytest.fixture(autouse=True)
def kinds(noted):
    no_policies("override")
    return noted


@pytest.fixture
def ops():
    return someone("ops", "CS Ops")


@pytest.fixture
def vera():
    return someone("vera", "Approver")


@pytest.fixture
def finn():
    return someone("finn", "Finance")


def apply_due(at):
    """Carry out what a day to come brings: the database, whose clock says today, lets it."""
    with unsigned():
        return due.apply_due(at)


def edit(request, by, content=OTHER, **options):
    return approvals.edit(
        fresh(request),
        **{
            "content": content,
            "changes": ["Acme: Low-Touch → Tech-Touch"],
            "impact": Impact(accounts=1),
            "seen": token(fresh(request)),
        }
        | options,
        by=by,
    )


# -- the whole way


def test_one_asks_another_approves_and_it_is_done(ops, vera, kinds):
    request = request_of(ops)
    assert (request.status, request.needed) == ("pending", {"Approver": 1})
    decision = approvals.approve(request, by=vera, seen=token(request), reason="Seen the contract")
    assert (decision.by_label, decision.role, decision.request.status) == ("vera", "Approver", "applied")
    assert kinds == [("done", request.pk)]
    assert kinds_of_events(request) == ["request_opened", "request_approved", "request_applied"]
    rows = ApprovalRequest.history.filter(id=request.pk).order_by("history_id")
    assert [(row.status, row.history_user_label) for row in rows] == [("pending", "ops"), ("applied", "vera")]


def test_whoever_rejects_says_why_and_nothing_is_done(ops, vera, kinds):
    request = request_of(ops)
    with pytest.raises(Refused, match="Say why"):
        approvals.reject(request, by=vera, seen=token(request), reason=" ")
    approvals.reject(request, by=vera, seen=token(request), reason="Not in this quarter")
    request = fresh(request)
    assert (request.status, request.end_reason, request.ended_by_label) == (
        "rejected",
        "Not in this quarter",
        "vera",
    )
    assert kinds == [("reject", request.pk)]
    assert kinds_of_events(request)[-1] == "request_rejected"


def test_after_changes_were_asked_for_the_same_person_decides_again(ops, vera, kinds):
    request = request_of(ops)
    approvals.ask_for_changes(request, by=vera, seen=token(request), reason="Until when?")
    assert (fresh(request).status, kinds) == ("changes_asked", [("ask", request.pk)])
    with pytest.raises(Refused, match="nothing to decide"):
        approvals.approve(fresh(request), by=vera, seen=token(fresh(request)))
    again = approvals.resubmit(fresh(request), by=ops, seen=token(fresh(request)))
    assert (again.status, again.revision, again.hash) == ("pending", 2, request.hash)
    assert approved(again, vera).status == "applied"


def test_in_a_light_organisation_it_is_done_at_once_and_logged(ops, kinds):
    nobody_approves("override")
    request = request_of(ops)
    assert (request.status, request.ended_by_label, kinds) == ("applied", "ops", [("done", request.pk)])
    assert kinds_of_events(request) == ["request_opened", "request_applied"]
    casey = request_of(someone("casey", "CSM"), key="override:2")
    assert (casey.status, casey.needed) == ("pending", {"CS Ops": 1})


def test_the_system_may_ask_and_take_back_but_never_decides(vera):
    request = request_of(None)
    with pytest.raises(Refused, match="Nobody is logged in"):
        approvals.approve(request, by=None, seen=token(request))
    assert approvals.withdraw(request, by=None, reason="Came back").status == "withdrawn"


def test_two_open_requests_about_the_same_are_refused(ops, vera):
    request = request_of(ops)
    with pytest.raises(Refused, match=r"ops has asked for approval of this on .* already"):
        request_of(vera)
    approvals.withdraw(request, by=ops, reason="Other plan")
    assert request_of(vera).status == "pending"


@pytest.mark.parametrize("content", [{"a": float("nan")}, {"a": "\0"}, {"a": "\ud800"}])
def test_what_cannot_be_stored_is_refused(ops, content):
    with pytest.raises(Refused, match="cannot be stored"):
        request_of(ops, content=content)


# -- who decides


def test_nobody_decides_what_they_requested_edited_or_look_after(ops, vera):
    boss = someone("boss", "Approver", "CS Ops", "Administrator", is_superuser=True)
    carl = someone("carl", "Approver")
    own = request_of(boss)
    looked_after = request_of(ops, key="override:2", impact=Impact(accounts=1, owners=(carl.pk, boss.pk)))
    edited = edit(request_of(ops, key="override:3"), boss)
    assert edited.editors == [boss.pk]
    for request, by, sentence in [
        (own, boss, "your own request"),
        (looked_after, carl, "look after an account"),
        (looked_after, boss, "look after an account"),
        (edited, boss, "You wrote or edited what is asked for"),
        (own, ops, "decided by Approver, and you do not have that role"),
        (own, someone("root", is_superuser=True), "do not have that role"),
        (own, deactivated(someone("gone", "Approver")), "Nobody is logged in"),
    ]:
        for verb in (approvals.approve, approvals.ask_for_changes, approvals.reject):
            with pytest.raises(Refused, match=sentence):
                verb(fresh(request), by=by, seen=token(fresh(request)), reason="x")
        assert sentence in str(permissions.decide(fresh(request), by=by))
        assert fresh(request) not in inbox.awaiting(by)
        assert fresh(request).decisions.count() == 0
    assert inbox.awaiting(vera).count() == 3
    kept = Refusal.objects.filter(verb="approvals.approve", actor_label="boss")
    assert "You cannot decide your own request" in kept.order_by("pk").first().sentence


@pytest.mark.parametrize("column", ["by", "on_behalf_of"])
def test_the_database_refuses_the_same(ops, vera, column):
    """Past the verbs: whoever asked, edited or looks after, and whoever stands in for them."""
    request = edit(
        request_of(ops, impact=Impact(owners=(someone("carl", "Approver").pk,))), someone("ed", "CS Ops")
    )
    request.refresh_from_db()
    other = someone("zoe", "Approver")
    for name in ("ops", "ed"):
        someone(name, "Approver")
    for name in ("ops", "ed", "carl"):
        person = someone(name)
        people = {"by": person.pk} if column == "by" else {"by": other.pk, "on_behalf_of": person.pk}
        # An edit takes the owners of its own impact: put carl back as the trigger sees him.
        ApprovalRequest.objects.filter(pk=request.pk).update(owners=[someone("carl").pk])
        with pytest.raises(DatabaseError, match="nobody decides"), transaction.atomic():
            Decision.objects.create(
                request=request, verdict="approve", role="Approver", by_label="x", hash=request.hash,
                revision=request.revision, **people,
            )  # fmt: skip


def test_a_double_click_is_one_decision(ops, vera):
    request = request_of(ops)
    one = approvals.approve(request, by=vera, seen=token(request))
    assert approvals.approve(request, by=vera, seen=token(request)) == one
    assert Decision.objects.count() == 1
    assert kinds_of_events(request).count("request_applied") == 1
    with pytest.raises(Refused, match="approved and done: there is nothing to decide"):
        approvals.reject(request, by=vera, seen=token(request), reason="No, wait")


def test_two_roles_and_two_people_of_one(ops, vera, finn):
    policy("override", "Approver", 2)
    policy("override", "Finance", 1, min_arr=Decimal("100000"))
    small, large = (
        request_of(ops, key=str(arr), impact=Impact(arr=Decimal(arr))) for arr in (99_999, 100_000)
    )
    assert (small.needed, large.needed) == ({"Approver": 2}, {"Approver": 2, "Finance": 1})
    zoe = someone("zoe", "Approver")
    assert approved(large, vera).status == "pending"
    with pytest.raises(Refused, match="decided this already"):
        approvals.reject(fresh(large), by=vera, seen=token(large), reason="No")
    assert approved(large, finn).status == "pending"
    parts = {part.role: (part.given, part.needed, part.left) for part in inbox.standing(fresh(large))}
    assert parts == {"Approver": (1, 2, 1), "Finance": (1, 1, 0)}
    assert approved(large, zoe).status == "applied"


def test_in_a_role_that_has_enough_nobody_approves_but_anybody_may_object(ops, vera, finn):
    policy("override", "Approver")
    policy("override", "Finance")
    zoe, request = someone("zoe", "Approver"), request_of(ops)
    approved(request, vera)
    assert request not in inbox.awaiting(zoe)
    with pytest.raises(Refused, match="Approver has approved this already; it waits for Finance"):
        approved(request, zoe)
    approvals.reject(fresh(request), by=zoe, seen=token(request), reason="I know the customer")
    assert fresh(request).status == "rejected"


def test_a_person_of_two_roles_decides_once(ops, finn):
    policy("override", "Approver")
    policy("override", "Finance")
    both, request = someone("both", "Approver", "Finance"), request_of(ops)
    assert approved(request, both).status == "pending"
    with pytest.raises(Refused, match="decided this already"):
        approvals.reject(fresh(request), by=both, seen=token(request), reason="x")
    someone("vera", "Approver")
    part = next(part for part in inbox.standing(fresh(request)) if part.missing)
    assert part.role in ("Approver", "Finance")


# -- somebody is away


def test_a_delegate_decides_in_the_place_of_who_is_away(ops, vera, kinds):
    dora, request = someone("dora"), request_of(ops)
    with pytest.raises(Refused, match="do not have that role"):
        approved(request, dora)
    away(vera, dora)
    assert list(inbox.awaiting(dora)) == [request]
    request = approved(request, dora)
    decision = request.decisions.get()
    assert (request.status, decision.by_label, decision.on_behalf_of_label) == ("applied", "dora", "vera")
    assert "dora for vera (Approver) approved" in Event.objects.get(kind="request_approved").text


@pytest.mark.parametrize(
    ("since", "days", "may"), [(0, 0, True), (1, 5, False), (-5, 4, False), (-5, 5, True)]
)
def test_only_on_the_days_of_the_absence(ops, vera, since, days, may):
    dora, request = someone("dora"), request_of(ops)
    away(vera, dora, since=since, days=days)
    assert permissions.may(permissions.decide(request, by=dora)) is may


def test_nobody_stands_in_for_who_asked_nor_as_who_asked(ops, vera):
    """An approver asks and goes away; the delegate of another approver is who asked."""
    dora, request = someone("dora"), request_of(vera)
    away(vera, dora)
    zoe = someone("zoe", "Approver")
    away(zoe, vera)
    with pytest.raises(Refused, match="You stand in for somebody who has requested"):
        approved(request, dora)
    with pytest.raises(Refused, match="your own request"):
        approved(request, vera)


def test_two_votes_of_one_person_are_one(ops, vera):
    """The delegate, and then who came back early: one of two approvals."""
    policy("override", "Approver", 2)
    dora, request = someone("dora"), request_of(ops)
    away(vera, dora)
    assert approved(request, dora).status == "pending"
    with pytest.raises(Refused, match="dora has decided this in your place"):
        approved(request, vera)
    assert approved(request, someone("zoe", "Approver")).status == "applied"


# -- what was seen


def test_an_edit_voids_approvals_and_what_was_seen_before_is_stale(ops, vera):
    policy("override", "Approver", 2)
    zoe, request = someone("zoe", "Approver"), request_of(ops)
    seen = token(request)
    approved(request, vera)
    changed = edit(request, ops)
    assert (changed.revision, changed.editors) == (2, [])
    with pytest.raises(Refused) as refusal:
        approvals.approve(request, by=zoe, seen=seen)
    assert str(refusal.value).startswith("This request was edited since you opened it (by ops, ")
    assert "New: “Acme: Low-Touch → Tech-Touch”." in str(refusal.value)
    assert "No longer: “Acme: Low-Touch → High-Touch”." in str(refusal.value)
    assert approved(request, zoe).status == "pending"  # vera's approval was of something else
    assert approved(request, vera).status == "applied"


def test_a_save_without_a_change_keeps_approvals(ops, vera):
    policy("override", "Approver", 2)
    request = request_of(ops, content={"b": Decimal("1.50"), "a": timezone.localdate()})
    approved(request, vera)
    same = edit(
        request, ops, content={"a": timezone.localdate().isoformat(), "b": "1.50"}, why="They have merged "
    )
    assert (same.revision, same.editors) == (1, [])
    assert approved(request, someone("zoe", "Approver")).status == "applied"


def test_another_reason_is_an_edit_too(ops, vera):
    policy("override", "Approver", 2)
    request = approved(request_of(ops), vera)
    same = {"content": request.content, "changes": request.changes}
    changed = edit(request, ops, **same, why="They have not merged")
    assert (changed.revision, changed.hash) == (2, request.hash)
    with pytest.raises(Refused, match="Its details, reason or evidence are different"):
        approvals.approve(request, by=vera, seen=token(request))


@pytest.mark.parametrize(
    "seen", [None, "", "1", "1:", "0:x", "99:x", "1:" + "0" * 64, "²:x", "9" * 30 + ":x"]
)
def test_only_what_is_there_now_is_decided(ops, vera, seen):
    request = request_of(ops)
    with pytest.raises(Refused, match="not the request as it is now"):
        approvals.approve(request, by=vera, seen=seen)


def test_an_approver_takes_something_out_and_may_still_approve(ops, vera):
    """An edit of a request of many; everybody else decides anew."""
    one, two, three, four = (account(name).pk for name in ("one", "two", "three", "four"))
    many = {"segment": "high", "accounts": [one, two, three]}
    request = request_of(ops, content=many)
    assert request.account_ids() == [one, two, three]
    less = {
        "changes": ["Two accounts"],
        "impact": Impact(accounts=2),
        "seen": token(request),
        "reason": "3 is new",
    }
    for content in ({"segment": "tech", "accounts": [one, two]}, {"segment": "high", "accounts": [one, four]},
                    {"segment": "high", "accounts": []}, {"segment": "high", "accounts": [two, one]}, many):  # fmt: skip
        with pytest.raises(Refused, match="but not change what is left"):
            approvals.narrow(request, content=content, by=vera, **less)
    with pytest.raises(Refused, match="do not have that role"):
        approvals.narrow(request, content=many | {"accounts": [one, two]}, by=someone("dora"), **less)
    changed = approvals.narrow(request, content=many | {"accounts": [one, two]}, by=vera, **less)
    assert (changed.revision, changed.editors, changed.accounts) == (2, [], 2)
    assert changed.account_ids() == [one, two]
    assert kinds_of_events(request)[-1] == "request_edited"
    assert approved(request, vera).status == "applied"


def test_only_who_asked_and_cs_ops_edit_withdraw_and_hand_in(ops, vera):
    casey = someone("casey", "CSM")
    request = request_of(casey)
    with pytest.raises(Refused, match="Only casey or CS Ops may change"):
        edit(request, vera)
    with pytest.raises(Refused, match="Only casey or CS Ops may withdraw"):
        approvals.withdraw(request, by=vera, reason="x")
    approvals.ask_for_changes(request, by=vera, seen=token(request), reason="Evidence?")
    with pytest.raises(Refused, match="Only casey or CS Ops may hand in"):
        approvals.resubmit(fresh(request), by=vera, seen=token(fresh(request)))
    assert edit(request, ops).editors == [ops.pk]
    assert approvals.withdraw(fresh(request), by=casey, reason="Solved").ended_by_label == "casey"


# -- carrying out


def test_what_cannot_be_carried_out_says_why_and_may_be_tried_again(ops, vera, kinds):
    failing.append("Acme has another segment since.")
    request = approved(request_of(ops), vera)
    assert (request.status, request.failure) == ("failed", "Acme has another segment since.")
    assert request.decisions.count() == 1
    assert request.ended_at is None
    assert kinds_of_events(request) == ["request_opened", "request_approved", "request_failed"]
    failing.clear()
    with pytest.raises(Refused, match="Only ops or CS Ops may carry out"):
        carrying_out.apply(request, by=someone("eve"))
    assert carrying_out.apply(request, by=ops).status == "applied"
    assert fresh(request).failure == ""
    assert kinds_of_events(request)[-1] == "request_applied"


@pytest.mark.parametrize(
    "error", [DatabaseError("no such thing\nCONTEXT: secret"), ZeroDivisionError("secret")]
)
def test_an_error_leaves_no_trace_but_the_failure(ops, vera, kinds, monkeypatch, error):
    import governing

    def half(request, *, by, at):
        someone("half-way")
        raise error

    monkeypatch.setattr(governing, "carry_out", half)
    request = approved(request_of(ops), vera)
    assert request.status == "failed"
    assert "secret" not in request.failure
    assert not type(vera).objects.filter(username="half-way").exists()


def test_what_only_the_commit_would_find_fails_too(ops, vera, monkeypatch):
    """Foreign keys are checked at the commit: asked for before it."""
    import governing

    def dangling(request, *, by, at):
        with connection.cursor() as cursor:
            cursor.execute("insert into governance_preference (user_id, mail) values (0, 'digest')")

    monkeypatch.setattr(governing, "carry_out", dangling)
    request = approved(request_of(ops), vera)
    assert (request.status, "foreign key" in request.failure) == ("failed", True)


def test_what_is_approved_waits_for_its_date(ops, vera, kinds):
    today, now = timezone.localdate(), timezone.now()
    request = approved(request_of(ops, apply_on=today + timedelta(days=3)), vera)
    assert (request.status, kinds) == ("approved", [])
    with pytest.raises(Refused, match="is carried out on"):
        carrying_out.apply(request, by=ops)
    assert apply_due(now + timedelta(days=2)) == 0
    assert due.expire(request.expires_at + timedelta(days=9)) == 0  # it has been decided
    assert apply_due(now + timedelta(days=3)) == 1
    assert (fresh(request).status, kinds) == ("applied", [("done", request.pk)])
    assert apply_due(now + timedelta(days=3)) == 0


@pytest.mark.parametrize("how", [deactivated, lambda user: without_role(user, "Approver")])
def test_approvals_are_counted_again_before_it_is_done(ops, vera, kinds, how):
    now = timezone.now()
    request = approved(request_of(ops, apply_on=timezone.localdate() + timedelta(days=3)), vera)
    how(vera)
    apply_due(now + timedelta(days=3))
    assert (fresh(request).status, kinds) == ("pending", [])
    assert "request_recounted" in kinds_of_events(request)
    with unsigned():  # as if it were that day
        request = approved(request, someone("zoe", "Approver"), at=now + timedelta(days=3))
    assert request.status == "applied"


def test_who_leaves_takes_their_approval_along(ops, vera):
    policy("override", "Approver", 2)
    zoe = someone("zoe", "Approver")
    later = timezone.localdate() + timedelta(days=3)
    whole = approved(request_of(ops, apply_on=later), vera, zoe)
    half = approved(request_of(ops, key="half"), vera)
    assert carrying_out.recount(deactivated(vera)) == [whole]
    assert [fresh(one).status for one in (whole, half)] == ["pending", "pending"]
    assert approved(half, zoe).status == "pending"  # vera's does not count any more
    assert approved(half, someone("yan", "Approver")).status == "applied"
    assert carrying_out.recount(vera) == []


def test_who_comes_back_counts_again(ops, vera, kinds):
    """Otherwise it would wait for somebody who has decided already."""
    request = approved(request_of(ops, apply_on=timezone.localdate() + timedelta(days=3)), vera)
    carrying_out.recount(without_role(vera, "Approver"))
    assert fresh(request).status == "pending"
    assert carrying_out.recount(someone("vera", "Approver")) == []
    assert fresh(request).status == "approved"
    carrying_out.recount(deactivated(vera))
    with transaction.atomic(), unsigned():  # through the page they come back without roles
        causes.take(Cause.Kind.DECISION, reason="Back again")
        type(vera).objects.filter(pk=vera.pk).update(is_active=True)
    due.apply_due(timezone.now())
    assert fresh(request).status == "approved"
    assert apply_due(timezone.now() + timedelta(days=3)) == 1


def test_a_delegate_who_decided_counts_after_the_absence(ops, vera):
    later = timezone.localdate() + timedelta(days=30)
    dora, request = someone("dora"), request_of(ops, apply_on=later)
    away(vera, dora, days=1)
    approved(request, dora)
    assert apply_due(timezone.now() + timedelta(days=30)) == 1
    other = request_of(ops, key="2", apply_on=later)
    approved(other, dora)
    deactivated(dora)
    assert apply_due(timezone.now() + timedelta(days=30)) == 0
    assert fresh(other).status == "pending"


# -- policies


@pytest.mark.parametrize(
    ("impact", "needed"),
    [
        (Impact(), {"Approver": 1}),
        (Impact(accounts=9), {"Approver": 1}),
        (Impact(accounts=10), {"Approver": 2}),
        (Impact(arr=Decimal("1000")), {"Approver": 1, "Finance": 1}),
        (Impact(accounts=10, arr=Decimal("1000"), csm_changes=3, top_tier=True),
         {"Approver": 2, "Finance": 1, "RevOps": 1}),
        (Impact(csm_changes=3), {"Approver": 1}),
        (Impact(top_tier=True), {"Approver": 1}),
    ],
)  # fmt: skip
def test_who_is_needed_follows_from_kind_and_impact(impact, needed):
    policy("override", "Approver", due_days=7, expire_days=20)
    policy("override", "Approver", 2, min_accounts=10, due_days=3)
    policy("override", "Finance", min_arr=1000)
    policy("override", "RevOps", min_csm_changes=3, top_tier=True)
    policy("tier_change", "Finance", 5)
    found, due, expire = requirements.requirement("override", impact)
    assert (found, due) == (needed, 3 if impact.accounts >= 10 else 5 if len(needed) > 1 else 7)
    assert expire == 20


def test_money_in_another_currency_reaches_every_threshold():
    policy("override", "Finance", min_arr=1000)
    assert requirements.requirement("override", Impact(arr=Decimal(999)))[0] == {"Approver": 1}
    assert requirements.requirement("override", Impact(foreign=True))[0] == {"Finance": 1}


def test_what_no_policy_is_about_needs_one_approver():
    policy("override", "Finance", min_arr=1000)
    assert requirements.requirement("override", Impact())[0] == {"Approver": 1}
    policy("override", "Finance", 0)
    assert requirements.requirement("override", Impact())[0] == {}


def test_open_requests_keep_the_stricter_policy(ops, vera, finn):
    later = timezone.localdate() + timedelta(days=3)
    waits, done = request_of(ops), approved(request_of(ops, key="2"), vera)
    dated = approved(request_of(ops, key="3", apply_on=later), vera)
    policy("override", "Finance", 1, only=True)
    carrying_out.tighten("override", by=ops)
    assert [fresh(one).needed for one in (waits, dated, done)] == [
        {"Approver": 1, "Finance": 1},
        {"Approver": 1, "Finance": 1},
        {"Approver": 1},
    ]
    assert fresh(dated).status == "pending"
    nobody_approves("override")
    carrying_out.tighten("override", by=ops)
    assert fresh(waits).needed == {"Approver": 1, "Finance": 1}
    assert edit(waits, ops).needed == {"Approver": 1, "Finance": 1}
    assert approved(waits, vera, finn).status == "applied"


# -- the clock


def test_requests_expire_and_say_so(ops, vera, kinds):
    request = request_of(ops)
    assert request.expires_at - request.requested_at == timedelta(days=30)
    assert due.expire(request.expires_at - timedelta(seconds=1)) == 0
    with pytest.raises(Refused, match="This request expired on"):  # before anybody has swept
        approved(request, vera, at=request.expires_at)
    assert due.expire(request.expires_at) == 1
    assert (fresh(request).status, kinds) == ("expired", [("expire", request.pk)])
    assert "Nobody decided it until" in fresh(request).end_reason
    assert kinds_of_events(request)[-1] == "request_expired"
    assert due.expire(request.expires_at) == 0


def test_one_that_cannot_expire_does_not_keep_the_others(ops, kinds, monkeypatch):
    import governing

    one, other = request_of(ops), request_of(ops, key="2")

    def stumbles(request, *, verdict, by, reason):
        if request.pk == one.pk:
            raise ZeroDivisionError

    monkeypatch.setattr(governing, "decided_against", stumbles)
    assert due.expire(one.expires_at + timedelta(days=1)) == 1
    assert [fresh(row).status for row in (one, other)] == ["pending", "expired"]


def test_before_it_expires_everybody_who_could_decide_is_told_once(ops, vera):
    dora, request = someone("dora"), request_of(ops)
    away(vera, dora, days=40)
    someone("zoe", "Approver")
    assert due.escalate(request.expires_at - timedelta(days=3)) == 0
    assert due.escalate(request.expires_at - timedelta(days=2)) == 1
    assert due.escalate(request.expires_at - timedelta(days=1)) == 0
    [event] = Event.objects.filter(kind="request_escalated")
    assert set(event.data["people"]) == {vera.pk, dora.pk, someone("zoe").pk}


def test_what_nobody_can_decide_falls_to_cs_ops(ops, vera):
    policy("override", "Board")
    nobody = request_of(ops)
    assert "nobody active has the role Board" in inbox.nobody_can(nobody)
    assert "CS Ops sees to it" in inbox.nobody_can(nobody)
    assert kinds_of_events(nobody) == ["request_opened", "request_stuck"]
    due.escalate(nobody.expires_at - timedelta(days=1))
    assert kinds_of_events(nobody).count("request_stuck") == 1
    no_policies("override")
    own = request_of(vera, key="2")
    assert "everybody in Approver has requested" in inbox.nobody_can(own)
    someone("zoe", "Approver")
    assert inbox.nobody_can(own) == ""
    policy("override", "Approver", 3)
    many = request_of(ops, key="3")
    assert "3 more approvals of Approver are needed, but only 2 of the 2 people" in inbox.nobody_can(many)


# -- said about it


def test_people_say_something_about_a_request(ops, vera):
    request = request_of(someone("casey"))
    with pytest.raises(Refused, match="Write something"):
        approvals.comment(request, by=vera, text=" ")
    with pytest.raises(Refused, match="not allowed to see"):
        approvals.comment(request, by=someone("eve"), text="Hm")
    approvals.comment(request, by=vera, text="Which contract?")
    approvals.comment(request, by=someone("casey"), text="The new one")
    assert [(one.by_label, one.text) for one in request.comments.all()] == [
        ("vera", "Which contract?"),
        ("casey", "The new one"),
    ]


def test_the_inbox_takes_the_same_queries_for_one_and_for_twenty(ops, vera, django_assert_num_queries):
    for number in range(20):
        request_of(ops, key=str(number))
    with django_assert_num_queries(8):  # one of them asks whether she is a program
        assert len(inbox.awaiting(vera)) == 20


# -- the table


def at_status(status, ops, vera):
    """A request that the verbs brought there."""
    failing[:] = ["It cannot"] if status == "failed" else []
    later = timezone.localdate() + timedelta(days=3) if status == "approved" else None
    request = request_of(ops, apply_on=later)
    if status in ("applied", "approved", "failed"):
        approved(request, vera)
    if status in ("changes_asked", "rejected"):
        verb = approvals.ask_for_changes if status == "changes_asked" else approvals.reject
        verb(request, by=vera, seen=token(request), reason="No")
    if status == "withdrawn":
        approvals.withdraw(request, by=ops, reason="No")
    if status == "expired":
        due.expire(request.expires_at)
    return fresh(request)


STATUSES = list(ApprovalRequest.Status)
WAYS = requests.STATUSES.moves


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_is_reached_by_the_verbs(ops, vera, status):
    assert at_status(status, ops, vera).status == status


VERBS = {
    "approve": lambda one, ops, vera: approvals.approve(one, by=vera, seen=token(one)),
    "ask": lambda one, ops, vera: approvals.ask_for_changes(one, by=vera, seen=token(one), reason="Why?"),
    "reject": lambda one, ops, vera: approvals.reject(one, by=vera, seen=token(one), reason="No"),
    "resubmit": lambda one, ops, vera: approvals.resubmit(one, by=ops, seen=token(one)),
    "edit": lambda one, ops, vera: edit(one, ops),
    "withdraw": lambda one, ops, vera: approvals.withdraw(one, by=ops, reason="No more"),
    "apply": lambda one, ops, vera: carrying_out.apply(one, by=ops, at=timezone.now() + timedelta(days=3)),
    "expire": lambda one, ops, vera: due.expire(one.expires_at),
}
ALSO = {("edit", status): "pending" for status in ("pending", "changes_asked")}  # a status it has, or shares


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_goes_along_the_table(ops, vera, status, verb):
    """Where the table has no such step the verb is refused, with a sentence, and nothing has changed."""
    request = at_status(status, ops, vera)
    failing.clear()
    before = ApprovalRequest.history.count()
    targets = {step.target for step in requests.STATUSES.steps if (step.verb, step.source) == (verb, status)}
    targets |= {ALSO[verb, status]} if (verb, status) in ALSO else set()
    decided = fresh(request).decisions.filter(verdict=verb).exists()  # the same click again
    if targets or decided or verb == "expire":
        with unsigned():  # as if its day had come
            VERBS[verb](request, ops, vera)
    else:
        with pytest.raises(Refused, match=r"\.$") as refusal:
            VERBS[verb](request, ops, vera)
        assert refusal.value.code != "guarded_by_the_database"  # the verb knows it first
    assert fresh(request).status in (targets or {status})
    assert bool(targets) is (ApprovalRequest.history.count() > before)


@pytest.mark.parametrize("source", STATUSES)
@pytest.mark.parametrize("target", STATUSES)
def test_the_database_keeps_the_table(ops, vera, source, target):
    """Past the verbs, with a cause: only along the table; never into a decision nobody made."""
    if source == target:
        return
    request = at_status(source, ops, vera)
    earned = {"rejected", *({"approved", "applied"} if source not in ("approved", "failed") else ())}
    may = (source, target) in WAYS and target not in earned
    try:
        with transaction.atomic(), unsigned(), acting(label="shell"):  # as if its day had come
            causes.take(Cause.Kind.DECISION, reason="By hand")
            ApprovalRequest.objects.filter(pk=request.pk).update(status=target)
    except DatabaseError:
        assert not may
    else:
        assert may


def test_the_workflow_page_shows_the_table():
    text = WORKFLOW.read_text(encoding="utf-8")
    assert f"```mermaid\n{requests.STATUSES.diagram()}\n```" in text
    assert requests.STATUSES.markdown() in text


def test_content_and_fingerprint_change_together(ops, vera):
    request = request_of(ops)
    for values in ({"content": OTHER}, {"hash": "0" * 64}, {"content": OTHER, "hash": "0" * 64}, {"requester": vera.pk},
                   {"needed": {}}, {"revision": 3}):  # fmt: skip
        with pytest.raises(DatabaseError), transaction.atomic():
            ApprovalRequest.objects.filter(pk=request.pk).update(**values)
