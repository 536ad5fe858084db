"""The life of a tier change: planned, approved by somebody else, carried out, completed; and what takes it back."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from conflicting import bring
from databases import unsigned
from django.db import DatabaseError, DataError, transaction
from django.test import Client
from django.utils import timezone
from governing import approved, fresh, kinds_of_events, nobody_approves, policy, someone
from segmenting import account, by_now, change, layer_with, recompute

from accounts.models import Account, Conflict, Csm
from core.refusals import Refused
from governance.changes import (
    followup,
    loads,
    overrides,
    overrides_in_force,
    transition_requests,
    transition_steps,
    transitions,
)
from governance.models import CrossingPolicy, Event, Transition
from governance.signoff import approvals, due
from segmentation.evaluation import causes
from segmentation.models import Assignment, Cause, Move, ServiceModel, Treatment

TODAY = timezone.localdate()
DAY = TODAY - timedelta(days=10)
TIERS = {
    "rules": [
        {"segment": "high", "when": "arr >= 100000"},
        {"segment": "low", "when": "arr >= 10000"},
        {"segment": "tech", "when": "arr >= 0"},
    ]
}


@dataclass
class Team:
    """A gated layer with a service model for each segment; Ops plans, Vera approves; Dana and the pool look after accounts."""

    layer: object
    ops: object
    vera: object
    dana: Csm
    pool: Csm
    digital: Csm


@pytest.fixture(autouse=True)
def rules_as_they_come(settings):
    settings.GATES, settings.AFTER_RUN = {}, []


@pytest.fixture
def team(begun):
    return begun(a_team)


def a_team():
    layer = layer_with(
        TIERS, decides=("touch_frequency", "play_on_entry", "play_on_exit", "success_plan_template")
    )
    bands = {"high": (1, 3, "dedicated"), "low": (2, 10, "pool"), "tech": (20, None, "none")}
    for segment, (low, high, kind) in bands.items():
        model = ServiceModel.objects.create(
            key=segment, name=segment, accounts_per_csm_min=low, accounts_per_csm_max=high, csm_kind=kind
        )
        with unsigned():
            Treatment.objects.filter(key=f"tier-{segment}").update(
                service_model=model, play_on_entry=f"Welcome to {segment}\nIntroduce the playbook"
            )
    policy("tier_change", "Approver", only=True)
    dana = Csm.objects.create(email="dana@x.test", name="Dana", user=someone("dana", "CSM", "Approver"))
    pool = Csm.objects.create(email="pool@x.test", name="Pool", kind="pool")
    digital = Csm.objects.create(email="digital@x.test", name="Digital", kind="digital")
    return Team(layer, someone("ops", "CS Ops"), someone("vera", "Approver"), dana, pool, digital)


def down_at_once(layer):
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION, reason="tests")
        return CrossingPolicy.objects.create(layer=layer, direction="down")


def flagged(team, name="acme", *, before=50_000, after=120_000, **facts):
    """A tier change of an account that Dana looks after, as the rules have just seen it."""
    account(name, name=name.capitalize(), arr=before, csm=team.dana, **facts)
    recompute(by_now(DAY))
    change(Account.objects.get(external_id=name), arr=after)
    recompute(by_now(DAY + timedelta(days=1)))
    followup.follow_ended()
    return Transition.objects.open().get(account__external_id=name)


def planned(team, name="acme", *, receiver=None, **columns):
    one = flagged(team, name, **columns)
    return transitions.plan(
        one, by=team.ops, receiver=receiver, success_plan="Grow together", notes="Ask Dana"
    )


def asked(team, *rows):
    return transition_requests.ask(
        rows or [planned(team, receiver=team.pool)], by=team.ops, why="The rules say so"
    )


def joint(team, **columns):
    request = asked(team, planned(team, receiver=team.pool, **columns))
    approved(request, team.vera)
    return Transition.objects.get(request=request)


def in_force(one):
    return Assignment.objects.get(account=one.account_id, layer=one.layer_id).effective.key


# -- the way through


def test_the_whole_way(really_begun):
    team = really_begun(a_team)
    one = planned(team, receiver=team.pool)
    assert (one.status, one.giver, one.joint_days) == ("planned", team.dana, 30)
    assert "Welcome to high" in [line["text"] for line in one.checklist]
    request = transition_requests.ask([one], by=team.ops, why="They have grown")
    assert request.subject == "Acme: Low → High"
    assert request.changes == [
        "Acme ($120,000 ARR) moves from Low to High on approval. Dana hands over to Pool after 30 days of joint coverage."
    ]
    assert (request.accounts, request.arr, request.csm_changes, request.top_tier) == (1, 120_000, 1, True)
    assert request.owners == [team.dana.user_id]
    assert (fresh(one).status, in_force(one)) == ("awaiting", "low")
    with pytest.raises(Refused, match="You look after an account of this request"):
        approvals.approve(request, by=team.dana.user, seen=approvals.token(request))
    assert approved(request, team.vera).status == "applied"
    one = fresh(one)
    assert (one.status, one.joint_from, one.joint_until) == ("joint", TODAY, TODAY + timedelta(days=30))
    assert (in_force(one), one.account.csm) == ("high", team.dana)
    move = Move.objects.get(why="transition")
    assert (move.from_segment.key, move.to_segment.key, move.cause.kind) == ("low", "high", "decision")
    assert loads.load(team.dana).now == loads.load(team.pool).now == 1
    with pytest.raises(Refused, match=r"checklist not done.*Joint coverage lasts until"):
        transitions.complete(one, by=team.ops)
    transitions.tick(one, by=team.dana.user, done=range(len(one.checklist)))
    late = one.joint_until
    done = transitions.complete(fresh(one), by=team.dana.user, at=late)
    assert (done.status, fresh(one.account).csm) == ("done", team.pool)
    assert fresh(one.account).provenance["csm"][0] == "manual"
    before, key = team.dana.email, one.account.external_id
    bring("crm", {"external_id": key, "csm": before, "region": "West"}, at=TODAY)  # the file of that evening
    assert (fresh(one.account).csm, fresh(one.account).region) == (team.pool, "West")
    waiting = Conflict.objects.get()
    assert (waiting.fact, waiting.held_value, waiting.proposed_value) == ("csm", team.pool.email, before)
    assert waiting.effects == [{"what": "entered", "was": team.pool.email, "then": before}]
    assert kinds_of_events(one) == ["transition_flagged", "transition_joint", "transition_done"]
    statuses = [row.status for row in one.history.order_by("history_id")]
    assert list(dict.fromkeys(statuses)) == ["flagged", "planned", "awaiting", "joint", "done"]
    assert one.history.first().history_user_label == "dana"


def test_down_at_the_renewal_is_approved_now_and_applies_then(team):
    renewal = TODAY + timedelta(days=40)
    one = planned(team, receiver=team.digital, after=1_000, renewal_date=renewal)
    request = approved(asked(team, one), team.vera)
    assert (request.status, request.apply_on, fresh(one).status, in_force(one)) == (
        "approved",
        renewal,
        "awaiting",
        "low",
    )
    due.apply_due(timezone.now() + timedelta(days=39))
    assert in_force(one) == "low"
    with unsigned():  # the clock of the database stands
        due.apply_due(timezone.now() + timedelta(days=40))
    assert (fresh(request).status, fresh(one).status, in_force(one)) == ("applied", "joint", "tech")


def test_in_one_request_each_waits_for_its_own_renewal(team):
    renewal = TODAY + timedelta(days=40)
    first = planned(team, "first", receiver=team.digital, after=1_000)
    second = planned(team, "second", receiver=team.digital, after=1_000, renewal_date=renewal)
    request = approved(asked(team, first, second), team.vera)
    assert (request.status, fresh(first).status, fresh(second).status) == ("applied", "joint", "awaiting")
    followup.daily(renewal - timedelta(days=1))
    assert fresh(second).status == "awaiting"
    with unsigned():  # the clock of the database stands
        followup.daily(renewal)
    assert (fresh(second).status, in_force(second)) == ("joint", "tech")


def test_one_that_cannot_be_started_keeps_no_other_waiting(team, monkeypatch):
    """Its data cannot be read, say: recalculations set such an account aside too."""
    renewal = TODAY + timedelta(days=40)
    first, second = (
        planned(team, name, receiver=team.digital, after=1_000, renewal_date=renewal)
        for name in ("first", "second")
    )
    approved(asked(team, planned(team, "now", receiver=team.digital, after=1_000), first, second), team.vera)
    put = transition_requests.decisions.put

    def put_others(account, *args, **options):
        if account == first.account:
            raise DataError("out of range")
        return put(account, *args, **options)

    monkeypatch.setattr(transition_requests.decisions, "put", put_others)
    with unsigned(), pytest.raises(RuntimeError, match="could not be started"):
        followup.daily(renewal)
    assert (fresh(first).status, fresh(second).status) == ("awaiting", "joint")
    monkeypatch.undo()
    with unsigned():
        followup.daily(renewal)
    assert fresh(first).status == "joint"


@pytest.mark.parametrize("days", [-30, 365])
def test_where_the_renewal_moves_before_it_comes_what_was_approved_is_void(team, days):
    """Tier changes that wait: one alone, whose request waits for the day, and one of two, whose request is carried out
    for the other.
    """
    renewal = TODAY + timedelta(days=40)
    alone = planned(team, "alone", receiver=team.digital, after=1_000, renewal_date=renewal)
    now = planned(team, "now", receiver=team.digital, after=1_000)
    later = planned(team, "later", receiver=team.digital, after=1_000, renewal_date=renewal)
    waits, done = approved(asked(team, alone), team.vera), approved(asked(team, now, later), team.vera)
    assert (waits.status, done.status) == ("approved", "applied")
    for one in (alone, later):
        change(one.account, renewal_date=renewal + timedelta(days=days))
    followup.daily(TODAY)
    for one in (fresh(alone), fresh(later)):
        assert (one.status, one.request, one.applies_on) == ("planned", None, renewal + timedelta(days=days))
        assert "The renewal has moved." in Event.objects.filter(about_id=one.pk).values_list(
            "reason", flat=True
        )
    assert (fresh(waits).status, fresh(done).status) == ("withdrawn", "applied")


def test_on_the_day_of_the_renewal_the_next_one_may_be_known_already(team):
    renewal = TODAY + timedelta(days=40)
    now = planned(team, "now", receiver=team.digital, after=1_000)
    later = planned(team, "later", receiver=team.digital, after=1_000, renewal_date=renewal)
    approved(asked(team, now, later), team.vera)
    change(later.account, renewal_date=renewal + timedelta(days=365))
    with unsigned():  # the clock of the database stands
        followup.daily(renewal)
    assert (fresh(later).status, in_force(later)) == ("joint", "tech")


def test_what_is_approved_in_quiet_days_waits_for_their_end(team):
    one = planned(team, "one", receiver=team.pool)
    other = planned(team, "other", receiver=team.pool)
    request = asked(team, one, other)
    change(one.account, renewal_date=TODAY + timedelta(days=3))
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION, reason="tests")
        CrossingPolicy.objects.create(layer=team.layer, direction="up", quiet_days=10)
    assert approved(request, team.vera).status == "applied"
    assert (fresh(one).status, fresh(other).status) == ("awaiting", "joint")
    web = Client()
    web.force_login(someone("otto", "CS Ops", is_staff=True))
    page = web.get(f"/admin/governance/transition/{one.pk}/change/").content.decode()
    assert "It takes effect on" in page
    assert "(too close to the renewal before)" in page
    followup.daily(TODAY + timedelta(days=13))
    assert fresh(one).status == "awaiting"
    followup.daily(TODAY + timedelta(days=14))
    assert (fresh(one).status, in_force(one)) == ("joint", "high")


@pytest.mark.parametrize("what", ["came back", "approver left"])
def test_what_was_approved_for_later_is_looked_at_again_on_its_day(team, what):
    renewal = TODAY + timedelta(days=40)
    first = planned(team, "first", receiver=team.digital, after=1_000)
    second = planned(team, "second", receiver=team.digital, after=1_000, renewal_date=renewal)
    approved(asked(team, first, second), team.vera)
    if what == "came back":
        change(second.account, arr=60_000)
        recompute(DAY + timedelta(days=2))
    else:
        type(team.vera).objects.filter(pk=team.vera.pk).update(is_active=False)
    followup.daily(renewal)
    ended = ("closed", "low") if what == "came back" else ("planned", "low")
    assert (fresh(second).status, in_force(second)) == ended


def test_where_nobody_has_to_approve_it_is_carried_out_at_once(team):
    nobody_approves("tier_change")
    request = asked(team)
    assert (request.status, Transition.objects.get().status) == ("applied", "joint")
    assert Transition.objects.get().request == request


# -- many as one, with one taken out


def test_an_approver_takes_one_out_and_still_approves_the_rest(team):
    rows = [planned(team, f"c{number}", receiver=team.pool) for number in range(5)]
    request = asked(team, *rows)
    assert request.subject == "5 tier changes on Tier: 5 up"
    seen = approvals.token(request)
    request = transition_requests.take_out(request, rows[2], by=team.vera, reason="Renewal talks", seen=seen)
    assert (request.accounts, request.revision, len(request.changes)) == (4, 2, 4)
    out = fresh(rows[2])
    assert (out.status, out.request) == ("planned", None)
    [event] = Event.objects.filter(kind="transition_taken_out")
    assert (event.about_id, event.reason, event.actor) == (out.pk, "Renewal talks", team.vera.pk)
    with pytest.raises(Refused):
        approvals.approve(request, by=team.vera, seen=seen)
    assert approved(request, team.vera).status == "applied"
    assert [fresh(one).status for one in rows] == ["joint", "joint", "planned", "joint", "joint"]
    assert [in_force(one) for one in rows] == ["high", "high", "low", "high", "high"]


def test_only_who_may_decide_takes_one_out_and_the_last_one_stays(team):
    rows = [planned(team, f"c{number}", receiver=team.pool) for number in range(2)]
    request = asked(team, *rows)
    for by, sentence in [(team.ops, "your own request"), (team.dana.user, "You look after")]:
        with pytest.raises(Refused, match=sentence):
            transition_requests.take_out(request, rows[0], by=by, reason="No", seen=approvals.token(request))
    assert fresh(rows[0]).status == "awaiting"
    request = transition_requests.take_out(
        request, rows[0], by=team.vera, reason="No", seen=approvals.token(request)
    )
    with pytest.raises(Refused, match="reject the request"):
        transition_requests.take_out(
            request, rows[1], by=team.vera, reason="No", seen=approvals.token(request)
        )


def test_all_or_nothing(team):
    rows = [planned(team, f"c{number}", receiver=team.pool) for number in range(3)]
    request = asked(team, *rows)
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION, reason="tests")
        Assignment.objects.filter(account=rows[1].account).update(overridden=True)
    request = approved(request, team.vera)
    assert (request.status, request.failure) == (
        "failed",
        "An override of C1 is in force on Tier: end it first.",
    )
    assert {fresh(one).status for one in rows} == {"awaiting"}
    assert {in_force(one) for one in rows} == {"low"}
    assert not Event.objects.filter(kind__in=["transition_joint", "request_applied"]).exists()


def test_only_the_plan_that_was_approved_is_carried_out(team):
    one = planned(team, receiver=team.pool)
    request = asked(team, one)
    Transition.objects.filter(pk=one.pk).update(joint_days=1)  # past the verbs
    request = approved(request, team.vera)
    assert (request.status, in_force(one)) == ("failed", "low")
    assert "is not the one that was approved (joint coverage, days)" in request.failure


# -- what voids an approval


def test_a_changed_plan_voids_approvals_and_the_planner_cannot_decide(team):
    policy("tier_change", "Approver", 2, only=True)
    walt = someone("walt", "Approver", "CS Ops")
    one = planned(team, receiver=team.pool)
    request = asked(team, one)
    approved(request, team.vera)
    transitions.plan(
        fresh(one), by=walt, receiver=team.dana, joint_days=10, seen=transition_steps.token(fresh(one))
    )
    request = fresh(request)
    assert (request.revision, request.status, request.csm_changes) == (2, "pending", 0)
    with pytest.raises(Refused, match="You wrote or edited what is asked for"):
        approvals.approve(request, by=walt, seen=approvals.token(request))


def test_who_planned_it_decides_nothing_of_it_though_somebody_else_asks(team):
    both = someone("both", "CS Ops", "Approver")
    one = transitions.plan(flagged(team), by=both)
    request = transition_requests.ask([one], by=team.ops, why="They have grown")
    with pytest.raises(Refused, match="You wrote or edited what is asked for"):
        approved(request, both)
    assert approved(request, team.vera).status == "applied"


def test_ticking_off_voids_nothing(team):
    one = planned(team, receiver=team.pool)
    request = asked(team, one)
    transitions.tick(one, by=team.ops, done=[0], noticed_on=TODAY, notes="Called")
    assert fresh(request).revision == 1
    assert fresh(one).checklist[0] == fresh(one).checklist[0] | {
        "done": True,
        "by": "ops",
        "on": TODAY.isoformat(),
    }
    assert approved(request, team.vera).status == "applied"


def test_crossing_further_takes_it_out_of_its_request(team):
    rows = [planned(team, f"c{number}", receiver=team.pool) for number in range(3)]
    request = asked(team, *rows)
    change(rows[0].account, arr=1_000)  # from up to down
    change(rows[1].account, arr=60_000)  # back
    recompute(DAY + timedelta(days=2))
    followup.follow_ended()
    request = fresh(request)
    assert (request.revision, request.accounts, request.status) == (2, 1, "pending")
    further, back, rest = (fresh(one) for one in rows)
    assert (further.status, further.to_segment.key, further.receiver, further.request) == (
        "planned",
        "tech",
        None,
        None,
    )
    assert (back.status, back.end_reason) == ("closed", "The rules say Low again.")
    assert rest.status == "awaiting"
    assert kinds_of_events(further)[-1] == "transition_updated"
    assert approved(request, team.vera).status == "applied"
    assert in_force(rest) == "high"


def test_a_request_of_which_nothing_is_left_is_withdrawn(team):
    one = planned(team, receiver=team.pool)
    request = asked(team, one)
    change(one.account, arr=60_000)
    recompute(DAY + timedelta(days=2))
    followup.follow_ended()
    assert (fresh(request).status, fresh(one).status) == ("withdrawn", "closed")


def test_joint_coverage_is_left_alone_and_what_the_rules_say_meanwhile_is_flagged_afterwards(team):
    down_at_once(team.layer)
    one = joint(team)
    change(one.account, arr=1_000)
    recompute(DAY + timedelta(days=2))
    followup.follow_ended()
    assert (fresh(one).status, fresh(one).to_segment.key) == ("joint", "high")
    transitions.complete(fresh(one), by=team.ops, reason="All is said")
    [again] = Transition.objects.open()
    assert (again.from_segment.key, again.to_segment.key, again.status) == ("high", "tech", "flagged")


@pytest.mark.parametrize(
    ("verdict", "status", "flagged_again"), [("reject", "rejected", False), ("withdraw", "planned", False)]
)
def test_a_no_is_remembered_and_what_was_withdrawn_is_planned_again(team, verdict, status, flagged_again):
    one = planned(team, receiver=team.pool)
    request = asked(team, one)
    seen = {"seen": approvals.token(request)} if verdict == "reject" else {}
    by = team.vera if verdict == "reject" else team.ops
    getattr(approvals, verdict)(request, by=by, reason="Not this quarter", **seen)
    assert fresh(one).status == status
    assert in_force(one) == "low"
    recompute(DAY + timedelta(days=2))
    followup.follow_ended()
    assert Transition.objects.count() == 1
    if verdict == "reject":
        assert (fresh(one).end_reason, fresh(one).ended_by) == ("Not this quarter", team.vera.pk)
        change(one.account, arr=200_000)  # two thirds more
        recompute(DAY + timedelta(days=3))
        followup.follow_ended()
        assert Transition.objects.open().count() == 1


# -- completing


def test_the_csm_changes_only_with_an_approved_plan(team):
    one = planned(team, receiver=team.pool)
    for row in (one, fresh(Transition.objects.get())):
        with pytest.raises(Refused, match="once the tier change has been approved"):
            transitions.complete(row, by=team.ops, reason="Now")
    assert fresh(one.account).csm == team.dana


def test_unfinished_early_or_untold_needs_a_reason(team):
    one = joint(team)
    assert transitions.unfinished(one, at=one.joint_until)[0].startswith("5 lines of the checklist not done")
    transitions.tick(one, by=team.ops, done=range(len(one.checklist)))
    one = fresh(one)
    assert transitions.unfinished(one, at=one.joint_until) == []
    late = transitions.unfinished(one, at=one.joint_until + timedelta(days=1))
    assert late[0].startswith("Joint coverage should have ended")
    followup.remind(one.joint_until)
    assert "transition_overdue" not in kinds_of_events(one)
    for _ in range(2):
        followup.remind(one.joint_until + timedelta(days=1))
    assert kinds_of_events(one).count("transition_overdue") == 1
    with pytest.raises(Refused, match="Joint coverage lasts until"):
        transitions.complete(one, by=team.ops)
    assert (
        transitions.complete(one, by=team.ops, reason="All is done already").end_reason
        == "All is done already"
    )


def test_a_customer_who_was_to_be_told_has_been_told(team):
    one = transitions.plan(flagged(team), by=team.ops, receiver=team.pool, notice="Dear Acme", checklist=[])
    approved(asked(team, one), team.vera)
    one = fresh(one)
    with pytest.raises(Refused, match="The customer has not been told"):
        transitions.complete(one, by=team.ops, at=one.joint_until)
    transitions.tick(one, by=team.ops, noticed_on=TODAY)
    assert transitions.complete(fresh(one), by=team.ops, at=one.joint_until).status == "done"


# -- who may, and what is refused


def test_who_may(team):
    olga = someone("olga", "Auditor")
    one = flagged(team)
    for verb, options in [
        (transitions.plan, {}),
        (transitions.unplan, {}),
    ]:
        for by in (olga, team.vera, team.dana.user, None):
            with pytest.raises(Refused):
                verb(one, by=by, **options)
    for by in (olga, team.vera, None):
        with pytest.raises(Refused):
            transitions.keep([one], by=by, reason="No")
        with pytest.raises(Refused):
            transition_requests.ask([one], by=by, why="No")
        with pytest.raises(Refused):
            transitions.complete(one, by=by, reason="No")
    assert fresh(one).history.count() == 1


@pytest.mark.parametrize(
    ("change_", "sentence"),
    [
        ({"seen": "flagged:2020"}, "has changed since you opened"),
        ({"joint_days": 400}, "0 to 365 days"),
        ({"notes": "x" * 5_000}, "4,000 characters"),
        ({"notes": "a\0b"}, "cannot be stored"),
    ],
)
def test_a_plan_that_is_refused(team, change_, sentence):
    with pytest.raises(Refused, match=sentence):
        transitions.plan(flagged(team), by=team.ops, **change_)


def test_what_was_not_seen_is_not_kept(team):
    one, other = flagged(team), flagged(team, "other")
    both = {each.pk: transition_steps.token(each) for each in (one, other)}
    for seen in ({}, both | {other.pk: "flagged:2020"}, {one.pk: both[one.pk]}):
        with pytest.raises(Refused, match="has changed since you opened"):
            transitions.keep([one, other], by=team.ops, reason="A one-off order", seen=seen)
    assert {fresh(one).status, fresh(other).status} == {"flagged"}
    transitions.keep([one, other], by=team.ops, reason="A one-off order", seen=both)
    assert {fresh(one).status, fresh(other).status} == {"kept"}


def test_what_is_held_is_not_planned_and_what_is_not_planned_is_not_asked_for(team):
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION, reason="tests")
        CrossingPolicy.objects.create(layer=team.layer, direction="up", hold_days=300)
    one = flagged(team)
    with pytest.raises(Refused, match="is held until"):
        transitions.plan(one, by=team.ops)
    other = flagged(team, "other", before=50_000, after=1_000)
    with pytest.raises(Refused, match="not planned yet"):
        transition_requests.ask([other], by=team.ops, why="Now")
    transitions.plan(other, by=team.ops)
    transition_requests.ask([other], by=team.ops, why="Now")
    with pytest.raises(Refused, match="awaits approval already"):
        transition_requests.ask([other], by=team.ops, why="Again")


def test_back_to_triage_keeps_the_plan(team):
    one = transitions.unplan(planned(team, receiver=team.pool), by=team.ops)
    assert (one.status, one.receiver, one.success_plan) == ("flagged", team.pool, "Grow together")


# -- receivers


def test_the_receiver_is_of_the_kind_that_is_needed_and_has_room(team):
    people = [Csm.objects.create(email=f"{name}@x.test", name=name) for name in ("Ada", "Bea")]
    for number in range(3):
        account(f"of-ada-{number}", csm=people[0])
    one = flagged(team, before=50_000, after=120_000)
    account("of-dana-1", csm=team.dana)
    assert loads.propose_receiver(one) == team.dana  # a person has it already, and there is room
    for number in range(2, 5):
        account(f"of-dana-{number}", csm=team.dana)
    assert loads.propose_receiver(one) == people[1]  # over the band by now: the least loaded
    model = one.to_segment.treatment.service_model
    assert loads.load(team.dana, model).verdict() == ("over", "5 accounts, the band is 1 to 3: 2 too many")
    assert loads.load(people[1], model).verdict(1) == ("ok", "1 account, the band is 1 to 3")
    Csm.objects.exclude(pk=team.dana.pk).filter(kind="person").update(kind="pool")
    down = flagged(team, "down", before=50_000, after=1_000)
    assert loads.propose_receiver(down) == team.digital


def test_of_many_each_counts_for_the_next(team):
    Account.objects.update(csm=None)
    people = [Csm.objects.create(email=f"{name}@x.test", name=name) for name in ("Ada", "Bea")]
    rows = [flagged(team, f"c{number}") for number in range(4)]
    Account.objects.update(csm=team.pool)
    rows = list(Transition.objects.open().order_by("pk"))
    Csm.objects.filter(pk=team.dana.pk).update(kind="pool")
    assert list(loads.propose_receivers(rows).values()) == [people[0], people[1], people[0], people[1]]


# -- overrides


@pytest.fixture
def held_by_override(team):
    one = planned(team, receiver=team.pool)
    request = overrides.ask(
        [one.account], team.layer, team.layer.segments.get(key="tech"), by=team.ops, reason_code="strategic", text="A pilot"
    )  # fmt: skip
    return one, request


def test_an_override_that_waits_holds_the_tier_change_and_a_no_lets_it_go_on(team, held_by_override):
    one, request = held_by_override
    assert fresh(one).held_for == "override"
    with pytest.raises(Refused, match="is held"):
        transition_requests.ask([one], by=team.ops, why="Now")
    recompute(DAY + timedelta(days=2))
    followup.follow_ended()
    assert fresh(one).held_for == "override"
    approvals.reject(request, by=team.vera, reason="No pilots", seen=approvals.token(request))
    assert fresh(one).held_for == ""
    assert asked(team, fresh(one)).status == "pending"


def test_what_is_crossed_while_an_override_waits_is_held_too(team):
    account("acme", name="Acme", arr=50_000, csm=team.dana)
    recompute(DAY)
    acme = Account.objects.get(external_id="acme")
    tech = team.layer.segments.get(key="tech")
    request = overrides.ask([acme], team.layer, tech, by=team.ops, reason_code="strategic", text="A pilot")
    change(acme, arr=120_000)
    recompute(DAY + timedelta(days=1))
    followup.follow_ended()
    one = Transition.objects.open().get()
    assert (one.held_for, kinds_of_events(one)) == ("override", [])
    approvals.reject(request, by=team.vera, reason="No pilots", seen=approvals.token(request))
    followup.daily(TODAY)
    assert (fresh(one).held_for, kinds_of_events(one)) == ("", ["transition_flagged"])


def test_an_override_in_force_closes_it_and_is_handed_over_with_a_plan_of_its_own(team, held_by_override):
    one, request = held_by_override
    request = approved(request, team.vera)
    assert (request.status, request.failure) == ("applied", "")
    assert (fresh(one).status, in_force(one)) == ("closed", "tech")
    own = Transition.objects.open().get()
    assert (own.origin, own.status, own.from_segment.key, own.to_segment.key) == (
        "override",
        "joint",
        "low",
        "tech",
    )
    assert own.request == request
    transitions.complete(own, by=team.ops, reason="Small")
    assert not Transition.objects.open().exists()


def test_after_an_override_has_ended_the_rules_are_put_before_people(team, held_by_override):
    _, request = held_by_override
    approved(request, team.vera)
    transitions.complete(Transition.objects.open().get(), by=team.ops, reason="Small")
    overrides_in_force.end(request.overrides.get(), by=team.ops, reason="The pilot is over")
    again = Transition.objects.open().get()
    assert (again.origin, again.from_segment.key, again.to_segment.key) == ("expiry", "tech", "high")


# -- the table of statuses: the code's, the database's and the page's

Status = Transition.Status


def transition_at(team, status):
    """A tier change that has come there the way it does."""
    if status in (Status.FLAGGED, Status.KEPT, Status.CLOSED, Status.WITHDRAWN):
        one = flagged(team)
    elif status == Status.PLANNED:
        one = planned(team)
    elif status in (Status.AWAITING, Status.REJECTED):
        one = Transition.objects.get(request=asked(team))
    else:
        one = joint(team)
    if status == Status.KEPT:
        transitions.keep([one], by=team.ops, reason="A one-off order")
    if status == Status.REJECTED:
        approvals.reject(one.request, by=team.vera, reason="No", seen=approvals.token(one.request))
    if status == Status.DONE:
        transitions.complete(one, by=team.ops, reason="Small")
    if status in (Status.CLOSED, Status.WITHDRAWN):
        facts = {"arr": 60_000} if status == Status.CLOSED else {"status": "churned"}
        change(one.account, **facts)
        recompute(DAY + timedelta(days=2))
        followup.follow_ended()
    return fresh(one)


@pytest.mark.parametrize("source", Status)
def test_the_database_refuses_every_other_way(team, source):
    one = transition_at(team, source)
    assert one.status == source
    allowed = transition_steps.STATUSES.moves
    causes.take(Cause.Kind.DECISION, reason="tests")
    for target in Status:
        columns = {
            "status": target,
            "ended_at": None if target in Transition.OPEN else timezone.now(),
            "end_reason": "Because",
            "joint_from": TODAY,
            "joint_until": TODAY,
        }
        refused = pytest.raises(DatabaseError, match=r"cannot go from|stays as it is")
        if target != source and (source, target) not in allowed:
            with refused, transaction.atomic():
                Transition.objects.filter(pk=one.pk).update(**columns)


def test_the_workflow_page_shows_the_status_table():
    page = (Path(__file__).parents[2] / "docs" / "workflow.md").read_text()
    assert transition_steps.STATUSES.diagram() in page
    assert transition_steps.STATUSES.markdown() in page
