"""Conditions and accounts at random: what `conditions.compile` has to read as PostgreSQL does.

A condition is written twice at once, for Demarc and for PostgreSQL. The texts differ in one thing: where Demarc's has
`a / b`, PostgreSQL's has `a::numeric / NULLIF(b, 0)`. Parentheses are left out by chance, so that precedence is tried too.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from accounts.catalogue import DTYPES

TEXTS = [
    "SaaS", "saas", "SAAS", "", " ", "Straße", "STRASSE", "ß", "İstanbul", "日本語", "e\u0301", "é", "🙂", "it's", "''",
    '"quoted"', "50%", "a_b", "NULL", "true", "2026-01-01", "a\nb", "--", "/*", "$1", "{x}", ":x",
]  # fmt: skip
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "5",
    "7",
    "10",
    "0.5",
    "2.5",
    "0.1",
    "0.000001",
    "99999.99",
    "100000",
    "25000",
    "1.000",
]
FIRST = date(2023, 1, 1)

# Every type twice, so that a column can be compared with another one; values that meet each other often.
TYPES = {
    "arr": "money", "acv": "money", "employees": "integer", "tickets_open": "integer", "seat_use": "ratio",
    "csat": "number", "industry": "text", "region": "text", "contract_start": "date", "renewal_date": "date",
    "flag": "boolean", "open_risk": "boolean", "composite": "score", "score.value": "score", "points.nps": "points",
}  # fmt: skip
SQL = {
    "money": "numeric(38,2)", "integer": "bigint", "ratio": "numeric(38,6)", "number": "numeric(38,6)", "text": "text",
    "date": "date", "boolean": "boolean", "score": "numeric(38,12)", "points": "smallint",
}  # fmt: skip
DECIMALS = {"money": 2, "ratio": 6, "number": 6, "score": 12}
POLARS = DTYPES | {"score": pl.Decimal(38, 12), "points": pl.Int8}
NUMERIC = [
    name for name, type in TYPES.items() if type in ("money", "integer", "ratio", "number", "score", "points")
]


def named(type):
    return [name for name, one in TYPES.items() if one == type]


# -- accounts


def accounts(chance, count):
    """Rows of values in the order of TYPES: a quarter of each column is NULL, the first row is nothing but NULL."""
    rows = [[None] * len(TYPES)]
    rows += [[_value(type, chance) for type in TYPES.values()] for _ in range(count - 1)]
    return rows


def _value(type, chance):
    if chance.random() < 0.25:
        return None
    match type:
        case "text":
            return chance.choice(TEXTS)
        case "boolean":
            return chance.random() < 0.5
        case "date":
            return FIRST + timedelta(days=chance.randrange(0, 1500, 50))
        case "points":
            return chance.randint(1, 5)
        case "integer":
            return chance.choice([0, 1, 2, 3, 10, 1000, -5, chance.randrange(5000)])
    known = chance.choice(["0", "1", "2.5", "-2.5", "100000", "99999.99", str(chance.randrange(-900, 9000))])
    if chance.random() < 0.3:
        return Decimal(chance.randrange(-(10**6), 10**6)).scaleb(-DECIMALS[type])
    return Decimal(known)


def frame(rows):
    """The accounts as the engine sees them."""
    columns = zip(*rows, strict=True)
    return pl.DataFrame(
        [
            pl.Series(name, list(values), dtype=POLARS[type])
            for (name, type), values in zip(TYPES.items(), columns, strict=True)
        ]
    )


# -- conditions


@dataclass(frozen=True)
class Text:
    """The same part of a condition for Demarc and for PostgreSQL; an atom needs no parentheses round it."""

    ours: str
    theirs: str
    atom: bool = False


class Writer:
    """Writes conditions at random; `loose` is how often parentheses that may be needed are left out."""

    def __init__(self, chance, *, loose=0.25, deepest=4):
        self.chance, self.loose, self.deepest = chance, loose, deepest

    def condition(self):
        return self.boolean(self.chance.randint(0, self.deepest))

    # Parts

    def same(self, text, atom=True):
        return Text(text, text, atom)

    def join(self, pattern, *parts, atom=False):
        """`{0}` of the pattern is the first part, and so on."""
        return Text(
            pattern.format(*(part.ours for part in parts)),
            pattern.format(*(part.theirs for part in parts)),
            atom,
        )

    def closed(self, part, *, always=False):
        """The part in parentheses, where it needs them."""
        if part.atom and self.chance.random() < 0.95:
            return part
        if not always and self.chance.random() < self.loose:
            return part
        return self.join("({0})", part, atom=True)

    def column(self, *types):
        name = self.chance.choice([one for type in types for one in named(type)])
        ours = name.upper() if self.chance.random() < 0.1 else name
        return Text(ours, _column(name), True)

    def word(self, text):
        return text.lower() if self.chance.random() < 0.2 else text

    def pick(self, *makers):
        return self.chance.choice(makers)

    # Kinds

    def number(self, depth):
        if depth <= 0:
            return self.pick(self.number_column, self.number_column, self.number_literal)()
        maker = self.pick(
            self.number_column, self.number_literal, self.arithmetic, self.arithmetic, self.quotient,
            self.negative, self.days, lambda depth: self.coalesce(self.number, depth),
        )  # fmt: skip
        return maker(depth - 1)

    def number_column(self, depth=0):
        return self.column("money", "integer", "ratio", "number", "score", "points")

    def number_literal(self, depth=0):
        return self.same(self.chance.choice(NUMBERS))

    def arithmetic(self, depth):
        left, right = self.closed(self.number(depth)), self.closed(self.number(depth))
        sign = self.chance.choice([" + ", " - ", " * ", "+", "*", " - "])
        return self.join(f"{{0}}{sign}{{1}}", left, right)

    def quotient(self, depth):
        # The divisor stays in parentheses: it is what NULLIF takes.
        left, right = self.closed(self.number(depth)), self.closed(self.number(depth), always=True)
        return Text(f"{left.ours} / {right.ours}", f"{left.theirs}::numeric / NULLIF({right.theirs}, 0)")

    def negative(self, depth):
        return self.join("- {0}", self.closed(self.number(depth)))

    def days(self, depth):
        return self.join("{0} - {1}", self.closed(self.date(depth)), self.closed(self.date(depth)))

    def coalesce(self, kind, depth):
        parts = [kind(depth) for _ in range(self.chance.randint(1, 3))]
        inner = ", ".join(f"{{{index}}}" for index in range(len(parts)))
        return self.join(f"{self.word('COALESCE')}({inner})", *parts, atom=True)

    def text(self, depth):
        if depth > 0 and self.chance.random() < 0.25:
            return self.coalesce(self.text, depth - 1)
        return self.pick(lambda: self.column("text"), self.text_literal)()

    def text_literal(self, text=None):
        text = self.chance.choice(TEXTS) if text is None else text
        return self.same(quoted(text))

    def date(self, depth):
        if depth > 0 and self.chance.random() < 0.25:
            return self.coalesce(self.date, depth - 1)
        return self.pick(lambda: self.column("date"), self.date_literal)()

    def date_literal(self, bare=False):
        day = FIRST + timedelta(days=self.chance.randrange(0, 1500, 50))
        return self.same(f"'{day}'" if bare else f"{self.word('DATE')} '{day}'")

    def boolean(self, depth):
        if depth <= 0:
            return self.pick(*[self.predicate] * 6, self.flag)()
        maker = self.pick(self.logic, self.logic, self.negation, self.predicate, self.state)
        return maker(depth - 1)

    def flag(self):
        if self.chance.random() < 0.2:
            return self.same(self.word(self.chance.choice(["TRUE", "FALSE"])))
        return self.column("boolean")

    def logic(self, depth):
        word = self.word(self.chance.choice(["AND", "OR"]))
        gap = self.chance.choice([" ", "\n", "  /* why */ ", " -- so\n"])
        parts = [self.closed(self.boolean(depth)) for _ in range(self.chance.randint(2, 4))]
        inner = f"{gap}{word} ".join(f"{{{index}}}" for index in range(len(parts)))
        return self.join(inner, *parts)

    def negation(self, depth):
        return self.join(f"{self.word('NOT')} {{0}}", self.closed(self.boolean(depth)))

    def state(self, depth):
        """IS NULL and its kin over anything."""
        if self.chance.random() < 0.5:
            part, what = self.boolean(depth), self.chance.choice(["TRUE", "FALSE", "NULL"])
        else:
            part, what = self.anything(depth), "NULL"
        word = self.word(f"IS {self.chance.choice(['', 'NOT '])}{what}")
        return self.join(f"{{0}} {word}", self.closed(part))

    def anything(self, depth):
        return self.pick(self.number, self.text, self.date, self.boolean)(depth)

    def predicate(self, depth=1):
        return self.pick(
            self.compared_numbers, self.compared_numbers, self.compared_numbers, self.compared_dates,
            self.compared_texts, self.compared_flags, self.within, self.between, self.like, self.state,
        )(depth)  # fmt: skip

    def compared(self, kind, signs, depth):
        sign = self.chance.choice(signs)
        return self.join(f"{{0}} {sign} {{1}}", self.closed(kind(depth)), self.closed(kind(depth)))

    def compared_numbers(self, depth):
        return self.compared(self.number, ["=", "<>", "!=", "<", "<=", ">", ">="], depth)

    def compared_dates(self, depth):
        if self.chance.random() < 0.3:
            sign = self.chance.choice(["=", "<", ">="])
            return self.join(f"{{0}} {sign} {{1}}", self.column("date"), self.date_literal(bare=True))
        return self.compared(self.date, ["=", "<>", "<", "<=", ">", ">="], depth)

    def compared_texts(self, depth):
        return self.compared(self.text, ["=", "<>", "!="], depth)

    def compared_flags(self, depth):
        return self.compared(self.boolean, ["=", "<>"], min(depth, 1))

    def within(self, depth):
        kind = self.pick(self.number, self.text, self.date, lambda depth: self.flag())
        parts = [kind(depth), *(kind(0) for _ in range(self.chance.randint(1, 4)))]
        inner = ", ".join(f"{{{index}}}" for index in range(1, len(parts)))
        return self.join(
            f"{{0}} {self.word(self.not_() + 'IN')} ({inner})", self.closed(parts[0]), *parts[1:]
        )

    def between(self, depth):
        kind = self.pick(self.number, self.number, self.date)
        parts = [self.closed(kind(depth)), self.closed(kind(0)), self.closed(kind(0))]
        return self.join(f"{{0}} {self.word(self.not_() + 'BETWEEN')} {{1}} {self.word('AND')} {{2}}", *parts)

    def like(self, depth):
        text = self.chance.choice([one for one in TEXTS if not set(one) & set("%_\\")])
        pattern = self.chance.choice(["{}", "%{}", "{}%", "%{}%", "%", "%%"]).format(
            text[: self.chance.randint(0, 3)]
        )
        return self.join(
            f"{{0}} {self.word(self.not_() + 'LIKE')} {{1}}",
            self.closed(self.text(depth)),
            self.text_literal(pattern),
        )

    def not_(self):
        return self.chance.choice(["", "", "NOT "])


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def _column(name):
    """`score.value` is a column of that name in PostgreSQL's table."""
    return f'"{name}"' if "." in name else name
