"""Deciders beside an account's own facts: former rules and their cut-offs, provisional periods, other segmentations."""

from datetime import timedelta

import pytest
from segmenting import BY_ARR, DAY, account, activate, change, layer_with, recompute

from segmentation.models import Assignment
from segmentation.reading import explain

pytestmark = pytest.mark.django_db
YOUNG = {
    "requires": ["employees"],
    "dimensions": [
        {
            "key": "use",
            "maturity": {"after_days": "30", "needs_data_after_days": "90", "until_then": "assume 3"},
            "criteria": [
                {"key": "nps", "cells": ["50+", "20-49", "0-19", "-30--1", "< -30"], "missing": "skip"}
            ],
        }
    ],
    "rules": [
        {"segment": "high", "when": "arr >= 150000"},
        {"segment": "low", "when": "composite >= 3"},
        {"segment": "tech"},
    ],
}


def fifths(of, high=5):
    return {
        "dimensions": [
            {
                "key": "worth",
                "criteria": [{"key": "money", "fact": of, "cells": "quintiles", "missing": "skip"}],
            }
        ],
        "rules": [{"segment": "high", "when": f"points.money >= {high}"}, {"segment": "tech"}],
    }


def counts(run, key="tier"):
    return run.layers.get(layer__key=key).counts


def label(layer, account):
    return Assignment.objects.get(layer=layer, account=account).effective.key


def test_a_young_account_follows_at_once_also_after_it_lacked_data():
    layer = layer_with(YOUNG, policy="approval")
    account("other", employees=5, arr=1, usage={"nps": 10})
    acme = account(employees=5, arr=1, contract_start=DAY - timedelta(days=5))
    recompute()
    change(acme, employees=None)
    recompute()
    assert label(layer, acme) == "low"  # lacking data takes nothing away
    change(acme, employees=5, arr=150_000)
    recompute()
    assert label(layer, acme) == "high"
    again = counts(recompute())
    assert (again["changed"], again["moved"]) == (0, 0)


def test_new_rules_over_quintiles_moved_it_not_the_customer():
    layer = layer_with(fifths("arr"), policy="automatic")
    for number in range(5):
        account(f"a{number}", arr=number * 1000)
    recompute()
    activate(layer, fifths("arr", high=4), reason="Two fifths")
    assert counts(recompute())["moves"] == {"definition": 1}


def test_former_rules_decide_by_the_cut_offs_they_used_last():
    """By those of its first recalculation the customer would have moved: 30,000 was far above everybody then."""
    layer = layer_with(fifths("arr"), policy="automatic")
    accounts = [account(f"a{number}", arr=number * 1000) for number in range(5)]
    recompute()
    for number, one in enumerate(accounts):
        change(one, arr=number * 10_000)
    assert counts(recompute())["moves"] == {}
    activate(layer, fifths("arr", high=4), reason="Two fifths")
    assert counts(recompute())["moves"] == {"definition": 1}


def test_newer_rules_are_explained_without_the_cut_offs_of_something_else():
    layer = layer_with(fifths("last_active_at"), policy="automatic")
    acme = account(usage={"last_active_at": DAY, "login_days_30d": 3})
    recompute()
    activate(layer, fifths("login_days_30d"), reason="Days, not the last one")
    assert explain.explain(acme, layer)["computed_segment"] is None  # measured by the next recalculation
    recompute()
    assert explain.explain(acme, layer)["computed_segment"] == "high"
    activate(layer, fifths("login_days_30d", high=4), reason="Two fifths")
    assert explain.explain(acme, layer)["computed_segment"] == "high"  # cut-offs of the same are still good


def test_a_label_in_force_is_read_of_those_who_have_left_too():
    layer_with(BY_ARR, policy="automatic")
    reads = [{"segment": "high", "when": "label.tier = 'high'"}, {"segment": "tech"}]
    stage = layer_with({"includes": ["churned"], "rules": reads}, key="stage", policy="automatic")
    acme = account(arr=200_000)
    recompute()
    change(acme, status="churned")
    for layers in (None, [stage], None):  # with the other segmentation, alone, and again
        run = recompute(layers=layers)
        assert (label(stage, acme), counts(run, "stage")["changed"]) == ("high", 0)
        assert explain.explain(acme, stage)["computed_segment"] == "high"


def test_two_keys_that_rules_write_the_same_are_both_evaluated():
    layer_with(BY_ARR, key="a-b", policy="automatic")
    layer_with(BY_ARR, key="a_b", policy="automatic")
    account(arr=200_000)
    run = recompute()
    assert [counts(run, key)["scanned"] for key in ("a-b", "a_b")] == [1, 1]
