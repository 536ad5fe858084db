"""The smallest single improvement that would take an account over the next boundary."""

from datetime import date
from decimal import ROUND_CEILING, Decimal

import polars as pl

from segmentation.evaluation import engine
from segmentation.reading.spelling import score
from segmentation.rules import rubric, terms


def next_step(case):
    """How far the next boundary above is, and the smallest single improvement that would reach it; None at the top."""
    if case.row["up"] is None or not case.row["segment"]:
        return None
    terms = {boundary.term for boundary in case.document.boundaries}
    term = terms.pop()
    now = case.facts[term] if term in case.facts else case.row[term]
    target = Decimal(now) + case.row["up"]
    above = [
        boundary.segment
        for boundary in case.document.boundaries
        if boundary.threshold == target and boundary.op in (">=", ">")
    ]
    goal = case.names.get(above[0], above[0]) if above else "the next boundary"
    gap = _gap(case.row["up"])
    if term in case.facts:
        gap = case.shown(term, case.row["up"], ROUND_CEILING)
    step = _smallest_step(case, term) if term not in case.facts else None
    return f"{gap} to {goal}" + (f"; {step} would do" if step else "") + "."


def _gap(value):
    """A gap of less than a hundredth is not shown as none."""
    rounded = score(value)
    return "less than 0.01" if rounded == "0.00" else rounded


def _smallest_step(case, term):
    """The improvement of one measure that just gets over the boundary, in words."""
    steps = [
        (criterion, points, value)
        for criterion in case.document.criteria
        if case.row[f"fallback.{criterion.key}"] not in ("left out", "needs data")
        for points, value in _better(criterion, case.row[f"points.{criterion.key}"])
    ]
    if not steps:
        return None
    rows = [case.facts | {criterion.fact: value} for criterion, _, value in steps]
    frame = pl.DataFrame(rows, schema=case.frame.schema)
    tried = engine.evaluate(case.document, frame, case.clock, left_out=case.left_out)
    crossing = [
        (row[term], index)
        for index, row in enumerate(tried.iter_rows(named=True))
        if row[term] is not None
        and row[term] - case.row[term] >= case.row["up"]
        and row["segment"] != case.row["segment"]
    ]
    if not crossing:
        return None
    criterion, points, _ = steps[min(crossing)[1]]
    name = criterion.name or terms.label(criterion.fact)
    verb = "answered with" if case.facts[criterion.fact] is None else "of"
    return f"{name} {verb} {criterion.cells[5 - points]}"


def _better(criterion, points):
    """Values that would earn more: (points, value)."""
    if criterion.rubric is None:  # quintiles of a portfolio in which nobody has a value
        return
    for earned, cell in zip(rubric.POINTS, criterion.rubric.cells, strict=True):
        if cell and (points is None or earned > points):
            value = _sample(cell, criterion.rubric)
            if value is not None:
                yield earned, value


def _sample(cell, table):
    """A value inside a cell, or None where none comes to mind."""
    if table.type in ("text", "boolean"):
        return cell.values[0] if cell.values else None
    if cell.lower is None:  # the lowest cell: below where the next one begins
        starts = [other.lower for other in table.cells if other and other.lower is not None]
        if table.type == "date" or not starts:
            return None
        return _typed(min(starts) - 1, table.type)
    if table.type == "date":
        return date.fromordinal(cell.lower.toordinal() + cell.lower_open)
    step = Decimal(1).scaleb(-rubric.SCALES[table.type])
    return _typed(cell.lower + (step if cell.lower_open else 0), table.type)


def _typed(number, kind):
    return (
        int(number.to_integral_value("ROUND_CEILING"))
        if kind == "integer"
        else round(number, rubric.SCALES[kind])
    )
