"""Cut-offs over the whole portfolio: quintiles and the top N. Equal values are never parted.

Pure. They are measured once before a run evaluates its first account, and pinned on the run. So every chunk, and every
evaluation until the next run, decides by the same ones.
"""

from datetime import date
from decimal import Decimal

import polars as pl


def measure(document, values):
    """The cut-offs of a document ({as in `document.population`: [text, ...]}).

    values: {name of the term: its value for every account of the portfolio, as a Polars series}. Where nobody has a
    value there is no cut-off.
    """
    tops = {f"rule.{rule.key}": rule.top.count for rule in document.rules if rule.top}
    cutoffs = {}
    for key, name in document.population.items():
        ranked = values[name].drop_nulls().sort(descending=True)
        if len(ranked):
            places = _fifths(len(ranked)) if key not in tops else [min(tops[key], len(ranked)) - 1]
            cutoffs[key] = [_text(ranked[place]) for place in places]
    return cutoffs


def _fifths(count):
    """The places (from 0, the highest value first) that end the first to the fourth fifth of `count` values."""
    return [-(-count * part // 5) - 1 for part in (1, 2, 3, 4)]


def _text(value):
    if isinstance(value, Decimal):
        return f"{value:f}"  # never 1E+3
    return value.isoformat() if isinstance(value, date) else str(value)


def columns(document):
    """The terms whose values are needed, each once: inputs, or what the engine says."""
    return tuple(dict.fromkeys(document.population.values()))


def take(document, frame, result):
    """The values of those terms in a part of the portfolio: a frame of inputs and what the engine says of it."""
    both = frame.select(name for name in columns(document) if name in frame.columns)
    own = result.select(name for name in columns(document) if name not in frame.columns)
    return pl.concat([both, own], how="horizontal")
