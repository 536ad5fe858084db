"""Documents, frames and results for tests of the engine, in a few words."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path

import polars as pl

from accounts.catalogue import TYPES
from segmentation.evaluation import engine
from segmentation.rules import definitions, document_text

AT = date(2026, 11, 22)
PRESETS = Path(definitions.__file__).parent / "presets"
TIERS = [
    {"segment": "high-touch", "when": "composite >= 4.0"},
    {"segment": "low-touch", "when": "composite >= 2.5"},
    {"segment": "tech-touch"},
]
POINTS_CELLS = ["5", "4", "3", "2", "1"]  # an integer fact that is its own points


@cache
def preset(key):
    """The document of a preset that ships with Demarc."""
    data = document_text.from_yaml((PRESETS / f"{key}.yaml").read_text())
    keys = {segment["key"] for segment in data["segments"]}
    return definitions.parse(data["document"], types=TYPES, segments=keys)


def frame(document, rows, **extra):
    """Rows (dicts of facts; numbers may be strings) as the engine's frame; `id` counts from 1."""
    schema = document.schema | extra
    columns = {"id": pl.Series(range(1, len(rows) + 1), dtype=pl.Int64)}
    for name, dtype in schema.items():
        columns[name] = pl.Series([_typed(row.get(name), dtype) for row in rows], dtype=dtype)
    return pl.DataFrame(columns)


def _typed(value, dtype):
    return Decimal(str(value)) if isinstance(dtype, pl.Decimal) and value is not None else value


def evaluate(document, *rows, at=AT, left_out=(), **extra):
    """The engine's answer for some rows, as dicts."""
    return engine.evaluate(document, frame(document, rows, **extra), at, left_out=left_out).to_dicts()


def composite(weights, dimensions, rules=TIERS):
    """A document over integer facts that are their own points.

    weights: {dimension: weight}; dimensions: {dimension: [criterion weights]}. The facts are `<dimension>_<n>`.
    """
    data = {
        "weights": {key: str(weight) for key, weight in weights.items()},
        "dimensions": [
            {
                "key": key,
                "criteria": [
                    {"key": f"{key}_{n}", "weight": str(weight), "cells": POINTS_CELLS}
                    for n, weight in enumerate(shares)
                ],
            }
            for key, shares in dimensions.items()
        ],
        "rules": rules,
    }
    facts = {f"{key}_{n}": "integer" for key, shares in dimensions.items() for n in range(len(shares))}
    return definitions.parse(data, types=facts)


def scoring(weights, scores, **options):
    """Let the engine decide for dimension scores given directly, such as 4, "3.99" or "4/3".

    A score between two whole ones becomes two criteria with those points, weighted so that their mean is it.
    """
    shares, row = {}, {}
    for key, score in zip(weights, scores, strict=True):
        score = Fraction(str(score))
        whole, rest = divmod(score, 1)
        over = rest.numerator if rest else 0
        under = rest.denominator - over if rest else 1
        shares[key] = [Decimal(under), Decimal(over)] if over else [Decimal(1)]
        row |= {f"{key}_0": int(whole)} | ({f"{key}_1": int(whole) + 1} if over else {})
    if any(share >= 10**4 for pair in shares.values() for share in pair):
        raise ValueError("no such weights")
    [result] = evaluate(composite(weights, shares), row, **options)
    return result


def exact(value):
    """A fraction as a score: cut off after 12 decimals."""
    value = Fraction(str(value))
    return Decimal(value.numerator * 10**12 // value.denominator).scaleb(-12)
