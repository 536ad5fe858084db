"""A condition without code: rows of field, operator and value instead of SQL text, and back.

Plain data. A group is `{"join": "all" | "any", "rows": [...]}`; its rows are rows and, in the outermost group, groups of
rows: two levels. A row is `{"field": name, "operator": code, "values": [text]}`. A row means what its SQL text means,
also where values are not known.

    read_rows(json) -> group, or None: this is none
    to_rows(text, names) -> group, or None: this condition cannot be shown as rows
    to_text(group, names) -> SQL text; RowErrors tells what is wrong with which row

Pure, like `segmentation.rules.conditions`.
"""

import json
import re
from datetime import date

from core import numbers
from segmentation.rules import conditions, rubric, tree
from segmentation.rules.tree import MIRROR, ConditionError, bare

MAX_ROWS = 50
MAX_VALUES = 100

_KNOWN = [("known", "is known"), ("unknown", "is not known")]
_LISTS = [("in", "is one of"), ("not in", "is none of")]
_RANGES = [("between", "is between"), ("not between", "is not between")]
# The questions to ask of a field of each kind, in the words of the page; the first is where a new row begins.
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
_JOINS = {tree.All: "all", tree.Any: "any"}


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
        parts = [self.part(row, f"{path}.{index}".lstrip(".")) for index, row in enumerate(group["rows"])]
        word = " AND " if group["join"] == "all" else " OR "
        return word.join(parts)

    def part(self, row, path):
        if isinstance(row, dict) and "rows" in row:
            if "." in path:
                return self.problem(path, "A group stands among rows, not in another group.")
            text = self.group(row, path)
            return f"({text})" if text and len(row["rows"]) > 1 else text
        if not _is_row(row):
            return self.problem(path, "This row cannot be read.")
        return self.row(row, path)

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
            return _condition(name, operator, [_value(type, value) for value in self.values(row)], kind)
        except ValueError as error:
            return self.problem(path, str(error))

    def values(self, row):
        values, operator = row["values"], row["operator"]
        if operator in ("between", "not between"):
            if len(values) != 2 or not all(values):
                raise ValueError("Give both values, the lower one first.")
        elif operator in ("in", "not in"):
            values = [value for value in values if value]
        if not values or not values[0]:
            raise ValueError("Give a value.")
        if len(values) > MAX_VALUES:
            raise ValueError(f"More than {MAX_VALUES} values.")
        return values if operator in ("in", "not in", "between", "not between") else values[:1]


def is_shaped(group):
    """Whether this is a group of rows, finished or not: what a draft may hold."""
    return _is_group(group) and all(
        _is_row(row) or (_is_group(row) and all(map(_is_row, row["rows"]))) for row in group["rows"]
    )


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
        and all(isinstance(value, str) for value in row["values"])
    )


def _condition(name, operator, values, kind):
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


def _value(type, text):
    """A value as SQL; ValueError says what is wrong with it."""
    kind = kind_of(type)
    if kind == "text":
        return "'" + text.replace("'", "''") + "'"
    text = text.strip()
    return _number(text, type) if kind == "number" else _date(text)


def _number(text, type):
    """A number in plain digits: 100000 of `$100K`, 0.4 of `40%` where the field is a share."""
    if re.fullmatch(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)", text):
        return text
    if numbers.read(text) is None:
        raise ValueError(f"'{text[:40]}' is no number; write it as 100000, $100K or 40%.")
    try:
        return rubric.number(text, type).text
    except rubric.CellError as error:
        raise ValueError(f"{error}.") from None


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
        return _Reader(names).outermost(bare(conditions.compile(text, names).root))
    except (ConditionError, _NoRows, RecursionError):
        return None


def _parts(node, join):
    """a AND (b AND c): one after the other."""
    node = bare(node)
    if type(node) is not join:
        return [node]
    return [part for below in node.several for part in _parts(below, join)]


class _Reader:
    def __init__(self, names):
        self.names = names

    def outermost(self, node):
        join = type(node) if type(node) in _JOINS else tree.All
        rows = [self.part(part) for part in _parts(node, join)]
        if sum(len(row.get("rows", [1])) for row in rows) > MAX_ROWS:
            raise _NoRows
        return {"join": _JOINS[join], "rows": rows}

    def part(self, node):
        if type(node) in _JOINS:
            return {"join": _JOINS[type(node)], "rows": [self.row(part) for part in _parts(node, type(node))]}
        return self.row(node)

    def row(self, node):
        negated = False
        while isinstance(node, tree.Not):
            negated, node = not negated, bare(node.part)
        match node:
            case tree.Name():
                return self.made(node, "no" if negated else "yes", [])
            case tree.Compare():
                return self.comparison(node, negated)
            case tree.Between():
                values = [_constant(node.low), _constant(node.high)]
                return self.made(node.part, "not between" if negated else "between", values)
            case tree.In():
                return self.within(node, negated)
            case tree.Is():
                return self.state(node, negated ^ node.negated)
            case tree.Like():
                return self.like(node, negated ^ node.negated)
        raise _NoRows

    def comparison(self, node, negated):
        sign, left, right = node.sign, bare(node.left), bare(node.right)
        if not isinstance(left, tree.Name):
            sign, left, right = MIRROR[sign], right, left
        sign = _OPPOSITE[sign] if negated else sign
        if isinstance(right, tree.Constant) and right.kind == "boolean":
            return self.made(left, "yes" if (sign == "=") == right.value else "no", [])
        return self.made(left, sign, [_constant(right)])

    def within(self, node, negated):
        if len(node.several) > MAX_VALUES:
            raise _NoRows
        return self.made(
            node.part, "not in" if negated else "in", [_constant(constant) for constant in node.several]
        )

    def state(self, node, negated):
        """IS [NOT] NULL, TRUE, FALSE. Rows are joined by AND and OR only, where IS TRUE holds wherever the field itself does."""
        if node.what is None:
            return self.made(node.part, "known" if negated else "unknown", [])
        operator = "yes" if node.what else "no"
        return self.made(node.part, f"not {operator}" if negated else operator, [])

    def like(self, node, negated):
        pattern = _constant(node.pattern)
        inner = pattern.removeprefix("%").removesuffix("%")
        starts, ends = pattern.startswith("%"), pattern.endswith("%")
        if not inner:
            raise _NoRows
        operator = "contains" if starts and ends else "ends" if starts else "starts" if ends else "="
        if negated:
            operator = "<>" if operator == "=" else f"not {operator}"
        return self.made(node.part, operator, [inner])

    def made(self, node, operator, values):
        name = bare(node)
        if not isinstance(name, tree.Name) or "" in values:
            raise _NoRows
        row = {"field": name.name, "operator": operator, "values": values}
        writer = _Writer(self.names)
        writer.row(row, "")
        if writer.problems:  # an empty text, a name that needs quotes: only as SQL
            raise _NoRows
        return row


def _constant(node):
    """A constant as it is typed into a row."""
    match bare(node):
        case tree.Negative(part=tree.Constant(kind="number", value=value)):
            return f"-{value}"
        case tree.Constant(kind="text" | "number" | "date", value=value):
            return value
    raise _NoRows
