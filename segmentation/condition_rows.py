"""A condition without code: rows of field, operator and value instead of SQL text, and back.

Plain data. A group is `{"join": "all" | "any", "rows": [...]}`; its rows are rows and, in the outermost group, groups of
rows: two levels. A row is `{"field": name, "operator": code, "values": [text]}`. What a row means, with values that are
not known too, is what its SQL text means.

    read_rows(json) -> group, or None: this is none
    to_rows(text, names) -> group, or None: this condition cannot be shown as rows
    to_text(group, names) -> SQL text; RowErrors tells what is wrong with which row

Pure, like `segmentation.conditions`.
"""

import json
import re
from datetime import date

from sqlglot import exp

from segmentation import conditions
from segmentation.conditions import ConditionError

MAX_ROWS = 50
MAX_VALUES = 100

_KNOWN = [("known", "is known"), ("unknown", "is not known")]
_LISTS = [("in", "is one of"), ("not in", "is none of")]
_RANGES = [("between", "is between"), ("not between", "is not between")]
# What can be asked of a field of each kind, in the words of the page; the first is where a new row begins.
OPERATORS = {
    "number": [
        (">=", "is at least"),
        (">", "is more than"),
        ("<=", "is at most"),
        ("<", "is less than"),
        ("=", "is"),
        ("<>", "is not"),
        *_RANGES,
        *_LISTS,
        *_KNOWN,
    ],
    "text": [
        ("=", "is"),
        ("<>", "is not"),
        *_LISTS,
        ("contains", "contains"),
        ("not contains", "does not contain"),
        ("starts", "starts with"),
        ("not starts", "does not start with"),
        ("ends", "ends with"),
        ("not ends", "does not end with"),
        *_KNOWN,
    ],
    "date": [
        (">=", "is on or after"),
        (">", "is after"),
        ("<=", "is on or before"),
        ("<", "is before"),
        ("=", "is on"),
        ("<>", "is not on"),
        *_RANGES,
        *_LISTS,
        *_KNOWN,
    ],
    "boolean": [
        ("yes", "is yes"),
        ("no", "is no"),
        ("not yes", "is no or not known"),
        ("not no", "is yes or not known"),
        *_KNOWN,
    ],
}
_KINDS = {"text": "text", "date": "date", "boolean": "boolean"}  # all other types are numbers
_WITHOUT_VALUE = {
    "known": "{} IS NOT NULL",
    "unknown": "{} IS NULL",
    "yes": "{}",
    "no": "NOT {}",
    "not yes": "{} IS NOT TRUE",
    "not no": "{} IS NOT FALSE",
}
_PATTERNS = {"contains": "%{}%", "starts": "{}%", "ends": "%{}"}
_SIGNS = {exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<="}
_MIRROR = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "=": "=", "<>": "<>"}
_OPPOSITE = {
    "=": "<>",
    "<>": "=",
    ">": "<=",
    "<=": ">",
    "<": ">=",
    ">=": "<",
    "known": "unknown",
    "unknown": "known",
}
_JOINS = {exp.And: "all", exp.Or: "any"}


class RowErrors(ValueError):
    """The rows are no condition yet; `problems` is [(path, sentence)], a path being like `0` or `2.1`."""

    def __init__(self, problems):
        self.problems = problems
        super().__init__("\n".join(message for _, message in problems))


def kind_of(type):
    """The kind of field a type of the catalogue is: number, text, date or boolean."""
    return _KINDS.get(type, "number")


# -- rows -> text


def read_rows(text):
    """The group that a form sent as JSON; None where it is none."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def to_text(group, names):
    """The SQL text of a group over `names` ({name: type}); "" where it has no rows. Raises RowErrors."""
    writer = _Writer(names)
    text = writer.group(group, "")
    if not writer.problems and text:
        try:
            conditions.compile(text, names)
        except ConditionError as error:
            writer.problem("", error.message)
    if writer.problems:
        raise RowErrors(writer.problems)
    return text


class _Writer:
    """Writes a group, collecting what is wrong on the way."""

    def __init__(self, names):
        self.names, self.problems = names, []

    def problem(self, path, message):
        self.problems.append((path, message))
        return ""

    def group(self, group, path):
        if not _is_group(group):
            return self.problem(path, "These rows cannot be read.")
        if len(group["rows"]) > MAX_ROWS:
            return self.problem(path, f"More than {MAX_ROWS} rows.")
        if path and not group["rows"]:
            return self.problem(path, "Add a row, or remove the group.")
        parts = [self.part(one, f"{path}.{index}".lstrip(".")) for index, one in enumerate(group["rows"])]
        word = " AND " if group["join"] == "all" else " OR "
        return word.join(parts)

    def part(self, one, path):
        if isinstance(one, dict) and "rows" in one:
            if "." in path:
                return self.problem(path, "A group stands among rows, not in another group.")
            text = self.group(one, path)
            return f"({text})" if text and len(one["rows"]) > 1 else text
        if not _is_row(one):
            return self.problem(path, "This row cannot be read.")
        return self.row(one, path)

    def row(self, row, path):
        name, operator = row["field"], row["operator"]
        if not name:
            return self.problem(path, "Choose a data field.")
        type = conditions.type_of(name, self.names)
        if type is None:
            return self.problem(path, f"There is no data field '{name[:40]}'.")
        kind = kind_of(type)
        if operator not in dict(OPERATORS[kind]):
            return self.problem(path, "Choose what is asked of the field.")
        if operator in _WITHOUT_VALUE:
            return _WITHOUT_VALUE[operator].format(name)
        try:
            return _asked(name, operator, [_value(kind, one) for one in self.values(row)], kind)
        except ValueError as error:
            return self.problem(path, str(error))

    def values(self, row):
        values, operator = row["values"], row["operator"]
        if operator in ("between", "not between"):
            if len(values) != 2 or not all(values):
                raise ValueError("Give both values, the lower one first.")
        elif operator in ("in", "not in"):
            values = [one for one in values if one]
        if not values or not values[0]:
            raise ValueError("Give a value.")
        if len(values) > MAX_VALUES:
            raise ValueError(f"More than {MAX_VALUES} values.")
        return values if operator in ("in", "not in", "between", "not between") else values[:1]


def _is_group(group):
    return (
        isinstance(group, dict)
        and group.get("join") in ("all", "any")
        and isinstance(group.get("rows"), list)
    )


def _is_row(row):
    return (
        isinstance(row, dict)
        and isinstance(row.get("field"), str)
        and isinstance(row.get("operator"), str)
        and isinstance(row.get("values"), list)
        and all(isinstance(one, str) for one in row["values"])
    )


def _asked(name, operator, values, kind):
    word = operator.upper()
    if operator in ("between", "not between"):
        return f"{name} {word} {values[0]} AND {values[1]}"
    if operator in ("in", "not in"):
        return f"{name} {word} ({', '.join(values)})"
    pattern = operator.removeprefix("not ")
    if pattern not in _PATTERNS:
        return f"{name} {operator} {values[0]}"
    if set(values[0]) & set("%_\\"):
        raise ValueError("The signs % _ and \\ cannot be looked for within a text.")
    negated = "NOT " if operator != pattern else ""
    return f"{name} {negated}LIKE '{_PATTERNS[pattern].format(values[0][1:-1])}'"


def _value(kind, text):
    """A value as SQL; ValueError says what is wrong with it."""
    if kind == "text":
        return "'" + text.replace("'", "''") + "'"
    text = text.strip()
    return _number(text) if kind == "number" else _date(text)


def _number(text):
    if re.fullmatch(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)", text):
        return text
    plain = text.replace(",", "").replace(" ", "").lstrip("$€£")
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", plain):
        raise ValueError(f"Write {text} as {plain}.")
    if share := re.fullmatch(r"(-?)([0-9]{1,3})(?:\.[0-9]+)?\s*%", text):
        raise ValueError(f"Write a percentage as a part of 1, such as {share[1]}0.4 for {share[1]}40 %.")
    raise ValueError(f"'{text[:40]}' is no number; write it as 100000 or 0.4.")


def _date(text):
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) and date.fromisoformat(text):
            return f"DATE '{text}'"
    except ValueError:
        pass
    raise ValueError(f"'{text[:40]}' is no date; write it as 2026-01-31.")


# -- text -> rows


class _NoRows(Exception):
    """The condition says more than rows can."""


def to_rows(text, names):
    """The group of rows that means the same as a condition, or None where there is none."""
    if not text.strip():
        return {"join": "all", "rows": []}
    try:
        conditions.compile(text, names)
        return _Reader(names).outermost(_bare(conditions.parse(text, names)))
    except (ConditionError, _NoRows, RecursionError):
        return None


def _bare(node):
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _parts(node, join):
    """a AND (b AND c): one after the other."""
    node = _bare(node)
    if type(node) is not join:
        return [node]
    return [*_parts(node.this, join), *_parts(node.expression, join)]


class _Reader:
    def __init__(self, names):
        self.names = names

    def outermost(self, node):
        join = type(node) if type(node) in _JOINS else exp.And
        rows = [self.part(part) for part in _parts(node, join)]
        if sum(len(one.get("rows", [1])) for one in rows) > MAX_ROWS:
            raise _NoRows
        return {"join": _JOINS[join], "rows": rows}

    def part(self, node):
        if type(node) in _JOINS:
            return {"join": _JOINS[type(node)], "rows": [self.row(part) for part in _parts(node, type(node))]}
        return self.row(node)

    def row(self, node):
        negated = False
        while isinstance(node, exp.Not):
            negated, node = not negated, _bare(node.this)
        if isinstance(node, exp.Column):
            return self.made(node, "no" if negated else "yes", [])
        read = _ROWS.get(type(node))
        if read is None:
            raise _NoRows
        return read(self, node, negated)

    def comparison(self, node, negated):
        sign, left, right = _SIGNS[type(node)], _bare(node.this), _bare(node.expression)
        if not isinstance(left, exp.Column):
            sign, left, right = _MIRROR[sign], right, left
        sign = _OPPOSITE[sign] if negated else sign
        if isinstance(right, exp.Boolean):
            return self.made(left, "yes" if (sign == "=") == bool(right.this) else "no", [])
        return self.made(left, sign, [_constant(right)])

    def between(self, node, negated):
        values = [_constant(_bare(node.args[one])) for one in ("low", "high")]
        return self.made(_bare(node.this), "not between" if negated else "between", values)

    def within(self, node, negated):
        values = [_constant(_bare(one)) for one in node.expressions]
        if len(values) > MAX_VALUES:
            raise _NoRows
        return self.made(_bare(node.this), "not in" if negated else "in", values)

    def state(self, node, negated):
        """IS [NOT] NULL, TRUE, FALSE. Rows are joined by AND and OR only, where IS TRUE holds wherever the field itself does."""
        negated ^= bool(node.args.get("negate"))
        if isinstance(node.expression, exp.Null):
            return self.made(_bare(node.this), "known" if negated else "unknown", [])
        operator = "yes" if node.expression.this else "no"
        return self.made(_bare(node.this), f"not {operator}" if negated else operator, [])

    def like(self, node, negated):
        pattern = _constant(_bare(node.expression))
        inner = pattern.removeprefix("%").removesuffix("%")
        starts, ends = pattern.startswith("%"), pattern.endswith("%")
        if not inner:
            raise _NoRows
        operator = "contains" if starts and ends else "ends" if starts else "starts" if ends else "="
        if negated ^ bool(node.args.get("negate")):
            operator = "<>" if operator == "=" else f"not {operator}"
        return self.made(_bare(node.this), operator, [inner])

    def made(self, column, operator, values):
        if not isinstance(column, exp.Column) or "" in values:
            raise _NoRows
        name = ".".join(part.name for part in column.parts)
        name = name if name in self.names else name.lower()
        row = {"field": name, "operator": operator, "values": values}
        writer = _Writer(self.names)
        writer.row(row, "")
        if writer.problems:  # an empty text, a name that needs quotes: only as SQL
            raise _NoRows
        return row


def _constant(node):
    """A constant as it is typed into a row."""
    if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal):
        return f"-{node.this.this}"
    if isinstance(node, exp.Cast):  # a date
        return node.this.this
    if isinstance(node, exp.Literal):
        return node.this
    raise _NoRows


_ROWS = {
    **dict.fromkeys(_SIGNS, _Reader.comparison),
    exp.Between: _Reader.between,
    exp.In: _Reader.within,
    exp.Is: _Reader.state,
    exp.Like: _Reader.like,
}
