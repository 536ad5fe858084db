"""Two documents in sentences: what people see changed, and which rule is which."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.catalogue import FACTS
from segmentation.rules.comparison import compare
from segmentation.rules.terms import Names

NAMES = Names(
    segments={"high-touch": "High-Touch", "low-touch": "Low-Touch", "tech-touch": "Tech-Touch"},
    facts={fact.name: fact.label for fact in FACTS.values()},
    layers={"value-tier": "Value tier"},
)
DOCUMENT = {
    "weights": {"behavioural": "0.40", "value": "0.60"},
    "requires": ["arr"],
    "dimensions": [
        {
            "key": "behavioural",
            "maturity": {"after_days": "30", "needs_data_after_days": "90"},
            "criteria": [{"key": "nps", "cells": ["50+", "20-49", "0-19", "-30--1", "< -30"]}],
        },
        {
            "key": "value",
            "criteria": [
                {"key": "arr", "cells": ["$100K+", "$50K-$99K", "$25K-$49K", "$10K-$24K", "< $10K"]},
                {"key": "potential", "fact": "expansion_ratio", "name": "Room to grow", "cells": ["2x+"]},
            ],
        },
    ],
    "rules": [
        {"segment": "high-touch", "when": "composite >= 4.0"},
        {"segment": "low-touch", "when": "composite >= 2.5"},
        {"segment": "tech-touch"},
    ],
}
HIGH, LOW, TECH = DOCUMENT["rules"]


def told(old, new):
    return list(compare(old, new, names=NAMES).sentences)


def edited(path, value):
    """The document with one part replaced, or removed where value is None."""
    document = copy.deepcopy(DOCUMENT)
    *way, last = path
    part = document
    for name in way:
        part = part[name]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return document


def with_rules(*rules):
    return DOCUMENT | {"rules": list(rules)}


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (["rules", 0, "when"], "composite >= 3.8", "High-Touch: overall score 4.0 -> 3.8"),
        (["weights", "behavioural"], "0.45", "Weight of Behavioural 0.40 -> 0.45"),
        (["weights"], None, "Weight of Behavioural 0.40 -> none"),
        (["dimensions", 1, "criteria", 0, "cells", 1], "$40K-$99K", "Measure 'ARR': for 4 points $50K-$99K -> $40K-$99K"),
        (["dimensions", 1, "criteria", 1, "cells"], ["2x+", "", "", "", "< 1x"], "Measure 'Room to grow': for 1 point nothing -> < 1x"),
        (["dimensions", 1, "criteria", 0, "cells"], "quintiles", "Measure 'ARR': points by a scoring table -> quintiles"),
        (["dimensions", 0, "criteria", 0, "missing"], "assume 3", "Missing data of NPS: left out -> counts as 3"),
        (["dimensions", 0, "criteria", 0, "missing"], "needs data", "Missing data of NPS: left out -> the account needs data"),
        (["dimensions", 0, "criteria", 0, "missing"], "rate csat: 4+ = 5", "Missing data of NPS: left out -> rated by CSAT (4+ = 5)"),
        (["dimensions", 0, "criteria", 0, "weight"], "2", "Measure 'NPS': weight 1 -> 2"),
        (["dimensions", 0, "criteria", 0, "name"], "Advocacy", "Measure 'NPS' is called 'Advocacy' now"),
        (["dimensions", 1, "criteria", 1, "fact"], "seat_use", "Measure 'Room to grow' reads Expansion potential -> Seats in use"),
        (["dimensions", 0, "name"], "Usage", "Score group 'Behavioural' is called 'Usage' now"),
        (["dimensions", 0, "scale"], "points", "Behavioural: weighted average -> plain sum of points"),
        (["dimensions", 0, "maturity", "after_days"], "45", "Behavioural counts after 30 days -> after 45 days"),
        (["dimensions", 0, "maturity"], None, "Behavioural counts after 30 days -> from the first day"),
        (["dimensions", 0, "maturity", "until_then"], "assume 3", "Behavioural until then: left out -> counts as 3"),
        (["requires"], ["arr", "nps"], "NPS is required now"),
        (["requires"], None, "ARR is no longer required"),
        (["includes"], ["churned"], "Churned customers are evaluated too"),
        (["colour"], "red", "'colour': nothing -> red"),
    ],
)  # fmt: skip
def test_one_change_is_one_sentence(path, value, sentence):
    assert sentence in told(DOCUMENT, edited(path, value))
    back = compare(edited(path, value), DOCUMENT, names=NAMES)
    assert back.sentences
    assert back.rows


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("arr >= 100000 and nps > 20", "arr >= 80000 and nps > 20", "ARR 100000 -> 80000"),
        ("100000 <= arr", "80000 <= arr", "ARR 100000 -> 80000"),
        ("arr >= 1000 and arr < 5000", "arr >= 1000 and arr < 6000", "ARR < 5000 -> < 6000"),
        ("usage_change_30d < -0.2", "usage_change_30d < -0.30", "Usage change, 30 days -0.2 -> -0.30"),
        ("industry = 'SaaS'", "industry = 'FinTech'", "Industry 'SaaS' -> 'FinTech'"),
        ("score.value < 3", "score.value < 2", "Value score 3 -> 2"),
        ("points.potential = 5", "points.potential = 4", "points of Room to grow 5 -> 4"),
        ("composite.value_tier > 3", "composite.value_tier > 2", "overall score of Value tier 3 -> 2"),
        # Anything more: the old text and the new, with the words people see.
        ("arr > 5 * employees", "arr > 6 * employees", "ARR > 5 * Employees -> ARR > 6 * Employees"),
        ("arr + 5 > 2", "arr + 5 > 3", "ARR + 5 > 2 -> ARR + 5 > 3"),
        ("nps between 1 and 5", "nps between 1 and 6", "NPS between 1 and 5 -> NPS between 1 and 6"),
        ("arr > 5", "arr >= 5", "ARR > 5 -> ARR >= 5"),
        ("arr > 5", "acv > 5", "ARR > 5 -> ACV > 5"),
        ("arr > 5 and nps > 1", "arr > 6 and nps > 2", "ARR > 5 and NPS > 1 -> ARR > 6 and NPS > 2"),
        ("label.value_tier = 'arr'", "", "Value tier segment = 'arr' -> everyone else"),
        ("previous = 'low-touch'", "previous in ('low-touch')", "segment before = 'Low-Touch' -> segment before in ('Low-Touch')"),
    ],
)  # fmt: skip
def test_conditions(old, new, sentence):
    rules = [with_rules({"segment": "high-touch", "when": when}) for when in (old, new)]
    assert told(*rules) == [f"High-Touch: {sentence}"]


@pytest.mark.parametrize(
    ("rules", "sentences"),
    [
        ([LOW, HIGH, TECH], ["The rules are in another order: Low-Touch when overall score >= 2.5; High-Touch when overall score >= 4.0; Tech-Touch for everyone else"]),
        ([HIGH, LOW], ["Rule removed: Tech-Touch for everyone else"]),
        ([{"segment": "tech-touch", "when": "arr < 5"}, HIGH, LOW, TECH], ["New rule 1: Tech-Touch when ARR < 5"]),
        ([{"segment": "high-touch", "when": "arr > 9"}, HIGH, LOW, TECH], ["New rule 1: High-Touch when ARR > 9"]),
        ([HIGH, LOW | {"segment": "tech-touch"}, TECH], ["Rule 2 gives Tech-Touch instead of Low-Touch"]),
        ([HIGH | {"from": ["low-touch"]}, LOW, TECH], ["High-Touch: from any segment -> Low-Touch"]),
        ([HIGH | {"top": "50 by composite"}, LOW, TECH], ["High-Touch: however many -> the top 50 by overall score"]),
        # Changed and moved, with a new one in front: still the same rules.
        (
            [{"segment": "tech-touch", "when": "arr < 5"}, LOW | {"when": "composite >= 2"}, HIGH, TECH],
            [
                "New rule 1: Tech-Touch when ARR < 5",
                "Low-Touch: overall score 2.5 -> 2",
                "The rules are in another order: Low-Touch when overall score >= 2; High-Touch when overall score >= 4.0; Tech-Touch for everyone else",
            ],
        ),
    ],
)  # fmt: skip
def test_rules(rules, sentences):
    assert told(DOCUMENT, with_rules(*rules)) == sentences


def test_a_rule_with_a_key_stays_itself():
    old = with_rules(HIGH | {"key": "big"}, LOW, TECH)
    new = with_rules(LOW, {"key": "big", "segment": "tech-touch", "when": "arr > 9"}, TECH)
    assert "Rule 2 gives Tech-Touch instead of High-Touch" in told(old, new)
    other = with_rules({"key": "other", "segment": "high-touch", "when": "composite >= 3"}, LOW, TECH)
    assert told(old, other)[0] == "Rule removed: High-Touch when overall score >= 4.0"


def test_measures_and_groups():
    without = edited(["dimensions", 1, "criteria"], DOCUMENT["dimensions"][1]["criteria"][:1])
    assert told(without, DOCUMENT) == ["New measure 'Room to grow' in Value"]
    assert told(DOCUMENT, without) == ["Measure removed: 'Room to grow' of Value"]
    moved = copy.deepcopy(DOCUMENT)
    moved["dimensions"][0]["criteria"].append(moved["dimensions"][1]["criteria"].pop())
    assert told(DOCUMENT, moved) == ["Measure 'Room to grow' moved from Value to Behavioural"]
    turned = edited(["dimensions"], DOCUMENT["dimensions"][::-1])
    assert told(DOCUMENT, turned) == ["Score groups: in another order"]
    less = edited(["dimensions"], DOCUMENT["dimensions"][:1])
    assert told(less, DOCUMENT) == ["New score group 'Value': ARR, Room to grow"]
    assert told(DOCUMENT, less) == ["Score group removed: 'Value'"]


def test_rows_go_by_keys():
    new = edited(["dimensions", 1, "criteria", 0, "cells", 1], "$40K-$99K")
    new["dimensions"].reverse()
    row = next(row for row in compare(DOCUMENT, new, names=NAMES).rows if row.kind == "changed")
    assert (row.path, row.place) == ("dimensions.value.criteria.arr.cells.4", "Value › ARR › 4 points")
    assert (row.old, row.new) == ("$50K-$99K", "$40K-$99K")


def test_defaults_are_no_difference():
    typed = copy.deepcopy(DOCUMENT)
    typed["dimensions"][0] |= {"scale": "mean"}
    typed["dimensions"][0]["criteria"][0] |= {"fact": "nps", "weight": "1", "missing": "skip"}
    typed["rules"] = [{**rule, "key": rule["segment"].replace("-", "_")} for rule in typed["rules"]]
    assert not compare(DOCUMENT, typed, names=NAMES)
    assert compare(DOCUMENT, DOCUMENT, names=NAMES).sentences == ()


JUNK = st.recursive(
    st.none() | st.booleans() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["weights", "requires", "includes", "dimensions", "rules", "criteria", "key", "cells", "when", "from", "maturity"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(JUNK, JUNK)
def test_whatever_a_draft_holds_is_compared(one, other):
    assert not compare(one, one, names=NAMES)
    compare(one, other, names=NAMES)
    compare(one, DOCUMENT, names=NAMES)
    compare(DOCUMENT, one, names=NAMES)
