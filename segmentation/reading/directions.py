"""The next boundaries above and below an account, and the nearest way over each, in words."""

from decimal import ROUND_CEILING

from core import wording
from segmentation.evaluation import ways
from segmentation.reading.spelling import as_text, score
from segmentation.rules import terms

NEAR = 3  # facts that have to move: more are counted, and not named


def directions(case):
    """{"up", "down"}: how far the next boundary is and the ways over it; None where there is no boundary that way."""
    if (case.row["up"], case.row["down"]) == (None, None):
        return {"up": None, "down": None}
    found = ways.nearest(case.document, case.frame, case.clock, left_out=case.left_out, row=case.row)
    return {name: _direction(case, name, found[name]) for name in ("up", "down")}


def _direction(case, name, found):
    gap = case.row[name]
    if gap is None:
        return None
    beyond = found[0].segment if found else _above(case) if name == "up" else None
    named = case.names.get(beyond, beyond)
    listed = [_way(case, way) for way in found]
    shown = _gap(case, gap)
    return {
        "gap": as_text(gap),
        "gap_shown": shown,
        "segment": beyond,
        "segment_name": named,
        "ways": listed,
        "text": _text(named or "another segment", listed),
        "now": _now(listed),
    }


def _above(case):
    """The segment that begins at the next boundary above."""
    term = case.document.boundaries[0].term
    target = (case.facts[term] if term in case.facts else case.row[term]) + case.row["up"]
    starts = (
        each for each in case.document.boundaries if each.op in (">=", ">") and each.threshold == target
    )
    return next((each.segment for each in starts), None)


def _gap(case, gap):
    """How far a boundary is, as the number that the rules compare is written; a little is never nothing."""
    term = case.document.boundaries[0].term
    if term in case.facts:
        return case.shown(term, gap, ROUND_CEILING)
    rounded = score(gap)
    return "less than 0.01" if rounded == "0.00" else rounded


def _way(case, way):
    steps = [_step(case, step) for step in way.steps]
    return {
        "segment": way.segment,
        "segment_name": case.names.get(way.segment, way.segment),
        "cells": way.cells,
        "value": as_text(way.value),
        "steps": steps,
    }


def _step(case, step):
    value = case.facts[step.fact]
    criterion = next((each for each in case.document.criteria if each.fact == step.fact), None)
    to = case.shown(step.fact, step.bound) if step.rises is not None else _cell(case, criterion, step.value)
    known = value is not None
    if step.rises is None:
        verb = "were"
    elif known:
        verb = "reached" if step.rises else "fell below"
    else:
        verb, to = ("were", f"{to} or more") if step.rises else ("were below", to)
    return {
        "fact": step.fact,
        "name": (criterion and criterion.name) or terms.label(step.fact),
        "value": as_text(value),
        "value_shown": case.shown(step.fact, value) or "not known",
        "verb": verb,
        "to": to,
        "cells": step.cells,
    }


def _cell(case, criterion, value):
    """The cell, as typed, that a value without an order would be in."""
    for typed, cell in zip(criterion.cells, criterion.rubric.cells, strict=True) if criterion else ():
        if cell and (cell.rest if value == "*" else value in cell.values):
            return wording.cell(typed).replace(", ", " or ")
    return {True: "yes", False: "no"}.get(value, value)


def _text(segment, found):
    """`High-Touch if Seats in use reached 60 % and Features 50 %, or if ARR reached $100,000.`"""
    near = [way for way in found if len(way["steps"]) <= NEAR]
    if near:
        conditions = [f"if {_steps(way['steps'])}" for way in near]
        return f"{segment} {', or '.join(conditions)}."
    if found:
        way = found[0]
        return f"{segment} is far: {wording.plural(way['cells'], 'cell,cells')} in {len(way['steps'])} measures together."
    return f"Nothing that changes leads to {segment}."


def _now(found):
    """`Now: Seats in use 27 %, ARR $31,600.`"""
    steps = [step for way in found if len(way["steps"]) <= NEAR for step in way["steps"]]
    values = dict.fromkeys(f"{step['name']} {step['value_shown']}" for step in steps)
    return f"Now: {', '.join(values)}." if values else ""


def _steps(steps):
    """The same verb is said once."""
    verbs = [None, *(step["verb"] for step in steps)]
    return wording.listed(
        f"{step['name']} {'' if step['verb'] == before else step['verb'] + ' '}{step['to']}"
        for step, before in zip(steps, verbs, strict=False)
    )
