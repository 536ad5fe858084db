"""Conditions at random mean what PostgreSQL reads in the same text, account by account, with NULLs in every column.

The oracle's text has `a / b` as `a::numeric / NULLIF(b, 0)`. A difference by design has a name here, and is counted:

- REFUSED: Demarc asks for parentheses, for one kind of value on both sides, for fewer digits. Nothing is compared.
- TOO LARGE: a number does not fit 38 digits. Demarc says so (`overflow`) and knows nothing else; PostgreSQL's numbers grow.
- POSTGRESQL OVERFLOWS: its whole numbers have 32 or 64 bits, those of Demarc 128.
- CUT OFF: Demarc cuts a quotient off after 12 decimals, PostgreSQL rounds it after 16 digits or more. Where the plain
  reading differs on a condition with `/`, the text is asked again with a `/` that cuts off (an operator of the test's
  own, exact): then there must be no difference.
"""

import random
from collections import Counter

import psycopg
import pytest
from django.db import DataError, connection, transaction
from random_conditions import SQL, TYPES, Writer, accounts, frame

from segmentation.rules import conditions, tree
from segmentation.rules.conditions import ConditionError

ACCOUNTS = 50  # times the number of conditions: 30,000 pairs, and 500,000 in `make test-long`
BATCH = 40

# floor(a / b x 10^12) / 10^12 without rounding on the way, found by PostgreSQL wherever a text says numeric / numeric.
CUT_OFF = """
create schema exactly;
create function exactly.cut(a numeric, b numeric) returns numeric language sql immutable as $$
    select (div(a * 1000000000000, b)
            - (mod(a * 1000000000000, b) <> 0 and sign(a) * sign(b) < 0)::int) * 0.000000000001
$$;
create operator exactly./ (leftarg = numeric, rightarg = numeric, function = exactly.cut);
"""


class Oracle:
    """PostgreSQL with a table of accounts."""

    def __init__(self, cursor, rows):
        self.cursor = cursor
        columns = ", ".join(f'"{name}" {SQL[type]}' for name, type in TYPES.items())
        cursor.execute(f"create temporary table facts (id serial, {columns}) on commit drop")
        names = ", ".join(f'"{name}"' for name in TYPES)
        with cursor.copy(f"copy facts ({names}) from stdin") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(CUT_OFF)

    def answers(self, texts, *, exactly=False):
        """[[true, false or None of each account] of each condition]."""
        asked = ", ".join(f"({text}\n)" for text in texts)
        with transaction.atomic():
            schemas = "exactly, pg_catalog" if exactly else "pg_catalog"
            self.cursor.execute(f"set local search_path = {schemas}")
            self.cursor.execute(f"select {asked} from pg_temp.facts order by id")
            return [list(column) for column in zip(*self.cursor.fetchall(), strict=True)]

    def answer(self, text, *, exactly=False):
        """As `answers` for one condition; None where PostgreSQL's own numbers overflow."""
        try:
            [answer] = self.answers([text], exactly=exactly)
        except DataError as error:
            if not isinstance(error.__cause__, psycopg.errors.NumericValueOutOfRange):
                raise
            return None
        return answer


class Comparison:
    """Demarc and PostgreSQL over the same accounts; `counts` says how many answers were compared, and why not."""

    def __init__(self, oracle, rows):
        self.oracle, self.frame, self.counts = oracle, frame(rows), Counter()

    def compare(self, texts):
        pairs = []
        for text in texts:
            try:
                pairs.append((text, conditions.compile(text.ours, TYPES)))
            except ConditionError:
                self.counts["REFUSED"] += 1
        try:
            answers = self.oracle.answers([text.theirs for text, _ in pairs])
        except DataError:
            answers = [self.oracle.answer(text.theirs) for text, _ in pairs]
        for (text, condition), theirs in zip(pairs, answers, strict=True):
            self.agree(text, condition, theirs)

    def agree(self, text, condition, theirs):
        if theirs is None:
            self.counts["POSTGRESQL OVERFLOWS"] += 1
            return
        found = self.frame.select(id=0, ours=condition.expr)["ours"].to_list()
        large = self.too_large(condition)
        differ = self.differing(found, theirs, large)
        if differ and "/" in text.ours:
            theirs = self.oracle.answer(text.theirs, exactly=True)
            differ = self.differing(found, theirs, large) if theirs else []
            self.counts["CUT OFF"] += 1
        assert not differ, self.message(text, found, theirs, differ[0])
        self.counts["compared"] += len(found) - sum(large)
        self.counts["TOO LARGE"] += sum(large)
        self.counts.update(found)

    def too_large(self, condition):
        if condition.overflow is None:
            return [False] * self.frame.height
        return self.frame.select(id=0, large=condition.overflow)["large"].to_list()

    def differing(self, found, theirs, large):
        return [index for index, one in enumerate(found) if one != theirs[index] and not large[index]]

    def message(self, text, found, theirs, row):
        known = {
            name: value
            for name, value in self.frame.row(row, named=True).items()
            if name in text.ours.lower()
        }
        return f"{text.ours}\nhere {found[row]}, PostgreSQL {theirs[row]} for {known}\nasked: {text.theirs}"


@pytest.mark.parametrize(
    "count",
    [pytest.param(600, id="600"), pytest.param(10_000, id="10000", marks=pytest.mark.long)],
)
def test_random_conditions_agree_with_postgresql(count, db):
    chance = random.Random(20261122 + count)
    rows = accounts(chance, ACCOUNTS)
    assert all(None in column for column in zip(*rows, strict=True))
    with connection.cursor() as cursor:
        comparison = Comparison(Oracle(cursor, rows), rows)
        writer = Writer(chance)
        for _ in range(0, count, BATCH):
            comparison.compare([writer.condition() for _ in range(BATCH)])
    counts = comparison.counts
    assert counts["compared"] >= count * ACCOUNTS * 0.75, counts
    # The three answers all occur often, and what is excluded is rare.
    assert min(counts[True], counts[False], counts[None]) > counts["compared"] / 20, counts
    assert counts["REFUSED"] < count * 0.2, counts
    assert counts["POSTGRESQL OVERFLOWS"] + counts["CUT OFF"] < count * 0.05, counts
    assert counts["TOO LARGE"] < counts["compared"] * 0.01, counts


def test_every_kind_of_node_is_tried():
    """The random conditions use all of the closed list."""
    chance = random.Random(1)
    writer, met = Writer(chance), set()
    for _ in range(500):
        text = writer.condition().ours
        if len(text) <= tree.MAX_LENGTH:
            met |= {type(node) for node in tree._parsed(text, TYPES).walk()}
    assert set(tree._READ) - met <= {tree.exp.Null}  # NULL itself is refused


@pytest.mark.parametrize("sign", ["<", "<=", "=", ">"])
@pytest.mark.parametrize(
    "quotient", ["arr / 3 * 3 {} arr", "arr / csat * csat {} arr", "acv / 7 {} acv / 7.000000001"]
)
def test_where_a_quotient_is_cut_off(quotient, sign, db):
    """At the twelfth decimal, also below zero: where the plain reading rounds otherwise, the exact one agrees."""
    rows = accounts(random.Random(3), 200)
    text = quotient.format(sign)
    with connection.cursor() as cursor:
        oracle = Oracle(cursor, rows)
        ours = frame(rows).select(id=0, ours=conditions.compile(text, TYPES).expr)["ours"].to_list()
        theirs = oracle.answer(text.replace("/ csat", "/ nullif(csat, 0)"), exactly=True)
    assert ours == theirs
