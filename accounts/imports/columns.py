"""Text columns become typed ones: as declared, else by what all their values look like."""

import polars as pl

from . import notation
from .structure import LINE, Rejection

MOSTLY = (
    0.5  # a text column of which this share are numbers or dates is worth a word when a query fails on it
)


def typed(source, texts, zone):
    """(typed frame without LINE, rejections, notes) of columns of text, which are taken out of `texts` one by one.

    A line with a value that its column's type cannot hold is rejected whole. notes: {column: sentence} on text
    columns that would have been numbers or dates but for some value.
    """
    lines, columns, faults, notes = texts.pop(LINE), {}, [], {}
    for name in list(texts):
        column = texts.pop(name)  # and with it its memory
        kind, decimals, dates = _kind(source, name, column)
        values = columns[name] = _convert(column, kind, decimals, dates, zone)
        bad = column.is_not_null() & values.is_null()
        if bad.any():
            faults.append((column, bad, _reason(kind, decimals, dates)))
        elif kind == "text" and name not in source.columns:
            _note(notes, source, name, column, lines)
    result = pl.DataFrame(columns)
    if not faults:
        return result, [], notes
    rejected, left_out = [], pl.repeat(False, len(result), eager=True)
    for column, bad, reason in faults:
        first = bad & ~left_out
        for line, value in zip(lines.filter(first), column.filter(first), strict=True):
            rejected.append(Rejection(source.name, line, column.name, value, reason))
        left_out = left_out | bad
    rejected.sort(key=lambda rejection: rejection.line)
    return result.filter(~left_out), rejected, notes


def _kind(source, name, texts):
    declared = source.columns.get(name)
    decimals = declared.decimals if declared else source.decimals
    dates = declared.dates if declared else source.dates
    kind = declared.type if declared else None
    return kind or _infer(texts.drop_nulls(), decimals, dates), decimals, dates


def _infer(texts, decimals, dates):
    if texts.is_empty():
        return "nothing"
    if texts.str.contains(notation.BOOLEAN).all():
        return "boolean"
    if texts.str.contains(notation.INTEGER).all():
        return "integer"
    if texts.str.contains(r"^-?0\d+$").any():
        return "text"  # 007 is a name
    if notation.looks_like_numbers(texts, decimals):
        return "number"
    if texts.str.contains(dates.shape).all():
        return "date"
    if texts.str.contains(notation.ISO_DATE).all():
        return "iso date"
    if texts.str.contains(notation.ISO_TIME).all():
        return "time"
    return "text"


def _convert(texts, kind, decimals, dates, zone):
    if kind == "nothing":
        return pl.Series(texts.name, [None] * len(texts), dtype=pl.Null)
    if kind == "boolean":
        return notation.to_booleans(texts).alias(texts.name)
    if kind == "integer":
        numbers = notation.to_numbers(texts, decimals)
        whole = numbers == numbers.cast(pl.Int64, strict=False)
        return (
            pl.select(pl.when(whole).then(numbers.cast(pl.Int64, strict=False))).to_series().alias(texts.name)
        )
    if kind == "number":
        return notation.to_numbers(texts, decimals).alias(texts.name)
    if kind == "date" and dates == notation.ISO:  # declared a date: the time of day is left out
        return notation.to_dates(texts.str.extract(r"^(\d{4}-\d{2}-\d{2})([T ].*)?$")).alias(texts.name)
    if kind in ("date", "iso date"):
        return notation.to_dates(texts, dates if kind == "date" else notation.ISO).alias(texts.name)
    if kind == "time":
        return notation.to_times(texts, zone).alias(texts.name)
    return texts


def _reason(kind, decimals, dates):
    if kind == "date":
        return f"not a date ({dates.shown})"
    if kind in ("iso date", "time"):
        return "not a date (YYYY-MM-DD)" if kind == "iso date" else "not an ISO time"
    if kind in ("number", "integer"):
        kind = "whole number" if kind == "integer" else "number"
        return f"not a {kind}" + ("" if decimals == notation.PLAIN_NUMBERS else " as declared")
    return "neither true nor false"


def _note(notes, source, name, texts, lines):
    """Remember why a column that looks like numbers or dates is text: a query that computes with it will fail."""
    filled = texts.is_not_null()
    for kind, shape in (("number", notation.PLAIN), ("date", notation.ISO_DATE)):
        fits = texts.str.contains(shape).fill_null(False)
        if filled.sum() > 0 and fits.sum() / filled.sum() >= MOSTLY:
            odd = filled & ~fits
            if odd.any():
                at = odd.arg_max()
                notes[name] = (
                    f"{name} in {source.file} is text because of {texts[at]!r} in line {lines[at]}; "
                    f"declare columns: {{{name}: {kind}}} to have such lines rejected"
                )
