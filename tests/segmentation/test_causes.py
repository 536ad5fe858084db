"""Why an account changed its segment: the old rules on the new data, and the new rules on the old data, tell."""

import copy
from decimal import Decimal

import pytest
from databases import unsigned
from segmenting import BY_ARR, RULES, account, activate, change, layer_with, portfolio, recompute

from core.history import acting
from segmentation.evaluation import causes as cause_rows
from segmentation.models import Assignment, AssignmentScore, Cause, Layer, Move
from segmentation.reading import causes, explain

pytestmark = pytest.mark.django_db
LOWER = copy.deepcopy(RULES)
LOWER["rules"][0]["when"] = "composite >= 3.5"


def score(one, layer):
    return AssignmentScore.objects.get(assignment__account=one, assignment__layer=layer).composite


def test_each_is_told_by_what_moved_it_and_by_nothing_else():
    """Tickets 3 -> 4 earn the same points: they moved nobody, whatever else happened that day."""
    layer = layer_with()
    facts = {"arr": 60_000, "employees": 500}
    usage = {"nps": 10, "tickets_90d": 3}  # worth 4, behaviour 3.5: 3.75
    ruled, grown, mixed, either = (
        account(name, usage=usage, **facts) for name in ("ruled", "grown", "mixed", "either")
    )
    change(mixed, nps=-20)  # 3.5: 3.25... below both boundaries
    change(mixed, employees=100)
    recompute()
    then = {one: score(one, layer) for one in (ruled, grown, mixed, either)}
    for one in (ruled, grown, mixed, either):
        change(one, tickets_90d=4)
    change(grown, arr=120_000, nps=25)
    change(mixed, employees=500, nps=10)
    change(either, arr=120_000, nps=25)
    recompute()
    before_rules = causes.of_accounts(layer, [grown])[grown.pk]
    assert (before_rules.kind, [value[0] for value in before_rules.values]) == ("data", ["ARR", "NPS"])
    assert before_rules.values[0] == ("ARR", "$60,000", "$120,000", "4 → 5 points")
    assert before_rules.text.startswith(
        "The customer changed: ARR $60,000 → $120,000 (4 → 5 points); NPS 10 → 25"
    )

    activate(layer, LOWER, reason="Lower")
    recompute()
    told = causes.of_accounts(layer, [ruled, grown, mixed, either])
    assert told[ruled.pk].kind == "definition"
    assert told[ruled.pk].values == ()
    assert told[ruled.pk].text == (
        "The rules changed: High: overall score 4.0 → 3.5. By the old ones it would be Low."
    )
    assert (told[mixed.pk].kind, told[either.pk].kind) == ("both", "both")
    assert "neither alone would do: Employees 100 → 500" in told[mixed.pk].text
    assert "either alone would do" in told[either.pk].text
    assert {value[0] for value in told[mixed.pk].values} == {"Employees", "NPS"}
    for one, attributed in ((one, told[one.pk]) for one in (ruled, grown, mixed, either)):
        found = {name: Decimal(part["score"]) for name, part in attributed.evaluations.items()}
        assert (found["before"], found["after"]) == (then[one], score(one, layer))
        by_data, by_rules = found["data"] - found["before"], found["after"] - found["data"]
        assert by_data + by_rules == score(one, layer) - then[one]
    why = explain.explain(ruled, layer)
    assert why["cause"] == told[ruled.pk].as_json()
    assert why["differs"]["text"].endswith("and it changes when somebody approves it.")
    Assignment.objects.filter(account=ruled).update(provisional=True)
    with unsigned():
        cause_rows.take(Cause.Kind.DECISION)
        Assignment.objects.filter(account=ruled).update(overridden=True)
    assert explain.explain(ruled, layer)["differs"]["text"].endswith("and an override keeps Low.")


def test_two_evaluations_add_up_for_a_whole_portfolio():
    layer = layer_with(policy="automatic")
    accounts = portfolio(40)
    recompute()
    for number, one in enumerate(accounts):
        change(one, arr=number * 104_729 % 200_000)
    activate(layer, LOWER, reason="Lower")
    run = recompute()
    moves = Move.objects.filter(layer=layer).exclude(why="initial")
    kinds = set()
    for move in moves:
        told = causes.of_move(move, causes.before(move))
        kinds.add(move.why)
        if move.why == Move.Why.PROVISIONAL or told is None:
            continue
        assert told.kind == move.why  # what the run wrote is what the page says
        parts = {name: part["segment"] for name, part in told.evaluations.items()}
        assert parts["before"] == (move.from_segment and move.from_segment.key)
        assert parts["after"] == (move.to_segment and move.to_segment.key)
        moved = parts["after"]
        alone = (parts["data"] == moved, parts["rules"] == moved)
        assert {(True, False): "data", (False, True): "definition"}.get(alone, "both") == told.kind
    assert {"data", "definition", "both"} <= kinds
    assert run.layers.get().counts["moves"]["definition"] > 0


def test_another_segmentation_the_cut_offs_and_a_policy_are_no_change_of_the_customer():
    tier = layer_with(BY_ARR, policy="automatic")
    reads = {"rules": [{"segment": "high", "when": "label.tier = 'high'"}, {"segment": "tech"}]}
    follows = layer_with(reads, key="follows", policy="automatic")
    fifths = {
        "dimensions": [{"key": "w", "criteria": [{"key": "money", "fact": "arr", "cells": "quintiles", "missing": "skip"}]}],
        "rules": [{"segment": "high", "when": "points.money >= 5"}, {"segment": "tech"}],
    }  # fmt: skip
    ranked = layer_with(fifths, key="ranked", policy="automatic")
    gated = layer_with(BY_ARR, key="gated", policy="approval")
    acme, rest = account("acme", arr=90_000), [account(f"a{number}", arr=number) for number in range(4)]
    recompute()
    activate(
        tier, {"rules": [{"segment": "high", "when": "arr >= 80000"}, {"segment": "tech"}]}, reason="Lower"
    )
    for one in rest:
        change(one, arr=95_000)
    change(acme, arr=90_001)
    recompute()

    def last(layer):
        move = Move.objects.filter(account=acme, layer=layer).first()
        told = causes.of_move(move, causes.before(move))
        assert told.kind == move.why
        return told

    assert (last(tier).kind, last(tier).values) == ("definition", ())
    assert last(follows).text == "Another segmentation changed: Tier Tech → High."
    assert last(ranked).kind == "cutoffs"
    assert "5 → 1 points" in last(ranked).text

    change(acme, arr=150_000)
    recompute()
    with acting(label="tests", reason="By itself"), unsigned():
        cause_rows.take(Cause.Kind.DECISION)
        Layer.objects.filter(pk=gated.pk).update(policy="automatic")
    recompute()
    assert last(gated).text == "It applies by itself now. The customer changed: ARR $90,000 → $150,000."
    assert explain.explain(acme, gated)["cause"]["kind"] == "policy"
