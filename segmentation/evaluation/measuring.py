"""The cut-offs that rules need of the whole portfolio: quintiles, and the top so many."""

import polars as pl

from segmentation.evaluation import cutoffs, engine
from segmentation.evaluation.decide import decide
from segmentation.evaluation.ranges import Range


def measure(layer, values):
    """The cut-offs of a layer ({as in `Document.population`: [text]}); {} where it needs none.

    values: a function that gives, for a document, frames of the values over the whole portfolio (see `values`).
    """
    so_far = {}
    for kind in ("measure.", "rule."):  # quintiles first: an overall score over them is only known with them
        keys = [key for key in layer.document.population if key.startswith(kind)]
        parts = values(layer.document.pinned(so_far)) if keys else []
        if parts:
            measured = cutoffs.measure(layer.document, pl.concat(parts))
            so_far |= {key: measured[key] for key in keys if key in measured}
    return so_far


def values(layer, document, layers, *, at, first, last):
    """The values that a document's cut-offs are taken from, for a range of accounts: a frame, a column a term.

    layers: those of the run, in order, for what the layer reads of them.
    """
    before = _read_by(layer, layers)
    part = Range([*before, layer], at=at, first=first, last=last)
    for earlier in before:
        part.keep(earlier, decide(earlier, part).everyone)
    inputs = part.inputs(layer, document=document)
    return cutoffs.take(document, inputs, engine.evaluate(document, inputs, at, left_out=layer.left_out))


def _read_by(layer, layers):
    """The layers, out of these, that a layer reads, directly or through others, in their order."""
    wanted = {layer.name}
    for candidate in reversed(layers):
        if candidate.name in wanted:
            wanted |= set(candidate.document.layers)
    return [candidate for candidate in layers if candidate.name in wanted and candidate.name != layer.name]
