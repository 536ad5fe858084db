"""Values nothing can have are named with the nearest that can be, wherever conditions are written."""

import pytest

from accounts import catalogue
from segmentation.rules import conditions, impossible

LABELS = {"label.value_tier": {"enterprise", "mid-market", "smb"}}


def said(text):
    root = conditions.compile(text, catalogue.TYPES).root
    return impossible.sentences(root, LABELS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        # as told
        ("label.value_tier = 'nonsense'", "label.value_tier is never 'nonsense'. It is one of enterprise, mid-market, smb. Did you mean '"),
        ("status = 'chruned'", "status is never 'chruned'. It is one of active, churned, paused. Did you mean 'churned'?"),
        ("usage_change_30d < -20", "usage_change_30d is a ratio: -20 is -2,000 %. Did you mean -0.2?"),
        # siblings: the other ways to write a value, in any place of a condition, and the other kinds of limit
        ("NOT (arr > 5 AND kind NOT IN ('customer', 'Trail'))", "Did you mean 'trial'?"),
        ("'mid_market' = label.value_tier", "Did you mean 'mid-market'?"),
        ("status <> 'Active'", "Did you mean 'active'?"),
        ("feature_adoption >= 40", "feature_adoption is a ratio: 40 is 4,000 %. Did you mean 0.4?"),
        ("seat_use BETWEEN 0.2 AND (60)", "Did you mean 0.6?"),
        ("arr_growth_12m > 25", "Did you mean 0.25?"),
        ("nps >= 110", "nps is never 110: it is at most 100. Did you mean 100?"),
        ("csat < -1", "csat is never -1: it is at least 0. Did you mean 0?"),
        ("login_days_30d > 31", "Did you mean 30?"),
    ],
)  # fmt: skip
def test_is_named_with_the_nearest(text, sentence):
    [found] = said(text)
    assert sentence in found


@pytest.mark.parametrize(
    "text",
    [
        "label.value_tier = 'smb' AND label.other = 'anything'", "status = 'churned'", "industry = 'Sofware'",
        "usage_change_30d < -0.2", "usage_change_30d > 3", "feature_adoption >= 1", "arr > 0", "nps = -100",
        "status LIKE 'chru%'", "COALESCE(status, 'none') = 'none'", "days_to_renewal < -20", "expansion_ratio > 20",
    ],
)  # fmt: skip
def test_what_can_be_is_not(text):
    assert said(text) == []


def test_a_segment_typed_by_its_name_is_named_by_its_key():
    root = conditions.compile("label.health = 'Poor health'", catalogue.TYPES).root
    labels = {"label.health": {"healthy": "Good health", "poor": "Poor health", "watch": "Watch"}}
    assert impossible.sentences(root, labels) == [
        "label.health is never 'Poor health'. It is one of healthy, poor, watch. Did you mean 'poor'?"
    ]
