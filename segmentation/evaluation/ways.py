"""The nearest way over a boundary: the smallest change of an account's facts that gives it another segment.

    nearest(document, frame, at) -> {"up": (Way, ...), "down": (Way, ...)}

Counted in cells: a fact that goes from one cell of its scoring table to the next has moved by one. One fact alone comes
first; where none alone crosses, those that take the fewest cells together. Facts a team can change come before those it
cannot (accounts.catalogue, `moved_by`). PURE, as the engine is, which tries every single move and has the last word.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import accumulate, islice, product
from math import prod

import polars as pl

from accounts.catalogue import FACTS
from segmentation.evaluation import engine
from segmentation.rules.document import whole
from segmentation.rules.rubric import POINTS, SCALES, threshold

ONE = engine.ONE
MOVED_BY = (
    ("team",),
    ("team", "itself"),
    ("team", "itself", ""),
)  # facts that may move, those to be told first first
TOGETHER = 400  # combinations tried of facts that stand in for each other
PRESENCES = 64  # combinations tried of measures that count or are left out
MEASURE = 1 / 1024  # of a cell: of ways with as many cells, the one of fewer measures is nearer


@dataclass(frozen=True)
class Step:
    """A fact in another cell. bound: the value it reaches (`rises`) or falls below; None for one without an order.

    value: one within that cell, the nearest.
    """

    fact: str
    value: object
    cells: int
    bound: object = None
    rises: bool | None = None


@dataclass(frozen=True)
class Way:
    """Steps that give the account `segment`; value: what the rules then compare."""

    segment: str
    steps: tuple
    value: Decimal

    @property
    def cells(self):
        return sum(step.cells for step in self.steps)


def nearest(document, frame, at, *, left_out=(), row=None):
    """The nearest ways up and down for the one row of `frame`, by the one number that the rules compare.

    row: what the engine gives for it, from whoever has asked.
    Each: the nearest by facts a team can change, else by those that change by themselves, else by any. Then one that is
    nearer, where other facts are moved too. None where the rules compare no one number, or nothing reaches that far.
    """
    search = _Search(document, frame, at, left_out, row)
    return search.ways() if search.lines else {"up": (), "down": ()}


class _Search:
    def __init__(self, document, frame, at, left_out, row):
        self.document, self.frame, self.at, self.left_out = document, frame, at, left_out
        [self.facts] = frame.iter_rows(named=True)
        [self.row] = [row] if row else self.tried([()])
        self.lines, self.rows, self.reached = [], {}, {}
        if self.row["segment"] is not None and (self.row["up"], self.row["down"]) != (None, None):
            self.term = document.boundaries[0].term
            self.value = self.number(self.row, ())
            # The smallest number above each boundary: one that is on it is above for >= and <.
            self.lines = sorted(
                {int(each.threshold.scaleb(12)) + (each.op in (">", "<=")) for each in document.boundaries}
            )
            self.options = self.all_options()

    def tried(self, ways):
        """The engine's rows for the account with these steps taken."""
        rows = [self.facts | {step.fact: step.value for step in steps} for steps in ways]
        frame = pl.DataFrame(rows, schema=self.frame.schema)
        return engine.evaluate(self.document, frame, self.at, left_out=self.left_out).to_dicts()

    def number(self, row, steps):
        """The number that the rules compare, in units of 10^-12."""
        moved = {step.fact: step.value for step in steps}
        value = moved.get(self.term, self.facts[self.term]) if self.term in self.facts else row[self.term]
        return None if value is None else int(Decimal(value).scaleb(12))

    def all_options(self):
        """{group of facts that stand in for each other: the steps (a tuple) that may be taken in it}."""
        tables, steps = _tables(self.document), {}
        for fact in self.document.facts:
            steps[fact] = list(_steps(self.document, fact, self.facts[fact], tables[fact], self.row))
        self.try_all([(step,) for each in steps.values() for step in each])
        groups, several = [(fact,) for fact in steps if steps[fact]], []
        for group in _standing_in(self.document, self.row, self.rows):
            group = tuple(fact for fact in steps if fact in group and steps[fact])
            together = [(None, *steps[fact]) for fact in group]
            if len(group) > 1 and prod(map(len, together)) <= TOGETHER:
                groups = [each for each in groups if not set(each) & set(group)] + [group]
                several += [tuple(filter(None, taken)) for taken in product(*together)]
        self.try_all([taken for taken in several if len(taken) > 1])
        options = {group: [] for group in sorted(groups, key=self.unknown)}
        home = {fact: group for group in groups for fact in group}
        for taken, row in self.rows.items():
            if row["segment"] is not None:
                options[home[taken[0].fact]].append(taken)
        return options

    def try_all(self, ways):
        """The engine takes about as long for one as for all of them."""
        new = [steps for steps in dict.fromkeys(ways) if steps not in self.rows]
        self.rows |= zip(new, self.tried(new), strict=True) if new else ()

    def unknown(self, group):
        """Sorts facts that are known before those that are not."""
        return any(self.facts[fact] is None for fact in group)

    def ways(self):
        """{"up", "down"}: the ways in each direction, the one to be told first first."""
        nearest = {"up": (1, MOVED_BY[:2]), "down": (-1, MOVED_BY[:2])}
        likely = [self.candidates(sign, kind) for sign, kinds in nearest.values() for kind in kinds]
        self.try_all([steps for steps in (next(each, None) for each in likely) if steps])
        return {name: tuple(self.told(sign)) for name, (sign, _) in nearest.items()}

    def told(self, sign):
        first = None
        for moved_by in MOVED_BY:
            if first and moved_by == MOVED_BY[-1]:
                return
            way = self.way(sign, moved_by)
            if way and (first is None or _length(way) < _length(first)):
                first = first or way
                yield way

    def way(self, sign, moved_by):
        """The nearest way by facts that are moved so; None where there is none."""
        for steps in self.candidates(sign, moved_by):
            self.try_all([steps])
            if self.crosses(steps, sign):
                row = self.rows[steps]
                return Way(row["segment"], steps, Decimal(self.number(row, steps)).scaleb(-12))
        return None

    def candidates(self, sign, moved_by):
        """The steps to be tried, in order: one that crosses alone; else, line by line, those that reach it together."""
        beyond = [line for line in self.lines if (line > self.value if sign > 0 else line <= self.value)]
        options = {}
        for group, each in self.options.items() if beyond else ():
            allowed = [steps for steps in each if all(_moved_by(step.fact) in moved_by for step in steps)]
            options |= {group: allowed} if allowed else {}
        alone = [
            steps
            for each in options.values()
            for steps in each
            if len(steps) == 1 and self.crosses(steps, sign)
        ]
        if alone:
            yield min(alone, key=lambda steps: steps[0].cells)
            return
        for line in sorted(beyond, key=lambda line: sign * line):
            reached = (line, sign, moved_by)
            if reached not in self.reached:
                self.reached[reached] = _Together(self, options).reach(line, sign)
            if self.reached[reached] is None:
                return
            yield self.reached[reached]

    def crosses(self, steps, sign):
        row = self.rows[steps]
        number = self.number(row, steps)
        if number is None or row["segment"] in (None, self.row["segment"]):
            return False
        return any(
            self.value < line <= number if sign > 0 else number < line <= self.value for line in self.lines
        )


def _length(way):
    return (len(way.steps) > 1, way.cells, len(way.steps))


def _moved_by(fact):
    return FACTS[fact].moved_by if fact in FACTS else "team"


# -- the steps of one fact


def _tables(document):
    """{fact: the scoring tables that read it, its own measure's first}."""
    tables = defaultdict(list)
    for criterion in document.criteria:
        if criterion.rubric:
            tables[criterion.fact].append((criterion.key, criterion.rubric))
    for criterion in document.criteria:
        if criterion.missing.kind == "rate":
            tables[criterion.missing.fact].append((None, criterion.missing.rubric))
    return tables


def _steps(document, fact, value, tables, row):
    """The Steps of a fact into each other cell."""
    own, rubrics = [key for key, _ in tables[:1]], [rubric for _, rubric in tables]
    counted = row[f"points.{own[0]}"] if own and own[0] else None
    if document.types[fact] in ("text", "boolean"):
        return _choices(fact, value, rubrics, counted)
    return _levels(document, fact, value, rubrics, counted)


def _levels(document, fact, value, rubrics, counted):
    """Steps of a fact with an order: its cells are what lies between the numbers that tables and rules name."""
    type = document.types[fact]
    starts = {start for rubric in rubrics for start in _bounds(rubric, type)}
    scale = SCALES.get(type, 0)
    for boundary in document.boundaries:
        if boundary.term == fact:
            exact = boundary.threshold.scaleb(scale)
            start = int(exact.to_integral_value("ROUND_FLOOR"))
            starts.add(start + (boundary.op in (">", "<=") or start != exact))
    starts = sorted(starts)
    if not starts:
        return
    low, high = _limits(fact, scale)
    places = [
        place
        for place in range(len(starts) + 1)
        if (low is None or place == len(starts) or low < starts[place])
        and (high is None or place == 0 or starts[place - 1] <= high)
    ]
    here = [sum(start <= _whole(value, type) for start in starts)] if value is not None else []
    if not here and counted is not None:
        here = _earning(rubrics[0], starts, counted, type)
    for place in places:
        cells = min((abs(place - other) for other in here), default=len(places))
        if cells:
            rises = place > min(here, default=0) or place == len(starts)
            bound = starts[place - 1] if rises else starts[place]
            yield Step(fact, _value(bound - (not rises), type), cells, _value(bound, type), rises)


def _bounds(rubric, type):
    """{where a cell begins, as a whole number: its points}, but for the cell below all others."""
    filled = [
        (points, cell)
        for points, cell in zip(POINTS, rubric.cells, strict=True)
        if cell and cell.lower is not None
    ]
    starts = [(points, threshold(cell, type)) for points, cell in filled]
    return {start.toordinal() if type == "date" else start: points for points, start in starts}


def _earning(rubric, starts, points, type):
    """The places that earn these points by a table: where a fact without a value counts as."""
    bounds, filled = _bounds(rubric, type), zip(POINTS, rubric.cells, strict=True)
    earned = [next((each for each, cell in filled if cell and cell.lower is None), None)]
    for start in starts:
        earned.append(bounds.get(start, earned[-1]))
    return [place for place, each in enumerate(earned) if each == points]


def _choices(fact, value, rubrics, counted):
    """Steps of a fact without an order: its cells are those of its first table."""
    for rubric in rubrics[:1]:
        cells = [(points, cell) for points, cell in zip(POINTS, rubric.cells, strict=True) if cell]
        own = [points for points, cell in cells if _within(value, cell, rubric)]
        here = own[0] if own else counted
        places = {points: place for place, (points, _) in enumerate(cells)}
        for points, cell in cells:
            apart = abs(places[points] - places[here]) if here in places else len(cells)
            if apart:
                yield Step(fact, "*" if cell.rest else cell.values[0], apart)


def _within(value, cell, rubric):
    if isinstance(value, str):
        value = value.strip().lower()
    listed = {each for other in rubric.cells if other for each in other.values}
    return value not in (None, "") and (value not in listed if cell.rest else value in cell.values)


def _limits(fact, scale):
    """The whole numbers a fact lies between, as the catalogue says."""
    about = FACTS.get(fact)
    bounds = (about.minimum, about.maximum) if about else (None, None)
    return [None if bound is None else bound * 10**scale for bound in bounds]


def _whole(value, type):
    """A value as a whole number, a date by its day."""
    return value.toordinal() if type == "date" else int(Decimal(value).scaleb(SCALES[type]))


def _value(number, type):
    if type == "date":
        return date.fromordinal(number)
    return number if type == "integer" else Decimal(number).scaleb(-SCALES[type])


def _standing_in(document, row, rows):
    """Groups of facts of which one is rated where the other is not known: their moves do not simply add up."""
    groups = []
    for criterion in document.criteria:
        fallback = f"fallback.{criterion.key}"
        moves = (each for steps, each in rows.items() if steps[0].fact == criterion.fact)
        if criterion.missing.kind == "rate" and (row[fallback] or any(each[fallback] for each in moves)):
            pair = {criterion.fact, criterion.missing.fact}
            joined = [group for group in groups if group & pair]
            groups = [group for group in groups if not group & pair] + [pair.union(*joined)]
    return groups


# -- several facts together


class _Together:
    """The fewest cells that take a weighted mean of points over a line.

    Which measures count settles what the mean is divided by. Then each move adds a whole number, and those of one cost
    that add the most are kept.
    """

    def __init__(self, search, options):
        document, self.row, weights = search.document, search.row, search.document.weights
        if search.term == "composite":
            shares = dict(zip(weights, whole(weights.values()), strict=True))
        else:
            shares = {search.term.removeprefix("score."): 1} if search.term.startswith("score.") else {}
        self.parts = {
            dimension.key: _Part(dimension, shares[dimension.key])
            for dimension in document.dimensions
            if shares.get(dimension.key) and self.row[f"score.{dimension.key}"] is not None
        }
        self.home = {key: part for part in self.parts.values() for key in part.weights}
        moving = ([(steps, search.rows[steps]) for steps in each] for each in options.values())
        self.groups = [[((), self.row), *each] for each in moving]
        varying = [
            {key for _, row in group for key in self.home if self.differs(row, key)} for group in self.groups
        ]
        self.varying = varying
        self.fixed = set(self.home).difference(*varying)

    def differs(self, row, key):
        return row[f"points.{key}"] != self.row[f"points.{key}"]

    def present(self, row, keys):
        return frozenset(key for key in keys if row[f"points.{key}"] is not None)

    def reach(self, line, sign):
        """The steps that take it to `line` (above it, or below), or None."""
        patterns = [
            list(dict.fromkeys(self.present(row, keys) for _, row in group))
            for group, keys in zip(self.groups, self.varying, strict=True)
        ]
        best = (None, None)
        always = self.present(self.row, self.fixed)
        for pattern in islice(product(*patterns), PRESENCES):
            best = self.cheapest(pattern, always.union(*pattern), line, sign, best)
        return best[1]

    def cheapest(self, pattern, counting, line, sign, best):
        """(cost, steps): the better one of `best` and the cheapest of those that make just these measures count."""
        divisors = {key: part.divisor(counting) for key, part in self.parts.items()}
        if not divisors or not all(divisors.values()):
            return best
        below = sum(part.share for part in self.parts.values()) * prod(divisors.values())
        each = {key: self.parts[key].share * below_others for key, below_others in _others(divisors).items()}
        worth = {
            key: sign * part.weights[key] * each[part.key]
            for key, part in self.home.items()
            if key in counting
        }

        def adds(row, keys):
            return sum(worth[key] * row[f"points.{key}"] for key in keys if key in counting)

        # Above: number x ONE // below >= line. Below: number x ONE // below < line.
        target = -(-line * below // ONE) if sign > 0 else -((line * below - 1) // ONE)
        gains = [
            [
                (sum(step.cells + MEASURE for step in steps), adds(row, keys), steps)
                for steps, row in group
                if self.present(row, keys) == there
            ]
            for group, keys, there in zip(self.groups, self.varying, pattern, strict=True)
        ]
        most = [max(gain for _, gain, _ in group) for group in gains]
        still = list(accumulate(reversed(most), initial=0))[::-1]
        front = [(0, adds(self.row, self.fixed), ())]
        for group, later in zip(gains, still[1:], strict=True):
            front = _kept(
                (
                    (cost + more, gain + added, (*steps, *further))
                    for cost, gain, steps in front
                    for more, added, further in group
                ),
                least=target - later,
                below=best[0],
            )
        return (front[0][0], front[0][2]) if front else best


class _Part:
    """A score group in a mean of them."""

    def __init__(self, dimension, share):
        self.key, self.share = dimension.key, share
        keys = [criterion.key for criterion in dimension.criteria]
        self.weights = dict(
            zip(keys, whole([criterion.weight for criterion in dimension.criteria]), strict=True)
        )
        self.undivided = dimension.scale == "points" or len(keys) == 1

    def divisor(self, counting):
        total = sum(weight for key, weight in self.weights.items() if key in counting)
        return min(total, 1) if self.undivided else total


def _others(divisors):
    """{key: the product of the divisors of all others}."""
    return {key: prod(each for other, each in divisors.items() if other != key) for key in divisors}


def _kept(entries, *, least, below):
    """Entries (cost, gain, steps) that can still reach the target and of which no cheaper one gains as much."""
    front, most = [], None
    for cost, gain, steps in sorted(entries, key=lambda entry: (entry[0], -entry[1])):
        if gain >= least and (below is None or cost < below) and (most is None or gain > most):
            front.append((cost, gain, steps))
            most = gain
    return front
