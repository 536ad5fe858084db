"""Rules that look at where an account comes from, at other layers, or at the whole portfolio."""

from datetime import date
from decimal import Decimal

import polars as pl
import pytest
import scoring
from scoring import evaluate

from accounts.catalogue import TYPES
from segmentation.evaluation import cutoffs
from segmentation.rules import definitions
from segmentation.rules.document import DocumentErrors
from segmentation.rules.document_text import from_yaml, to_yaml

STAGES = """
includes: [churned]
rules:
  - {segment: ramping, from: [onboarding, won-back], when: integrations_live >= 1}
  - {segment: at-risk, from: "ramping, expanding", when: usage_change_30d <= -0.4}
  - {segment: ramping, from: [expanding], when: days_in_stage > 90}
  - {segment: onboarding, when: previous IS NULL}
"""


def stage(text=STAGES, **row):
    [result] = evaluate(definitions.parse(text, types=TYPES), row)
    return result["segment"], result["rule"]


@pytest.mark.parametrize(
    ("row", "segment", "rule"),
    [
        ({}, "onboarding", 3),
        ({"previous": "onboarding"}, "onboarding", None),  # no rule applies: it stays
        ({"previous": "onboarding", "integrations_live": 1}, "ramping", 0),
        ({"previous": "at-risk", "integrations_live": 1}, "at-risk", None),  # the rule is not for those
        ({"previous": "expanding", "usage_change_30d": "-0.4"}, "at-risk", 1),
        ({"previous": "expanding", "days_in_stage": 90}, "expanding", None),
        ({"previous": "expanding", "days_in_stage": 91}, "ramping", 2),
    ],
)
def test_an_account_moves_along_the_rules_or_stays(row, segment, rule):
    assert stage(**row) == (segment, rule)


def test_without_a_former_segment_and_without_a_rule_it_needs_data():
    [result] = evaluate(definitions.parse(STAGES.replace("previous IS NULL", "arr > 5"), types=TYPES), {})
    assert (result["segment"], result["reason"]) == (None, "no rule")


def test_rules_have_keys_that_stay():
    document = definitions.parse(STAGES, types=TYPES)
    assert [rule.key for rule in document.rules] == ["ramping", "at_risk", "ramping_2", "onboarding"]
    assert document.includes == ("churned",)
    assert definitions.parse(document.freeze(), types=TYPES).hash == document.hash
    assert definitions.parse(to_yaml(document), types=TYPES).hash == document.hash
    assert "key" not in to_yaml(document)  # what follows from the rest is not written


OTHERS = """
dimensions:
  - key: both
    criteria:
      - {key: tier, fact: label.value_tier, cells: [enterprise, mid-market, "*"], missing: skip}
      - {key: service, fact: composite.service_tier, cells: ["4+", "3-3.99", "2-2.99", "1", "< 1"], missing: skip}
rules:
  - {segment: rescue, when: label.health = 'poor' AND score.service_tier.value >= 4}
  - {segment: fine, when: composite >= 3}
  - {segment: rest}
"""


def test_layers_read_the_labels_and_scores_of_others():
    document = definitions.parse(OTHERS, types=TYPES)
    assert (document.facts, document.layers) == ((), ("value_tier", "service_tier", "health"))
    row = {"label.value_tier": "Enterprise", "composite.service_tier": "3.5", "label.health": "good"}
    rescued = row | {"label.health": "poor", "score.service_tier.value": "4"}
    results = evaluate(document, row, rescued, {"composite.service_tier": "1"})
    assert [one["segment"] for one in results] == ["fine", "rescue", "rest"]
    assert results[0]["composite"] == Decimal("4.5")


def test_what_people_declared_is_a_name_like_others():
    document = definitions.parse("rules: [{segment: strategic, when: declared = 'strategic'}]", types=TYPES)
    assert document.declared
    results = evaluate(document, {"declared": "strategic"}, {"declared": "other"}, {})
    assert [one["segment"] for one in results] == ["strategic", None, None]


QUINTILES = """
dimensions:
  - key: worth
    criteria:
      - {key: money, fact: arr, cells: quintiles, missing: skip}
rules:
  - {segment: champion, top: 2 by composite, when: points.money >= 5}
  - {segment: many}
"""


def pinned(values, text=QUINTILES):
    document = definitions.parse(text, types=TYPES)
    rows = [{"arr": value} for value in values]
    frame = scoring.frame(document, rows)
    for _ in document.population:  # the composite needs the quintiles first
        result = scoring.engine.evaluate(document, frame, scoring.AT)
        taken = cutoffs.take(document, frame, result)
        known = cutoffs.measure(document, {name: taken[name] for name in taken.columns})
        document = document.pinned(known)
    return document, evaluate(document, *rows)


@pytest.mark.parametrize(
    ("values", "points"),
    [
        ([10, 20, 30, 40, 50], [1, 2, 3, 4, 5]),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
        ([1, 1, 1, 1, 1], [5, 5, 5, 5, 5]),  # equal values get the same score, the higher one
        ([1, 1, 1, 9, 9], [3, 3, 3, 5, 5]),
        ([7], [5]),
        ([5, None, 6], [3, None, 5]),
        ([None], [None]),
    ],
)
def test_quintiles(values, points):
    _, results = pinned(values)
    assert [one["points.money"] for one in results] == points


def test_quintiles_of_dates():
    document = definitions.parse(QUINTILES.replace("fact: arr", "fact: contract_start"), types=TYPES)
    days = [date(2026, 1, day) for day in (1, 2, 3, 4, 5)]
    known = cutoffs.measure(
        document, {"contract_start": pl.Series(days), "composite": pl.Series([], dtype=pl.Int64)}
    )
    assert known == {"measure.money": ["2026-01-05", "2026-01-04", "2026-01-03", "2026-01-02"]}
    results = evaluate(document.pinned(known), *({"contract_start": day} for day in days))
    assert [one["points.money"] for one in results] == [1, 2, 3, 4, 5]


def test_the_top_of_the_portfolio_ties_together():
    top = "rules: [{segment: one-to-one, top: 2 by arr}, {segment: many}]"
    for values, expected in (([5, 9, 7], 2), ([5, 7, 9, 7], 3), ([None, 3], 1)):
        document = definitions.parse(top, types=TYPES)
        known = cutoffs.measure(document, {"arr": pl.Series(values, dtype=pl.Int64)})
        results = evaluate(document.pinned(known), *({"arr": value} for value in values))
        assert [one["segment"] for one in results].count("one-to-one") == expected


def test_a_top_of_nobody_holds_for_nobody():
    document = definitions.parse("rules: [{segment: best, top: 2 by arr}, {segment: many}]", types=TYPES)
    assert cutoffs.measure(document, {"arr": pl.Series([None], dtype=pl.Int64)}) == {}
    assert evaluate(document.pinned({}), {"arr": 5})[0]["segment"] == "many"


def test_quintiles_need_an_order():
    with pytest.raises(DocumentErrors, match="no order"):
        definitions.parse(QUINTILES.replace("fact: arr", "fact: industry"), types=TYPES)


def test_quintiles_stay_as_typed():
    document = definitions.parse(QUINTILES, types=TYPES)
    assert from_yaml(to_yaml(document))["dimensions"][0]["criteria"][0]["cells"] == "quintiles"
