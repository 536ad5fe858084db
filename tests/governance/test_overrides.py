"""Overrides: who may ask for what, what a yes and a no do, what the rules do meanwhile, and what happens at the end.

Olga of CS Ops asks, Vera approves, Carl looks after Acme as its CSM. By the rules Acme is high and Beta is tech.
"""

from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path
from threading import Barrier, Thread

import pytest
import yaml
from databases import unsigned
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from governing import approved, fresh, kinds_of_events, no_policies, nobody_approves, someone
from overriding import Portfolio, gated_portfolio
from segmenting import account, activate, change, layer_with, recompute, state
from waiting import PATIENCE

from accounts.models import Csm, Refusal
from core.refusals import Refused
from governance.changes import followup, override_cases, override_rows, overrides, overrides_in_force
from governance.models import Event, Override, Transition
from governance.signoff import approvals, due
from segmentation.authoring import versions
from segmentation.evaluation import causes, decisions
from segmentation.models import Assignment, Cause, Move

LATER = {"rules": [{"segment": "high", "when": "arr >= 1000"}, {"segment": "tech", "when": "arr >= 0"}]}
STATUS = Override.Status


@pytest.fixture(autouse=True)
def rules_by_hand(settings):
    """How rules are signed off is tested elsewhere."""
    settings.GATES = {gate: path for gate, path in settings.GATES.items() if gate != "rules"}


@pytest.fixture
def here(begun):
    return begun(Portfolio)


@pytest.fixture
def gated(begun):
    return begun(gated_portfolio)


# -- in force


def test_an_approved_override_moves_the_account_and_recalculations_leave_it(here):
    request = here.ask(here.beta)
    assert here.now(here.beta) == ("tech", "tech", False), "nothing changes before somebody approves"
    assert request.changes[0] == "Beta moves from Tech to Low; by the rules it is Tech."

    request = approved(request, here.vera)

    assert (request.status, request.overrides.get().status) == ("applied", STATUS.ACTIVE)
    assert here.now(here.beta) == ("tech", "low", True)
    assert here.moves(here.beta) == [("tech", "low", "override")]
    assert kinds_of_events(request.overrides.get()) == ["override_started"]
    before = state()
    recompute(at=here.today)
    recompute(at=here.today)
    assert here.now(here.beta) == ("tech", "low", True)
    assert state() == before


def test_a_pin_of_the_present_segment_outlasts_a_change_of_the_facts(here):
    one = here.pin(here.acme, segment="high", days_ago=3)
    assert here.moves(here.acme) == [], "it stays where it was"

    change(here.acme, arr=3_000)
    recompute(at=here.today)

    assert here.now(here.acme) == ("tech", "high", True)
    overrides_in_force.disagree(here.layer, at=here.today)
    assert fresh(one).disagrees_since == here.today
    assert fresh(one).started_on == here.today - timedelta(days=3)


def test_many_accounts_are_one_request(here):
    gamma = account("gamma", name="Gamma", arr=100, csm=here.csm)
    recompute(at=here.today)
    request = here.ask(here.beta, gamma)
    assert (request.accounts, request.arr, request.owners) == (2, 5_100, [here.carl.pk])
    assert request.overrides.requested().count() == 2
    approved(request, here.vera)
    assert [here.now(one)[1] for one in (here.beta, gamma)] == ["low", "low"]


@pytest.mark.parametrize(
    ("who", "segment", "top"), [("acme", "low", True), ("beta", "high", True), ("beta", "low", False)]
)
def test_the_request_says_whether_the_top_segment_is_touched(here, who, segment, top):
    assert here.ask(getattr(here, who), segment=segment).top_tier is top


def test_where_nobody_has_to_approve_it_is_in_force_at_once(here):
    nobody_approves("override")
    request = here.ask(here.beta)
    assert (request.status, request.overrides.get().status) == ("applied", STATUS.ACTIVE)
    assert here.now(here.beta) == ("tech", "low", True)


# -- who may ask for what


def test_a_csm_asks_for_the_accounts_they_look_after(here):
    assert here.ask(here.acme, by=here.carl).requester == here.carl.pk
    with pytest.raises(Refused, match="Beta is looked after by somebody else: ask CS Ops"):
        here.ask(here.beta, by=here.carl)
    with pytest.raises(Refused, match="not allowed to ask for overrides"):
        here.ask(here.beta, by=here.vera)
    assert Override.objects.count() == 1
    assert Refusal.objects.filter(verb="overrides.ask", actor=here.carl.pk).exists()


ANSWERS = {"buying_centre": "Omega's CFO", "use_case": "Reports", "contract": "Omega's, until 2028"}
WRONG = [
    ({"text": " "}, "Say why"),
    ({"text": "x" * 4_001}, "4,000 characters"),
    ({"text": "\0"}, "cannot be stored"),
    ({"reason_code": "whim"}, "Choose a reason"),
    ({"reason_code": "acquisition", **ANSWERS, "contract": ""}, "answer the three questions"),
    ({"days": 0}, "ends between tomorrow"),
    ({"days": 366}, "ends between tomorrow"),
    ({"segment": "tech"}, "the rules say Tech already"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "sentence"), WRONG)
def test_what_makes_no_sense_is_refused(here, said, sentence):
    change(here.beta, arr=200_000)
    one = here.pin(here.beta, segment="high")
    change(here.beta, arr=5_000)
    recompute(at=here.today)
    said = dict(said)
    if "days" in said:
        said["expires_on"] = here.today + timedelta(days=said.pop("days"))
    with pytest.raises(Refused, match=sentence):
        here.ask(here.beta, **said)
    assert list(Override.objects.all()) == [one]


def test_after_an_acquisition_three_questions_are_answered(here):
    request = here.ask(here.beta, reason_code="acquisition", **ANSWERS)
    assert "Who decides about buying now? Omega's CFO" in request.changes, "whoever decides reads the answers"
    one = approved(request, here.vera).overrides.get()
    assert (one.buying_centre, one.contract) == ("Omega's CFO", "Omega's, until 2028")


def test_it_ends_in_ninety_days_unless_somebody_says_otherwise(here):
    assert here.ask(here.beta).overrides.get().expires_on == here.today + timedelta(days=90)
    assert here.ask(here.acme, expires_on=here.today + timedelta(days=365)).overrides.get()


def test_one_open_request_for_an_account_the_second_names_the_first(here):
    here.ask(here.beta)
    with pytest.raises(Refused, match=r"Beta: olga asked for Low on .* not decided yet"):
        here.ask(here.acme, here.beta, segment="low")
    assert Override.objects.count() == 1


def test_accounts_without_a_segment_and_too_many_of_them_are_refused(here):
    new = account("new", name="New")
    with pytest.raises(Refused, match="New has no Tier yet"):
        here.ask(new)
    with pytest.raises(Refused, match="Ask for 1 to 200 accounts"):
        here.ask(*[account(f"n{number}") for number in range(201)])


# -- the answer is no


@pytest.mark.parametrize(
    ("verdict", "status", "told"),
    [("reject", STATUS.REJECTED, "was rejected"), ("withdraw", STATUS.WITHDRAWN, "was withdrawn")],
)
def test_a_no_leaves_everything_as_it_is_and_is_remembered(here, verdict, status, told):
    request = here.ask(here.beta)
    if verdict == "reject":
        approvals.reject(request, by=here.vera, seen=approvals.token(request), reason="Too small still")
    else:
        approvals.withdraw(request, by=here.olga, reason="Too small still")
    one = request.overrides.get()
    assert (one.status, one.end_reason, one.ended_on) == (status, "Too small still", here.today)
    assert here.now(here.beta) == ("tech", "tech", False)
    [event] = Event.objects.filter(kind="override_rejected")
    assert told in event.text
    assert event.account_id == here.beta.pk, "its CSM is told"
    [case] = override_cases.look([here.beta], here.segment("low"))
    assert case.refused == one
    assert override_cases.look([here.beta], here.segment("high"))[0].refused is None
    assert here.ask(here.beta).status == "pending", "it may be asked again"


def test_a_request_that_expires_lets_go(here):
    request = here.ask(here.beta)
    due.expire(at=timezone.now() + timedelta(days=31))
    one = request.overrides.get()
    assert (fresh(request).status, one.status) == ("expired", STATUS.WITHDRAWN)
    assert here.ask(here.beta)


def test_who_asked_for_changes_gets_them_and_earlier_approvals_are_void(here):
    request = here.ask(here.beta)
    seen = approvals.token(request)
    approvals.ask_for_changes(request, by=here.vera, seen=seen, reason="Rather for half a year")
    assert request.overrides.get().status == STATUS.REQUESTED
    until = here.today + timedelta(days=180)
    said = {
        "segment": here.segment("high"),
        "reason_code": "strategic",
        "text": "They will be large",
        "expires_on": until,
    }
    with pytest.raises(Refused, match="not the request as it is"):
        overrides.change(fresh(request), by=here.olga, seen="1:stale", **said)
    assert request.overrides.get().segment.key == "low"

    request = overrides.change(fresh(request), by=here.olga, seen=approvals.token(fresh(request)), **said)

    one = request.overrides.get()
    assert (request.status, request.revision) == ("pending", 2)
    assert (one.segment.key, one.expires_on, request.top_tier) == ("high", until, True)
    approved(request, here.vera)
    assert here.now(here.beta) == ("tech", "high", True)
    with pytest.raises(Refused, match="cannot be changed"):
        overrides.change(fresh(request), by=here.olga, seen="2:x", **said)


def test_somebody_elses_request_is_not_changed_by_a_csm(here):
    request = here.ask(here.acme)
    said = {"segment": here.segment("low"), "reason_code": "other", "text": "Mine"}
    with pytest.raises(Refused):
        overrides.change(request, by=here.carl, seen=approvals.token(request), **said)
    assert request.overrides.get().text == "They will be large"


# -- the end


def test_at_its_end_the_rules_decide_at_once_where_they_apply_by_themselves(here):
    one = here.pin(here.beta, expires_on=here.today + timedelta(days=30))
    last = here.today + timedelta(days=30)
    assert overrides_in_force.expire(at=last - timedelta(days=1)) == 0
    assert overrides_in_force.expire(at=last) == 1
    assert overrides_in_force.expire(at=last) == 0, "once"

    assert (fresh(one).status, fresh(one).ended_on) == (STATUS.EXPIRED, last)
    assert here.now(here.beta) == ("tech", "tech", False)
    assert here.moves(here.beta) == [("tech", "low", "override"), ("low", "tech", "override")]
    assert kinds_of_events(one) == ["override_started", "override_expired"]
    before = state()
    recompute(at=here.today)
    assert state() == before


def test_cs_ops_ends_one_early_and_says_why(here):
    one = here.pin(here.acme, segment="low")
    with pytest.raises(Refused, match="Only CS Ops"):
        overrides_in_force.end(one, by=here.carl, reason="Not needed")
    with pytest.raises(Refused, match="Say why"):
        overrides_in_force.end(one, by=here.olga, reason=" ")
    one = overrides_in_force.end(one, by=here.olga, reason="The contract is signed")
    assert (one.status, one.end_reason, one.ended_by_label) == (
        STATUS.ENDED,
        "The contract is signed",
        "olga",
    )
    assert here.now(here.acme) == ("high", "high", False)
    with pytest.raises(Refused, match="not in force: it is ended early"):
        overrides_in_force.end(one, by=here.olga, reason="Again")


def test_an_account_that_lacks_data_at_the_end_is_as_after_a_recalculation(here):
    one = here.pin(here.beta)
    change(here.beta, arr=None)
    recompute(at=here.today)
    assert here.now(here.beta) == (None, "low", True)
    overrides_in_force.end(one, by=here.olga, reason="Not needed")
    assert here.now(here.beta) == (None, None, False)
    before = state()
    recompute(at=here.today)
    assert state() == before


def test_asking_again_extends_it_and_the_old_one_is_replaced(here):
    one = here.pin(here.beta, expires_on=here.today + timedelta(days=10))
    request = here.ask(here.beta, expires_on=here.today + timedelta(days=200))
    assert "Its override until" in request.changes[0]
    assert fresh(one).status == STATUS.ACTIVE
    approved(request, here.vera)
    assert fresh(one).status == STATUS.REPLACED
    assert request.overrides.get().status == STATUS.ACTIVE
    assert here.now(here.beta) == ("tech", "low", True)
    assert overrides_in_force.expire(at=here.today + timedelta(days=10)) == 0


def test_one_whose_date_has_passed_before_the_yes_does_not_begin(here):
    request = here.ask(here.beta, expires_on=here.today + timedelta(days=2))
    late = timezone.now() + timedelta(days=2)
    approvals.approve(request, by=here.vera, seen=approvals.token(request), at=late)
    request = fresh(request)
    assert (request.status, here.now(here.beta)) == ("failed", ("tech", "tech", False))
    assert "ask again with a later date" in request.failure


def test_people_are_reminded_once_two_weeks_before(here):
    one = here.pin(here.beta, expires_on=here.today + timedelta(days=30))
    assert overrides_in_force.remind(at=here.today + timedelta(days=15)) == 0
    assert overrides_in_force.remind(at=here.today + timedelta(days=16)) == 1
    assert overrides_in_force.remind(at=here.today + timedelta(days=17)) == 0
    [event] = Event.objects.filter(kind="override_expiring")
    assert "ends in 14 days" in event.text
    assert fresh(one).reminded_at


# -- while it is in force


def test_since_when_the_rules_disagree_is_kept_in_step(here):
    one = here.pin(here.acme, segment="high", days_ago=5)
    day = here.today
    assert overrides_in_force.disagree(here.layer, at=day) == 0
    change(here.acme, arr=3_000)
    recompute(at=day)
    rows = one.history.count()
    assert overrides_in_force.disagree(here.layer, at=day) == 1
    assert overrides_in_force.disagree(here.layer, at=day) == 0
    assert fresh(one).disagrees_since == day
    assert one.history.count() == rows + 1
    assert one.history.order_by("-history_id").first().disagrees_since == day
    change(here.acme, arr=300_000)
    recompute(at=day)
    assert overrides_in_force.disagree(here.layer, at=day) == 1
    assert fresh(one).disagrees_since is None


def test_one_that_begins_against_the_rules_disagrees_from_its_first_day(here):
    assert here.pin(here.beta).disagrees_since == here.today


def test_new_rules_that_say_the_same_end_the_disagreement(here):
    one = here.pin(here.beta, segment="high")
    activate(here.layer, LATER, reason="Lower")
    recompute(at=here.today)
    assert here.now(here.beta) == ("high", "high", True)
    overrides_in_force.disagree(here.layer, at=here.today)
    assert fresh(one).disagrees_since is None


# -- where changes need approval


def test_an_override_to_another_segment_starts_joint_coverage(gated):
    dora = Csm.objects.create(email="dora@example.com", name="Dora")
    request = gated.ask(
        gated.acme, segment="low", plan=override_cases.Plan(receiver=dora, notice="Dora looks after you")
    )
    assert request.csm_changes == 1
    assert "Acme is handed over from Carl to Dora, with joint coverage." in request.changes
    assert "The customer is told: Dora looks after you" in request.changes
    assert gated.now(gated.acme) == ("high", "high", False)

    request = approved(request, gated.vera)

    assert request.status == "applied", request.failure
    [change] = Transition.objects.all()
    assert (change.status, change.origin, change.receiver, change.notice) == (
        "joint",
        "override",
        dora,
        "Dora looks after you",
    )
    assert (change.request, change.override) == (request, request.overrides.get())
    assert gated.now(gated.acme) == ("high", "low", True)
    assert gated.moves(gated.acme) == [("high", "low", "override")]
    assert fresh(gated.acme).csm == gated.csm, "the CSM changes when somebody completes it"
    with pytest.raises(Refused, match="is being handed over"):
        gated.ask(gated.acme, segment="tech")


def test_who_was_to_take_over_and_is_gone_is_not_passed_over(gated):
    dora = Csm.objects.create(email="dora@example.com", name="Dora")
    request = gated.ask(gated.acme, segment="low", plan=override_cases.Plan(receiver=dora))
    dora.delete()
    request = approved(request, gated.vera)
    assert (request.status, "not there any more" in request.failure) == ("failed", True)
    assert gated.now(gated.acme) == ("high", "high", False)


@pytest.fixture
def crossing(gated):
    """The rules say tech for Acme, which is high: a tier change is flagged."""
    change(gated.acme, arr=3_000)
    followup.follow(recompute(at=gated.today))
    gated.crossing = Transition.objects.get()
    return gated


def test_an_open_tier_change_waits_for_the_answer_and_goes_on_after_a_no(crossing):
    request = crossing.ask(crossing.acme, segment="high")
    assert fresh(crossing.crossing).held_for == "override"
    assert "stays High; by the rules it is Tech." in request.changes[0]
    followup.daily(at=crossing.today + timedelta(days=1))
    assert fresh(crossing.crossing).held_for == "override", "days that go by do not let it go"

    approvals.reject(request, by=crossing.vera, seen=approvals.token(request), reason="They are small now")

    change_ = fresh(crossing.crossing)
    assert (change_.status, change_.held_for) == ("flagged", "")


def test_a_yes_closes_the_open_tier_change(crossing):
    one = crossing.pin(crossing.acme, segment="high")
    assert fresh(crossing.crossing).status == "closed"
    assert one.disagrees_since == crossing.today
    followup.follow(recompute(at=crossing.today))
    followup.daily(at=crossing.today + timedelta(days=1))
    assert not Transition.objects.open().exists(), "nothing is flagged while it is in force"


def test_an_override_to_a_third_segment_replaces_the_open_tier_change(crossing):
    crossing.pin(crossing.acme, segment="low")
    assert fresh(crossing.crossing).status == "closed"
    [new] = Transition.objects.open()
    assert (new.from_segment.key, new.to_segment.key, new.status) == ("high", "low", "joint")


def test_at_its_end_a_tier_change_is_flagged_and_nothing_moves(crossing):
    one = crossing.pin(crossing.acme, segment="high")
    assert overrides_in_force.expire(at=one.expires_on) == 1
    assert crossing.now(crossing.acme) == ("tech", "high", False)
    [flagged] = Transition.objects.open()
    assert (flagged.status, flagged.origin, flagged.override) == ("flagged", "expiry", one)
    [event] = Event.objects.filter(kind="override_expired")
    assert "put before people as a tier change" in event.text


def test_where_the_rules_agree_at_its_end_nothing_is_flagged(gated):
    one = gated.pin(gated.acme, segment="high")
    overrides_in_force.end(one, by=gated.olga, reason="Not needed")
    assert not Transition.objects.exists()


def test_one_that_ends_while_its_extension_waits_flags_what_waits_for_that(crossing):
    one = crossing.pin(crossing.acme, segment="high", expires_on=crossing.today + timedelta(days=5))
    request = crossing.ask(crossing.acme, segment="high", expires_on=crossing.today + timedelta(days=90))
    overrides_in_force.expire(at=one.expires_on)
    assert Transition.objects.open().get().held_for == "override"
    approved(request, crossing.vera)
    assert crossing.now(crossing.acme) == ("tech", "high", True)
    assert not Transition.objects.open().exists()


def test_what_was_approved_from_another_segment_fails_and_says_so(gated):
    request = gated.ask(gated.beta, segment="low")
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION)
        put = {"why": Move.Why.CORRECTION, "at": gated.today}
        decisions.put(gated.beta, gated.layer, gated.segment("high"), **put)
    request = approved(request, gated.vera)
    assert request.status == "failed"
    assert "Beta is High on Tier by now, not Tech" in request.failure
    assert request.overrides.get().status == STATUS.REQUESTED
    said = {"segment": gated.segment("low"), "reason_code": "other", "text": "Still"}
    overrides.change(request, by=gated.olga, seen=approvals.token(request), **said)
    assert approved(request, gated.vera).status == "applied"
    assert gated.now(gated.beta)[1:] == ("low", True)


# -- segmentations that look back, and people at once


def test_a_stage_that_was_pinned_is_where_it_goes_on_from(db):
    """Lifecycle looks back at its own label: the second evaluation of a day says what the first one said, pinned or not."""
    olga, vera, then = (
        someone("olga", "CS Ops"),
        someone("vera", "Approver"),
        timezone.now() - timedelta(days=3),
    )
    today = timezone.localdate(then)
    no_policies("override")
    layer = preset("lifecycle")
    acme = account("acme", name="Acme", usage={"tickets_90d": 1})
    stage = Assignment.objects.filter(account=acme, layer=layer).values_list(
        "computed__key", "effective__key", "effective_since"
    )

    def twice(days):
        recompute(at=today + timedelta(days=days))
        before = state()
        recompute(at=today + timedelta(days=days))
        assert state() == before
        return stage.get()

    assert twice(-1)[:2] == ("ramping", "ramping")
    activated = layer.segments.get(key="activated")
    said = {"reason_code": "data_error", "text": "Their logins are not counted"}
    request = approved(overrides.ask([acme], layer, activated, by=olga, **said), vera, at=then)
    assert twice(0)[1:] == ("activated", today)
    assert twice(1) == ("activated", "activated", today), "from activated nothing leads on"
    change(acme, tickets_90d=12)
    assert twice(2) == ("at-risk", "activated", today)
    overrides_in_force.end(
        request.overrides.get(), by=olga, reason="They are counted", at=today + timedelta(days=2)
    )
    assert stage.get() == ("at-risk", "at-risk", today + timedelta(days=2))
    before = state()
    recompute(at=today + timedelta(days=2))
    assert state() == before
    assert twice(3)[:2] == ("at-risk", "at-risk")


def preset(key):
    """The layer of a ready segmentation, alone and active."""
    path = versions.PRESETS / f"{key}.yaml"
    ready = yaml.safe_load(path.read_text())
    segments = [segment["key"] for segment in ready["segments"]]
    return layer_with(ready["document"], key=key, policy=ready["policy"], segments=segments)


def at_once(*acts):
    """The outcome of each act (a function), all begun at the same moment: "done", or the sentence that refused it."""
    ready, told = Barrier(len(acts)), []

    def run(act):
        try:
            ready.wait(timeout=PATIENCE)
            act()
            told.append("done")
        except Refused as refusal:
            told.append(str(refusal))
        finally:
            connection.close()

    threads = [Thread(target=run, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)
    return told


def test_of_people_who_ask_for_the_same_account_at_once_one_is_first(real_db):
    here = Portfolio()
    people = [someone(f"ops{number}", "CS Ops") for number in range(5)]
    told = at_once(*[lambda by=by: here.ask(here.acme, here.beta, segment="low", by=by) for by in people])
    assert told.count("done") == 1
    assert sum("not decided yet" in sentence for sentence in told) == 4
    assert Override.objects.requested().count() == 2


def test_it_ends_once_and_its_cause_says_so(real_db):
    here = Portfolio()
    one = here.pin(here.beta, expires_on=here.today + timedelta(days=3))
    last = one.expires_on
    end = partial(overrides_in_force.end, one, by=here.olga, reason="Not needed")
    told = at_once(*[partial(overrides_in_force.expire, at=last)] * 3, end, end)
    assert len(told) == 5
    assert fresh(one).status in (STATUS.EXPIRED, STATUS.ENDED)
    assert here.moves(here.beta) == [("tech", "low", "override"), ("low", "tech", "override")]
    assert Event.objects.filter(kind__in=["override_expired", "override_ended"]).count() == 1
    cause = Move.objects.order_by("-pk").first().cause
    assert cause.reason.startswith("The override to Low ended")


def test_a_recalculation_and_a_yes_at_once_leave_it_pinned(real_db):
    here = Portfolio()
    for number in range(2):
        change(here.beta, arr=5_000)
        recompute(at=here.today)
        request = here.ask(here.beta, segment="low", text=f"Time {number}")
        change(here.beta, arr=150_000)
        yes = partial(approvals.approve, request, by=here.vera, seen=approvals.token(request))
        assert at_once(yes, partial(recompute, at=here.today)) == ["done", "done"]
        assert fresh(request).status == "applied", fresh(request).failure
        recompute(at=here.today)
        assert here.now(here.beta) == ("high", "low", True)
        overrides_in_force.end(request.overrides.get(), by=here.olga, reason="Again")


# -- the status table


def test_the_database_allows_the_ways_of_the_table_and_no_other(here):
    """Each status against each other one, with SQL."""
    allowed = override_rows.STATUSES.moves
    steps = {
        STATUS.REQUESTED: lambda: here.ask(here.beta),
        STATUS.ACTIVE: lambda: here.pin(here.beta),
        STATUS.ENDED: lambda: overrides_in_force.end(here.pin(here.beta), by=here.olga, reason="Not needed"),
    }
    for source, target in product(steps, STATUS):
        with transaction.atomic():
            steps[source]()
            one = Override.objects.latest("pk")
            assert one.status == source
            # Without an approved request none comes into force.
            goes = target == source or ((source, target) in allowed and target != STATUS.ACTIVE)
            refused = pytest.raises(DatabaseError, match=r"cannot go from|stays as it is|not been approved")
            with nullcontext() if goes and source != STATUS.ENDED else refused, transaction.atomic():
                Override.objects.filter(pk=one.pk).update(status=target)
            transaction.set_rollback(True)


def test_the_workflow_page_shows_the_status_table():
    page = (Path(__file__).parents[2] / "docs" / "workflow.md").read_text()
    assert override_rows.STATUSES.diagram() in page
    assert override_rows.STATUSES.markdown() in page
