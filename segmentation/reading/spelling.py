"""Values of facts as people write them, and as JSON holds them."""

from datetime import date
from decimal import ROUND_FLOOR, Decimal

from accounts import catalogue
from core import wording
from segmentation.reading.contributions import places_apart, rounded


def as_text(value):
    """A value as JSON-safe text: ISO dates, plain decimals."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


def score(value, boundaries=()):
    """A score as people write it: two decimals, and as many more as tell it from the boundaries it is compared with."""
    return None if value is None else f"{rounded(value, places_apart(value, boundaries)):f}"


def edges(document):
    """{term: the numbers the rules compare it with}."""
    found = {}
    for rule in document.rules:
        for comparison in rule.condition.comparisons if rule.condition else ():
            if comparison.term is not None:
                found.setdefault(comparison.term, set()).add(Decimal(comparison.threshold).scaleb(-12))
    return found


def spelt(fact, value, currency="", rounding=ROUND_FLOOR):
    """A fact as people write it: $130,000, 40 %, 1.5x, 1,200, 28 Dec 2026.

    Cut off, never rounded up: 79.96 % that earned the points of 60%-79% must not read 80 %.
    """
    if value is None:
        return None
    entry = catalogue.FACTS[fact]
    if entry.type == "money":
        return wording.money(value, currency)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if entry.type == "integer":  # a gap to a boundary between two of them is a fraction
        return f"{Decimal(value).to_integral_value(rounding):,}"
    if isinstance(value, Decimal):
        if entry.unit == "%":
            return f"{_plain((value * 100).quantize(Decimal('0.1'), rounding))} %"
        unit = "x" if entry.unit == "x" else " hours" if entry.unit.startswith("hours") else ""
        return f"{_plain(value.quantize(Decimal('0.01'), rounding))}{unit}"
    if isinstance(value, date):
        return wording.day(value)
    return as_text(value)


def _plain(value):
    return f"{value.normalize():,f}"
