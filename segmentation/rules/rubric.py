"""Rubric notation: what a person types in a scoring table's cell, and which points a value earns.

A rubric is five cells, for 5, 4, 3, 2 and 1 points; an empty cell means that nothing earns those points.

* ordered facts (numbers, money, ratios, dates): `1,000+`, `>= 1000`, `> 1000`, `500-999`, `500 to 999`, `< 50`,
  `<= 49`, `$50K-$99K`, `25 lakh+`, `1.2M`, `2x+`, `40%`, `2026-01-01+`; a bare number is its own lower bound.
  Only each cell's *lower* bound decides (so `$50K-$99K` covers 99,500); an upper bound that contradicts the
  neighbour is an error. Cells run downwards (more earns more) or upwards (fewer tickets earn more).
* text: `SaaS, FinTech`, compared without case and surrounding blanks; a value with a comma goes in double quotes.
* boolean: `true`, `false`.
* `*` is anything else.

Pure: knows nothing of the database.
"""

import csv
import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise

import polars as pl

from core import numbers

POINTS = (5, 4, 3, 2, 1)
SCALES = {
    "integer": 0,
    "money": 2,
    "ratio": 6,
    "number": 6,
    "score": 12,
}  # decimals the engine holds, as in accounts.catalogue
ORDERED = frozenset(SCALES) | {"date"}
MAX_CELL = 10_000
MAX_NUMBER = Decimal(10) ** 18

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"


class CellError(ValueError):
    """One cell cannot be read; the message is a sentence for the person who typed it."""


class RubricError(ValueError):
    """One or more cells are wrong. `problems` is a list of (cell index 0-4, sentence)."""

    def __init__(self, problems):
        self.problems = problems
        super().__init__("; ".join(f"cell {index + 1}: {message}" for index, message in problems))


class CellsDisagree(RubricError):
    """Each cell can be read, but they contradict one another."""


@dataclass(frozen=True)
class Cell:
    """The values that earn one number of points. Ordered: the bounds (a Decimal or a date; None is without end).

    `unit` is the step of the last digit typed in the upper bound: `$99K` may be followed by `$100K`.
    Text and boolean: `values`, normalised. `rest` is `*`.
    """

    lower: Decimal | date | None = None
    lower_open: bool = False  # "> 50": 50 itself is outside
    upper: Decimal | date | None = None
    upper_open: bool = False
    unit: Decimal | None = None
    values: tuple = ()
    rest: bool = False


@dataclass(frozen=True)
class Rubric:
    """Five cells (None where nothing earns those points) for a fact of `type`."""

    type: str
    cells: tuple

    def points(self, column):
        """The points a column earns: a Polars expression giving Int8, null where no cell matches or it is null."""
        if self.type in ORDERED:
            return _ordered_points(self, column)
        if self.type == "boolean":
            return _choice_points(self, column, column)
        return _text_points(self, column)


def parse(cells, type):
    """Read five cells (or fewer: the rest are empty) of a fact of `type`.

    Raises RubricError naming every cell that is wrong.
    """
    problems, parsed = [], []
    if len(cells) > len(POINTS):
        raise RubricError([(len(POINTS), f"a scoring table has five cells, this one has {len(cells)}")])
    cells = [*cells, *[""] * (len(POINTS) - len(cells))]
    for index, text in enumerate(cells):
        try:
            parsed.append(parse_cell(text, type))
        except CellError as error:
            problems.append((index, str(error)))
            parsed.append(None)
    if not problems:
        check = _order_problems if type in ORDERED else _choice_problems
        if disagreements := check(parsed, cells):
            raise CellsDisagree(disagreements)
    if not problems and not any(parsed):
        problems = [(0, "all cells are empty: say what earns points")]
    if problems:
        raise RubricError(problems)
    return Rubric(type, tuple(parsed))


def from_bounds(bounds, type):
    """The scoring table whose cells for 5, 4, 3 and 2 points start at these values (Decimals or dates); 1 for the rest."""
    return Rubric(type, (*(Cell(lower=bound) for bound in bounds), Cell(rest=True)))


def parse_cell(text, type):
    """Read one cell; None for an empty one. Raises CellError."""
    text = text.strip()
    if not text:
        return None
    if len(text) > MAX_CELL:
        raise CellError(f"is too long ({len(text):,} characters, at most {MAX_CELL:,})")
    if text == "*":
        return Cell(rest=True)
    if type == "text":
        return Cell(values=_texts(text))
    if type == "boolean":
        return Cell(values=_booleans(text))
    return _range(text, type)


def to_text(cell, type):
    """Write a cell so that `parse_cell` reads the same back (the canonical form, not what was typed)."""
    if cell is None:
        return ""
    if cell.rest:
        return "*"
    if type == "boolean":
        return ", ".join("true" if value else "false" for value in cell.values)
    if type == "text":
        return ", ".join('"' + value.replace('"', '""') + '"' for value in cell.values)
    if cell.upper is None:
        return f"{'>' if cell.lower_open else '>='} {_show(cell.lower)}"
    upper = _show(cell.upper, cell.unit)
    if cell.lower is None:
        return f"{'<' if cell.upper_open else '<='} {upper}"
    return f"{_show(cell.lower)} to {upper}"


def normalise(texts):
    """Text as it is compared: without surrounding blanks and case. By Polars, so that cells and data agree."""
    return pl.Series(texts, dtype=pl.String).str.strip_chars().str.to_lowercase().to_list()


@lru_cache(maxsize=4096)
def literal(value, dtype):
    """A typed Polars literal; kept, because making one costs more than using it."""
    return pl.lit(value, dtype)


# -- reading a cell


def _texts(text):
    try:
        [row] = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        raise CellError("has an unclosed quote or a line break") from None
    values = normalise(row)
    if not all(values):
        raise CellError(f"'{text}' has an empty entry between commas")
    return _distinct(values)


def _booleans(text):
    values = {"true": True, "yes": True, "false": False, "no": False}
    words = [word.strip().lower() for word in text.split(",")]
    if unknown := [word for word in words if word not in values]:
        raise CellError(f"'{unknown[0]}' is neither true nor false")
    return _distinct([values[word] for word in words])


def _distinct(values):
    for value in values:
        if values.count(value) > 1:
            raise CellError(f"'{value}' is there twice")
    return tuple(values)


def _range(text, type):
    text = numbers.tidy(text).replace("≥", ">=").replace("≤", "<=")
    pattern = _DATE if type == "date" else numbers.PATTERN
    if match := re.fullmatch(r"(>=|<=|>|<)\s*(.+)", text):
        sign, value = match[1], _value(match[2], type)
        if sign in (">=", ">"):
            return Cell(lower=value[0], lower_open=sign == ">")
        return Cell(upper=value[0], upper_open=sign == "<", unit=None if sign == "<" else value[1])
    if match := re.fullmatch(r"(.+?)\s*\+", text):
        return Cell(lower=_value(match[1], type)[0])
    if match := re.fullmatch(rf"({pattern})\s*(?:-|\bto\b)\s*({pattern})", text, re.IGNORECASE):
        (lower, _), (upper, unit) = _value(match[1], type), _value(match[2], type)
        if lower > upper:
            raise CellError(f"'{text}' starts above its end")
        return Cell(lower=lower, upper=upper, unit=unit)
    return Cell(lower=_value(text, type)[0])


def _value(text, type):
    """A number or date and the step of its last digit."""
    text = text.strip()
    if type == "date":
        return _date(text)
    typed = number(text, type)
    return typed.value, typed.step


def _date(text):
    try:
        if not re.fullmatch(_DATE, text):
            raise ValueError
        return date.fromisoformat(text), Decimal(1)
    except ValueError:
        raise CellError(f"'{text}' is not a date; write 2026-01-31") from None


def number(text, type):
    """The number typed for a fact of `type` (core.numbers.Typed); CellError says what is wrong with it."""
    typed = numbers.read(text)
    if typed is None:
        raise CellError(f"'{text}' is not a number; examples: 1,000+   500-999   < 50")
    if typed.currency and type != "money":
        raise CellError(f"'{text}' has a currency sign, but this field is not money")
    if typed.unit and type not in ("ratio", "number"):
        raise CellError(f"'{text}' ends with {typed.unit}, but this field is a plain number")
    if abs(typed.value) >= MAX_NUMBER:
        raise CellError(f"'{text}' is too large")
    if typed.value != round(typed.value, 12):
        raise CellError(f"'{text}' has more than 12 decimals")
    return typed


def _show(value, unit=None):
    if isinstance(value, date):
        return value.isoformat()
    if unit is not None and unit < 1:
        return f"{value.quantize(unit):f}"
    if unit is not None and unit > 1:
        return _with_suffix(value, unit)
    return f"{value.normalize():f}"


def _with_suffix(value, unit):
    """An upper bound typed as 99K keeps its step when it is written again."""
    for suffix, exponent in (("K", 3), ("lakh", 5), ("M", 6), ("crore", 7), ("B", 9)):
        decimals = exponent - unit.adjusted()
        if decimals >= 0 and suffix:
            scaled = value.scaleb(-exponent)
            return f"{scaled.quantize(Decimal(1).scaleb(-decimals)):f} {suffix}"
    raise ValueError(f"no suffix for steps of {unit}")


# -- checking the cells against each other


def _order_problems(cells, texts):
    """An order that is neither downwards nor upwards, and upper bounds that contradict the next cell."""
    filled = [(index, cell) for index, cell in enumerate(cells) if cell]
    problems = []
    if sum(_bottomless(cell) for _, cell in filled) > 1:
        both = [index for index, cell in filled if _bottomless(cell)]
        return [
            (both[1], f"'{texts[both[1]]}' and '{texts[both[0]]}' have no lower end both; only one cell can")
        ]
    down = len(filled) < 2 or _above(filled[0][1], filled[1][1])
    for (upper_index, upper), (lower_index, lower) in _pairs(filled, down):
        # The cell typed later is the one a person looks at for the mistake.
        later = max(upper_index, lower_index)
        here, other = texts[later], texts[upper_index if later == lower_index else lower_index]
        if not _above(upper, lower):
            way = "smaller" if down else "greater"
            problems.append((later, f"'{here}' does not start {way} than '{other}'; points must go one way"))
        elif message := _contradiction(upper, lower, texts[upper_index], texts[lower_index]):
            problems.append((later, message))
    return problems


def _pairs(filled, down):
    """Neighbours, the greater one first."""
    for first, second in pairwise(filled):
        yield (first, second) if down else (second, first)


def _bottomless(cell):
    return cell.rest or cell.lower is None


def _above(cell, other):
    if _bottomless(cell) or _bottomless(other):
        return not _bottomless(cell)
    return (cell.lower, cell.lower_open) > (other.lower, other.lower_open)


def _contradiction(upper, lower, upper_text, lower_text):
    """Why the end of the lower cell does not fit the start of the upper one, or None."""
    if lower.upper is None or upper.lower is None:
        return None
    start, end = upper.lower, lower.upper
    if isinstance(start, date):
        start, end = Decimal(start.toordinal()), Decimal(end.toordinal())
    if end > start or (end == start and not lower.upper_open and not upper.lower_open):
        return f"'{lower_text}' overlaps '{upper_text}'"
    if start - end > (lower.unit or 0):
        return f"'{lower_text}' ends before '{upper_text}' starts; nothing says what is between earns"
    return None


def _choice_problems(cells, texts):
    seen, problems = {}, []
    for index, cell in enumerate(cells):
        for value in (("*",) if cell.rest else cell.values) if cell else ():
            if value in seen:
                problems.append((index, f"'{value}' is also in '{texts[seen[value]]}'"))
            seen.setdefault(value, index)
    return problems


# -- points of a column


def _ordered_points(rubric, column):
    """The cell with the greatest lower bound at or below the value."""
    bounds, floor = [], None
    for points, cell in zip(POINTS, rubric.cells, strict=True):
        if cell is None:
            continue
        if _bottomless(cell):
            floor = points
        else:
            bounds.append((threshold(cell, rubric.type), points))
    value, kind = (column, pl.Date) if rubric.type == "date" else (_physical(column, rubric.type), None)
    result = pl.when(column.is_not_null()).then(literal(floor, pl.Int8)) if floor else literal(None, pl.Int8)
    for bound, points in sorted(bounds):  # upwards: a later, greater bound wins
        kind = pl.Date if rubric.type == "date" else pl.Int64 if rubric.type == "integer" else pl.Int128
        result = pl.when(value >= literal(bound, kind)).then(literal(points, pl.Int8)).otherwise(result)
    return result


def _physical(column, type):
    """A decimal's exact integer (value x 10^scale); an integer as it is."""
    return column if type == "integer" else column.to_physical()


def threshold(cell, type):
    """The smallest value inside the cell: a date, or an integer in the fact's scale."""
    if type == "date":
        return date.fromordinal(cell.lower.toordinal() + cell.lower_open)
    scaled = cell.lower.scaleb(SCALES[type])
    whole = int(scaled.to_integral_value("ROUND_FLOOR"))
    return whole + 1 if cell.lower_open or whole != scaled else whole


def _text_points(rubric, column):
    text = column.str.strip_chars().str.to_lowercase()
    return _choice_points(rubric, text, pl.when(text != "").then(text))


def _choice_points(rubric, value, present):
    points, rest_points = {}, None
    for number, cell in zip(POINTS, rubric.cells, strict=True):
        if cell and cell.rest:
            rest_points = number
        elif cell:
            points |= dict.fromkeys(cell.values, number)
    result = (
        pl.when(present.is_not_null()).then(literal(rest_points, pl.Int8))
        if rest_points
        else literal(None, pl.Int8)
    )
    for number in sorted(set(points.values())):
        earning = [choice for choice, earned in points.items() if earned == number]
        result = pl.when(value.is_in(earning)).then(literal(number, pl.Int8)).otherwise(result)
    return result
