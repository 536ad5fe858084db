"""A definition once it is right: the Document and its parts, and the integers behind its scores. Pure."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import cached_property
from math import gcd

import polars as pl

from accounts.catalogue import DTYPES
from segmentation.rules import conditions
from segmentation.rules.rubric import Rubric, from_bounds, to_text

AGE = "account_age_days"
FIELDS = {
    "document": ("includes", "weights", "requires", "dimensions", "rules", "expected_days"),
    "dimension": ("key", "name", "scale", "maturity", "criteria"),
    "maturity": ("after_days", "needs_data_after_days", "until_then"),
    "criterion": ("key", "fact", "name", "weight", "cells", "missing"),
    "rule": ("key", "segment", "from", "when", "rows", "top"),  # rows: of a draft, not finished
}
# Columns of the frame beside facts: the account's state on this layer.
STATE = {"previous": "text", "days_in_stage": "integer", "declared": "text"}
QUINTILES = "quintiles"  # instead of cells: five points for the top fifth of the population, and so on
SCHEMA = DTYPES | {"score": pl.Decimal(38, 12)}


@dataclass(frozen=True)
class Problem:
    """One thing wrong, for the person who typed it. `path` is like `dimensions.0.criteria.2.cells.1`."""

    path: str
    message: str
    kind: str = ""  # one of those above, where a check of its own tells it


class DocumentErrors(ValueError):
    """The document cannot be used; `problems` lists everything that is wrong."""

    def __init__(self, problems):
        self.problems = problems
        super().__init__(
            "\n".join(f"{problem.path or 'document'}: {problem.message}" for problem in problems)
        )


@dataclass(frozen=True)
class Missing:
    """The policy for a criterion without a value of its own. `kind`: skip, assume, rate, needs data."""

    kind: str
    points: int | None = None  # assume
    fact: str | None = None  # rate
    rubric: Rubric | None = None  # rate
    text: str = ""


@dataclass(frozen=True)
class Maturity:
    """When a dimension counts. `assumed`: the points that count until then, or None: it is left out."""

    after_days: int
    needs_data_after_days: int
    assumed: int | None = None


@dataclass(frozen=True)
class Criterion:
    key: str
    fact: str
    name: str | None
    weight: Decimal
    cells: tuple  # as typed
    rubric: Rubric | None  # None: quintiles that have not been pinned
    missing: Missing
    quintiles: bool = False


@dataclass(frozen=True)
class Dimension:
    key: str
    name: str | None
    scale: str  # mean, points
    criteria: tuple
    maturity: Maturity | None = None


@dataclass(frozen=True)
class Top:
    """The `count` accounts with the highest values of `by` (ties together). `cutoff`: the lowest of them, once pinned."""

    count: int
    by: str
    cutoff: Decimal | None = None


@dataclass(frozen=True)
class Rule:
    segment: str
    condition: conditions.Condition | None = None  # None: everything else
    key: str = ""
    sources: tuple = ()  # segments an account must come from; empty: from anywhere
    top: Top | None = None

    @property
    def when(self):
        return self.condition.text if self.condition else None


@dataclass(frozen=True)
class Boundary:
    """A numeric comparison of a rule with a constant. `threshold` is exact."""

    term: str
    op: str
    threshold: Decimal
    segment: str


@dataclass(frozen=True)
class Document:
    """A complete document. `weights` ({dimension: Decimal}) is None where there is no composite."""

    weights: dict | None
    requires: tuple
    dimensions: tuple
    rules: tuple
    includes: tuple
    expected_days: dict  # {segment: days an account is expected to stay in it, at most}
    types: dict = field(repr=False)  # of everything an evaluation may read: facts, state, other layers
    data: dict = field(repr=False, compare=False)
    plans: dict = field(repr=False, compare=False, default_factory=dict)  # the engine's, kept between calls

    def freeze(self):
        """The canonical form as plain data: defaults filled in, keys in order, numbers as typed."""
        return json.loads(json.dumps(self.data))

    @cached_property
    def hash(self):
        """SHA-256 of the canonical form."""
        text = json.dumps(self.data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def criteria(self):
        """All criteria, in document order."""
        return [criterion for dimension in self.dimensions for criterion in dimension.criteria]

    @cached_property
    def inputs(self):
        """The columns an evaluation reads, in document order, each once: facts, state and other layers."""
        names = list(self.requires)
        for dimension in self.dimensions:
            names += [AGE] if dimension.maturity else []
            for criterion in dimension.criteria:
                names += [criterion.fact, criterion.missing.fact]
        for rule in self.rules:
            names += sorted(rule.condition.names) if rule.condition else []
            names += [rule.top.by] if rule.top else []
        names += ["previous"] if self.stays else []
        return tuple(name for name in dict.fromkeys(names) if name in self.types)

    @cached_property
    def facts(self):
        """The facts among the inputs."""
        return tuple(name for name in self.inputs if name not in STATE and "." not in name)

    @cached_property
    def others(self):
        """The other layers it reads: {name: key of the layer, with `_` for `-`}."""
        return {name: name.split(".")[1] for name in self.inputs if "." in name}

    @property
    def layers(self):
        """The other layers these rules read, with `_` for `-` in their keys."""
        return tuple(dict.fromkeys(self.others.values()))

    @cached_property
    def stays(self):
        """The rules look at where an account comes from: where none applies, it stays."""
        named = {name for rule in self.rules if rule.condition for name in rule.condition.names}
        return any(rule.sources for rule in self.rules) or bool(named & {"previous", "days_in_stage"})

    @property
    def declared(self):
        """People decide: some rule reads what they declared."""
        return "declared" in self.inputs

    @property
    def schema(self):
        """The Polars type of each input."""
        return {name: SCHEMA[self.types[name]] for name in self.inputs}

    @cached_property
    def population(self):
        """Cut-offs measured on the whole portfolio before the first account is evaluated: {cut-off: name of the term}."""
        terms = {
            f"measure.{criterion.key}": criterion.fact for criterion in self.criteria if criterion.quintiles
        }
        return terms | {f"rule.{rule.key}": rule.top.by for rule in self.rules if rule.top}

    def pinned(self, cutoffs):
        """The same document with its cut-offs ({as in `population`: [text, ...]}) in place; those missing hold for nobody."""
        if not self.population:
            return self
        dimensions = tuple(
            replace(
                dimension,
                criteria=tuple(self._pinned(criterion, cutoffs) for criterion in dimension.criteria),
            )
            for dimension in self.dimensions
        )
        rules = tuple(
            replace(rule, top=replace(rule.top, cutoff=Decimal(cutoffs[f"rule.{rule.key}"][0])))
            if rule.top and cutoffs.get(f"rule.{rule.key}")
            else rule
            for rule in self.rules
        )
        return replace(self, dimensions=dimensions, rules=rules, plans={})

    def _pinned(self, criterion, cutoffs):
        texts = cutoffs.get(f"measure.{criterion.key}")
        if not criterion.quintiles or not texts:
            return criterion
        type = self.types[criterion.fact]
        table = from_bounds(
            [date.fromisoformat(text) if type == "date" else Decimal(text) for text in texts], type
        )
        return replace(criterion, rubric=table, cells=tuple(to_text(cell, type) for cell in table.cells))

    @cached_property
    def boundaries(self):
        """The numeric comparisons of the rules with constants, in order; None if any is more complicated."""
        boundaries = []
        for rule in self.rules:
            for comparison in rule.condition.comparisons if rule.condition else ():
                if comparison.term is None:
                    return None
                boundaries.append(
                    Boundary(
                        comparison.term,
                        comparison.op,
                        Decimal(comparison.threshold).scaleb(-12),
                        rule.segment,
                    )
                )
        return tuple(boundaries)


def whole(weights):
    """Decimal weights as the smallest integers in the same proportion."""
    scaled = [int(weight * 10**4) for weight in weights]
    common = gcd(*scaled) or 1
    return [number // common for number in scaled]


def dimension_bound(dimension):
    """The greatest integer met on the way to a dimension's score."""
    return 5 * sum(_counts(dimension)) * 10**12


def composite_bound(dimensions, weights):
    """The greatest integer met on the way to the composite."""
    shares = whole(weights.values())
    divisors = [1 if dimension.scale == "points" else sum(_counts(dimension)) for dimension in dimensions]
    total, everything = 0, 1
    for divisor in divisors:
        everything *= max(divisor, 1)
    for dimension, share, divisor in zip(dimensions, shares, divisors, strict=True):
        total += share * 5 * sum(_counts(dimension)) * (everything // max(divisor, 1))
    return max(total, sum(shares) * everything) * 10**12


def _counts(dimension):
    return whole([criterion.weight for criterion in dimension.criteria])
