"""A condition as SQL answers as the compiled one does, row by row, also where values are not known."""

import random

import pytest
from django.db import connection
from random_conditions import SQL, TYPES, Writer, accounts, frame

from segmentation.rules import condition_sql, conditions
from segmentation.rules.condition_sql import CALCULATES
from segmentation.rules.tree import ConditionError


def quoted(name):
    return f'"{name}"'


def answers(cursor, condition):
    text, values = condition_sql.to_sql(condition, quoted)
    cursor.execute(f"select {text} from them order by row", values)
    return [answer for (answer,) in cursor.fetchall()]


@pytest.fixture
def rows(db):
    rows = accounts(random.Random(7), 60)
    columns = ", ".join(f"{quoted(name)} {SQL[type]}" for name, type in TYPES.items())
    with connection.cursor() as cursor:
        cursor.execute(f"create temporary table them (row serial, {columns}) on commit drop")
        places, names = ", ".join(["%s"] * len(TYPES)), ", ".join(map(quoted, TYPES))
        cursor.executemany(f"insert into them ({names}) values ({places})", rows)
    return rows


def test_random_conditions_as_sql_answer_as_the_compiled_ones(rows):
    writer, frames, compared = Writer(random.Random(20261201)), frame(rows), 0
    with connection.cursor() as cursor:
        for _ in range(600):
            text = writer.condition().ours
            try:
                condition = condition_sql.read(text, TYPES)
            except ConditionError:
                continue  # calculates, or is none
            ours = frames.select(id=0, ours=condition.expr)["ours"].to_list()
            if len(ours) == 1:  # a constant
                ours *= len(rows)
            assert answers(cursor, condition) == ours, text
            compared += 1
    assert compared > 100


@pytest.mark.parametrize(
    "text",
    [
        "industry = 'it''s' OR region LIKE '%ss%'",
        "industry LIKE 'Stra%' AND NOT region IN ('saas', '🙂')",
        "arr BETWEEN 0 AND 100000 OR arr IS NULL",
        "NOT (flag AND open_risk)",
        "contract_start >= DATE '2024-01-01' AND renewal_date < '2025-06-01'",
        "arr > acv OR COALESCE(arr, acv) = 2.5",
        "csat > -2.5 AND flag IS NOT TRUE",
    ],
)
def test_each_kind_of_comparison(rows, text):
    condition = condition_sql.read(text, TYPES)
    with connection.cursor() as cursor:
        assert answers(cursor, condition) == frame(rows).select(id=0, ours=condition.expr)["ours"].to_list()


@pytest.mark.parametrize("text", ["arr + 1 > 2", "arr / acv >= 0.5", "renewal_date - contract_start > 365"])
def test_what_calculates_is_refused(text):
    assert conditions.compile(text, TYPES)
    with pytest.raises(ConditionError) as error:
        condition_sql.read(text, TYPES)
    assert error.value.message == CALCULATES


def test_values_are_never_within_the_text():
    text, values = condition_sql.to_sql(condition_sql.read("industry = '%(x)s; drop'", TYPES), quoted)
    assert text == '("industry" = %(value_0)s)'
    assert values == {"value_0": "%(x)s; drop"}
