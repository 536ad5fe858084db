"""Rule conditions: SQL boolean text -> typed tree -> Polars expression.

sqlglot parses; a visitor of our own compiles a closed list of nodes *and of their arguments*: whatever it does not
know is refused, so a condition means here what it means in PostgreSQL or is not accepted. Numbers are 128-bit
integers with a fixed number of decimals; nothing is ever a float, and a result that does not fit is told, never
wrapped. `/` is decimal division cut off after 12 decimals; by zero it gives NULL. Three-valued logic throughout.

Pure: never passed to a database, a regular expression or `eval`.
"""

import difflib
import re
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import zip_longest

import polars as pl
import sqlglot
from sqlglot import TokenType, exp

from accounts import sql_text
from segmentation import rubric

MAX_LENGTH = 2_000
MAX_DEPTH = 32
MAX_DECIMALS = 24
MAX_WEIGHT = 5_000
LIMIT = 2**127 - 1
WIDE = pl.Int128
SCORE_DECIMALS = 12
# What a rule may read of other layers: label.<layer>, composite.<layer>, score.<layer>.<dimension>; `-` in a key is `_` here.
_OTHER_LAYERS = {
    re.compile(r"label\.[a-z0-9_]+"): "text",
    re.compile(r"composite\.[a-z0-9_]+"): "score",
    re.compile(r"score\.[a-z0-9_]+\.[a-z0-9_]+"): "score",
}


class ConditionError(ValueError):
    """The condition is not accepted: a sentence, where (offset into the text, or None), the nearest known name."""

    def __init__(self, message, position=None, suggestion=None):
        self.message, self.position, self.suggestion = message, position, suggestion
        super().__init__(message)


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
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"The condition is longer than {MAX_LENGTH:,} characters.", MAX_LENGTH)
    if found := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", text):
        raise ConditionError("The condition contains a character that cannot be stored.", found.start())
    _check_depth(text)
    visitor = _Visitor(text, names)
    try:
        tree = parse(text, names)
        node = visitor.visit(tree, 0)
        if _weight(tree) > MAX_WEIGHT:
            raise ConditionError("Too much inside IN, BETWEEN or / inside each other.", 0)
    except RecursionError:
        raise ConditionError("The condition is nested too deeply.", 0) from None
    if node.kind != "boolean":
        raise ConditionError("The condition must be true or false, such as arr >= 100000.", 0)
    overflow = (
        pl.any_horizontal([guard.fill_null(False) for guard in visitor.guards]) if visitor.guards else None
    )
    expr = node.expr if overflow is None else pl.when(~overflow).then(node.expr)
    return Condition(text, expr, overflow, frozenset(visitor.used), tuple(visitor.comparisons))


def _weight(node):
    """How many parts the expression has. What IN, BETWEEN and / read more than once doubles at every level."""
    parts = {id(part): _weight(part) for part in node.iter_expressions()}
    whole = sum(parts.values()) + 1
    match node:
        case exp.In():
            return whole + parts[id(node.this)] * (len(node.expressions) - 1)
        case exp.Between():
            return whole + parts[id(node.this)]
        case exp.Div():
            return whole + parts[id(node.expression)]
    return whole


def _check_depth(text):
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth > MAX_DEPTH:
            raise ConditionError(f"More than {MAX_DEPTH} parentheses inside each other.", position)


def parse(text, names):
    """The tree of a condition. Raises ConditionError where it cannot be read as one at all."""
    if not text.strip():
        raise ConditionError("The condition is empty.", 0)
    try:
        tokens = sql_text.tokens(text)
        _check_tokens(tokens, names)
        trees = sql_text.parse(tokens, text)
    except sql_text.TooMuch as error:
        raise ConditionError(f"The condition {error.reason}.", error.position) from None
    except sqlglot.errors.ParseError as error:
        raise ConditionError(*_where(text, error)) from None
    except sqlglot.errors.SqlglotError:
        raise ConditionError("A quote is not closed, or a character does not belong here.", None) from None
    if not trees or trees[0] is None:  # nothing but comments
        raise ConditionError("The condition is empty.", 0)
    return trees[0]


def _check_tokens(tokens, names):
    """Only what a condition is made of is parsed at all: thirty times `array[` would keep the parser busy for days."""
    words = {
        word for name in names for word in name.split(".")
    }  # a name may be a word of SQL, such as "name"
    before = TokenType.L_PAREN
    for token, after in zip_longest(tokens, tokens[1:]):
        kind, then = token.token_type, after.token_type if after else None
        if kind is TokenType.SEMICOLON:
            raise ConditionError("Write one condition, without a semicolon.", token.start)
        named = token.text.lower() in words and then is not TokenType.L_PAREN
        dated = kind is TokenType.DATE and then is TokenType.STRING
        # sqlglot passes over these, PostgreSQL does not: == and !, a comma too many, a plus in front.
        alien = token.text in ("==", "!") and kind in (TokenType.EQ, TokenType.NOT)
        alien |= kind is TokenType.COMMA and then is TokenType.R_PAREN
        alien |= kind is TokenType.PLUS and before not in _ENDING
        if alien or not (kind in _TOKENS or named or dated):
            raise _unusable(token.text, token.start)
        before = TokenType.VAR if named else kind


def _brief(word):
    return word if len(word) <= 40 else word[:37] + "..."


def _unusable(word, position):
    return ConditionError(
        f"'{_brief(word)}' cannot be used here. A condition knows AND, OR, NOT, = <> < <= > >=, IN, BETWEEN, "
        "IS NULL, LIKE 'x%', COALESCE and + - * /.",
        position,
    )


def _where(text, error):
    """The sentence and the offset of sqlglot's first complaint."""
    first = error.errors[0] if error.errors else {}
    line, column = first.get("line") or 1, first.get("col") or 1
    lines = text.splitlines(keepends=True)
    offset = sum(len(one) for one in lines[: line - 1]) + column - len(first.get("highlight") or "")
    near = _brief((first.get("highlight") or "").strip())
    message = f"Cannot read the condition near '{near}'." if near else "Cannot read the condition."
    return message, min(max(offset, 0), len(text))


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
_MIRROR = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "=": "=", "<>": "<>"}
_SIGNS = {exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<="}
_WORDS = {"number": "a number", "text": "text", "date": "a date", "boolean": "true or false"}
_INTEGER_BOUNDS = {"integer": 2**63, "points": 10**6}


class _Visitor:
    def __init__(self, text, names):
        self.text, self.names = text, names
        self.used, self.comparisons, self.guards = set(), [], []

    def visit(self, node, depth):
        if depth > MAX_DEPTH:
            raise ConditionError("The condition is nested too deeply.", self.position(node))
        visit, arguments = _VISITS.get(type(node), (None, ()))
        if visit is None:
            self.refuse(node)
        for name, value in node.args.items():
            if name not in arguments and value not in (None, False, []):
                self.refuse(node)
        return visit(self, node, depth + 1)

    def refuse(self, node):
        raise _unusable(node.sql(dialect="postgres"), self.position(node))

    def position(self, node):
        """Where the first name, literal or number of this part stands in the text."""
        starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
        return min(starts) if starts else None

    # -- leaves

    def column(self, node, depth):
        name = ".".join(part.name for part in node.parts)
        if not any(part.args.get("quoted") for part in node.parts):
            name = name.lower()
        type = type_of(name, self.names)
        if type is None:
            self.unknown(name, node)
        self.used.add(name)
        return _leaf(name, type)

    def unknown(self, name, node):
        near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.6)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        message = f"There is no data field '{_brief(name)}'.{hint}"
        if "." in name:
            message = f"There is no '{_brief(name)}' in this definition.{hint}"
        raise UnknownName(message, self.position(node), near[0] if near else None)

    def literal(self, node, depth):
        if node.is_string:
            return _Node("text", pl.lit(node.this, pl.String), constant=node.this)
        whole, _, decimals = node.this.partition(".")
        if not re.fullmatch(r"[0-9]*", whole) or not re.fullmatch(r"[0-9]*", decimals):
            raise ConditionError(f"Write '{_brief(node.this)}' as a plain number.", self.position(node))
        decimals = decimals.rstrip("0")
        if len(decimals) > SCORE_DECIMALS or len(whole.lstrip("0")) > 18:
            raise ConditionError(f"'{_brief(node.this)}' has too many digits.", self.position(node))
        return _constant(int(whole + decimals or "0"), len(decimals))

    def boolean(self, node, depth):
        return _Node("boolean", pl.lit(bool(node.this)), constant=bool(node.this))

    def null(self, node, depth):
        raise ConditionError("Compare with NULL by writing IS NULL or IS NOT NULL.", self.position(node))

    def cast(self, node, depth):
        """Only DATE '2026-01-01'."""
        if not (node.this.is_string and node.to.is_type("date") and not node.to.expressions):
            self.refuse(node)
        return self.as_date(_Node("text", None, constant=node.this.this), node)

    def paren(self, node, depth):
        inner = self.visit(node.this, depth)
        return replace(inner, predicate=False)

    # -- logic

    def both(self, node, depth):
        parts = [self.of("boolean", part, depth) for part in _chain(node)]
        return _Node("boolean", _fold(parts, isinstance(node, exp.And)))

    def negation(self, node, depth):
        return _Node("boolean", ~self.of("boolean", node.this, depth).expr, predicate=True)

    def of(self, kind, node, depth):
        """Visit a part that must be of one kind."""
        part = self.visit(node, depth)
        if part.kind != kind:
            raise ConditionError(f"Expected {_WORDS[kind]}, found {_WORDS[part.kind]}.", self.position(node))
        return part

    # -- comparisons

    def comparison(self, node, depth):
        return self.compare(_SIGNS[type(node)], node.this, node.expression, depth)

    def compare(self, sign, left_node, right_node, depth):
        left, right = self.operand(left_node, depth), self.operand(right_node, depth)
        return self.compared(sign, left, right, left_node)

    def compared(self, sign, left, right, node):
        left, right = self.same_kind(left, right, node)
        if left.kind == "number":
            self.note(sign, left, right)
            left, right = self.aligned(left, right)
        elif left.kind in ("text", "boolean") and sign not in ("=", "<>"):
            what = _WORDS[left.kind].capitalize()
            raise ConditionError(f"{what} cannot be compared with {sign}; use = or IN.", self.position(node))
        return _Node("boolean", _apply(sign, left.expr, right.expr), predicate=True)

    def operand(self, node, depth):
        """What a comparison compares. SQL does not chain comparisons, and sqlglot binds some differently."""
        part = self.visit(node, depth)
        if part.predicate:
            raise ConditionError("Put parentheses round the inner comparison.", self.position(node))
        return part

    def same_kind(self, left, right, node):
        if left.kind == "date" and right.kind == "text" and right.constant is not None:
            right = self.as_date(right, node)
        if right.kind == "date" and left.kind == "text" and left.constant is not None:
            left = self.as_date(left, node)
        if left.kind != right.kind:
            raise ConditionError(
                f"Cannot compare {_WORDS[left.kind]} with {_WORDS[right.kind]}.", self.position(node)
            )
        return left, right

    def as_date(self, text, node):
        try:
            if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text.constant):
                raise ValueError
            value = date.fromisoformat(text.constant)
        except ValueError:
            raise ConditionError(
                f"'{_brief(text.constant)}' is not a date; write DATE '2026-01-31'.", self.position(node)
            ) from None
        return _Node("date", pl.lit(value, pl.Date))

    def note(self, sign, left, right):
        """Remember the comparison for the distance to the next boundary."""
        if left.term is None and right.term is not None:
            sign, left, right = _MIRROR[sign], right, left
        if left.term is None or right.constant is None:
            return self.comparisons.append(Comparison(None))
        threshold = right.constant * 10 ** (SCORE_DECIMALS - right.scale)
        return self.comparisons.append(Comparison(left.term, sign, threshold))

    def between(self, node, depth):
        low = self.compare(">=", node.this, node.args["low"], depth)
        high = self.compare("<=", node.this, node.args["high"], depth)
        return _Node("boolean", low.expr & high.expr, predicate=True)

    def within(self, node, depth):
        value = self.operand(node.this, depth)
        if not node.expressions:
            self.refuse(node)
        found = [self.compared("=", value, self.operand(one, depth), one) for one in node.expressions]
        return _Node("boolean", _fold(found, False), predicate=True)

    def missing(self, node, depth):
        """IS [NOT] NULL / TRUE / FALSE: never unknown."""
        wanted = node.expression
        if isinstance(wanted, exp.Null):
            known = self.operand(node.this, depth).expr.is_null()
        elif isinstance(wanted, exp.Boolean):
            part = self.operand(node.this, depth)
            if part.kind != "boolean":
                raise ConditionError(
                    f"{_WORDS[part.kind].capitalize()} is never TRUE or FALSE.", self.position(node)
                )
            known = (part.expr if wanted.this else ~part.expr).fill_null(False)
        else:
            self.refuse(node)
        return _Node("boolean", ~known if node.args.get("negate") else known, predicate=True)

    def like(self, node, depth):
        """LIKE with % at the start, the end or both: no general patterns."""
        value, pattern = self.operand(node.this, depth), self.operand(node.expression, depth)
        if value.kind != "text" or pattern.kind != "text" or pattern.constant is None:
            self.refuse(node)
        text = pattern.constant
        inner = text.removeprefix("%").removesuffix("%") if text != "%" else ""
        if any(sign in inner for sign in "%_\\"):
            raise ConditionError("LIKE takes % at the start or the end only.", self.position(node))
        starts, ends = text.startswith("%"), text.endswith("%")
        if starts and ends:
            found = value.expr.str.contains(inner, literal=True)
        elif starts or ends:
            found = value.expr.str.ends_with(inner) if starts else value.expr.str.starts_with(inner)
        else:
            found = value.expr == pl.lit(inner)
        return _Node("boolean", ~found if node.args.get("negate") else found, predicate=True)

    def coalesce(self, node, depth):
        first, *others = (self.operand(part, depth) for part in [node.this, *node.expressions])
        for other in others:
            first, other = self.same_kind(first, other, node)
            if first.kind == "number":
                first, other = self.aligned(first, other)
            expr, bound = pl.coalesce(first.expr, other.expr), max(first.bound, other.bound)
            first = _Node(first.kind, expr, first.scale, bound)
        return _Node(first.kind, first.expr, first.scale, first.bound)

    # -- arithmetic

    def negative(self, node, depth):
        part = self.of("number", node.this, depth)
        constant = None if part.constant is None else -part.constant
        return _Node("number", pl.lit(0, WIDE) - part.expr, part.scale, part.bound, constant)

    def sum(self, node, depth):
        left, right = self.visit(node.this, depth), self.visit(node.expression, depth)
        if left.kind == right.kind == "date" and isinstance(node, exp.Sub):
            days = (left.expr.to_physical().cast(WIDE)) - right.expr.to_physical().cast(WIDE)
            return _Node("number", days, 0, 2**33)
        left, right = self.aligned(self.number(left, node), self.number(right, node))
        minus = isinstance(node, exp.Sub)
        exact = left.expr - right.expr if minus else left.expr + right.expr
        bound = left.bound + right.bound
        if bound > LIMIT:
            other = -_float(right.expr) if minus else _float(right.expr)
            self.guard((_float(left.expr) + other).abs() > LIMIT * 0.99)
            # Each side may be near the limit alone: then the sum of the floats is what tells.
            bound = LIMIT
        return _Node("number", exact, left.scale, bound)

    def product(self, node, depth):
        left = self.number(self.visit(node.this, depth), node)
        right = self.number(self.visit(node.expression, depth), node)
        scale = left.scale + right.scale
        if scale > MAX_DECIMALS:
            raise ConditionError(f"The product has more than {MAX_DECIMALS} decimals.", self.position(node))
        return _Node("number", self.times(left, right), scale, min(left.bound * right.bound, LIMIT))

    def quotient(self, node, depth):
        """floor(left / right x 10^12), NULL where right is 0."""
        left = self.number(self.visit(node.this, depth), node)
        right = self.number(self.visit(node.expression, depth), node)
        shift = SCORE_DECIMALS + right.scale - left.scale
        if shift >= 0:
            left = self.shifted(left, shift)
        else:
            right = self.shifted(right, -shift)
        divisor = pl.when(right.expr != 0).then(right.expr)
        return _Node("number", left.expr // divisor, SCORE_DECIMALS, left.bound)

    def number(self, part, node):
        if part.kind != "number":
            raise ConditionError(f"Cannot calculate with {_WORDS[part.kind]}.", self.position(node))
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


def _chain(node):
    """a AND b AND c, flat: a long chain is not deep."""
    parts, left = [], node
    while type(left) is type(node):
        parts.append(left.expression)
        left = left.this
    return [left, *reversed(parts)]


def _fold(parts, every):
    """Half and half: Polars takes 20 s for a chain of a thousand, each inside the next."""
    if len(parts) == 1:
        return parts[0].expr
    middle = len(parts) // 2
    left, right = _fold(parts[:middle], every), _fold(parts[middle:], every)
    return left & right if every else left | right


# The words and signs of a condition.
_TOKENS = {
    TokenType.VAR, TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER, TokenType.NULL, TokenType.TRUE,
    TokenType.FALSE, TokenType.L_PAREN, TokenType.R_PAREN, TokenType.COMMA, TokenType.DOT, TokenType.EQ,
    TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE, TokenType.PLUS, TokenType.DASH,
    TokenType.STAR, TokenType.SLASH, TokenType.AND, TokenType.OR, TokenType.NOT, TokenType.IN, TokenType.BETWEEN,
    TokenType.IS, TokenType.LIKE,
}  # fmt: skip
_ENDING = {TokenType.VAR, TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER, TokenType.R_PAREN}

# The closed list: what is accepted, and which of its arguments.
_TWO = ("this", "expression")
_VISITS = {
    exp.Column: (_Visitor.column, ("this", "table", "db", "catalog")),
    exp.Literal: (_Visitor.literal, ("this", "is_string")),
    exp.Boolean: (_Visitor.boolean, ("this",)),
    exp.Null: (_Visitor.null, ()),
    exp.Cast: (_Visitor.cast, ("this", "to", "_type")),
    exp.Paren: (_Visitor.paren, ("this",)),
    exp.And: (_Visitor.both, _TWO),
    exp.Or: (_Visitor.both, _TWO),
    exp.Not: (_Visitor.negation, ("this",)),
    **dict.fromkeys(_SIGNS, (_Visitor.comparison, _TWO)),
    exp.Between: (_Visitor.between, ("this", "low", "high")),
    exp.In: (_Visitor.within, ("this", "expressions")),
    exp.Is: (_Visitor.missing, ("this", "expression", "negate")),
    exp.Like: (_Visitor.like, ("this", "expression", "negate")),
    exp.Coalesce: (_Visitor.coalesce, ("this", "expressions")),
    exp.Neg: (_Visitor.negative, ("this",)),
    exp.Add: (_Visitor.sum, _TWO),
    exp.Sub: (_Visitor.sum, _TWO),
    exp.Mul: (_Visitor.product, _TWO),
    exp.Div: (_Visitor.quotient, (*_TWO, "typed", "safe")),
}
