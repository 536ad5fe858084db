"""Rule conditions compiled: a tree (`segmentation.rules.tree`) -> a Polars expression.

Numbers are 128-bit integers with a fixed number of decimals. Nothing is ever a float, and a result that does not fit is
told, never wrapped. `/` is decimal division cut off after 12 decimals; by zero it gives NULL. Three-valued logic
throughout.

Pure: never passed to a database, a regular expression or `eval`.
"""

import difflib
import re
from dataclasses import dataclass, field, replace
from datetime import date

import polars as pl

from segmentation.rules import rubric, tree
from segmentation.rules.tree import MIRROR, ConditionError, brief, unusable

MAX_DECIMALS = 24
LIMIT = 2**127 - 1
WIDE = pl.Int128
SCORE_DECIMALS = 12
# Names a rule may read of other layers: label.<layer>, composite.<layer>, score.<layer>.<dimension>; `-` in a key is `_` here.
_OTHER_LAYERS = {
    re.compile(r"label\.[a-z0-9_]+"): "text",
    re.compile(r"composite\.[a-z0-9_]+"): "score",
    re.compile(r"score\.[a-z0-9_]+\.[a-z0-9_]+"): "score",
}


class UnknownName(ConditionError):
    """The condition names something that is not there."""


@dataclass(frozen=True)
class Comparison:
    """`term op threshold`, mirrored so that the term is on the left. `term` is None for anything more complicated."""

    term: str | None
    op: str | None = None
    threshold: int | None = None  # scaled by 10^12


@dataclass(frozen=True)
class Condition:
    """A compiled condition. `expr` gives Boolean (null = unknown); `overflow` (or None) is true where a number
    did not fit, `expr` is null there. `names` are the columns it reads."""

    text: str
    root: tree.Node = field(compare=False, repr=False)
    expr: pl.Expr = field(compare=False, repr=False)
    overflow: pl.Expr | None = field(compare=False, repr=False)
    names: frozenset
    comparisons: tuple


def type_of(name, names):
    """The type of a name: one of `names` ({name: type}), or something of another layer; None for anything else."""
    if name in names:
        return names[name]
    return next((type for pattern, type in _OTHER_LAYERS.items() if pattern.fullmatch(name)), None)


def compile(text, names):
    """Compile a condition over `names`: {name: type}, types of the catalogue and `score` (12 decimals), and other layers.

    Raises ConditionError.
    """
    root = tree.read(text, names)
    compiler = _Compiler(names)
    try:
        compiled = compiler.visit(root)
    except RecursionError:
        raise ConditionError("The condition is nested too deeply.", 0) from None
    if compiled.kind != "boolean":
        raise ConditionError("The condition must be true or false, such as arr >= 100000.", 0)
    overflow = (
        pl.any_horizontal([guard.fill_null(False) for guard in compiler.guards]) if compiler.guards else None
    )
    expr = compiled.expr if overflow is None else pl.when(~overflow).then(compiled.expr)
    return Condition(text, root, expr, overflow, frozenset(compiler.used), tuple(compiler.comparisons))


@dataclass(frozen=True)
class _Node:
    """A compiled part. Numbers: `expr` is Int128, the value times 10^scale, at most `bound` either way;
    `constant` is that integer where it is known. A text literal keeps its `constant`, to become a date."""

    kind: str  # number, text, date, boolean
    expr: pl.Expr
    scale: int = 0
    bound: int = 0
    constant: object = None
    term: str | None = None  # the name, when the part is just that
    predicate: bool = False  # a comparison not in parentheses


_KINDS = {"text": "text", "date": "date", "boolean": "boolean"}
_WORDS = {"number": "a number", "text": "text", "date": "a date", "boolean": "true or false"}
_INTEGER_BOUNDS = {"integer": 2**63, "points": 10**6}


class _Compiler:
    def __init__(self, names):
        self.names = names
        self.used, self.comparisons, self.guards = set(), [], []

    def visit(self, node):
        return _VISITS[type(node)](self, node)

    # -- leaves

    def name(self, node):
        type = type_of(node.name, self.names)
        if type is None:
            self.unknown(node)
        self.used.add(node.name)
        return _leaf(node.name, type)

    def unknown(self, node):
        near = difflib.get_close_matches(node.name, self.names, n=1, cutoff=0.6)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        message = f"There is no data field '{brief(node.name)}'.{hint}"
        if "." in node.name:
            message = f"There is no '{brief(node.name)}' in this definition.{hint}"
        raise UnknownName(message, node.position, near[0] if near else None)

    def constant(self, node):
        match node.kind:
            case "text":
                return _Node("text", pl.lit(node.value, pl.String), constant=node.value)
            case "boolean":
                return _Node("boolean", pl.lit(node.value), constant=node.value)
            case "date":
                return _date(node.value)
        return self.literal(node)

    def literal(self, node):
        whole, _, decimals = node.value.partition(".")
        if not re.fullmatch(r"[0-9]*", whole) or not re.fullmatch(r"[0-9]*", decimals):
            raise ConditionError(f"Write '{brief(node.value)}' as a plain number.", node.position)
        decimals = decimals.rstrip("0")
        if len(decimals) > SCORE_DECIMALS or len(whole.lstrip("0")) > 18:
            raise ConditionError(f"'{brief(node.value)}' has too many digits.", node.position)
        return _constant(int(whole + decimals or "0"), len(decimals))

    def parentheses(self, node):
        return replace(self.visit(node.part), predicate=False)

    # -- logic

    def both(self, node):
        parts = [self.of("boolean", part) for part in node.several]
        return _Node("boolean", _fold(parts, isinstance(node, tree.All)))

    def negation(self, node):
        return _Node("boolean", ~self.of("boolean", node.part).expr, predicate=True)

    def of(self, kind, node):
        """Visit a part that must be of one kind."""
        part = self.visit(node)
        if part.kind != kind:
            raise ConditionError(f"Expected {_WORDS[kind]}, found {_WORDS[part.kind]}.", node.position)
        return part

    # -- comparisons

    def comparison(self, node):
        return self.compare(node.sign, node.left, node.right)

    def compare(self, sign, left_node, right_node):
        left, right = self.operand(left_node), self.operand(right_node)
        return self.compared(sign, left, right, left_node)

    def compared(self, sign, left, right, node):
        left, right = self.same_kind(left, right, node)
        if left.kind == "number":
            self.note(sign, left, right)
            left, right = self.aligned(left, right)
        elif left.kind in ("text", "boolean") and sign not in ("=", "<>"):
            what = _WORDS[left.kind].capitalize()
            raise ConditionError(f"{what} cannot be compared with {sign}; use = or IN.", node.position)
        return _Node("boolean", _apply(sign, left.expr, right.expr), predicate=True)

    def operand(self, node):
        """An operand of a comparison. SQL does not chain comparisons, and sqlglot binds some differently."""
        part = self.visit(node)
        if part.predicate:
            raise ConditionError("Put parentheses round the inner comparison.", node.position)
        return part

    def same_kind(self, left, right, node):
        if left.kind == "date" and right.kind == "text" and right.constant is not None:
            right = _date(tree.iso_date(right.constant, node.position))
        if right.kind == "date" and left.kind == "text" and left.constant is not None:
            left = _date(tree.iso_date(left.constant, node.position))
        if left.kind != right.kind:
            raise ConditionError(
                f"Cannot compare {_WORDS[left.kind]} with {_WORDS[right.kind]}.", node.position
            )
        return left, right

    def note(self, sign, left, right):
        """Remember the comparison for the distance to the next boundary."""
        if left.term is None and right.term is not None:
            sign, left, right = MIRROR[sign], right, left
        if left.term is None or right.constant is None:
            return self.comparisons.append(Comparison(None))
        threshold = right.constant * 10 ** (SCORE_DECIMALS - right.scale)
        return self.comparisons.append(Comparison(left.term, sign, threshold))

    def between(self, node):
        low, high = self.compare(">=", node.part, node.low), self.compare("<=", node.part, node.high)
        return _Node("boolean", low.expr & high.expr, predicate=True)

    def within(self, node):
        value = self.operand(node.part)
        equal = [self.compared("=", value, self.operand(part), part) for part in node.several]
        return _Node("boolean", _fold(equal, False), predicate=True)

    def state(self, node):
        """IS [NOT] NULL / TRUE / FALSE: never unknown."""
        part = self.operand(node.part)
        if node.what is None:
            is_so = part.expr.is_null()
        elif part.kind != "boolean":
            raise ConditionError(f"{_WORDS[part.kind].capitalize()} is never TRUE or FALSE.", node.position)
        else:
            is_so = (part.expr if node.what else ~part.expr).fill_null(False)
        return _Node("boolean", ~is_so if node.negated else is_so, predicate=True)

    def like(self, node):
        """LIKE with % at the start, the end or both: no general patterns."""
        value, pattern = self.operand(node.part), self.operand(node.pattern)
        if value.kind != "text" or pattern.kind != "text" or pattern.constant is None:
            raise unusable(node.shown, node.position)
        text = pattern.constant
        inner = text.removeprefix("%").removesuffix("%") if text != "%" else ""
        if any(sign in inner for sign in "%_\\"):
            raise ConditionError("LIKE takes % at the start or the end only.", node.position)
        starts, ends = text.startswith("%"), text.endswith("%")
        if starts and ends:
            matches = value.expr.str.contains(inner, literal=True)
        elif starts or ends:
            matches = value.expr.str.ends_with(inner) if starts else value.expr.str.starts_with(inner)
        else:
            matches = value.expr == pl.lit(inner)
        return _Node("boolean", ~matches if node.negated else matches, predicate=True)

    def coalesce(self, node):
        first, *others = (self.operand(part) for part in node.several)
        for other in others:
            first, other = self.same_kind(first, other, node)
            if first.kind == "number":
                first, other = self.aligned(first, other)
            expr, bound = pl.coalesce(first.expr, other.expr), max(first.bound, other.bound)
            first = _Node(first.kind, expr, first.scale, bound)
        return _Node(first.kind, first.expr, first.scale, first.bound)

    # -- arithmetic

    def negative(self, node):
        part = self.of("number", node.part)
        constant = None if part.constant is None else -part.constant
        return _Node("number", pl.lit(0, WIDE) - part.expr, part.scale, part.bound, constant)

    def calculation(self, node):
        match node.sign:
            case "*":
                return self.product(node)
            case "/":
                return self.quotient(node)
        return self.sum(node)

    def sum(self, node):
        left, right = self.visit(node.left), self.visit(node.right)
        minus = node.sign == "-"
        if left.kind == right.kind == "date" and minus:
            days = (left.expr.to_physical().cast(WIDE)) - right.expr.to_physical().cast(WIDE)
            return _Node("number", days, 0, 2**33)
        left, right = self.aligned(self.number(left, node), self.number(right, node))
        exact = left.expr - right.expr if minus else left.expr + right.expr
        bound = left.bound + right.bound
        if bound > LIMIT:
            other = -_float(right.expr) if minus else _float(right.expr)
            self.guard((_float(left.expr) + other).abs() > LIMIT * 0.99)
            # Each side may be near the limit alone: then the sum of the floats is what tells.
            bound = LIMIT
        return _Node("number", exact, left.scale, bound)

    def product(self, node):
        left = self.number(self.visit(node.left), node)
        right = self.number(self.visit(node.right), node)
        scale = left.scale + right.scale
        if scale > MAX_DECIMALS:
            raise ConditionError(f"The product has more than {MAX_DECIMALS} decimals.", node.position)
        return _Node("number", self.times(left, right), scale, min(left.bound * right.bound, LIMIT))

    def quotient(self, node):
        """floor(left / right x 10^12), NULL where right is 0."""
        left = self.number(self.visit(node.left), node)
        right = self.number(self.visit(node.right), node)
        shift = SCORE_DECIMALS + right.scale - left.scale
        if shift >= 0:
            left = self.shifted(left, shift)
        else:
            right = self.shifted(right, -shift)
        divisor = pl.when(right.expr != 0).then(right.expr)
        return _Node("number", left.expr // divisor, SCORE_DECIMALS, left.bound)

    def number(self, part, node):
        if part.kind != "number":
            raise ConditionError(f"Cannot calculate with {_WORDS[part.kind]}.", node.position)
        return part

    def times(self, left, right):
        if left.bound * right.bound > LIMIT:
            self.guard((_float(left.expr) * _float(right.expr)).abs() > LIMIT * 0.99)
        return left.expr * right.expr

    def shifted(self, part, decimals):
        """The same number with more decimals in its integer."""
        if not decimals:
            return part
        if part.constant is not None:
            return _constant(part.constant * 10**decimals, part.scale + decimals)
        factor = _constant(10**decimals, 0)
        return _Node(
            "number", self.times(part, factor), part.scale + decimals, min(part.bound * 10**decimals, LIMIT)
        )

    def aligned(self, left, right):
        scale = max(left.scale, right.scale)
        return self.shifted(left, scale - left.scale), self.shifted(right, scale - right.scale)

    def guard(self, overflow):
        self.guards.append(overflow)


def _leaf(name, type):
    column = pl.col(name)
    if type in _KINDS:
        return _Node(_KINDS[type], column, term=name)
    if type in _INTEGER_BOUNDS:
        return _Node("number", column.cast(WIDE), 0, _INTEGER_BOUNDS[type], term=name)
    scale = SCORE_DECIMALS if type == "score" else rubric.SCALES[type]
    bound = 10**30 if type == "score" else 10**38
    return _Node("number", column.to_physical(), scale, bound, term=name)


def _date(text):
    return _Node("date", pl.lit(date.fromisoformat(text), pl.Date))


def _constant(value, scale):
    if abs(value) > LIMIT:
        raise ConditionError("A number is too large.")
    return _Node("number", pl.lit(value, WIDE), scale, abs(value), value)


def _float(expr):
    return expr.cast(pl.Float64)


def _apply(sign, left, right):
    match sign:
        case "=":
            return left == right
        case "<>":
            return left != right
        case ">":
            return left > right
        case ">=":
            return left >= right
        case "<":
            return left < right
        case "<=":
            return left <= right


def _fold(parts, every):
    """Half and half: Polars takes 20 s for a chain of a thousand, each inside the next."""
    if len(parts) == 1:
        return parts[0].expr
    middle = len(parts) // 2
    left, right = _fold(parts[:middle], every), _fold(parts[middle:], every)
    return left & right if every else left | right


_VISITS = {
    tree.Name: _Compiler.name,
    tree.Constant: _Compiler.constant,
    tree.Parentheses: _Compiler.parentheses,
    tree.All: _Compiler.both,
    tree.Any: _Compiler.both,
    tree.Not: _Compiler.negation,
    tree.Compare: _Compiler.comparison,
    tree.Between: _Compiler.between,
    tree.In: _Compiler.within,
    tree.Is: _Compiler.state,
    tree.Like: _Compiler.like,
    tree.Coalesce: _Compiler.coalesce,
    tree.Negative: _Compiler.negative,
    tree.Calculate: _Compiler.calculation,
}
