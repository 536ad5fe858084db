"""A condition as rows and as text is the same condition, or there are no rows."""

import random

import polars as pl
import pytest
from random_conditions import FIRST, TEXTS, TYPES, Writer, accounts, frame

from segmentation.rules import conditions
from segmentation.rules.condition_rows import OPERATORS, RowErrors, kind_of, to_rows, to_text
from segmentation.rules.conditions import ConditionError

SAID = [
    # text as typed, rows (field operator values; a list is a group), text as written
    ("arr >= 100000", ["all", "arr >= 100000"], "arr >= 100000"),
    ("composite >= 4.0", ["all", "composite >= 4.0"], "composite >= 4.0"),
    ("100000 <= ARR", ["all", "arr >= 100000"], "arr >= 100000"),
    ("arr > -5.50", ["all", "arr > -5.50"], "arr > -5.50"),
    ("industry = 'it''s'", ["all", "industry = it's"], "industry = 'it''s'"),
    ("industry IN ('SaaS', 'a, b')", ["all", "industry in SaaS|a, b"], "industry IN ('SaaS', 'a, b')"),
    ("NOT industry IN ('SaaS')", ["all", "industry not in SaaS"], "industry NOT IN ('SaaS')"),
    ("industry LIKE '%aa%'", ["all", "industry contains aa"], "industry LIKE '%aa%'"),
    ("industry NOT LIKE 'Sa%'", ["all", "industry not starts Sa"], "industry NOT LIKE 'Sa%'"),
    ("industry LIKE 'SaaS'", ["all", "industry = SaaS"], "industry = 'SaaS'"),
    ("renewal_date < '2026-03-01'", ["all", "renewal_date < 2026-03-01"], "renewal_date < DATE '2026-03-01'"),
    (
        "renewal_date BETWEEN DATE '2026-01-01' AND '2026-03-01'",
        ["all", "renewal_date between 2026-01-01|2026-03-01"],
        "renewal_date BETWEEN DATE '2026-01-01' AND DATE '2026-03-01'",
    ),
    ("flag", ["all", "flag yes"], "flag"),
    ("NOT flag", ["all", "flag no"], "NOT flag"),
    ("flag <> TRUE", ["all", "flag no"], "NOT flag"),
    ("NOT flag IS TRUE", ["all", "flag not yes"], "flag IS NOT TRUE"),
    ("NOT arr IS NULL", ["all", "arr known"], "arr IS NOT NULL"),
    ("points.nps = 5 OR flag", ["any", "points.nps = 5", "flag yes"], "points.nps = 5 OR flag"),
    ("flag AND (arr > 1 AND acv > 2)", ["all", "flag yes", "arr > 1", "acv > 2"], "flag AND arr > 1 AND acv > 2"),
    (
        "arr > 1 AND (flag OR acv > 2)",
        ["all", "arr > 1", ["any", "flag yes", "acv > 2"]],
        "arr > 1 AND (flag OR acv > 2)",
    ),
    (
        "arr > 1 AND flag OR acv > 2",
        ["any", ["all", "arr > 1", "flag yes"], "acv > 2"],
        "(arr > 1 AND flag) OR acv > 2",
    ),
    ("", ["all"], ""),
]  # fmt: skip


def said(group):
    """A group in short."""
    return [group["join"]] + [
        said(one) if "rows" in one else f"{one['field']} {one['operator']} {'|'.join(one['values'])}".strip()
        for one in group["rows"]
    ]


@pytest.mark.parametrize(("text", "rows", "written"), SAID, ids=[text for text, _, _ in SAID])
def test_rows_and_text(text, rows, written):
    found = to_rows(text, TYPES)
    assert said(found) == rows
    assert to_text(found, TYPES) == written
    assert to_rows(written, TYPES) == found


@pytest.mark.parametrize(
    "text",
    [
        "arr > acv",
        "arr + 1 > 2",
        "arr / employees > 3",
        "1 = 1",
        "COALESCE(arr, 0) > 1",
        "NOT (flag AND arr > 1)",
        "flag = (arr > 1)",
        "(arr > 1) IS NULL",
        "industry = ''",
        "industry = region",
        "industry LIKE '%'",
        "flag AND (arr > 1 OR (acv > 2 AND acv < 3))",
        "renewal_date - contract_start > 30",
        " OR ".join(["arr > 1"] * 51),
        "arr >",
        "nonsense > 1",
    ],
)
def test_what_rows_cannot_show(text):
    assert to_rows(text, TYPES) is None


WRONG = [
    # row, what is said
    ({"field": "", "operator": ">="}, "Choose a data field."),
    ({"field": "nonsense", "operator": ">="}, "There is no data field 'nonsense'."),
    ({"field": "arr", "operator": "contains"}, "Choose what is asked"),
    ({"field": "arr", "operator": ">="}, "Give a value."),
    ({"field": "arr", "operator": ">=", "values": ["1 OR TRUE"]}, "is no number"),
    ({"field": "arr", "operator": ">=", "values": ["1e999"]}, "is no number"),
    ({"field": "arr", "operator": ">=", "values": ["١٢"]}, "is no number"),
    ({"field": "arr", "operator": ">=", "values": ["1" * 30]}, "too many digits"),
    ({"field": "arr", "operator": "between", "values": ["1"]}, "Give both values"),
    ({"field": "arr", "operator": "in", "values": ["", ""]}, "Give a value."),
    ({"field": "renewal_date", "operator": "<", "values": ["01/02/2026"]}, "is no date"),
    ({"field": "renewal_date", "operator": "<", "values": ["2026-02-30"]}, "is no date"),
    ({"field": "industry", "operator": "contains", "values": ["50%"]}, "cannot be looked for"),
    ({"field": "industry", "operator": "=", "values": ["a\x00"]}, "cannot be stored"),
    ({"field": "arr"}, "cannot be read"),
    ({"field": 1, "operator": ">=", "values": []}, "cannot be read"),
    ("arr", "cannot be read"),
    ({"join": "any", "rows": []}, "Add a row, or remove the group."),
    ({"join": "any", "rows": [{"join": "any", "rows": []}]}, "not in another group"),
    ({"join": "xor", "rows": []}, "cannot be read"),
    ({"join": "all", "rows": 5}, "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "message"), WRONG, ids=[str(row)[:60] for row, _ in WRONG])
def test_what_is_wrong_stands_at_the_row(row, message):
    if isinstance(row, dict) and "operator" in row:
        row = {"values": []} | row
    good = {"field": "flag", "operator": "yes", "values": []}
    with pytest.raises(RowErrors) as errors:
        to_text({"join": "all", "rows": [good, row]}, TYPES)
    [(path, said)] = errors.value.problems
    assert message in said
    # A fault that only the whole text shows is said of all rows.
    assert path.split(".")[0] == ("" if message in ("too many digits", "cannot be stored") else "1")


@pytest.mark.parametrize("group", [None, [], {}, "x", {"join": "all"}, {"join": "all", "rows": {}}])
def test_no_rows_at_all(group):
    with pytest.raises(RowErrors):
        to_text(group, TYPES)


def test_an_injected_value_stays_a_value():
    text = to_text(
        {"join": "all", "rows": [{"field": "industry", "operator": "=", "values": ["x' OR 'a' = 'a"]}]}, TYPES
    )
    assert text == "industry = 'x'' OR ''a'' = ''a'"
    assert to_rows(text, TYPES)["rows"][0]["values"] == ["x' OR 'a' = 'a"]


# -- at random


def random_row(chance):
    name, type = chance.choice(list(TYPES.items()))
    kind = kind_of(type)
    operator = chance.choice(OPERATORS[kind])[0]
    count = {"between": 2, "not between": 2, "in": 3, "not in": 3}.get(operator, 1)
    values = [random_value(kind, operator, chance) for _ in range(count)]
    return {"field": name, "operator": operator, "values": values if _takes_values(operator) else []}


def _takes_values(operator):
    return not operator.endswith(("known", "yes", "no"))


def random_value(kind, operator, chance):
    if kind == "date":
        return str(FIRST.replace(year=chance.randint(2023, 2026)))
    if kind == "text":
        return chance.choice([one for one in TEXTS if one and not set(one) & set("%_\\")])
    return chance.choice(["0", "1", "2.50", "-5", "100000", "99999.99", "-0.000001", "4.0"])


def random_group(chance, *, outermost=True):
    rows = [
        random_group(chance, outermost=False) if outermost and chance.random() < 0.3 else random_row(chance)
        for _ in range(chance.randint(2, 4))
    ]
    return {"join": chance.choice(["all", "any"]), "rows": rows}


def holds(text, facts):
    condition = conditions.compile(text, TYPES)
    return facts.select(id=0, holds=condition.expr)["holds"].fill_null(False)


def test_any_rows_survive_as_text():
    """Rows -> text -> rows -> text says the same, and so do the rows but for groups that only repeat the join round them."""
    chance = random.Random(7)
    facts = frame(accounts(chance, 60))
    for _ in range(400):
        group = random_group(chance)
        text = to_text(group, TYPES)
        again = to_rows(text, TYPES)
        assert again is not None, text
        assert holds(to_text(again, TYPES), facts).equals(holds(text, facts)), text
        joins = {one["join"] for one in group["rows"] if "rows" in one}
        if group["join"] not in joins:
            assert again == group


def test_any_text_survives_as_rows():
    """Text -> rows -> text holds for the same accounts."""
    chance = random.Random(8)
    facts, writer, shown = frame(accounts(chance, 60)), Writer(chance, deepest=2), 0
    for _ in range(1_000):
        text = writer.condition().ours
        try:
            conditions.compile(text, TYPES)
        except ConditionError:
            assert to_rows(text, TYPES) is None
            continue
        rows = to_rows(text, TYPES)
        if rows is not None:
            shown += 1
            written = to_text(rows, TYPES)
            assert holds(written, facts).equals(holds(text, facts)), (text, written)
            assert to_rows(written, TYPES) == rows
    assert shown > 100


def test_a_row_asks_what_its_words_say():
    """Each operator against plain Python over the same accounts."""
    chance = random.Random(9)
    facts = frame(accounts(chance, 60))
    asked = {
        ("arr", ">="): lambda value: value is not None and value >= 100000,
        ("arr", "not in"): lambda value: value is not None and value not in (0, 100000),
        ("arr", "unknown"): lambda value: value is None,
        ("industry", "starts"): lambda value: value is not None and value.startswith("S"),
        ("industry", "not contains"): lambda value: value is not None and "S" not in value,
        ("flag", "no"): lambda value: value is False,
        ("flag", "not yes"): lambda value: value is not True,
    }
    values = {">=": ["100000"], "not in": ["0", "100000"], "starts": ["S"], "not contains": ["S"]}
    for (name, operator), expected in asked.items():
        row = {"field": name, "operator": operator, "values": values.get(operator, [])}
        found = holds(to_text({"join": "all", "rows": [row]}, TYPES), facts)
        assert found.to_list() == [expected(value) for value in facts[name]], (name, operator)
        assert found.dtype == pl.Boolean
