"""Properties of every document and every frame: exactness, order, chunking, more revenue is never worth less."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl
import scoring
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.evaluation import engine
from segmentation.rules import definitions, document_text

AT = date(2026, 11, 22)
some = settings(max_examples=60, deadline=None)

# Scoring tables, and the same in Python: an implementation of its own to compare with.
TABLES = {
    "money": (["$100K+", "$50K-$99K", "$25K-$49K", "$10K-$24K", "< $10K"], [(100_000, 5), (50_000, 4), (25_000, 3), (10_000, 2), (None, 1)]),
    "ratio": (["40%+", "", "20%-39%", "0%-19%", ""], [(Fraction(2, 5), 5), (Fraction(1, 5), 3), (0, 2)]),
    "integer": (["0-1", "2-4", "5-9", "10-19", "20+"], [(20, 1), (10, 2), (5, 3), (2, 4), (0, 5)]),
    "text": (["SaaS", "Retail, fintech", "", "*", "unknown"], {"saas": 5, "retail": 4, "fintech": 4, "unknown": 1, None: 2}),
}  # fmt: skip
VALUES = {
    "money": st.none() | st.sampled_from(["9999.99", "10000", "49500", "99999.99", "100000"]),
    "ratio": st.none() | st.sampled_from(["-0.1", "0", "0.199999", "0.2", "0.4", "3"]),
    "integer": st.none() | st.integers(-2, 25),
    "text": st.none() | st.sampled_from(["SaaS", " retail ", "FINTECH", "Unknown", "Mining", " "]),
}


def points(type, value):
    """The points a value earns, without the engine."""
    if value is None:
        return None
    table = TABLES[type][1]
    if type == "text":
        value = value.strip().lower()
        return table.get(value, table[None]) if value else None
    return next((earned for bound, earned in table if bound is None or Fraction(value) >= bound), None)


def decide(data, types, row):
    """(segment, reason, composite, scores, provisional until) of one account: Fractions, one step after the other."""
    scores, until, reason = {}, [], None
    weights = data.get("weights") or {data["dimensions"][0]["key"]: "1"}
    for fact in data.get("requires", []):
        reason = reason or (f"missing:{fact}" if known(row, fact) is None else None)
    for dimension in data["dimensions"]:
        key, total, parts = dimension["key"], Fraction(0), []
        scores[key] = None
        matters = Fraction(weights[key]) > 0
        facts = any(known(row, criterion["fact"]) is not None for criterion in dimension["criteria"])
        age, maturity = row["account_age_days"], dimension.get("maturity")
        young = maturity and age is not None and age < int(maturity["after_days"])
        late = maturity and age is not None and age < int(maturity["needs_data_after_days"])
        immature = young or (late and not facts)
        if immature:
            if matters:
                until.append(int(maturity["after_days" if young else "needs_data_after_days"]) - age)
            if maturity["until_then"] == "skip":
                continue
        elif not facts:
            reason = reason or (f"no facts:{key}" if matters else None)
            continue
        lacking = None
        for criterion in dimension["criteria"]:
            earned = 3 if immature else points(types[criterion["fact"]], row[criterion["fact"]])
            kind, _, rest = criterion["missing"].partition(" ")
            if earned is None and kind == "assume":
                earned = int(rest)
            if earned is None and kind == "rate":
                earned = points("money", row["stand_in"])
            if earned is None and (kind == "needs" or dimension["scale"] == "points"):
                what = "missing" if known(row, criterion["fact"]) is None else "no cell"
                lacking = lacking or f"{what}:{criterion['fact']}"
            if earned is not None:
                parts.append((Fraction(criterion["weight"]), earned))
        divisor = 1 if dimension["scale"] == "points" else sum(weight for weight, _ in parts)
        if lacking or not divisor:
            reason = reason or ((lacking or f"no facts:{key}") if matters else None)
            continue
        total = sum(weight * earned for weight, earned in parts)
        scores[key] = total / divisor
    counted = sum(Fraction(weights[key]) for key, score in scores.items() if score is not None)
    if not counted and not reason:
        reason = f"no facts:{next(key for key in scores if Fraction(weights[key]))}"
    if reason:
        return None, reason, None, scores, None
    composite = (
        sum(Fraction(weights[key]) * score for key, score in scores.items() if score is not None) / counted
    )
    segment = "high" if composite >= 4 else "middle" if composite >= Fraction(5, 2) else "low"
    return segment, None, composite, scores, AT + timedelta(days=max(until)) if until else None


def known(row, fact):
    value = row[fact]
    return None if isinstance(value, str) and not value.strip() else value


@st.composite
def documents(draw):
    """A complete document as plain data, and the types of its facts."""
    types = {"account_age_days": "integer", "stand_in": "money"}
    dimensions = []
    for index in range(draw(st.integers(1, 4))):
        scale = draw(st.sampled_from(["mean", "mean", "points"]))
        criteria = []
        for number in range(draw(st.integers(1, 4))):
            fact = f"fact_{index}_{number}"
            types[fact] = draw(st.sampled_from(sorted(TABLES)))
            policies = [
                "assume 2",
                "needs data",
                "rate stand_in: 100K+ = 5, 50K-99K = 4, 25K-49K = 3, 10K-24K = 2, < 10K = 1",
            ]
            weights = st.integers(0, 99_999).map(lambda weight: str(Decimal(weight) / 10_000))
            criteria.append(
                {
                    "key": fact,
                    "fact": fact,
                    "weight": "1" if scale == "points" or number == 0 else draw(weights),
                    "cells": TABLES[types[fact]][0],
                    "missing": draw(st.sampled_from([*policies, *(["skip"] * 3 if scale == "mean" else [])])),
                }
            )
        dimension = {"key": f"d{index}", "scale": scale, "criteria": criteria}
        if draw(st.booleans()):
            until = draw(st.sampled_from(["skip", "assume 3"]))
            dimension["maturity"] = {"after_days": "30", "needs_data_after_days": "90", "until_then": until}
        dimensions.append(dimension)
    cuts = sorted(
        draw(st.lists(st.integers(0, 10_000), min_size=len(dimensions) - 1, max_size=len(dimensions) - 1))
    )
    shares = [high - low for low, high in zip([0, *cuts], [*cuts, 10_000], strict=True)]
    data = {
        "weights": {f"d{index}": f"{Decimal(share) / 10_000:f}" for index, share in enumerate(shares)},
        "requires": draw(st.sampled_from([[], ["fact_0_0"]])),
        "dimensions": dimensions,
        "rules": [
            {"segment": "high", "when": "composite >= 4"},
            {"segment": "middle", "when": "NOT composite < 2.5"},
            {"segment": "low"},
        ],
    }
    return data, types


def rows_of(types):
    facts = {fact: VALUES[type] for fact, type in types.items()}
    facts["account_age_days"] = st.none() | st.sampled_from([-3, 0, 29, 30, 89, 90, 400])
    return st.lists(st.fixed_dictionaries(facts), min_size=1, max_size=12)


def floored(value):
    return None if value is None else Decimal(value.numerator * 10**12 // value.denominator).scaleb(-12)


@some
@given(st.data(), documents())
def test_the_engine_agrees_with_fractions(data, made):
    written, types = made
    rows = data.draw(rows_of(types))
    document = definitions.parse(written, types=types)
    for row, result in zip(rows, scoring.evaluate(document, *rows, at=AT), strict=True):
        segment, reason, composite, scores, until = decide(document.freeze(), types, row)
        assert (result["segment"], result["reason"]) == (segment, reason)
        assert result["composite"] == floored(composite)
        assert {key: result[f"score.{key}"] for key in scores} == {
            key: floored(score) for key, score in scores.items()
        }
        assert (result["provisional"], result["provisional_until"]) == (until is not None, until)


def as_many(document, frame):
    """Evaluated as many rows are: each distinct text judged once, not each row by itself."""
    few, engine.FEW = engine.FEW, 0
    try:
        return engine.evaluate(document, frame, AT)
    finally:
        engine.FEW = few


@some
@given(st.data(), documents())
def test_chunking_and_order_never_change_a_result(data, made):
    written, types = made
    rows = data.draw(rows_of(types))
    document = definitions.parse(written, types=types)
    frame = scoring.frame(document, rows)
    whole = as_many(document, frame)

    order = data.draw(st.permutations(range(len(rows))))
    size = data.draw(st.integers(1, len(rows)))
    chunks = [engine.evaluate(document, chunk, AT) for chunk in frame[order].iter_slices(size)]
    assert pl.concat(chunks).sort("id").equals(whole)
    assert engine.evaluate(document, frame.rechunk()[:0], AT).schema == whole.schema


money = st.decimals(min_value=0, max_value=10**7, places=2)
customers = st.fixed_dictionaries(
    {
        "employees": st.none() | st.integers(0, 5000),
        "industry": st.sampled_from([None, "SaaS", "Mining"]),
        "expansion_ratio": st.none() | st.decimals(min_value=0, max_value=3, places=2),
        "contract_type": st.sampled_from([None, "multi-year", "past due", "something else"]),
        "strategic_importance": st.sampled_from([None, "commodity", "named logo"]),
        "login_days_30d": st.none() | st.integers(0, 30),
        "account_age_days": st.none() | st.integers(0, 200),
    }
)


@some
@given(customers, st.lists(money, min_size=2, max_size=8))
def test_raising_arr_alone_never_lowers_a_value_score(customer, revenues):
    rows = [customer | {"arr": revenue} for revenue in sorted(revenues)]
    for preset in ("service-tier", "value-points"):
        results = scoring.evaluate(scoring.preset(preset), *rows)
        for column in ("score.value", "composite"):
            found = [result[column] for result in results]
            assert None in found or found == sorted(found)
            assert len({one is None for one in found}) == 1  # nor does it make a score come and go


@some
@given(documents())
def test_a_document_written_as_yaml_is_the_same(made):
    written, types = made
    document = definitions.parse(written, types=types)
    again = definitions.parse(document_text.to_yaml(document), types=types)
    assert again.freeze() == document.freeze()
    assert again.hash == document.hash
    assert definitions.parse(document.freeze(), types=types).hash == document.hash
