"""A definition's document: what is refused and how that is said; frozen, hashed, written and read again."""

import pytest
import scoring

from accounts.catalogue import TYPES
from segmentation.rules import definitions, document_text
from segmentation.rules.document import DocumentErrors

SEGMENTS = {"high", "low"}


def draft(**changes):
    """A complete document as plain data, with some parts replaced (None: taken out)."""
    data = {
        "weights": {"fit": "0.40", "use": "0.60"},
        "dimensions": [
            {
                "key": "fit",
                "criteria": [{"key": "employees", "cells": ["1,000+", "500-999", "", "", "< 500"]}],
            },
            {
                "key": "use",
                "criteria": [{"key": "nps", "cells": ["50+", "", "", "", "*"], "missing": "assume 3"}],
            },
        ],
        "rules": [{"segment": "high", "when": "composite >= 4.0"}, {"segment": "low"}],
    }
    return {key: value for key, value in (data | changes).items() if value is not None}


def problems(**changes):
    found = definitions.problems(draft(**changes), types=TYPES, segments=SEGMENTS)
    return {problem.path: problem.message for problem in found}


def dimension(**changes):
    """`problems` of a document whose one score group has some parts replaced."""
    criterion = {"key": "employees", "cells": ["1,000+", "", "", "", "< 1000"]}
    return problems(weights=None, dimensions=[{"key": "fit", "criteria": [criterion]} | changes])


def criterion(**changes):
    """`problems` of a document whose one measure has some parts replaced, with paths below it."""
    scale = changes.pop("scale", "mean")
    base = {"key": "employees", "cells": ["1,000+", "", "", "", "< 1000"]}
    found = dimension(criteria=[base | changes], scale=scale)
    return {path.removeprefix("dimensions.0.criteria.0."): message for path, message in found.items()}


def test_a_complete_document_has_no_problems():
    assert problems() == {}


WEIGHTS = [
    ({"fit": "0.33", "use": "0.33"}, "weights", "add up to 0.66; they must add up to exactly 1"),
    ({"fit": "-0.4", "use": "1.4"}, "weights.fit", "not a weight"),
    ({"fit": "NaN", "use": "1"}, "weights.fit", "not a weight"),
    ({"fit": "1e0", "use": "0"}, "weights.fit", "not a weight"),
    ({"fit": "1.0001", "use": "0"}, "weights.fit", "from 0 to 1"),
    ({"fit": "0.40001", "use": "0.59999"}, "weights.fit", "at most 4 decimals"),
    ({"fit": "1"}, "weights", "Say what 'use' counts"),
    ({"fit": "0.4", "use": "0.6", "fitt": "0"}, "weights.fitt", "no score group 'fitt'. Did you mean 'fit'"),
    ("half each", "weights", "names each score group"),
]


@pytest.mark.parametrize(("weights", "path", "message"), WEIGHTS)
def test_weights(weights, path, message):
    assert message in problems(weights=weights)[path]


RULES = [
    ([], "rules", "at least one rule"),
    ([{"when": "composite > 1"}], "rules.0.segment", "which segment"),
    ([{"segment": "hihg"}], "rules.0.segment", "no segment 'hihg'. Did you mean 'high'"),
    ([{"segment": "high"}, {"segment": "low"}], "rules.0.when", "it can only be the last"),
    (
        [{"segment": "high", "when": "compsite > 4"}],
        "rules.0.when",
        "Did you mean 'composite'? (at character 1)",
    ),
    ([{"segment": "high", "when": "score.usage > 4"}], "rules.0.when", "Did you mean 'score.use'"),
    ([{"segment": "high", "when": "arr >= AND"}], "rules.0.when", "Cannot read"),
    ([{"segment": "high", "from": ["lwo"]}], "rules.0.from.0", "Did you mean 'low'"),
    ([{"segment": "high", "top": "many by arr"}], "rules.0.top", "50 by arr"),
    ([{"segment": "high", "top": "50 by industry"}], "rules.0.top", "no number"),
    ([{"segment": "high", "key": "High One"}], "rules.0.key", "is no key"),
    ([{"segment": "high", "key": ["high"]}], "rules.0.key", "is no key"),
    (
        [{"segment": "high", "key": "a", "when": "TRUE"}, {"segment": "low", "key": "a"}],
        "rules.1.key",
        "two rules",
    ),
    ([{"segment": "high", "wen": "TRUE"}], "rules.0.wen", "Did you mean 'when'"),
    (["high"], "rules.0", "named parts"),
]


@pytest.mark.parametrize(("rules", "path", "message"), RULES)
def test_rules(rules, path, message):
    assert message in problems(rules=rules)[path]


CRITERIA = [
    ({"key": "employes"}, "key", "Did you mean 'employees'"),
    ({"key": "size", "fact": "employes"}, "fact", "Did you mean 'employees'"),
    ({"key": "Größe", "fact": "employees"}, "key", "is no key"),
    ({"key": ""}, "key", "Give the measure a key"),
    ({"weight": "-1"}, "weight", "not a weight"),
    ({"weight": "0.00001"}, "weight", "4 decimals"),
    ({"weight": "2", "scale": "points", "missing": "needs data"}, "weight", "every measure counts once"),
    ({"scale": "points"}, "missing", "cannot leave out"),
    ({"scale": "points", "missing": "skip"}, "missing", "cannot leave out"),
    ({"cells": ["100+", "50-120"]}, "cells.1", "Cell 2: '50-120' overlaps '100+'."),
    ({"cells": ["100+", "many", "?"]}, "cells.2", "Cell 3"),
    ({"cells": ["1"] * 6}, "cells.5", "five cells"),
    ({"cells": "100+"}, "cells", "list of five"),
    ({"cells": []}, "cells.0", "all cells are empty"),
    ({"missing": "guess"}, "missing", "Write skip, assume 3, needs data"),
    ({"missing": "assume 6"}, "missing", "is not known"),
    ({"missing": "rate arrr: 1+ = 5"}, "missing", "Did you mean 'arr'"),
    ({"missing": "rate arr: 1+ = 7"}, "missing", "cannot read '1+ = 7'"),
    ({"missing": "rate arr: 1+ = 5, 2+ = 5"}, "missing", "5 points are there twice"),
    ({"missing": "rate arr: lots = 5"}, "missing", "For 5 points: 'lots' is not a number"),
    ({"colour": "red"}, "colour", "is not known here"),
    ({"name": "a\x00b"}, "name", "cannot be stored"),
    ({"name": "\ud800"}, "name", "cannot be stored"),
]


@pytest.mark.parametrize(("changes", "path", "message"), CRITERIA)
def test_criteria(changes, path, message):
    assert message in criterion(**changes)[path]


DIMENSIONS = [
    ({"criteria": []}, "criteria", "at least one measure"),
    ({"criteria": [{"key": "nps", "weight": "0", "cells": ["1+"]}]}, "criteria", "weight above 0"),
    ({"criteria": [{"key": "nps", "cells": ["1+"]}] * 2}, "criteria.1.key", "two with the key 'nps'"),
    ({"scale": "product"}, "scale", "'mean' or 'points'"),
    ({"key": "Fit!"}, "key", "is no key"),
    ({"maturity": {"after_days": "soon"}}, "maturity.after_days", "number of days"),
    ({"maturity": {"after_days": "0"}}, "maturity.after_days", "number of days"),
    ({"maturity": {"after_days": "30", "needs_data_after_days": "5"}}, "maturity.needs_data_after_days", "not be earlier"),
    ({"maturity": {"after_days": "30", "until_then": "hope"}}, "maturity.until_then", "'skip' or 'assume 3'"),
    ({"maturity": {"days": "30", "after_days": "3"}}, "maturity.days", "not known"),
    ({"maturity": "30"}, "maturity", "has the parts"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "path", "message"), DIMENSIONS)
def test_dimensions(changes, path, message):
    assert message in dimension(**changes)[f"dimensions.0.{path}"]


def test_everything_wrong_is_told_at_once():
    data = draft(weights={"fit": "1"}, rules=[{"segment": "none"}], requires=["arrr"])
    with pytest.raises(DocumentErrors) as errors:
        definitions.parse(data, types=TYPES, segments=SEGMENTS)
    assert {problem.path for problem in errors.value.problems} == {"weights", "rules.0.segment", "requires.0"}


def test_what_is_too_long_to_score_exactly_is_refused():
    shares = [{"key": f"m{n}", "fact": "nps", "weight": f"9{n}.9999", "cells": ["1+"]} for n in range(10)]
    keys = "abcdefgh"
    dimensions = [
        {"key": key, "criteria": [share | {"key": f"{key}{share['key']}"} for share in shares]}
        for key in keys
    ]
    weights = dict(zip(keys, ["0.1249", "0.1251"] * 4, strict=True))
    assert "to score exactly" in problems(weights=weights, dimensions=dimensions)["weights"]


@pytest.mark.parametrize(
    "data",
    [
        *(None, [], 5, "", "just text"),
        *({"weights": []}, {"dimensions": {"a": 1}}, {"dimensions": [[]]}, {"rules": "x"}),
        {"dimensions": [{"key": ["a"], "criteria": [{"key": {}, "cells": [["a"]], "missing": []}], "maturity": []}]},
        {"requires": [["a"]], "weights": {"a": ["1"]}, "rules": [{"segment": [], "when": {}}]},
        {"requires": ["arr"] * 300},
        {"rules": [{"a": [[[[[[[[[[[[1]]]]]]]]]]]]}]},
    ],
)  # fmt: skip
def test_nonsense_is_told_not_raised(data):
    assert definitions.problems(data, types=TYPES)


def test_an_empty_draft_only_lacks_rules():
    assert [problem.path for problem in definitions.problems({}, types=TYPES)] == ["rules"]


# -- frozen


def test_freezing_keeps_numbers_as_typed_and_fills_in_defaults():
    frozen = definitions.parse(draft(), types=TYPES).freeze()
    assert frozen["weights"] == {"fit": "0.40", "use": "0.60"}
    assert frozen["dimensions"][0] == {
        "key": "fit",
        "scale": "mean",
        "criteria": [
            {
                "key": "employees",
                "fact": "employees",
                "weight": "1",
                "cells": ["1,000+", "500-999", "", "", "< 500"],
                "missing": "skip",
            }
        ],
    }


def test_the_hash_is_of_the_meaning_not_of_the_order_of_keys():
    plain = definitions.parse(draft(), types=TYPES)
    shuffled = dict(reversed(draft().items())) | {"weights": {"use": "0.60", "fit": "0.40"}}
    assert definitions.parse(shuffled, types=TYPES).hash == plain.hash
    assert definitions.parse(plain.freeze(), types=TYPES).hash == plain.hash
    other = draft(weights={"fit": "0.41", "use": "0.59"})
    assert definitions.parse(other, types=TYPES).hash != plain.hash


def test_the_frozen_form_cannot_be_changed_through_a_copy():
    document = definitions.parse(draft(), types=TYPES)
    document.freeze()["weights"]["fit"] = "1"
    assert document.freeze()["weights"]["fit"] == "0.40"


PRESETS = [
    "service-tier",
    "firmographic-points",
    "value-points",
    "value-tier",
    "value-tier-five",
    "value-tier-size",
]


@pytest.mark.parametrize("key", PRESETS)
def test_presets_round_trip_through_yaml(key):
    document = scoring.preset(key)
    text = document_text.to_yaml(document)
    again = definitions.parse(text, types=TYPES)
    assert again.freeze() == document.freeze()
    assert again == document
    if key == "service-tier":
        assert "behavioural: 0.40\n" in text


@pytest.mark.parametrize("key", PRESETS)
def test_presets_are_complete(key):
    """Each says what it is, and serves each of its segments in a way of its own."""
    data = document_text.from_yaml((scoring.PRESETS / f"{key}.yaml").read_text())
    models = document_text.from_yaml((scoring.PRESETS / "service-models.yaml").read_text())["service_models"]
    assert data["key"] == key
    assert (data["policy"], data["primary"]) == (
        ("approval", "true") if key == "service-tier" else ("automatic", "false")
    )
    treatments = [segment["treatment"] for segment in data["segments"]]
    served = [
        tuple(sorted((name, text) for name, text in one.items() if name not in ("key", "name")))
        for one in treatments
    ]
    assert len(set(served)) == len(served)
    assert {one["service_model"] for one in treatments} <= {model["key"] for model in models}
    assert {rule.segment for rule in scoring.preset(key).rules} == {
        segment["key"] for segment in data["segments"]
    }


def test_the_six_presets_of_old_are_there():
    assert {path.stem for path in scoring.PRESETS.glob("*.yaml")} >= {*PRESETS, "service-models"}


# -- YAML


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read (line 1)"),
        ("a: 1\na: 2", "'a' is there twice"),
        ("a: &x [1]\nb: *x", "references"),
        ("a: !!python/object:os.system x", "cannot be read"),
        ("[" * 5000, "cannot be read"),
        ("x" * 300_000, "longer than"),
        ("? [a]\n: b", "cannot be read"),
    ],
)
def test_yaml_refused(text, message):
    with pytest.raises(DocumentErrors) as errors:
        document_text.from_yaml(text)
    assert message in str(errors.value) or "nested too deeply" in str(errors.value)


def test_yaml_scalars_stay_as_typed():
    text = "a: 0.40\nb: 1_000\nc: yes\nd: null\ne: 2026-01-01\nf: 010\ng: .5\nh: 1e3"
    expected = {
        "a": "0.40",
        "b": "1_000",
        "c": "yes",
        "d": "null",
        "e": "2026-01-01",
        "f": "010",
        "g": ".5",
        "h": "1e3",
    }
    assert document_text.from_yaml(text) == expected


def test_an_alternative_fact_may_be_text_with_commas():
    text = 'rate billing_country: US, "Korea, South" = 5; * = 3'
    assert "missing" not in criterion(missing=text)
    data = draft(
        weights=None,
        dimensions=[
            {"key": "fit", "criteria": [draft()["dimensions"][0]["criteria"][0] | {"missing": text}]}
        ],
    )
    missing = definitions.parse(data, types=TYPES).criteria[0].missing
    assert missing.rubric.cells[0].values == ("us", "korea, south")


def test_facts_are_those_an_evaluation_needs():
    assert scoring.preset("value-tier-size").facts == ("employees", "acv")
    assert scoring.preset("value-points").facts == (
        "arr",
        "expansion_ratio",
        "contract_type",
        "strategic_importance",
    )
    assert scoring.preset("service-tier").facts[:3] == ("employees", "arr", "industry")
    assert "account_age_days" in scoring.preset("service-tier").facts
