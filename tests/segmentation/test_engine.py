"""The engine's answers beside the segment: reasons, fallbacks, provisional, thin data, distances."""

import subprocess
import sys
from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
import scoring
from scoring import evaluate

from accounts.catalogue import TYPES
from segmentation.evaluation import engine
from segmentation.rules import definitions

VALUE = """
requires: [external_id]
dimensions:
  - key: value
    maturity: {after_days: 30, needs_data_after_days: 90, until_then: UNTIL}
    criteria:
      - {key: revenue, fact: arr, cells: [100+, 50-99, 20-49, 10-19, < 10], missing: needs data}
      - {key: staff, fact: employees, cells: ["5", "4", "3", "2", "1"], missing: "rate seats_licensed: 10+ = 5, < 10 = 1"}
      - {key: nps, cells: ["5", "4", "3", "2", "1"], missing: skip}
      - {key: csat, cells: ["5", "4", "3", "2", "1"], missing: assume 2}
rules:
  - {segment: big, when: score.value >= 4}
  - {segment: small, when: score.value > 2.5}
"""
FULL = {"external_id": "A", "arr": 100, "employees": 5, "nps": 5, "csat": 5, "account_age_days": 100}


def document(text=VALUE, until="skip", **parts):
    text = text.replace("UNTIL", until)
    return definitions.parse(text, types=TYPES)


def one(row, text=VALUE, until="skip", **options):
    [result] = evaluate(document(text, until), row, **options)
    return result


REASONS = [
    # what differs from a full row, the reason
    ({}, None),
    ({"external_id": None}, "missing:external_id"),
    ({"external_id": "  "}, "missing:external_id"),  # blank is not known
    ({"external_id": None, "arr": None}, "missing:external_id"),  # the first in document order
    ({"arr": None}, "missing:arr"),
    ({"arr": None, "employees": None, "nps": None, "csat": None}, "no facts:value"),
    ({"arr": 0, "employees": 1, "nps": 1, "csat": 1}, "no rule"),
    ({"arr": 0, "employees": 1, "nps": 5, "csat": 3}, "no rule"),  # 2.5 is not above 2.5
    ({"account_age_days": 5}, "no facts:value"),  # nothing that counts is left
]


@pytest.mark.parametrize(("change", "reason"), REASONS)
def test_reasons(change, reason):
    result = one(FULL | change)
    assert result["reason"] == reason
    assert (result["segment"] is None) == (reason is not None)
    assert (result["rule"] is None) == (reason is not None)
    assert not (reason and result["provisional"])


def test_a_blocked_account_keeps_its_reason():
    rows = [FULL | {"blocked": "currency:EUR"}, FULL | {"arr": None, "blocked": "currency:EUR"}, FULL]
    results = evaluate(document(), *rows, blocked=pl.String)
    assert [result["reason"] for result in results] == ["currency:EUR", "currency:EUR", None]
    assert [result["segment"] for result in results] == [None, None, "big"]


FALLBACKS = [
    # what differs, then of each criterion: points and fallback
    ({}, {"revenue": (5, None), "staff": (5, None), "nps": (5, None), "csat": (5, None)}),
    ({"employees": None, "seats_licensed": 12}, {"staff": (5, "rate")}),
    ({"employees": None}, {"staff": (None, "skip")}),
    ({"employees": 0}, {"staff": (None, "skip")}),  # a value that earns nothing is no value
    ({"nps": None, "csat": None}, {"nps": (None, "skip"), "csat": (2, "assume")}),
    ({"arr": None}, {"revenue": (None, "needs data"), "staff": (5, None)}),
    ({"account_age_days": 3}, {"revenue": (None, "left out"), "csat": (None, "left out")}),
]


@pytest.mark.parametrize(("change", "expected"), FALLBACKS)
def test_points_and_fallbacks(change, expected):
    result = one(FULL | change)
    found = {key: (result[f"points.{key}"], result[f"fallback.{key}"]) for key in expected}
    assert found == expected


def test_a_score_is_over_what_is_present():
    assert one(FULL | {"nps": None, "arr": 50})["score.value"] == scoring.exact(Fraction(4 + 5 + 5, 3))
    assert one(FULL | {"nps": None, "csat": None})["score.value"] == 4  # (5 + 5 + 2) / 3


PROVISIONAL = [
    # age, facts, segment, provisional until
    (-2, FULL, "small", "2026-12-24"),
    (0, FULL, "small", "2026-12-22"),
    (29, FULL, "small", "2026-11-23"),
    (30, FULL, "big", None),
    (30, {"external_id": "A"}, "small", "2027-01-21"),
    (89, {"external_id": "A"}, "small", "2026-11-23"),
    (90, {"external_id": "A"}, None, None),
    (None, {"external_id": "A"}, None, None),
    (None, FULL, "big", None),
]


@pytest.mark.parametrize(("age", "facts", "segment", "until"), PROVISIONAL)
def test_until_mature_three_is_assumed(age, facts, segment, until):
    result = one(facts | {"account_age_days": age}, until="assume 3")
    assert result["segment"] == segment
    assert result["provisional"] == (until is not None)
    assert result["provisional_until"] == (date.fromisoformat(until) if until else None)
    if until:
        assert {result[f"points.{key}"] for key in ("revenue", "staff", "nps", "csat")} == {3}
        assert {result[f"fallback.{key}"] for key in ("revenue", "staff", "nps", "csat")} == {"assume"}


def test_the_clock_decides_the_date():
    result = one(FULL | {"account_age_days": 1}, until="assume 3", at=date(2024, 2, 1))
    assert result["provisional_until"] == date(2024, 3, 1)


EVIDENCE = [
    # what differs, observed, fallbacks, thin
    ({}, 4, 0, False),
    ({"nps": None, "csat": None}, 2, 2, False),  # half is not more than half
    ({"nps": None, "csat": None, "employees": None}, 1, 3, True),
    ({"account_age_days": 3}, 0, 0, False),
    ({"arr": None, "nps": None, "csat": None}, 1, 3, False),  # without a segment there is nothing thin
]


@pytest.mark.parametrize(("change", "observed", "fallbacks", "thin"), EVIDENCE)
def test_evidence(change, observed, fallbacks, thin):
    result = one(FULL | change)
    assert (result["observed"], result["fallbacks"], result["thin"]) == (observed, fallbacks, thin)


TWO = """
weights: {fit: 0.25, use: 0.75}
dimensions:
  - {key: fit, criteria: [{key: employees, cells: ["5", "4", "3", "2", "1"]}]}
  - {key: use, criteria: [{key: nps, cells: ["5", "4", "3", "2", "1"]}]}
rules: [{segment: low, when: composite < 3 AND score.use IS NOT NULL}, {segment: any}]
"""


def test_a_dimension_without_any_fact_anywhere_is_left_out_for_all():
    kept = one({"employees": 2, "nps": None}, TWO)
    assert (kept["segment"], kept["reason"]) == (None, "no facts:use")
    left_out = one({"employees": 2, "nps": None}, TWO, left_out=["use"])
    assert (left_out["segment"], left_out["composite"], left_out["provisional"]) == ("any", 2, False)
    assert (left_out["fallback.nps"], left_out["score.use"], left_out["observed"]) == ("left out", None, 1)
    nothing = one({"employees": 2}, TWO, left_out=["use", "fit"])
    assert (nothing["segment"], nothing["reason"]) == (None, "no facts:fit")


def test_left_out_or_not_are_kept_apart_on_one_document():
    made = document(TWO)
    row = {"employees": 2, "nps": None}
    answers = [evaluate(made, row, left_out=out)[0]["segment"] for out in ((), ["use"], ())]
    assert answers == [None, "any", None]


def test_a_dimension_that_counts_nothing_keeps_nobody_out():
    text = TWO.replace("fit: 0.25, use: 0.75", "fit: 1, use: 0")
    result = one({"employees": 4}, text)
    assert (result["segment"], result["composite"]) == ("any", 4)


def test_facts_that_earn_nothing_do_not_let_a_dimension_drop_out_silently():
    result = one({"employees": 4, "nps": -50}, TWO)
    assert (result["segment"], result["reason"]) == (None, "no facts:use")


def distances(text, **row):
    result = one(row, text)
    return result["up"], result["down"], result["distance"]


RULES = "rules: [{segment: a, when: RULE}, {segment: b}]"
DISTANCES = [
    # rule, ARR, distance up, down
    ("arr >= 100", "99.99", "0.01", None),
    ("arr >= 100", "100", None, "0"),
    ("arr > 100", "100", "0", None),
    ("arr < 100", "99", "1", None),
    ("NOT arr <= 100", "103", None, "3"),
    ("100 <= arr AND arr < 200", "120", "80", "20"),
    ("arr BETWEEN 100 AND 200", "90", "10", None),
    ("arr >= 100 AND industry IS NULL", "90", "10", None),
    ("arr >= 100 AND employees > 3", "90", None, None),  # two terms
    ("arr * 2 >= 100", "90", None, None),
    ("arr = 100", "90", None, None),
    ("industry = 'SaaS'", "90", None, None),
    ("arr >= 100", None, None, None),
]


@pytest.mark.parametrize(("rule", "arr", "up", "down"), DISTANCES)
def test_distances(rule, arr, up, down):
    up, down = (None if one is None else Decimal(one) for one in (up, down))
    nearest = min((one for one in (up, down) if one is not None), default=None)
    assert distances(RULES.replace("RULE", rule), arr=arr) == (up, down, nearest)


def test_distances_of_the_default_tiers():
    result = scoring.scoring({"a": "0.25", "b": "0.40", "c": "0.35"}, [4, 2, 5])
    assert (result["up"], result["down"], result["distance"]) == (
        Decimal("0.45"),
        Decimal("1.05"),
        Decimal("0.45"),
    )


def test_the_first_rule_that_holds_decides_and_null_does_not_hold():
    text = "rules: [{segment: a, when: NOT arr > 100}, {segment: b, when: employees > 3}, {segment: c, when: arr IS NULL}]"
    rows = [{"arr": 5, "employees": 9}, {"employees": 9}, {}, {"arr": 500}]
    results = evaluate(document(text), *rows)
    assert [(one["segment"], one["rule"], one["reason"]) for one in results] == [
        ("a", 0, None),
        ("b", 1, None),
        ("c", 2, None),
        (None, None, "no rule"),
    ]


def test_a_number_that_does_not_fit_needs_data_and_says_which_rule():
    text = "rules: [{segment: a, when: employees > 3}, {segment: b, when: arr * arr * arr > 1}, {segment: c}]"
    rows = [{"employees": 5, "arr": 10**20}, {"arr": 10**20}, {"arr": 10}, {}]
    results = evaluate(document(text), *rows)
    assert [(one["segment"], one["reason"]) for one in results] == [
        ("a", None),
        (None, "overflow:1"),
        ("b", None),
        ("c", None),
    ]


def test_128_bits_are_enough_for_long_weights():
    """Five dimensions of seven criteria with four decimals: the integers need more than 64 bits."""
    shares = [Decimal(1_999 - 7 * n) / 10_000 for n in range(7)]
    weights = dict(zip("abcde", ["0.1999", "0.2001", "0.1997", "0.2003", "0.2"], strict=True))
    made = scoring.composite(weights, dict.fromkeys(weights, shares))
    row = {f"{key}_{n}": (index * 7 + n * 3) % 5 + 1 for index, key in enumerate(weights) for n in range(7)}
    row["c_3"] = None
    composite = Fraction(0)
    for key, weight in weights.items():
        pairs = [(Fraction(share), row[f"{key}_{n}"]) for n, share in enumerate(shares) if row[f"{key}_{n}"]]
        composite += Fraction(weight) * sum(w * p for w, p in pairs) / sum(w for w, _ in pairs)
    assert evaluate(made, row)[0]["composite"] == scoring.exact(composite)


def test_the_result_has_the_columns_and_types_that_were_promised():
    made = document()
    result = engine.evaluate(made, scoring.frame(made, [FULL]), scoring.AT)
    score = pl.Decimal(38, 12)
    expected = {
        "id": pl.Int64,
        "segment": pl.String,
        "reason": pl.String,
        "provisional": pl.Boolean,
        "provisional_until": pl.Date,
        "composite": score,
        "score.value": score,
        **{f"points.{key}": pl.Int8 for key in ("revenue", "staff", "nps", "csat")},
        **dict.fromkeys((f"fallback.{key}" for key in ("revenue", "staff", "nps", "csat")), engine.FALLBACK),
        **{"rule": pl.Int16, "observed": pl.Int16, "fallbacks": pl.Int16, "thin": pl.Boolean},
        **{"up": score, "down": score, "distance": score},
    }
    assert dict(result.schema) == expected


@pytest.mark.parametrize("change", [pl.col("arr").cast(pl.Float64), pl.col("employees").cast(pl.Int32)])
def test_a_frame_that_does_not_fit_is_refused(change):
    made = document()
    frame = scoring.frame(made, [FULL])
    with pytest.raises(ValueError, match="does not fit"):
        engine.evaluate(made, frame.with_columns(change), scoring.AT)
    with pytest.raises(ValueError, match="arr is missing"):
        engine.evaluate(made, frame.drop("arr"), scoring.AT)


def test_the_engine_runs_with_django_blocked():
    code = "import sys; sys.modules['django'] = None; import segmentation.evaluation.engine, segmentation.rules.definitions"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=scoring.PRESETS.parents[2])
