"""Lines for a recipe by which a value is understood: advice that has been tried on the value itself."""

import json
import re

from . import notation


def for_number(value, place=None, but=None):
    """How to have this text taken as a number, or "". place: (source, column) it comes from; but: the notation it is not in."""
    value = value.strip()
    if ways := notation.samples(value, but):
        return _declare("decimal", {f"{number:f}": sample for number, sample in ways.items()}, place)
    if re.fullmatch(r"[-+]?\d+([.,]\d+)?[eE][-+]?\d+", value):
        return "a spreadsheet has shortened it: show all its digits there and export again"
    if not any(character.isdigit() for character in value):
        return f"NULLIF(column, '{value[:20]}') in the query takes it as empty"
    return ""


def for_date(value, place=None):
    """The same for a date."""
    ways = notation.date_samples(value)
    return _declare("dates", {day.isoformat(): sample for day, sample in ways.items()}, place) if ways else ""


def _declare(key, ways, place):
    """`columns: {arr: {decimal: "1,234.56"}} at source crm`, for each number or day that may be meant."""
    column = place[1] if place else "the column"
    name = column if re.fullmatch(r"[\w ]+", column) else json.dumps(column, ensure_ascii=False)
    where = f"at source {place[0]}" if place else "at its source"
    written = {
        meant: f"columns: {{{name}: {{{key}: {json.dumps(way, ensure_ascii=False)}}}}}"
        for meant, way in ways.items()
    }
    if len(written) == 1:
        return f"declare {next(iter(written.values()))} {where}"
    return f"declare {where} " + ", or ".join(f"{way} if this is {meant}" for meant, way in written.items())
