"""Rubric notation: what is typed, what it earns, what is refused, and that printing loses nothing."""

from datetime import date
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.catalogue import DTYPES
from segmentation.rules import rubric


def points(cells, type, *values):
    """The points each value earns."""
    values = [
        Decimal(value) if type in ("money", "ratio", "number") and value is not None else value
        for value in values
    ]
    frame = pl.DataFrame({"value": pl.Series(values, dtype=DTYPES[type])})
    return frame.select(rubric.parse(cells, type).points(pl.col("value")).alias("points"))["points"].to_list()


EARNED = [
    # more earns more; only the lower bounds decide, so there are no gaps
    (
        "money",
        ["$100K+", "$50K-$99K", "$25K-$49K", "$10K-$24K", "< $10K"],
        {"99500": 4, "49500": 3, "0": 1, "-5": 1},
    ),
    ("money", ["25 lakh+", "5 lakh to 24 lakh", "", "", "*"], {"2500000": 5, "499999.99": 1}),
    (
        "money",
        ["> 2,500,000", ">= 500000", "", "", "< 500000"],
        {"2500000": 4, "2500000.01": 5, "499999.99": 1},
    ),
    ("money", ["10,00,000+", "", "", "", "₹0+"], {"999999.99": 1, "1000000": 5, "-1": None}),
    ("ratio", ["2x+", "1.5x", "1.2x", "1.0x", "< 1.0x"], {"0.999999": 1, "1": 2, "1.5": 4, "2": 5}),
    (
        "ratio",
        ["70%+", "50%-69%", "", "10% – 49%", "< 10%"],
        {"0.7": 5, "0.699": 4, "0.5": 4, "0.1": 2, "0.0999": 1},
    ),
    ("number", ["1.2M", "", "-1.5", "", ""], {"1200000": 5, "0": 3, "-1.500001": None}),
    # fewer earn more
    ("number", ["0-1", "2-4", "5-9", "10-19", "20+"], {"0": 5, "1.5": 5, "2": 4, "20": 1, "-1": None}),
]


@pytest.mark.parametrize(("type", "cells", "expected"), EARNED)
def test_points_of_ordered_facts(type, cells, expected):
    assert dict(zip(expected, points(cells, type, *expected), strict=True)) == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["50+", "20-49", "0-19", "-30--1", "< -30"], {-31: 1, -30: 2, -1: 2, 0: 3, 19: 3, 50: 5}),
        (["0.5+", "", "", "", "*"], {0: 1, 1: 5}),  # half an employee is one
        (["> 10", "", "", "", "<= 10"], {10: 1, 11: 5}),
    ],
)
def test_points_of_whole_numbers(cells, expected):
    assert dict(zip(expected, points(cells, "integer", *expected), strict=True)) == expected


def test_points_of_dates():
    cells = ["2026-01-01+", "2025-07-01 to 2025-12-31", "", "", "< 2025-07-01"]
    days = [date(2026, 1, 1), date(2025, 12, 31), date(2025, 7, 1), date(2025, 6, 30), None]
    assert points(cells, "date", *days) == [5, 4, 4, 1, None]


def test_points_of_text():
    cells = ["SaaS, FinTech", '"Oil, Gas", Énergie', "", "*", "unknown"]
    values = [" saas", "FINTECH\n", "oil, gas", "éNERGIE", "Retail", "Unknown", "  ", "", None]
    assert points(cells, "text", *values) == [5, 5, 4, 4, 2, 1, None, None, None]
    assert points(["SaaS", "", "", "", ""], "text", "Retail") == [None]  # nothing else earns


def test_points_of_booleans():
    assert points(["true", "", "", "", "*"], "boolean", True, False, None) == [5, 1, None]


def test_missing_earns_nothing():
    for type in DTYPES:
        assert points(["*", "", "", "", ""], type, None) == [None]


REFUSED = [
    # type, cells, the cell that is named, what is said
    ("integer", ["100+", "50-120", "", "", ""], 1, "'50-120' overlaps '100+'"),
    ("integer", ["100+", "50-100", "", "", ""], 1, "overlaps"),
    ("integer", ["100+", "", "50-90", "", ""], 2, "ends before '100+' starts"),
    ("integer", ["100+", "< 50", "", "", ""], 1, "ends before"),
    ("integer", ["100+", "500+", "200+", "", ""], 2, "points must go one way"),
    ("integer", ["100+", "100+", "", "", ""], 1, "points must go one way"),
    ("integer", ["100+", "", "", "< 50", "*"], 4, "only one cell can"),
    ("integer", ["99-50", "", "", "", ""], 0, "starts above its end"),
    ("integer", ["many", "", "", "", ""], 0, "is not a number"),
    ("integer", ["", "", "", "", ""], 0, "all cells are empty"),
    ("integer", ["1,00+", "", "", "", ""], 0, "is not a number"),
    ("integer", ["1e5", "", "", "", ""], 0, "is not a number"),
    ("integer", ["NaN", "", "", "", ""], 0, "is not a number"),
    ("integer", ["1" * 25, "", "", "", ""], 0, "too large"),
    ("integer", ["٣+", "", "", "", ""], 0, "is not a number"),
    ("integer", ["$5+", "", "", "", ""], 0, "currency"),
    ("money", ["40%", "", "", "", ""], 0, "ends with %"),
    ("number", ["0.0000000000001+", "", "", "", ""], 0, "12 decimals"),
    ("date", ["01/02/2024+", "", "", "", ""], 0, "is not a date"),
    ("date", ["2024-02-30+", "", "", "", ""], 0, "is not a date"),
    ("text", ["SaaS", "saas ", "", "", ""], 1, "also in 'SaaS'"),
    ("text", ["SaaS, saas", "", "", "", ""], 0, "twice"),
    ("text", ["SaaS,, Retail", "", "", "", ""], 0, "empty entry"),
    ("text", ['"SaaS', "", "", "", ""], 0, "unclosed quote"),
    ("text", ["*", "*", "", "", ""], 1, "also in"),
    ("boolean", ["maybe", "", "", "", ""], 0, "neither true nor false"),
    ("integer", ["1"] * 6, 5, "five cells"),
]


@pytest.mark.parametrize(("type", "cells", "index", "message"), REFUSED)
def test_refused(type, cells, index, message):
    with pytest.raises(rubric.RubricError) as error:
        rubric.parse(cells, type)
    assert error.value.problems[0][0] == index
    assert message in error.value.problems[0][1]


def test_all_wrong_cells_are_named_at_once():
    with pytest.raises(rubric.RubricError) as error:
        rubric.parse(["many", "10+", "few", "", ""], "integer")
    assert [index for index, _ in error.value.problems] == [0, 2]


# -- a cell printed and parsed again is the same

numbers = st.decimals(min_value=-(10**9), max_value=10**9, places=2).map(lambda value: f"{value:f}")
suffixed = st.builds(
    lambda value, suffix: f"{value}{suffix}",
    st.integers(0, 9999),
    st.sampled_from(["K", "M", " lakh", " crore", "B"]),
)
texts = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12)
quoted = texts.map(lambda text: '"' + text.replace('"', '""') + '"')
CELLS = {
    "money": st.one_of(
        st.builds("{}{}".format, st.sampled_from([">= ", "> ", "< ", "<= ", ""]), numbers | suffixed),
        st.builds("{}+".format, suffixed),
        st.builds(lambda low, more: f"{low} to {low + more}.99", st.integers(-500, 500), st.integers(0, 500)),
        st.builds(lambda low, more, suffix: f"{low}{suffix}-{low + more}{suffix}", st.integers(0, 500), st.integers(0, 500), st.sampled_from(["K", "M", " lakh"])),
    ),
    "ratio": st.builds(lambda low, more, unit: f"{low}{unit} - {low + more}.5{unit}", st.integers(0, 50), st.integers(0, 50), st.sampled_from(["%", "x"])),
    "date": st.builds("{}{}".format, st.sampled_from([">= ", "> ", "< ", "<= ", ""]), st.dates().map(date.isoformat)),
    "text": st.lists(quoted, min_size=1, max_size=4).map(", ".join),
    "boolean": st.sampled_from(["true", "false", "true, false", "*", ""]),
}  # fmt: skip


@given(st.data(), st.sampled_from(sorted(CELLS)))
def test_a_cell_printed_and_parsed_again_is_the_same(data, type):
    typed = data.draw(CELLS[type])
    try:
        cell = rubric.parse_cell(typed, type)
    except rubric.CellError:
        return  # two names that are one without case, blanks only
    assert rubric.parse_cell(rubric.to_text(cell, type), type) == cell
