"""The methodology's worked examples, each case on its own, through `engine.evaluate`.

methodology.yaml is a copy of the one all projects on this methodology share.
"""

import itertools
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
import scoring
import yaml

from segmentation.evaluation import engine
from segmentation.rules import definitions
from segmentation.rules.document import DocumentErrors

HERE = Path(__file__).parent
COPY = HERE / "methodology.yaml"
SHARED = HERE.parents[2] / "shared" / "conformance" / "methodology.yaml"
METHODOLOGY = yaml.safe_load(COPY.read_text())
COMPOSITE, RUBRICS, TIERS = METHODOLOGY["composite"], METHODOLOGY["rubrics"], METHODOLOGY["value_tiers"]
DIMENSIONS = ("firmographic", "behavioural", "value")
ONE_EACH = {dimension: [1] for dimension in DIMENSIONS}  # one criterion per dimension
pytestmark = pytest.mark.conformance

# Parts that later issues build, and their cases with them. Take a name out of here when its cases run.
NOT_YET = {
    "portfolio_metrics",
    "duties",
    "composite.cases.1.alert",
    "composite.provisional.after_30_days_with_behavioural_2.csm_notified",
    "value_tiers.methodology.sub_segment",
    "value_tiers.rupee",
    "cases.boundary",
    "cases.multi_product",
    "cases.poor_data.duplicates",
}


def key(name):
    return name.replace("_", "-")


def weighted(weights):
    return dict(zip(DIMENSIONS, weights, strict=True))


def test_the_copy_is_the_shared_one():
    """Compared while the shared one is beside this checkout; the copy is what counts elsewhere."""
    if SHARED.exists():
        assert COPY.read_text() == SHARED.read_text()


def test_every_section_is_run_or_listed_as_not_yet():
    run = {"composite", "rubrics", "value_tiers"}
    to_run = {"composite", "rubrics", "value_tiers", "portfolio_metrics", "duties"}
    assert run | (NOT_YET & to_run) == to_run
    for name in NOT_YET:
        part = METHODOLOGY
        for step in name.split("."):
            part = part[int(step) if isinstance(part, list) else step]
        assert part


# -- composite


@pytest.mark.parametrize("case", COMPOSITE["cases"], ids=lambda case: "-".join(map(str, case["scores"])))
def test_composite(case):
    result = scoring.scoring(weighted(case["weights"]), case["scores"])

    assert result["composite"] == scoring.exact(case["composite"])
    assert result["segment"] == key(case["tier"])
    for dimension, score in zip(DIMENSIONS, case["scores"], strict=True):
        assert result[f"score.{dimension}"] == scoring.exact(score)


def test_the_default_weights_and_tiers_are_the_presets():
    document = scoring.preset("service-tier")
    assert document.data["weights"] == COMPOSITE["default_weights"]
    tiers = {key(name): when for name, when in COMPOSITE["tiers"].items()}
    found = {
        rule.segment: rule.when.removeprefix("composite ") if rule.when else "else" for rule in document.rules
    }
    assert found == tiers


WEIGHTS = [(a, b, 100 - a - b) for a in range(101) for b in range(101 - a)]


PARTS = [0, 1, 2, *(pytest.param(part, marks=pytest.mark.long) for part in range(3, 10))]


@pytest.mark.parametrize("part", PARTS)
def test_exhaustive(part):
    """643,875 cases: 5,151 weight triples, each a document of its own, on the 125 score triples."""
    scores = pl.DataFrame(
        list(itertools.product(range(1, 6), repeat=3)),
        schema=dict.fromkeys([f"{dimension}_0" for dimension in DIMENSIONS], pl.Int64),
        orient="row",
    ).with_row_index("id")
    assert len(WEIGHTS) * len(scores) == 643_875
    for triple in WEIGHTS[part::10]:
        hundredths = [f"{weight / 100:.2f}" for weight in triple]
        document = scoring.composite(weighted(hundredths), ONE_EACH)
        result = engine.evaluate(document, scores, scoring.AT)

        points = [scores[name] for name in scores.columns[1:]]
        expected = sum(weight * one for weight, one in zip(triple, points, strict=True))  # hundredths, exact
        tiers = [
            "high-touch" if one >= 400 else "low-touch" if one >= 250 else "tech-touch" for one in expected
        ]
        assert (result["composite"].to_physical() == (expected * 10**10).cast(pl.Int128)).all(), triple
        assert result["segment"].to_list() == tiers, triple


@pytest.mark.parametrize("weights", COMPOSITE["refused_weights"], ids="-".join)
def test_refused_weights(weights):
    with pytest.raises(DocumentErrors) as refusal:
        scoring.composite(weighted(weights), ONE_EACH)
    assert all(problem.path.startswith("weights") for problem in refusal.value.problems)


@pytest.mark.parametrize("weights", COMPOSITE["accepted_weights"], ids="-".join)
def test_accepted_weights(weights):
    result = scoring.scoring(weighted(weights), [4, 4, 4])
    assert result["composite"] == 4


# -- the new account: firmographic 4, value 5, behavioural not yet known


def new_account(until_then):
    data = scoring.composite(COMPOSITE["default_weights"], ONE_EACH).freeze()
    data["dimensions"][1]["maturity"] = {
        "after_days": 30,
        "needs_data_after_days": 90,
        "until_then": until_then,
    }
    types = {f"{dimension}_0": "integer" for dimension in DIMENSIONS} | {"account_age_days": "integer"}
    return definitions.parse(data, types=types)


@pytest.mark.parametrize("policy", ["skip", "assume_3"])
def test_provisional(policy):
    expected = COMPOSITE["provisional"][policy]
    document = new_account(policy.replace("_", " "))
    known = {"firmographic_0": 4, "value_0": 5}
    young, waiting, late = scoring.evaluate(
        document, *(known | {"account_age_days": age} for age in (0, 45, 90))
    )

    assert young["composite"] == scoring.exact(expected["composite"])
    assert young["segment"] == key(expected["tier"])
    assert young["provisional"]
    assert young["provisional_until"].isoformat() == "2026-12-22"  # the day it is 30 days old
    assert (waiting["segment"], waiting["provisional"]) == (young["segment"], True)
    assert waiting["provisional_until"].isoformat() == "2027-01-06"  # the day it is 90 days old
    assert (late["segment"], late["reason"], late["provisional"]) == (None, "no facts:behavioural", False)


@pytest.mark.parametrize("policy", ["skip", "assume 3"])
def test_after_30_days_with_behavioural_2(policy):
    expected = COMPOSITE["provisional"]["after_30_days_with_behavioural_2"]
    row = {"firmographic_0": 4, "behavioural_0": 2, "value_0": 5, "account_age_days": 30}
    [result] = scoring.evaluate(new_account(policy), row)
    assert result["composite"] == scoring.exact(expected["composite"])
    assert (result["segment"], result["provisional"]) == (key(expected["tier"]), False)


def test_a_young_account_is_provisional_whatever_facts_exist():
    """Maturity is decided first: five days of usage are no usage pattern."""
    row = {"firmographic_0": 4, "behavioural_0": 1, "value_0": 5, "account_age_days": 5}
    [result] = scoring.evaluate(new_account("skip"), row)
    assert result["composite"] == scoring.exact(COMPOSITE["provisional"]["skip"]["composite"])
    assert (result["provisional"], result["score.behavioural"]) == (True, None)


def test_an_unknown_age_is_not_immature():
    row = {"firmographic_0": 4, "behavioural_0": 2, "value_0": 5}
    [result] = scoring.evaluate(new_account("skip"), row)
    assert (result["provisional"], result["composite"]) == (False, Decimal("3.55"))


# -- rubrics, as the presets have them

EDGES = [
    (fact, value, points)
    for fact, edges in RUBRICS["edges"].items()
    if fact != "single_dimension_points"
    for value, points in edges.items()
]


@pytest.mark.parametrize(("fact", "value", "points"), EDGES)
def test_edges(fact, value, points):
    typed = int(value) if fact == "employees" else value
    [result] = scoring.evaluate(scoring.preset("service-tier"), {fact: typed})
    assert result[f"points.{fact}"] == points


TEXT_CELLS = {  # the presets list with commas what the methodology separates with a slash
    "growth_stage": ["growth, scale-up", "established", "mature", "early-stage", "unknown, pre-revenue"],
    "contract_type": ["multi-year", "annual renewing", "annual new", "month-to-month", "past due, at risk"],
    "strategic_importance": [
        "named logo, reference",
        "industry influencer",
        "standard",
        "commodity",
        "misaligned",
    ],
}
NUMBERS = ("employees", "arr", "expansion_ratio")


@pytest.mark.parametrize("preset", ["service-tier", "firmographic-points", "value-points"])
def test_the_presets_have_the_methodology_cells(preset):
    rubrics = RUBRICS["firmographic"] | RUBRICS["value"]
    for criterion in scoring.preset(preset).criteria:
        if criterion.key in NUMBERS:
            assert list(criterion.cells) == list(rubrics[criterion.key].values())
        if criterion.key in TEXT_CELLS:
            assert list(criterion.cells) == TEXT_CELLS[criterion.key]
            for ours, theirs in zip(criterion.cells, rubrics[criterion.key].values(), strict=True):
                assert set(ours.split(", ")) == set(theirs.split(" / "))


@pytest.mark.parametrize(
    ("fact", "text", "points"),
    [
        (fact, text, 5 - index)
        for fact, cells in TEXT_CELLS.items()
        for index, cell in enumerate(cells)
        for text in cell.split(", ")
    ],
)
@pytest.mark.parametrize("typed", [str, str.upper, "  {}\t".format])
def test_text_cells(fact, text, points, typed):
    [result] = scoring.evaluate(scoring.preset("service-tier"), {fact: typed(text)})
    assert result[f"points.{fact}"] == points


WITH_POINTS = {9: (2, 2, 2, 3), 10: (3, 2, 2, 3), 15: (5, 4, 3, 3), 16: (5, 4, 4, 3)}


@pytest.mark.parametrize(("total", "tier"), RUBRICS["edges"]["single_dimension_points"].items())
def test_single_dimension_tiers(total, tier):
    """Out of 20, through the preset: facts that earn so many points each."""
    document = scoring.preset("value-points")
    earning = {
        "arr": {5: "100000", 3: "25000", 2: "10000"},
        "expansion_ratio": {4: "1.5", 2: "1.0"},
        "contract_type": {4: "annual renewing", 3: "annual new", 2: "month-to-month"},
        "strategic_importance": {3: "standard"},
    }
    points = dict(zip(earning, WITH_POINTS[int(total)], strict=True))
    [result] = scoring.evaluate(document, {fact: earning[fact][wanted] for fact, wanted in points.items()})
    assert result["score.value"] == Decimal(total)
    assert result["segment"] == key(tier)


def test_single_dimension_cut_offs():
    cut_offs = RUBRICS["single_dimension_tiers"]
    for preset, dimension in (("value-points", "value"), ("firmographic-points", "firmographic")):
        document = scoring.preset(preset)
        assert document.dimensions[0].scale == cut_offs["scale"]
        found = {
            rule.segment: rule.when.removeprefix(f"score.{dimension} ") if rule.when else "else"
            for rule in document.rules
        }
        assert found == {key(name): when for name, when in cut_offs.items() if name != "scale"}


# -- value tiers


@pytest.mark.parametrize(
    ("preset", "tiers"), [("value-tier", TIERS["methodology"]), ("value-tier-five", TIERS["five_tier"])]
)
def test_value_tiers(preset, tiers):
    """Each cut-off and the cent below it."""
    document = scoring.preset(preset)
    order = [key(name) for name in tiers if name != "sub_segment"]
    assert [rule.segment for rule in document.rules] == order
    for position, (name, when) in enumerate(tiers.items()):
        if not str(when).startswith(">="):
            continue
        edge = Decimal(when.removeprefix(">= "))
        at, below = scoring.evaluate(document, {"arr": edge}, {"arr": edge - Decimal("0.01")})
        assert at["segment"] == key(name)
        assert below["segment"] == order[position + 1]


def test_unknown_arr_is_not_small_arr():
    for preset in ("value-tier", "value-tier-five"):
        unknown, nothing = scoring.evaluate(scoring.preset(preset), {}, {"arr": 0})
        assert (unknown["segment"], unknown["reason"]) == (None, "missing:arr")
        assert nothing["segment"] in ("smb", "self-serve")


def test_size_and_value():
    document = scoring.preset("value-tier-size")
    tiers = TIERS["size_and_value"]
    assert {rule.segment: rule.when or "else" for rule in document.rules} == {
        key(n): w for n, w in tiers.items()
    }
    cases = [
        (1000, 100000, "enterprise"),
        (999, 100000, "mid-market"),
        (1000, "99999.99", "mid-market"),
        (100, 10000, "mid-market"),
        (99, 10000, "smb"),
        (100, "9999.99", "smb"),
    ]
    for employees, acv, segment in cases:
        [result] = scoring.evaluate(document, {"employees": employees, "acv": acv})
        assert result["segment"] == segment, (employees, acv)
    for row, fact in (({"acv": 5}, "employees"), ({"employees": 5}, "acv")):
        assert scoring.evaluate(document, row)[0]["reason"] == f"missing:{fact}"


# -- missing data, in the default service tier

SOME = {"login_days_30d": 20, "industry": "SaaS", "arr": 120000, "account_age_days": 400}
MISSING = [  # (missing fact, what else is known, points, fallback)
    ("feature_adoption", {}, 3, "assume"),
    ("seat_use", {}, 3, "assume"),
    ("workflow_maturity", {}, 3, "assume"),
    ("integrations_live", {}, 3, "assume"),
    ("nps", {}, None, "skip"),
    ("engagement_score", {"onboarding_completion": "0.95"}, 5, "rate"),
    ("engagement_score", {"onboarding_completion": "0.10"}, 1, "rate"),
    ("engagement_score", {}, None, "skip"),
    ("industry", {"industry": None, "employees": 5}, None, "skip"),
    ("employees", {"arr": "100000"}, 5, "rate"),
    ("employees", {"arr": "99999.99"}, 3, "rate"),
    ("employees", {"arr": "25000"}, 3, "rate"),
    ("employees", {"arr": "24999.99"}, 1, "rate"),
    ("country", {"billing_country": "US"}, 5, "rate"),
    ("country", {"billing_country": "brazil"}, 2, "rate"),
    ("country", {}, None, "skip"),
    ("growth_stage", {}, 1, "assume"),
    ("expansion_ratio", {}, 2, "assume"),
    ("contract_type", {}, None, "skip"),
    ("strategic_importance", {}, 3, "assume"),
]


@pytest.mark.parametrize(("fact", "known", "points", "fallback"), MISSING)
def test_missing_data(fact, known, points, fallback):
    [result] = scoring.evaluate(scoring.preset("service-tier"), SOME | known)
    assert result[f"points.{fact}"] == points
    assert result[f"fallback.{fact}"] == fallback


def test_missing_data_policies_are_the_methodology_ones():
    theirs = METHODOLOGY["missing_data"]
    ours = {criterion.key: criterion.missing.text for criterion in scoring.preset("service-tier").criteria}
    assert ours["employees"] == theirs["employees"].strip()
    assert ours["nps"] == theirs["nps"]
    assert ours["industry"] == theirs["industry"].split(",")[0]
    for fact in ("expansion_ratio", "strategic_importance"):
        assert ours[fact] == theirs[fact]
    for usage in ("login_days_30d", "feature_adoption", "seat_use", "workflow_maturity", "integrations_live"):
        assert ours[usage] == theirs["product_usage"]


def test_poor_data_is_unsegmented_with_a_reason():
    """Industry and employees must be known (a policy of the team): what lacks them is listed, nothing is dropped."""
    data = scoring.preset("service-tier").freeze()
    for criterion in data["dimensions"][0]["criteria"][:2]:
        criterion["missing"] = "needs data"
    document = definitions.parse(data, types=scoring.TYPES)
    blanks = [(None if i < 35 else "SaaS", None if i % 2 else 500) for i in range(100)]
    results = scoring.evaluate(document, *(SOME | {"industry": one, "employees": two} for one, two in blanks))
    assert len(results) == 100
    for (industry, employees), result in zip(blanks, results, strict=True):
        reason = (
            "missing:employees" if employees is None else "missing:industry" if industry is None else None
        )
        # With neither (and no country): the score group has no fact at all only if nothing else is known.
        known = industry is not None or employees is not None
        assert result["reason"] == (reason if known else "no facts:firmographic")
        assert (result["segment"] is None) == (result["reason"] is not None)


def test_new_account():
    """No usage, age 0: provisional for 30 days on firmographic and value, then decided in full."""
    case = METHODOLOGY["cases"]["new_account"]
    assert case["facts"] == "no usage"
    facts = {"industry": "SaaS", "employees": 1200, "arr": 130000, "account_age_days": case["age_days"]}
    usage = {"login_days_30d": 1, "account_age_days": 30}
    new, grown = scoring.evaluate(scoring.preset("service-tier"), facts, facts | usage)
    assert (new["provisional"], new["score.behavioural"]) == (True, None)
    assert new["segment"] is not None
    assert (grown["provisional"], grown["score.behavioural"] is None) == (False, False)
