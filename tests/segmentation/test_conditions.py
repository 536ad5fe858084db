"""Rule conditions mean what they mean in PostgreSQL, or are refused with a sentence and a place."""

from datetime import date
from decimal import Decimal
from itertools import product

import polars as pl
import pytest
from django.db import connection

from accounts.catalogue import DTYPES, TYPES
from segmentation.rules import conditions
from segmentation.rules.conditions import Comparison, ConditionError

# A column of each type, each with NULL, in every combination.
COLUMNS = {
    "arr": ("money", "numeric(38,2)", [None, "0", "100000", "99999.99", "-5.5"]),
    "employees": ("integer", "bigint", [None, 0, 3, 1000]),
    "seat_use": ("ratio", "numeric(38,6)", [None, "0.4", "1.5"]),
    "industry": ("text", "text", [None, "SaaS", "saas", "50% _ \\ it's"]),
    "contract_start": ("date", "date", [None, date(2026, 1, 1), date(2024, 2, 29)]),
    "flag": ("boolean", "boolean", [None, True, False]),
    "composite": ("score", "numeric(38,12)", [None, "4", "3.999999999999"]),
}
NAMES = {name: type for name, (type, _, _) in COLUMNS.items()}
ROWS = list(product(*(values for _, _, values in COLUMNS.values())))


@pytest.fixture(scope="module")
def frame():
    columns = {}
    for index, (name, (type, _, _)) in enumerate(COLUMNS.items()):
        dtype = pl.Decimal(38, 12) if type == "score" else DTYPES[type]
        values = [row[index] for row in ROWS]
        if isinstance(dtype, pl.Decimal):
            values = [None if value is None else Decimal(value) for value in values]
        columns[name] = pl.Series(values, dtype=dtype)
    return pl.DataFrame(columns)


@pytest.fixture
def oracle(db):
    """PostgreSQL's answer to a condition, row by row."""
    with connection.cursor() as cursor:
        columns = ", ".join(f"{name} {sql}" for name, (_, sql, _) in COLUMNS.items())
        cursor.execute(f"create temporary table facts (id serial, {columns}) on commit drop")
        with cursor.copy(f"copy facts ({', '.join(COLUMNS)}) from stdin") as copy:
            for row in ROWS:
                copy.write_row(row)

        def answer(condition):
            cursor.execute(f"select ({condition}\n)::boolean from facts order by id".replace("%", "%%"), [])
            return [value for (value,) in cursor.fetchall()]

        yield answer


SAME = [
    "arr >= 100000",
    "100000 <= arr",
    "arr > 99999.989999999999",
    "arr = 99999.990",
    "arr <> 0",
    "arr != 0 AND arr < 100000",
    "-arr > 5.49",
    "- - arr = 0",
    "arr + 5.5 = 0",
    "arr - employees >= 99997",
    "arr * seat_use > 39999.996",
    "arr * 2 - employees * 3 <> 0",
    "(arr + employees) * seat_use > 1",
    "arr * seat_use * seat_use * seat_use > 0.1",
    "arr BETWEEN 0 AND 99999.99",
    "arr NOT BETWEEN employees AND 99999.99",
    "arr IN (0, 100000, -5.5)",
    "arr NOT IN (0, employees)",
    "employees = 3",
    "employees > 2.5",
    "employees > -1",
    "seat_use > employees",
    "composite >= 4.0",
    "composite >= 3.999999999999",
    "composite < 4 OR flag",
    "industry = 'SaaS'",
    "industry <> 'SaaS'",
    "industry IN ('SaaS', 'Retail')",
    "industry NOT IN ('SaaS', 'Retail')",
    "industry = '50% _ \\ it''s'",
    "industry LIKE 'Sa%'",
    "industry LIKE '%aS'",
    "industry LIKE '%aa%'",
    "industry LIKE 'SaaS'",
    "industry LIKE '%'",
    "industry LIKE '%%'",
    "industry NOT LIKE 's%'",
    "NOT industry LIKE 's%'",
    "industry IS NULL",
    "industry IS NOT NULL",
    "NOT industry IS NULL",
    "arr IS NOT NULL AND employees IS NULL",
    "(arr + employees) IS NULL",
    "arr + employees IS NULL",
    "(arr > 0) IS NULL",
    "(arr > 0) IS NOT TRUE",
    "flag",
    "NOT flag",
    "flag IS TRUE",
    "flag IS NOT TRUE",
    "flag IS FALSE",
    "flag IS NOT FALSE",
    "flag = TRUE",
    "flag <> (arr > 0)",
    "flag IN (TRUE)",
    "flag = flag IS NULL",
    "NOT flag IS NULL = flag",
    "TRUE",
    "FALSE OR flag",
    "flag AND NOT flag",
    "flag OR NOT flag",
    "flag AND arr > 0 OR NOT flag AND arr <= 0",
    "NOT (flag AND arr > 0)",
    "NOT flag = (arr > 0)",
    "contract_start >= DATE '2026-01-01'",
    "contract_start < '2026-01-01'",
    "'2024-02-29' = contract_start",
    "contract_start IN ('2024-02-29', '2026-01-01')",
    "contract_start BETWEEN '2024-01-01' AND DATE '2024-12-31'",
    "contract_start - DATE '2024-01-01' > 100",
    "COALESCE(arr, 0) >= 0",
    "COALESCE(arr, employees, -1) < 0",
    "COALESCE(industry, 'none') = 'none'",
    "COALESCE(contract_start, '2020-01-01') < '2021-01-01'",
    "COALESCE(flag, FALSE)",
    "ARR > 0 and Employees > 0",
    'arr /* a comment */ > 0 AND "arr" < 5 -- another',
    " AND ".join(["arr > 0"] * 150),
]
DIVIDED = [  # ours, PostgreSQL's: by zero gives NULL, and / is never whole-number division
    ("arr / employees > 33.3", "arr / nullif(employees, 0) > 33.3"),
    ("employees / 2 = 1.5", "employees / 2.0 = 1.5"),
    ("arr / (employees - 3) > 0", "arr / nullif(employees - 3, 0) > 0"),
    ("(arr / employees) IS NULL", "(arr / nullif(employees, 0)) IS NULL"),
    ("arr / seat_use >= 250000", "arr / nullif(seat_use, 0) >= 250000"),
    ("arr / 3 < 33333.33", "arr / 3 < 33333.33"),
    ("arr / 0 = 1", "null::boolean"),
    ("arr / employees / 2 > 16", "arr / nullif(employees, 0) / 2 > 16"),
]


@pytest.mark.parametrize(
    ("ours", "theirs"), [*((text, text) for text in SAME), *DIVIDED], ids=lambda text: text[:60]
)
def test_agrees_with_postgresql(ours, theirs, frame, oracle):
    condition = conditions.compile(ours, NAMES)
    found = frame.select(rows=pl.col("arr"), x=condition.expr)["x"].to_list()  # constants take a row each too
    assert found == oracle(theirs)
    assert condition.overflow is None or not frame.select(condition.overflow.alias("x"))["x"].any()


REFUSED = [
    # what is typed, what is said, where
    ("arrr >= 5", "Did you mean 'arr'", 0),
    ("flag AND empoyees > 3", "Did you mean 'employees'", 9),
    ("points.nps > 3", "There is no 'points.nps'", 0),
    ("a.b.c > 1", "There is no 'a.b.c'", 0),
    ("arr > 'abc'", "Cannot compare a number with text", 0),
    ("arr = flag", "Cannot compare", 0),
    ("contract_start > 5", "Cannot compare a date with a number", 0),
    ("contract_start > '01/02/2024'", "is not a date", 0),
    ("contract_start > DATE '2024-02-30'", "is not a date", None),
    ("contract_start + 1 > '2024-01-01'", "Cannot calculate with a date", 0),
    ("industry > 'A'", "Text cannot be compared with >", 0),
    ("industry + 'A' = 'BA'", "Cannot calculate with text", 0),
    ("flag > TRUE", "cannot be compared with >", 0),
    ("arr", "must be true or false", 0),
    ("arr + 1", "must be true or false", 0),
    ("arr AND flag", "Expected true or false, found a number", 0),
    ("NOT arr", "Expected true or false", None),
    ("arr = NULL", "IS NULL", None),
    ("arr IN (1, NULL)", "IS NULL", None),
    ("arr IS 5", "cannot be used here", 0),
    ("arr IS TRUE", "never TRUE or FALSE", 0),
    ("1 < arr < 3", "parentheses", 0),
    ("flag = (arr > 0) = flag", "parentheses", None),
    ("arr < employees IN (1)", "parentheses", None),
    ("arr > 1e5", "plain number", 6),
    ("arr > 0x1F", "cannot be used here", None),
    ("arr > 1.0000000000001", "too many digits", 6),
    ("arr > 1234567890123456789", "too many digits", 6),
    ("composite * composite * composite > 1", "decimals", 0),
    ("industry LIKE 'a_b'", "at the start or the end", 0),
    ("industry LIKE 'a%b'", "at the start or the end", 0),
    ("industry LIKE industry", "cannot be used here", 0),
    ("industry ILIKE 'a'", "cannot be used here", 9),
    ("industry LIKE 'a' ESCAPE '!'", "cannot be used here", 18),
    ("industry ~ 'a'", "cannot be used here", 9),
    ("industry SIMILAR TO 'a'", "cannot be used here", 9),
    ("industry || 'x' = 'SaaSx'", "cannot be used here", 9),
    ("arr BETWEEN SYMMETRIC 5 AND 1", "cannot be used here", 0),
    ("arr IN (SELECT 1)", "cannot be used here", 8),
    ("arr IN ()", "cannot be used here", 0),
    ("arr = ANY(arr)", "cannot be used here", 6),
    ("EXISTS (SELECT 1)", "cannot be used here", None),
    ("arr IS DISTINCT FROM 5", "cannot be used here", 7),
    ("arr % 2 = 0", "cannot be used here", 4),
    ("arr ^ 2 > 1", "cannot be used here", 4),
    ("arr::integer > 1", "cannot be used here", 3),
    ("CAST(industry AS date) > '2024-01-01'", "cannot be used here", None),
    ("upper(industry) = 'SAAS'", "cannot be used here", None),
    ("sum(arr) > 5", "cannot be used here", None),
    ("pg_sleep(10) IS NULL", "cannot be used here", None),
    ("CURRENT_DATE > contract_start", "cannot be used here", None),
    ("CASE WHEN flag THEN TRUE END", "cannot be used here", None),
    ("arr > $1", "cannot be used here", 6),
    ("arr > :x", "cannot be used here", None),
    ("arr > 1; DROP TABLE facts", "", None),
    ("SELECT 1", "cannot be used here", None),
    ("arr > 1 AS x", "cannot be used here", None),
    ("arr >", "Cannot read", None),
    ("(arr > 1", "Cannot read", None),
    ("industry = 'abc", "quote", None),
    ("", "empty", 0),
    ("  \n", "empty", 0),
    ("-- only a comment", "empty", 0),
    ("flag;", "without a semicolon", 4),
    ("!flag", "cannot be used here", 0),
    ("arr == 5", "cannot be used here", 4),
    ("arr IN (1,)", "cannot be used here", 9),
    ("arr > 0 AND +flag", "cannot be used here", 12),
    ("industry = 'a\x00'", "cannot be stored", 13),
    ("industry = '\ud800'", "cannot be stored", 12),
    ("array[" * 60 + "arr" + "]" * 60, "cannot be used here", 0),
    ("struct(" * 30 + "arr" + ")" * 30, "cannot be used here", 0),
    ("(" * 14 + "flag" + " IN (flag, TRUE))" * 14, "inside each other", 0),
    ("arr / (" * 14 + "arr" + ")" * 14 + " > 0", "inside each other", 0),
    ("arr." * 490 + "arr > 0", "nested too deeply", None),
    ("label.health > 'good'", "cannot be compared with >", 0),
    ("label.health.more = 'good'", "There is no 'label.health.more'", 0),
    ("composite.health = 'good'", "Cannot compare a number with text", 0),
    ("(" * 33 + "flag" + ")" * 33, "parentheses inside each other", 32),
    ("(" * 900 + "flag" + ")" * 900, "parentheses inside each other", 32),
    ("NOT " * 400 + "flag", "nested too deeply", None),
    ("- " * 900 + "arr > 0", "nested too deeply", None),
    ("arr > 0 AND " * 200 + "flag", "longer than", 2000),
    ("+".join(["arr"] * 60) + " > 0", "nested too deeply", 0),
]


@pytest.mark.parametrize(("text", "message", "position"), REFUSED, ids=lambda value: str(value)[:50])
def test_refused_with_a_sentence(text, message, position):
    with pytest.raises(ConditionError) as error:
        conditions.compile(text, NAMES)
    assert message in error.value.message
    if position is not None:
        assert error.value.position == position


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_fact_can_be_named(name):
    condition = conditions.compile(f"{name} IS NOT NULL", TYPES)
    assert condition.names == {name}


def test_the_suggestion_is_given_apart():
    with pytest.raises(ConditionError) as error:
        conditions.compile("feature_adoptoin > 0.5", TYPES)
    assert error.value.suggestion == "feature_adoption"


def test_points_and_scores():
    names = {"points.nps": "points", "score.value": "score", "composite": "score"}
    frame = pl.DataFrame(
        {"points.nps": [3, None], "score.value": [Decimal("2.5"), Decimal(1)]},
        schema={"points.nps": pl.Int8, "score.value": pl.Decimal(38, 12)},
    )
    condition = conditions.compile("points.nps >= 3 AND score.value = 2.5", names)
    assert frame.select(condition.expr.alias("x"))["x"].to_list() == [True, False]
    assert condition.names == {"points.nps", "score.value"}


@pytest.mark.parametrize(
    ("text", "values", "expected", "overflow"),
    [
        ("arr * arr > 0", ["9e16", "2e20", None], [True, None, None], [False, True, False]),
        ("arr * arr * arr > 0", ["9e8", "9e17"], [True, None], [False, True]),
        ("arr + arr > 0", ["9e35", "3e34"], [None, True], [True, False]),
        ("arr / 0.000001 > 0", ["9e30", "9e12"], [None, True], [True, False]),
        ("arr > 0.005", ["9e35", "1"], [None, True], [True, False]),
        ("NOT (arr * arr < 0)", ["2e20", "1"], [None, True], [True, False]),
    ],
)
def test_what_does_not_fit_is_told_and_never_wraps(text, values, expected, overflow):
    scaled = [None if value is None else int(Decimal(value) * 100) for value in values]
    physical = pl.Series(scaled, dtype=pl.Int128)
    frame = pl.DataFrame({"arr": physical.reinterpret(dtype=DTYPES["money"])})
    condition = conditions.compile(text, NAMES)
    found = frame.select(condition.expr.alias("x"), condition.overflow.alias("o"))
    assert found["o"].to_list() == overflow
    assert found["x"].to_list() == expected


@pytest.mark.parametrize(
    ("text", "comparisons"),
    [
        ("composite >= 4.0", [("composite", ">=", 4 * 10**12)]),
        ("4 <= composite", [("composite", ">=", 4 * 10**12)]),
        ("arr BETWEEN 5 AND 0.5", [("arr", ">=", 5 * 10**12), ("arr", "<=", 5 * 10**11)]),
        ("arr > -1 AND industry = 'SaaS'", [("arr", ">", -(10**12))]),
        ("arr > employees", [(None, None, None)]),
        ("arr * 2 > 5", [(None, None, None)]),
        ("flag", []),
    ],
)
def test_comparisons_for_distances(text, comparisons):
    found = conditions.compile(text, NAMES).comparisons
    assert found == tuple(Comparison(*one) for one in comparisons)
