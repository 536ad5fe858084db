"""Which rules, cells and stages can be reached: decided exactly, or not at all.

A condition that only compares single names with given values tells accounts apart by finitely many values: each
constant, one value in every gap between two, and "not known". All combinations of one such value per name are a small
frame, and the engine's own compiled conditions say on which of its rows each rule holds. Names are taken to be
independent: what is called unreachable is so in any case; what is called reachable may still not occur.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache, reduce

import polars as pl

from accounts.catalogue import FACTS
from segmentation.rules import tree
from segmentation.rules.document import SCHEMA
from segmentation.rules.rubric import POINTS, SCALES

MAX_ROWS = 100_000  # combinations looked at for one rule
NEVER, TAKEN = "never", "taken"
ONE = Decimal(1)


class TooComplicated(Exception):
    """The condition does more than compare names with given values, or tells too many combinations apart."""


# -- what a condition compares


def compared(node):
    """{name: set of the constants a condition (its tree) compares it with}. Raises TooComplicated."""
    constants = {}
    for name, others in _comparisons(node):
        if not isinstance(name, tree.Name):
            raise TooComplicated
        constants.setdefault(name.name, set()).update(_constant(constant) for constant in others)
    return constants


def _comparisons(node):
    """(what is compared, what it is compared with), for each comparison."""
    match node:
        case tree.Parentheses() | tree.Not() | tree.All() | tree.Any():
            for part in node.parts():
                yield from _comparisons(part)
        case tree.Constant(kind="boolean"):
            pass
        case tree.Name():
            yield node, ()
        case tree.Compare():
            sides = (node.left, node.right)
            name, constant = sides if isinstance(node.left, tree.Name) else sides[::-1]
            yield name, [constant]
        case tree.Between():
            yield node.part, [node.low, node.high]
        case tree.In():
            yield node.part, node.several
        case tree.Is():
            yield node.part, ()
        case _:
            raise TooComplicated


def _constant(node):
    value = tree.constant(node)
    if value is None:
        raise TooComplicated
    return value


def null_tests(node):
    """The names whose being unknown a condition (its tree) deals with: IS [NOT] NULL or COALESCE."""
    tests = [
        below.part if isinstance(below, tree.Is) else below.several[0]
        for below in node.walk()
        if isinstance(below, tree.Coalesce) or (isinstance(below, tree.Is) and below.what is None)
    ]
    return {test.name for test in tests if isinstance(test, tree.Name)}


# -- the values that are told apart


def values(type, constants, *, low=None, high=None, known=False, choices=None):
    """One value of each kind that these constants tell apart, None among them unless it is always known.

    low, high: the least and the greatest there can be. choices: the only texts there can be.
    """
    if type == "boolean":
        samples = [True, False]
    elif type == "text":
        samples = sorted(choices) if choices is not None else [*sorted(constants), _other(constants)]
    elif type == "date":
        samples = _dates(constants)
    else:
        samples = _numbers(SCALES.get(type, 0), constants, low, high)
    return samples if known else [*samples, None]


def _other(constants):
    other = "something else"
    while other in constants:
        other += "!"
    return other


def _dates(constants):
    days = [date.fromisoformat(text) for text in constants]
    near = {day + timedelta(days=step) for day in days for step in (-1, 0, 1)} or {date(2000, 1, 1)}
    return _distinct(near, days)


def _numbers(scale, constants, low, high):
    step = ONE.scaleb(-scale)
    near = {bound for bound in (low, high) if bound is not None} or {Decimal(0)}
    for constant in constants:
        floor = constant.quantize(step, rounding="ROUND_FLOOR")
        near |= {floor - step, floor, floor + step}
    inside = {
        number for number in near if (low is None or number >= low) and (high is None or number <= high)
    }
    return [number if scale else int(number) for number in _distinct(inside, constants)]


def _distinct(candidates, constants):
    """One candidate for each way of standing to the constants."""
    by_standing = {}
    for candidate in sorted(candidates):
        by_standing.setdefault(
            tuple((candidate > other) - (candidate < other) for other in constants), candidate
        )
    return list(by_standing.values())


def limits(fact):
    """The least and the greatest value a data field may have; None where there is no limit."""
    entry = FACTS.get(fact)
    bounds = (entry.minimum, entry.maximum) if entry else (None, None)
    return tuple(None if bound is None else Decimal(bound) for bound in bounds)


def limits_text(fact):
    low, high = limits(fact)
    if low is not None and high is not None:
        return f"from {low} to {high}"
    return f"from {low}" if low is not None else f"up to {high}" if high is not None else "of that kind"


def points(fact, rubric):
    """The points that values of a data field can earn in a scoring table."""
    if rubric is None:  # quintiles
        return set(POINTS)
    return set(_worth(fact, rubric).drop_nulls("points")["points"])


def worst(fact, rubric):
    """A value of the data field that earns the fewest points."""
    earning = _worth(fact, rubric).drop_nulls("points").sort("points")
    return earning["value"][0] if len(earning) else None


def _worth(fact, rubric):
    """One value of each kind a scoring table tells apart, and what it earns."""
    cells = [cell for cell in rubric.cells if cell]
    if rubric.type in ("text", "boolean"):
        constants = {value for cell in cells for value in cell.values}
        samples = values(rubric.type, constants, known=True)
    else:
        low, high = limits(fact)
        bounds = {cell.lower for cell in cells if cell.lower is not None}
        bounds = {bound.isoformat() for bound in bounds} if rubric.type == "date" else bounds
        samples = values(rubric.type, bounds, low=low, high=high, known=True)
    frame = pl.DataFrame({"value": pl.Series(samples, dtype=SCHEMA[rubric.type])})
    return frame.with_columns(points=rubric.points(pl.col("value")))


class _Domains:
    """The values each name of a document can have."""

    def __init__(self, document, labels, own):
        self.document, self.labels, self.own = document, labels, own
        self.criteria = {criterion.key: criterion for criterion in document.criteria}
        self.dimensions = {dimension.key: dimension for dimension in document.dimensions}

    def type(self, name):
        if name.startswith("points."):
            return "points"
        if name == "composite" or name.startswith("score."):
            return "score"
        return self.document.types[name]

    def values(self, name, constants):
        if name.startswith("points."):
            return [*sorted(self.points(self.criteria[name.removeprefix("points.")])), None]
        type = self.type(name)
        low, high = self.bounds(name)
        always_known = name == "composite" or name in self.document.requires
        return values(type, constants, low=low, high=high, known=always_known, choices=self.choices(name))

    def bounds(self, name):
        head, _, key = name.partition(".")
        if name == "composite":
            each = [
                self.score(dimension)
                for dimension in self.document.dimensions
                if self.document.weights[dimension.key]
            ]
            return min(low for low, _ in each), max(high for _, high in each)
        if head == "score" and key in self.dimensions:
            return self.score(self.dimensions[key])
        return limits(name)

    def score(self, dimension):
        """The least and the greatest score of a dimension."""
        earned = [self.points(criterion) for criterion in dimension.criteria if criterion.weight]
        assumed = dimension.maturity.assumed if dimension.maturity else None
        earned = [points | {assumed} if assumed else points for points in earned]
        total = sum if dimension.scale == "points" else None
        low = (total or min)(min(points) for points in earned)
        high = (total or max)(max(points) for points in earned)
        return Decimal(low), Decimal(high)

    def points(self, criterion):
        earned = points(criterion.fact, criterion.rubric)
        if criterion.missing.kind == "assume":
            earned = earned | {criterion.missing.points}
        if criterion.missing.kind == "rate":
            earned = earned | points(criterion.missing.fact, criterion.missing.rubric)
        return earned

    def choices(self, name):
        if name.startswith("label."):
            return self.labels.get(name.split(".")[1])
        return self.own if name == "declared" else None


# -- rules


@dataclass(frozen=True)
class Reach:
    """Places of rules in the document.

    always: before the last, and holding for every account. same: {rule: an earlier one that holds for the same}.
    unreachable: {rule: NEVER or TAKEN}, those after an always-true one not counted. undecided: those we cannot tell of.
    """

    always: tuple
    same: dict
    unreachable: dict
    undecided: tuple

    @classmethod
    def of(cls, subject):
        if subject.__dict__.get("_reach") is None:
            layer, document = subject.layer, subject.document
            own = None if layer is None else frozenset(segment.key for segment in layer.segments.all())
            labels = frozenset((key, frozenset(keys)) for key, keys in subject.labels.items())
            subject._reach = _reach(
                _Question(document.hash, frozenset(document.types.items()), labels, own, document)
            )
        return subject._reach


@dataclass(frozen=True)
class _Question:
    """Rules, and the segments their conditions may name; the same as others of that text."""

    hash: str
    types: frozenset
    labels: frozenset
    own: frozenset | None
    document: object = field(compare=False, repr=False)


@lru_cache(maxsize=256)  # three checks ask, at each key typed, and again for review, approval and activation
def _reach(question):
    domains = _Domains(question.document, dict(question.labels), question.own)
    return _Rules(question.document, domains).reach()


class _Rules:
    def __init__(self, document, domains):
        self.rules, self.domains = document.rules, domains
        self.constants = [self._constants(rule) for rule in self.rules]

    def _constants(self, rule):
        """The constants a rule compares; None when it is too complicated."""
        if rule.condition is None:
            constants = {}
        else:
            try:
                constants = compared(rule.condition.root)
            except TooComplicated:
                return None
        if rule.sources:
            constants = constants | {"previous": constants.get("previous", set()) | set(rule.sources)}
        return constants

    def reach(self):
        same = self.same()
        always = tuple(
            index for index in range(len(self.rules) - 1) if index not in same and self.always(index)
        )
        end = always[0] + 1 if always else len(self.rules)
        unreachable, undecided = {}, []
        for index in range(end):
            if index in same:
                continue
            why = self.unreachable(index)
            if why in (NEVER, TAKEN):
                unreachable[index] = why
            elif why is None:
                undecided.append(index)
        return Reach(always[:1], same, unreachable, tuple(undecided))

    def frame(self, indices):
        """All combinations of values that these rules tell apart."""
        constants = {}
        for index in indices:
            own_constants, sources = self.constants[index], self.rules[index].sources
            if own_constants is None:  # of what is too complicated, at least where it takes accounts from
                own_constants = {"previous": set(sources)} if sources else {}
            for name, values_ in own_constants.items():
                constants.setdefault(name, set()).update(values_)
        columns, rows = [], 1
        for name, values_ in constants.items():
            samples = self.domains.values(name, values_)
            rows *= max(len(samples), 1)
            if rows > MAX_ROWS:
                raise TooComplicated
            dtype = pl.Int8 if self.domains.type(name) == "points" else SCHEMA[self.domains.type(name)]
            columns.append(pl.DataFrame({name: pl.Series(samples, dtype=dtype)}))
        start = pl.DataFrame({"_": [True]})
        return reduce(lambda left, right: left.join(right, how="cross"), columns, start)

    def holds(self, index):
        rule = self.rules[index]
        expr = (
            pl.lit(True) if rule.condition is None or self.constants[index] is None else rule.condition.expr
        )
        if rule.sources:
            expr = expr & pl.col("previous").is_in(list(rule.sources))
        return expr.fill_null(False)

    def always(self, index):
        if self.constants[index] is None or self.rules[index].top or self.rules[index].sources:
            return False
        try:
            return self.frame([index]).select(self.holds(index).all()).item()
        except TooComplicated:
            return False

    def unreachable(self, index):
        """NEVER, TAKEN, "" when it can be reached, None when that is not decided."""
        earlier = [
            other for other in range(index) if self.constants[other] is not None and not self.rules[other].top
        ]
        decided = self.constants[index] is not None
        try:
            if decided and not self.frame([index]).select(self.holds(index).any()).item():
                return NEVER
            taken = self.taken(index, earlier)
        except TooComplicated:
            return None
        return TAKEN if taken else "" if decided else None

    def taken(self, index, earlier):
        """Whether earlier rules take all; where there are too many combinations, those with no other names than its own."""
        try:
            frame = self.frame([index, *earlier])
        except TooComplicated:
            names = set(self.constants[index] or {})
            earlier = [other for other in earlier if set(self.constants[other]) <= names]
            frame = self.frame([index, *earlier])
        if not earlier:
            return False
        before = pl.any_horizontal([self.holds(other) for other in earlier])
        return frame.select((~self.holds(index) | before).all()).item()

    def same(self):
        """{rule: an earlier one it can never be told apart from}."""
        twins = {}
        for index in range(len(self.rules)):
            for other in range(index):
                if other not in twins and self.alike(index, other):
                    twins[index] = other
                    break
        return twins

    def alike(self, index, other):
        rule, other_rule = self.rules[index], self.rules[other]
        if rule.top or other_rule.top or rule.condition is None or other_rule.condition is None:
            return False
        if set(rule.sources) == set(other_rule.sources) and rule.condition.root == other_rule.condition.root:
            return True
        if self.constants[index] is None or self.constants[other] is None:
            return False
        try:
            frame = self.frame([index, other])
        except TooComplicated:
            return False
        first, second = self.holds(index), self.holds(other)
        return frame.select((first == second).all() & first.any()).item()


# -- stages


def sources(rule):
    """The segments a rule takes accounts from; empty: from any, and from none."""
    if rule.sources or rule.condition is None or "previous" not in rule.condition.names:
        return tuple(rule.sources)
    for part in tree.conjuncts(rule.condition.root):
        match part:
            case tree.Compare(left=tree.Name(name="previous"), sign="=", right=constant):
                constants = (constant,)
            case tree.In(part=tree.Name(name="previous"), several=constants):
                pass
            case _:
                continue
        if all(isinstance(constant, tree.Constant) for constant in constants):
            return tuple(constant.value for constant in constants)
    return ()


def stages(document):
    """The segments that some chain of rules leads to, from an account that has none yet."""
    reached, before = set(), None
    while reached != before:
        before = set(reached)
        for rule in document.rules:
            needed = sources(rule)
            if not needed or reached & set(needed):
                reached.add(rule.segment)
    return reached


# -- how finely the rules cut


def values_told_apart(document):
    """{name: how many groups of its values the rules tell apart}, for conditions that can be read so."""
    thresholds, groups = {}, {}
    for rule in document.rules:
        if rule.condition is None:
            continue
        try:
            by_name = compared(rule.condition.root)
        except TooComplicated:
            continue
        for name, constants in by_name.items():
            texts = frozenset(constant for constant in constants if isinstance(constant, str))
            numbers = {constant for constant in constants if isinstance(constant, Decimal)}
            if texts:
                groups.setdefault(name, set()).add(texts)
            thresholds.setdefault(name, set()).update(numbers)
    return {name: len(numbers) + len(groups.get(name, ())) + 1 for name, numbers in thresholds.items()}
