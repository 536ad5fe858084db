"""A recalculation measures the whole portfolio first: fifths and the top are pinned on it before anyone is evaluated."""

from segmenting import account, layer_with, recompute

from segmentation.models import Assignment, RunLayer
from segmentation.reading import explain

FIFTHS = {
    "dimensions": [
        {"key": "worth", "criteria": [{"key": "arr", "cells": "quintiles", "missing": "needs data"}]},
    ],
    "rules": [{"segment": "high", "top": "1 by arr"}, {"segment": "low", "when": "points.arr >= 3"}, {"segment": "tech"}],
}  # fmt: skip


def test_cut_offs_are_pinned_on_the_run_and_decide(db):
    layer = layer_with(FIFTHS, policy="automatic")
    accounts = [account(f"c{number}", arr=number * 10_000) for number in range(1, 6)]
    recompute(chunk=2)
    assert RunLayer.objects.get().cutoffs == {
        "measure.arr": ["50000.00", "40000.00", "30000.00", "20000.00"],
        "rule.high": ["50000.00"],
    }
    held = Assignment.objects.order_by("account__external_id").values_list("effective__key", flat=True)
    assert list(held) == ["tech", "tech", "low", "low", "high"]
    why = explain.explain(accounts[4], layer)
    assert why["rule"]["text"] == "Rule 1: among the 1 highest by ARR ($50,000)"
    [[fifth]] = [group["criteria"] for group in why["dimensions"]]
    assert fifth["cells"] == [">= 50000", ">= 40000", ">= 30000", ">= 20000", "*"]
    assert (fifth["cell"], fifth["points"]) == (">= 50000", 5)
