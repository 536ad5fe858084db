"""Crossings: opened, updated, held, released and closed by what the rules say, for whom and when."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from databases import unsigned
from django.db import transaction
from django.utils import timezone
from segmenting import BY_ARR, DAY, account, activate, change, layer_with, recompute

from governance import chores
from governance.changes import followup, transitions
from governance.models import Chore, CrossingPolicy, Event, FollowedRun, Transition
from segmentation.evaluation import causes
from segmentation.models import Cause

NEXT = DAY + timedelta(days=1)
RENEWAL = date(2026, 9, 1)
TIERS = {
    "rules": [
        {"segment": "high", "when": "arr >= 100000"},
        {"segment": "low", "when": "arr >= 10000"},
        {"segment": "tech", "when": "arr >= 0"},
    ]
}


@pytest.fixture(autouse=True)
def rules_as_they_come(settings):
    """Rules are not what is asked for here, and what follows a recalculation is called."""
    settings.GATES, settings.AFTER_RUN = {}, []


@pytest.fixture
def tier(db):
    return made_tier()


def made_tier():
    """A gated layer by ARR, whose first recalculation put acme into Low."""
    layer = layer_with(TIERS)
    account("acme", name="Acme", arr=50_000, renewal_date=RENEWAL)
    recompute()
    followup.follow_ended()
    return layer


def acme():
    from accounts.models import Account

    return Account.objects.get(external_id="acme")


def look(at=NEXT, **facts):
    """Give Acme these facts, recalculate and look. Returns what is open, or None."""
    if facts:
        change(acme(), **facts)
    recompute(at)
    followup.follow_ended()
    return Transition.objects.open().filter(account=acme()).first()


def policy(layer, direction, **columns):
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION, reason="tests")
        made, _ = CrossingPolicy.objects.update_or_create(
            layer=layer, direction=direction, defaults={"at_renewal": False} | columns
        )
    return made


def kinds(one):
    return list(
        Event.objects.filter(about="transition", about_id=one.pk)
        .order_by("id")
        .values_list("kind", flat=True)
    )


def test_a_crossing_is_flagged_once_with_what_it_was_flagged_on(tier):
    assert Transition.objects.count() == 0
    one = look(arr=120_000)
    assert (one.from_segment.key, one.to_segment.key, one.direction, one.status) == (
        "low",
        "high",
        "up",
        "flagged",
    )
    assert (one.arr, one.crossed_on, one.why, one.origin) == (120_000, NEXT, "data", "rules")
    assert one.evidence["was"]["arr"] == "50000.00"
    assert kinds(one) == ["transition_flagged"]
    [event] = Event.objects.filter(kind="transition_flagged")
    assert event.text == "Acme: the rules of Tier say High instead of Low. The customer changed."
    assert one.history.count() == 1
    again = look(DAY + timedelta(days=2))
    assert (again.pk, again.history.count(), kinds(again)) == (one.pk, 1, ["transition_flagged"])


def test_a_recalculation_is_looked_at_once(tier):
    change(acme(), arr=120_000)
    run = recompute(NEXT)
    assert followup.follow(run) == {
        "tier": {"opened": 1, "held": 0, "updated": 0, "released": 0, "closed": 0}
    }
    assert followup.follow(run) is None
    assert FollowedRun.objects.filter(run=run.pk).count() == 1


def test_a_day_that_moves_and_a_hold_that_ends_are_written_in_transactions_of_their_own(real_db):
    """Each with a cause of its own: within one test transaction that of the step before would do."""
    layer = made_tier()
    policy(layer, "up", hold_days=2)
    assert look(arr=1_000).applies_on == RENEWAL
    moved = RENEWAL + timedelta(days=30)
    one = look(DAY + timedelta(days=2), renewal_date=moved)
    assert (one.applies_on, one.history.count()) == (moved, 2)
    assert look(DAY + timedelta(days=3), arr=120_000).held_for == "days"
    assert look(DAY + timedelta(days=6)).held_for == ""


def test_down_waits_for_the_renewal_unless_a_policy_says_otherwise(tier):
    assert look(arr=1_000).applies_on == RENEWAL
    policy(tier, "down")
    assert look(DAY + timedelta(days=2)).applies_on is None


def test_going_further_updates_it_and_coming_back_closes_it(tier):
    policy(tier, "down")
    one = look(arr=9_000)
    change(acme(), arr=200_000)
    again = look(DAY + timedelta(days=2))
    assert (again.pk, again.to_segment.key, again.direction, again.arr) == (one.pk, "high", "up", 200_000)
    assert look(DAY + timedelta(days=3), arr=60_000) is None
    one.refresh_from_db()
    assert (one.status, one.end_reason) == ("closed", "The rules say Low again.")
    assert kinds(one) == ["transition_flagged", "transition_updated", "transition_closed"]
    assert [row.status for row in one.history.order_by("history_id")] == ["flagged", "flagged", "closed"]


@pytest.mark.parametrize(
    ("columns", "facts", "held", "until"),
    [
        ({"hold_days": 5}, {}, "days", NEXT + timedelta(days=5)),
        ({"min_dwell_days": 30}, {}, "dwell", DAY + timedelta(days=30)),
        (
            {"quiet_days": 10},
            {"renewal_date": NEXT + timedelta(days=4)},
            "quiet_renewal",
            NEXT + timedelta(days=15),
        ),
        ({"quiet_days": 10}, {"renewal_date": NEXT + timedelta(days=11)}, "", None),
        ({"hold_days": 0, "min_dwell_days": 1}, {}, "", None),
    ],
)
def test_what_a_policy_holds(tier, columns, facts, held, until):
    policy(tier, "up", **columns)
    one = look(arr=120_000, **facts)
    assert (one.held_for, one.held_until) == (held, until)
    assert kinds(one) == ([] if held else ["transition_flagged"])
    if held:
        followup.daily(until - timedelta(days=1))
        assert kinds(one) == []
        followup.daily(until)
        one.refresh_from_db()
        assert (one.held_for, kinds(one)) == ("", ["transition_flagged"])


def test_what_a_day_has_released_is_not_held_again_by_an_older_clock(tier):
    policy(tier, "up", hold_days=5)
    one = look(arr=120_000)
    released = NEXT + timedelta(days=5)
    followup.daily(released)
    Chore.objects.create(step=chores.TIER_CHANGES, day=released, status="done")
    assert look(NEXT + timedelta(days=1)).held_for == ""
    assert kinds(one) == ["transition_flagged"]


SCORED = {
    "weights": {"worth": "1"},
    "dimensions": [
        {"key": "worth", "criteria": [
            {"key": "arr", "weight": "0.5", "cells": ["$100K+", "$50K-$99K", "$25K-$49K", "$10K-$24K", "< $10K"], "missing": "skip"},
            {"key": "employees", "weight": "0.5", "cells": ["1,000+", "500-999", "100-499", "50-99", "< 50"], "missing": "skip"},
        ]},
    ],
    "rules": [{"segment": "high", "when": "composite >= 4.0"}, {"segment": "low", "when": "composite >= 2.5"}, {"segment": "tech"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("direction", "employees", "margin", "held"),
    [
        ("up", 500, "0", ""),  # 4.5: half a point over the boundary of High
        ("up", 500, "0.5", ""),
        ("up", 500, "0.6", "margin"),
        ("up", 100, "0.1", "margin"),  # 4.0, on the boundary
        ("down", 10, "0.5", ""),  # 1.5 with little ARR: a point below that of Low
        ("down", 10, "1.1", "margin"),
    ],
)
def test_too_close_to_the_boundary(db, direction, employees, margin, held):
    layer = layer_with(SCORED)
    account("acme", name="Acme", arr=30_000, employees=100)  # 3.0
    recompute()
    policy(layer, direction, margin=margin)
    one = look(arr=150_000 if direction == "up" else 10_000, employees=employees)
    assert (one.direction, one.held_for) == (direction, held)


def test_the_overridden_and_those_who_left_are_not_flagged_and_who_was_decided_once_is(tier):
    from segmentation.models import Assignment

    change(acme(), arr=120_000)
    recompute(NEXT)
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION, reason="tests")
        Assignment.objects.update(overridden=True)
    assert followup.flag(tier, NEXT).opened == 0
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION, reason="tests")
        Assignment.objects.update(overridden=False, provisional=True)  # it was decided before that
    change(acme(), status="churned")
    assert followup.flag(tier, NEXT).opened == 0
    change(acme(), status="active")
    assert followup.flag(tier, NEXT).opened == 1
    change(acme(), status="churned")
    assert followup.flag(tier, NEXT).closed == 1
    [one] = Transition.objects.all()
    assert (one.status, one.end_reason) == ("withdrawn", "The account is no active customer any more.")


def test_new_rules_are_told_apart_from_a_changed_customer(tier):
    activate(
        tier,
        BY_ARR | {"rules": [{"segment": "high", "when": "arr >= 40000"}, {"segment": "tech"}]},
        reason="Lower",
    )
    assert look().why == "definition"


@pytest.mark.parametrize(
    ("facts", "flagged"),
    [
        ({"arr": 130_000}, False),  # 8 % more
        ({"arr": 144_000}, True),  # 20 % more
        ({"arr": 5_000}, True),  # another segment
    ],
)
def test_what_was_kept_is_flagged_again_only_after_a_material_change(tier, facts, flagged):
    from governing import someone

    one = look(arr=120_000)
    transitions.keep([one], by=someone("ops", "CS Ops"), reason="A one-off order")
    assert look(DAY + timedelta(days=2)) is None
    again = look(DAY + timedelta(days=3), **facts)
    assert bool(again) is flagged


def test_what_was_kept_until_a_day_is_flagged_on_that_day(tier):
    from governing import someone

    one = look(arr=120_000)

    until = timezone.localdate() + timedelta(days=30)
    transitions.keep([one], by=someone("ops", "CS Ops"), reason="A one-off order", until=until)
    followup.daily(until - timedelta(days=1))
    assert not Transition.objects.open().exists()
    followup.daily(until)
    [again] = Transition.objects.open()
    assert (again.arr, again.pk != one.pk) == (Decimal(120_000), True)
    transitions.keep([again], by=someone("ops", "CS Ops"), reason="Still that order")  # the last word counts
    followup.daily(until + timedelta(days=1))
    assert not Transition.objects.open().exists()


PROVISIONAL = {
    "weights": {"worth": "0.5", "behaviour": "0.5"},
    "dimensions": [
        {"key": "worth", "criteria": [
            {"key": "arr", "cells": ["$100K+", "$50K-$99K", "$25K-$49K", "$10K-$24K", "< $10K"], "missing": "needs data"},
        ]},
        {"key": "behaviour", "maturity": {"after_days": "30", "needs_data_after_days": "90", "until_then": "skip"}, "criteria": [
            {"key": "nps", "cells": ["50+", "20-49", "0-19", "-30--1", "< -30"], "missing": "skip"},
        ]},
    ],
    "rules": [{"segment": "high", "when": "composite >= 4.0"}, {"segment": "tech"}],
}  # fmt: skip


@pytest.mark.parametrize(("days_old", "opened"), [(10, 0), (400, 1)])
def test_the_provisional_are_not_flagged_unless_they_were_decided_once(db, days_old, opened):
    from segmentation.models import Assignment

    layer = layer_with(PROVISIONAL)
    account("crowd", arr=60_000, usage={"nps": 20})
    start = DAY - timedelta(days=days_old)
    account("acme", name="Acme", arr=120_000, contract_start=start, usage={"nps": 60})
    recompute()
    tech = layer.segments.get(key="tech")
    Assignment.objects.filter(account=acme()).update(computed=tech, provisional=True)
    assert followup.flag(layer, NEXT).opened == opened


@pytest.mark.parametrize(("setting", "opened"), [(True, 1), (False, 0)])
def test_a_downgrade_after_the_provisional_period_is_planned_where_the_layer_says_so(db, setting, opened):
    layer = layer_with(PROVISIONAL)
    layer.plan_provisional_downgrades = setting
    with unsigned():
        layer.save()
    account("crowd", arr=60_000, usage={"nps": 20})
    account("acme", name="Acme", arr=120_000, contract_start=DAY - timedelta(days=20), usage={"nps": -50})
    recompute()
    assert followup.follow_ended() == 1
    assert Transition.objects.count() == 0
    recompute(DAY + timedelta(days=10))
    followup.follow_ended()
    found = Transition.objects.filter(account=acme())
    assert [(one.origin, one.direction) for one in found] == [("provisional", "down")] * opened


def test_crossings_of_several_ranges_are_all_seen(tier, monkeypatch):
    from governance.changes import crossings

    monkeypatch.setattr(crossings, "RANGE", 3)
    for number in range(10):
        account(f"c{number}", arr=50_000)
    recompute(NEXT)
    change_all = {"arr": 120_000}
    for number in range(10):
        change(type(acme()).objects.get(external_id=f"c{number}"), **change_all)
    recompute(DAY + timedelta(days=2))
    ranges = crossings._ranges(tier)
    assert len(ranges) == 4
    assert all(last + 1 == first for (_, last), (first, _) in pairwise(ranges))
    assert followup.flag(tier, DAY + timedelta(days=2)).opened == 10


def test_a_recalculation_that_cannot_be_looked_at_keeps_no_later_one_waiting(tier, monkeypatch):
    followup.follow_ended()
    first, second = recompute(NEXT), recompute(NEXT + timedelta(days=1))
    follow = followup.follow

    def failing(run):
        if run.pk == first.pk:
            raise RuntimeError("broken")
        return follow(run)

    monkeypatch.setattr(followup, "follow", failing)
    with pytest.raises(RuntimeError, match="broken"):
        followup.follow_ended()
    assert FollowedRun.objects.filter(run=second.pk).exists()
    assert not FollowedRun.objects.filter(run=first.pk).exists()
    monkeypatch.undo()
    assert followup.follow_ended() == 1
