"""How many accounts the rules of a draft are about, counted while somebody types.

Nothing is written. A small portfolio is counted whole, a large one on a sample of accounts from all over it. An answer
has to come within a second.
"""

from dataclasses import dataclass, replace
from functools import reduce
from operator import and_

import polars as pl

from accounts import catalogue
from core.raw_sql import within_seconds
from segmentation.evaluation import cutoffs, engine
from segmentation.evaluation.ranges import Range
from segmentation.evaluation.run_rules import accounts_of, of_layer
from segmentation.models import RunLayer
from segmentation.rules import definitions
from segmentation.rules.document import DocumentErrors

WHOLE = 10_000  # accounts counted one and all; of more, this many are a sample
PIECES = 10


@dataclass(frozen=True)
class Counts:
    """`rules`: (accounts for which the rule holds, accounts it decides) of each, None for one that is not complete.

    `rest`: no rule decides them; `needs`: they need data first. All are counts among the `counted` of `total` accounts.
    """

    rules: tuple
    rest: int
    needs: int
    counted: int
    total: int
    unit: str  # what is counted: one, many

    @property
    def sampled(self):
        return self.counted < self.total


def count(data, layer, *, at):
    """The Counts of a document as typed on a layer at a date; None while more than its rules is incomplete.

    Raises what PostgreSQL makes of values that cannot be computed (DatabaseError).
    """
    document, complete = _readable(data)
    if document is None:
        return None
    with within_seconds() as cursor:
        total, accounts, ranges = sample(cursor, accounts_of([document]))
        pinned = of_layer(RunLayer(layer=layer), document)
        parts = [Range([pinned], at=at, first=first, last=last).inputs(pinned) for first, last in ranges]
    inputs = pl.concat(parts)
    document, left_out = _measured(document, inputs, at, share=accounts / total if total else 1)
    result = engine.evaluate(document, inputs, at, left_out=left_out)
    both = pl.concat([inputs, result.drop(set(inputs.columns) & set(result.columns))], how="horizontal")
    return _counted(document, both, complete, accounts, total, pinned.scope.unit)


def _readable(data):
    """(document, which of its rules are complete); rules that are not hold for nobody. None where more is wrong."""
    rules = [
        {**rule, "segment": rule.get("segment") or "any"} for rule in data.get("rules", [])
    ]  # not chosen yet: counted all the same
    try:
        return definitions.parse(data | {"rules": rules}, types=catalogue.TYPES), [True] * len(rules)
    except DocumentErrors as errors:
        wrong = {
            problem.path.split(".")[1] for problem in errors.problems if problem.path.startswith("rules.")
        }
    complete = [str(index) not in wrong for index in range(len(rules))]
    rules = [
        rule if good else {"segment": "any", "when": "FALSE"}
        for rule, good in zip(rules, complete, strict=True)
    ]
    try:
        return definitions.parse(data | {"rules": rules}, types=catalogue.TYPES), complete
    except DocumentErrors:
        return None, []


def sample(cursor, which):
    """(accounts there are, accounts that are counted, the ranges of ids they are in)."""
    cursor.execute(f"select count(*), min(a.id), max(a.id) from accounts_account a where {which}")
    total, first, last = cursor.fetchone()
    if total <= WHOLE:
        return total, total, [(first or 0, last or 0)]
    span = last - first + 1
    width = max(1, span * WHOLE // (total * PIECES))
    ranges = [
        (start, start + width - 1) for start in (first + span * piece // PIECES for piece in range(PIECES))
    ]
    within = " or ".join("a.id between %s and %s" for _ in ranges)
    cursor.execute(
        f"select count(*) from accounts_account a where {which} and ({within})",
        [end for pair in ranges for end in pair],
    )
    return total, cursor.fetchone()[0], ranges


def _measured(document, inputs, at, *, share):
    """The document with its cut-offs over these accounts, and the score groups nobody of them has a value for."""
    left_out = [
        dimension.key
        for dimension in document.dimensions
        if len(inputs)
        and all(inputs[criterion.fact].null_count() == len(inputs) for criterion in dimension.criteria)
    ]
    if share < 1:  # the top 50 of a million are the top 1 of twenty thousand
        rules = [
            replace(rule, top=replace(rule.top, count=max(1, round(rule.top.count * share))))
            if rule.top
            else rule
            for rule in document.rules
        ]
        document = replace(document, rules=tuple(rules), plans={})
    so_far = {}
    for kind in ("measure.", "rule."):  # quintiles first: an overall score over them is only known with them
        if any(key.startswith(kind) for key in document.population):
            now = document.pinned(so_far)
            values = cutoffs.take(now, inputs, engine.evaluate(now, inputs, at, left_out=left_out))
            measured = cutoffs.measure(document, values)
            so_far |= {key: texts for key, texts in measured.items() if key.startswith(kind)}
    return document.pinned(so_far), left_out


def _counted(document, frame, complete, accounts, total, unit):
    reason = pl.col("reason")
    ruled = reason.is_null() | (reason == "no rule") | reason.str.starts_with("overflow")
    frame = frame.with_columns(_ruled=ruled)
    holds = {f"_{index}": _holds(rule, document) for index, rule in enumerate(document.rules)}
    sums = frame.select(
        **{name: (expr & pl.col("_ruled")).fill_null(False).sum() for name, expr in holds.items()}
    )
    decides = frame.select(
        **{name: (pl.col("rule") == index).fill_null(False).sum() for index, name in enumerate(holds)}
    )
    rules = [
        (sums[name][0], decides[name][0]) if good else None
        for name, good in zip(holds, complete, strict=True)
    ]
    needs = int((~frame["_ruled"]).sum())
    undecided = len(frame) - needs - sum(decides[name][0] for name in holds)
    return Counts(tuple(rules), undecided, needs, accounts, total, unit)


def _holds(rule, document):
    conditions = [*engine.limits(rule, document), *([rule.condition.expr] if rule.condition else [])]
    return reduce(and_, conditions) if conditions else pl.lit(True)
