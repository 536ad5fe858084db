"""Segments put in force by a decision: moves with the same evidence as a recalculation's, and pins that runs leave alone."""

from datetime import timedelta

import pytest
from segmenting import BY_ARR, DAY, account, activate, change, layer_with, portfolio, recompute, state

from accounts.models import Account
from core.refusals import Refused
from segmentation.evaluation import assignments, causes, decisions, ranges
from segmentation.models import Assignment, Cause, Move

NEXT = DAY + timedelta(days=1)


def put(one, layer, key, **options):
    causes.take(Cause.Kind.DECISION, reason="Decided")
    options = {"why": Move.Why.OVERRIDE, "at": DAY} | options
    return decisions.put(one, layer, layer.segments.get(key=key), **options)


def held(one):
    return Assignment.objects.get(account=one)


def test_a_decision_moves_with_the_evidence_a_recalculation_keeps(db):
    layer = layer_with()
    acme = account(arr=120_000, employees=2_000, provenance={"arr": ["crm", "2026-05-01"]}, usage={"nps": 60})
    recompute()
    initial = Move.objects.get()
    made = put(acme, layer, "low", expected=layer.segments.get(key="high"))
    assert (made.from_segment.key, made.to_segment.key, made.why, made.at) == (
        "high",
        "low",
        "override",
        DAY,
    )
    assert (made.definition, made.evidence) == (initial.definition, initial.evidence)
    assert made.evidence["sources"] == {"arr": ["crm", "2026-05-01"]}
    now = held(acme)
    assert (now.effective.key, now.computed.key, now.effective_since, now.overridden) == (
        "low",
        "high",
        DAY,
        False,
    )
    assert now.history.count() == 2


def test_a_decision_names_the_rules_that_were_evaluated_last(db):
    layer = layer_with(BY_ARR)
    acme = account(arr=500, employees=7)
    recompute()
    newer = activate(layer, {"rules": [{"segment": "tech", "when": "employees >= 0"}, {"segment": "low"}]})
    recompute(NEXT)
    made = put(acme, layer, "high", at=NEXT)
    assert (made.definition, made.evidence["facts"]) == (newer, {"employees": "7"})


def test_many_are_read_together(db, django_assert_max_num_queries):
    layer = layer_with()
    some = portfolio(60)
    recompute()
    ids = [one.pk for one in some]
    with django_assert_max_num_queries(12):
        known = decisions.basis_of(ids, layer, at=DAY)
    assert set(known.evidence) == set(ids)
    for move in Move.objects.all():
        assert known.evidence[move.account_id] == move.evidence
    far = ranges.together([1, 2, 5_000, 5_001, 10_000])
    assert far == [[1, 2], [5_000, 5_001], [10_000]]


def test_what_is_in_force_by_now_is_told(db):
    layer = layer_with()
    acme = account(arr=120_000, usage={"nps": 60})
    recompute()
    with pytest.raises(Refused, match="acme is High on Tier by now, not Low"):
        put(acme, layer, "tech", expected=layer.segments.get(key="low"))
    assert put(acme, layer, "high") is None
    late = account("late")
    with pytest.raises(Refused, match="late has no Tier yet"):
        put(late, layer, "high")
    assert Move.objects.filter(why="override").count() == 0


@pytest.mark.parametrize("policy", ["automatic", "approval"])
def test_recalculations_leave_what_people_pinned(db, policy):
    layer = layer_with(BY_ARR, policy=policy)
    acme, other = account(arr=500), account("other", arr=500)
    recompute()
    put(acme, layer, "high", overridden=True)
    before = state()
    assert recompute().status == "finished"
    assert state() == before
    Account.objects.all().update(arr=200_000)
    recompute(NEXT)
    Account.objects.all().update(arr=700)
    recompute(NEXT + timedelta(days=1))
    assert (held(acme).computed.key, held(acme).effective.key, held(acme).overridden) == (
        "tech",
        "high",
        True,
    )
    assert held(acme).history.latest().overridden
    assert held(other).computed.key == "tech"
    put(acme, layer, "high", overridden=False)
    recompute(NEXT + timedelta(days=2))
    assert held(acme).effective.key == ("tech" if policy == "automatic" else "high")


def test_a_pin_that_came_between_reading_and_writing_stays(db, monkeypatch):
    layer = layer_with(BY_ARR, policy="automatic")
    acme = account(arr=500)
    recompute()
    change(acme, arr=200_000)
    write = assignments._write

    def pinned_meanwhile(changes, pinned):
        put(acme, layer, "tech", overridden=True)
        return write(changes, pinned)

    monkeypatch.setattr(assignments, "_write", pinned_meanwhile)
    assert recompute(NEXT).layers.get().counts["lost"] == 1
    assert (held(acme).effective.key, held(acme).overridden) == ("tech", True)
    monkeypatch.undo()
    recompute(NEXT)
    assert (held(acme).computed.key, held(acme).effective.key) == ("high", "tech")


@pytest.mark.parametrize(("planned", "expected"), [(False, "tech"), (True, "high")])
def test_a_provisional_account_goes_down_at_once_unless_the_layer_wants_a_plan(db, planned, expected):
    layer = layer_with()
    layer.plan_provisional_downgrades = planned
    layer.save()
    account("old", arr=120_000, usage={"nps": 60})
    young = account("young", arr=120_000, employees=2_000, contract_start=DAY)
    recompute()
    assert (held(young).effective.key, held(young).provisional) == ("high", True)
    Account.objects.filter(pk=young.pk).update(arr=500, employees=3)
    change(young, nps=-50, tickets_90d=30)
    recompute(DAY + timedelta(days=30))
    assert (held(young).computed.key, held(young).provisional) == ("tech", False)
    assert held(young).effective.key == expected
    recompute(DAY + timedelta(days=31))
    assert held(young).effective.key == expected  # it goes on waiting
