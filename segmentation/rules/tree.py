"""Rule conditions as trees: SQL boolean text -> typed nodes that know where they stand. All that reads a condition reads these.

sqlglot parses; a closed list of its nodes *and of their arguments* becomes ours, and whatever is not in it is refused. So
a condition means here what it means in PostgreSQL or is not accepted. The compiler checks the types of the parts
(`segmentation.rules.conditions`).

Pure: never passed to a database, a regular expression or `eval`.
"""

import re
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import zip_longest

import sqlglot
from sqlglot import TokenType, exp

from accounts import sql_text

MAX_LENGTH = 2_000
MAX_DEPTH = 32
MAX_WEIGHT = 5_000
MIRROR = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "=": "=", "<>": "<>"}


class ConditionError(ValueError):
    """The condition is not accepted: a sentence, where (offset into the text, or None), the nearest known name."""

    def __init__(self, message, position=None, suggestion=None):
        self.message, self.position, self.suggestion = message, position, suggestion
        super().__init__(message)


# -- the nodes


@dataclass(frozen=True)
class Node:
    """A part of a condition. position: where its first name or constant stands in the text; None where that is not known."""

    position: int | None = field(default=None, compare=False, kw_only=True)

    def parts(self):
        """The nodes right below, in the order of the text."""
        return ()

    def walk(self):
        """This node and all below it."""
        yield self
        for part in self.parts():
            yield from part.walk()


@dataclass(frozen=True)
class Name(Node):
    """A data field, a score, points or what another segmentation says: `arr`, `score.value`, `label.tier`."""

    name: str


@dataclass(frozen=True)
class Constant(Node):
    """kind: number, text, date or boolean. value: a number as it is typed, a text, an ISO date, True or False."""

    kind: str
    value: object


@dataclass(frozen=True)
class _One(Node):
    part: Node

    def parts(self):
        return (self.part,)


@dataclass(frozen=True)
class _Two(Node):
    left: Node
    right: Node

    def parts(self):
        return (self.left, self.right)


@dataclass(frozen=True)
class _Many(Node):
    several: tuple

    def parts(self):
        return self.several


class Parentheses(_One):
    """The condition in parentheses."""


class Not(_One):
    """NOT part."""


class Negative(_One):
    """- part."""


class All(_Many):
    """Parts joined by AND; a long chain is not deep."""


class Any(_Many):
    """Parts joined by OR."""


class Coalesce(_Many):
    """COALESCE(parts)."""


@dataclass(frozen=True)
class Compare(_Two):
    """left sign right: = <> > >= < <=."""

    sign: str


@dataclass(frozen=True)
class Calculate(_Two):
    """left sign right: + - * /."""

    sign: str


@dataclass(frozen=True)
class Between(_One):
    """part BETWEEN low AND high."""

    low: Node
    high: Node

    def parts(self):
        return (self.part, self.low, self.high)


@dataclass(frozen=True)
class In(_One):
    """part IN (several)."""

    several: tuple

    def parts(self):
        return (self.part, *self.several)


@dataclass(frozen=True)
class Is(_One):
    """part IS [NOT] NULL, TRUE or FALSE: `what` is None, True or False."""

    what: object
    negated: bool


@dataclass(frozen=True)
class Like(_One):
    """part [NOT] LIKE pattern. shown: the whole as SQL, for who refuses it."""

    pattern: Node
    negated: bool
    shown: str = field(compare=False)

    def parts(self):
        return (self.part, self.pattern)


def bare(node):
    """The node without parentheses round it."""
    while isinstance(node, Parentheses):
        node = node.part
    return node


def constant(node):
    """The value of a constant, also of a negative one; a number as a Decimal. None for anything else."""
    match bare(node):
        case Negative(part=part):
            value = constant(part)
            return -value if isinstance(value, Decimal) else None
        case Constant(kind="number", value=value):
            return Decimal(value)
        case Constant(value=value):
            return value
    return None


def conjuncts(node):
    """The parts that have all to hold: those of a chain of ANDs, else the node itself."""
    return node.several if isinstance(node, All) else (node,)


# -- from text


def read(text, names=()):
    """The tree of a condition. names: those that may be a word of SQL, such as "name". Raises ConditionError."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"The condition is longer than {MAX_LENGTH:,} characters.", MAX_LENGTH)
    if unstorable := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", text):
        raise ConditionError("The condition contains a character that cannot be stored.", unstorable.start())
    _check_depth(text)
    try:
        tree = _read(_parsed(text, names), 0)
        if _weight(tree) > MAX_WEIGHT:
            raise ConditionError("Too much inside IN, BETWEEN or / inside each other.", 0)
    except RecursionError:
        raise ConditionError("The condition is nested too deeply.", 0) from None
    return tree


def _weight(node):
    """How many parts the compiled expression has. Whatever IN, BETWEEN and / read more than once doubles at every level."""
    weights = [_weight(part) for part in node.parts()]
    match node:
        case In():
            return 1 + sum(weights) + weights[0] * (len(node.several) - 1)
        case Between():
            return 1 + sum(weights) + weights[0]
        case Calculate(sign="/"):
            return 1 + sum(weights) + weights[1]
    return 1 + sum(weights)


def _check_depth(text):
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth > MAX_DEPTH:
            raise ConditionError(f"More than {MAX_DEPTH} parentheses inside each other.", position)


def _parsed(text, names):
    """sqlglot's tree. Raises ConditionError where the text cannot be read as a condition at all."""
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
    """Refuse what no condition is made of before it is parsed: thirty times `array[` would keep the parser busy for days."""
    words = {word for name in names for word in name.split(".")}
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
            raise unusable(token.text, token.start)
        before = TokenType.VAR if named else kind


def brief(word):
    """The word, cut where it is too long for a sentence."""
    return word if len(word) <= 40 else word[:37] + "..."


def unusable(word, position):
    """The ConditionError for what no condition may have."""
    return ConditionError(
        f"'{brief(word)}' cannot be used here. A condition knows AND, OR, NOT, = <> < > <= >=, IN, BETWEEN, "
        "IS NULL, LIKE 'x%', COALESCE and + - * /.",
        position,
    )


def _where(text, error):
    """The sentence and the offset of sqlglot's first complaint."""
    first = error.errors[0] if error.errors else {}
    line, column = first.get("line") or 1, first.get("col") or 1
    lines = text.splitlines(keepends=True)
    offset = sum(len(earlier) for earlier in lines[: line - 1]) + column - len(first.get("highlight") or "")
    near = brief((first.get("highlight") or "").strip())
    message = f"Cannot read the condition near '{near}'." if near else "Cannot read the condition."
    return message, min(max(offset, 0), len(text))


# -- from sqlglot's nodes to ours


def _read(source, depth):
    if depth > MAX_DEPTH:
        raise ConditionError("The condition is nested too deeply.", _position(source))
    read_one, arguments = _READ.get(type(source), (None, ()))
    if read_one is None:
        _refuse(source)
    for name, value in source.args.items():
        if name not in arguments and value not in (None, False, []):
            _refuse(source)
    return read_one(source, depth + 1)


def _refuse(source):
    raise unusable(source.sql(dialect="postgres"), _position(source))


def _position(source):
    """Where the first name or constant of this part stands in the text."""
    starts = [part.meta["start"] for part in source.walk() if "start" in part.meta]
    return min(starts) if starts else None


def _at(*parts):
    """The position of what these parts are in."""
    starts = [part.position for part in parts if part.position is not None]
    return min(starts) if starts else None


def _name(source, depth):
    name = ".".join(part.name for part in source.parts)
    quoted = any(part.args.get("quoted") for part in source.parts)
    return Name(name if quoted else name.lower(), position=_position(source))


def _literal(source, depth):
    return Constant("text" if source.is_string else "number", source.this, position=_position(source))


def _boolean(source, depth):
    return Constant("boolean", bool(source.this), position=_position(source))


def _null(source, depth):
    raise ConditionError("Compare with NULL by writing IS NULL or IS NOT NULL.", _position(source))


def _date(source, depth):
    """Only DATE '2026-01-01'."""
    if not (source.this.is_string and source.to.is_type("date") and not source.to.expressions):
        _refuse(source)
    position = _position(source)
    return Constant("date", iso_date(source.this.this, position), position=position)


def iso_date(text, position):
    """The text, if it is an ISO date. Raises ConditionError."""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        date.fromisoformat(text)
    except ValueError:
        raise ConditionError(f"'{brief(text)}' is not a date; write DATE '2026-01-31'.", position) from None
    return text


def _unary(kind):
    def read_one(source, depth):
        part = _read(source.this, depth)
        return kind(part, position=part.position)

    return read_one


def _chain(kind):
    def read_one(source, depth):
        below, left = [], source
        while type(left) is type(source):
            below.append(left.expression)
            left = left.this
        several = tuple(_read(part, depth) for part in [left, *reversed(below)])
        return kind(several, position=_at(*several))

    return read_one


def _two(kind, sign):
    def read_one(source, depth):
        left, right = _read(source.this, depth), _read(source.expression, depth)
        return kind(left, right, sign, position=_at(left, right))

    return read_one


def _between(source, depth):
    part, low, high = (
        _read(operand, depth) for operand in (source.this, source.args["low"], source.args["high"])
    )
    return Between(part, low, high, position=_at(part, low, high))


def _in(source, depth):
    if not source.expressions:
        _refuse(source)
    part = _read(source.this, depth)
    several = tuple(_read(operand, depth) for operand in source.expressions)
    return In(part, several, position=_at(part, *several))


def _is(source, depth):
    wanted = source.expression
    if not isinstance(wanted, exp.Null | exp.Boolean):
        _refuse(source)
    part = _read(source.this, depth)
    what = None if isinstance(wanted, exp.Null) else bool(wanted.this)
    return Is(part, what, bool(source.args.get("negate")), position=part.position)


def _like(source, depth):
    part, pattern = _read(source.this, depth), _read(source.expression, depth)
    shown = source.sql(dialect="postgres")
    return Like(part, pattern, bool(source.args.get("negate")), shown, position=_at(part, pattern))


def _coalesce(source, depth):
    several = tuple(_read(part, depth) for part in [source.this, *source.expressions])
    return Coalesce(several, position=_at(*several))


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
_SIDES = ("this", "expression")
_SIGNS = {exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<="}
_READ = {
    exp.Column: (_name, ("this", "table", "db", "catalog")),
    exp.Literal: (_literal, ("this", "is_string")),
    exp.Boolean: (_boolean, ("this",)),
    exp.Null: (_null, ()),
    exp.Cast: (_date, ("this", "to", "_type")),
    exp.Paren: (_unary(Parentheses), ("this",)),
    exp.And: (_chain(All), _SIDES),
    exp.Or: (_chain(Any), _SIDES),
    exp.Not: (_unary(Not), ("this",)),
    **{source: (_two(Compare, sign), _SIDES) for source, sign in _SIGNS.items()},
    exp.Between: (_between, ("this", "low", "high")),
    exp.In: (_in, ("this", "expressions")),
    exp.Is: (_is, ("this", "expression", "negate")),
    exp.Like: (_like, ("this", "expression", "negate")),
    exp.Coalesce: (_coalesce, ("this", "expressions")),
    exp.Neg: (_unary(Negative), ("this",)),
    exp.Add: (_two(Calculate, "+"), _SIDES),
    exp.Sub: (_two(Calculate, "-"), _SIDES),
    exp.Mul: (_two(Calculate, "*"), _SIDES),
    exp.Div: (_two(Calculate, "/"), (*_SIDES, "typed", "safe")),
}
