"""The policy for a measure without a value, in its parts, as people choose it; and as the text a document holds. Pure.

skip | assume 3 | needs data | rate arr: 100K+ = 5, 25K-99K = 3, < 25K = 1
"""

import re
from dataclasses import dataclass

RATE = "rate"
CHOICES = [
    ("skip", "Leave it out"),
    *((f"assume {points}", f"Count it as {points}") for points in (5, 4, 3, 2, 1)),
    (RATE, "Rate another field"),
    ("needs data", "Needs data: no segment"),
]
# Cells, "=", points, then a separator or the end; a quoted text may hold anything; ">=" is no "=".
ENTRY = re.compile(r"((?:\"[^\"]*\"|[^\"])*?)(?<![<>])=\s*([1-5])\s*(?:[,;]|$)")
_RATED = re.compile(r"rate\b\s*([\w.]*)\s*:?\s*(.*)", re.DOTALL)
_NOTHING = ("",) * 5


@dataclass(frozen=True)
class Parts:
    """choice: one of CHOICES, or the whole text where it is none of them. fact, cells: how another data field is rated."""

    choice: str
    fact: str = ""
    cells: tuple = _NOTHING  # for 5 points first


def parts(text):
    """The Parts of a policy as typed, finished or not; `text_of` says the same again."""
    text = text.strip()
    spaced = re.sub(r"\s+", " ", text)
    if spaced in dict(CHOICES) and spaced != RATE:
        return Parts(spaced)
    if match := _RATED.fullmatch(text):
        cells = split(match[2])
        return Parts(text) if cells is None else Parts(RATE, match[1], cells)
    return Parts(text)


def split(text):
    """The five cells of `100K+ = 5, < 100K = 1`; None where it cannot be read so."""
    cells, remaining = list(_NOTHING), text.strip()
    while remaining:
        match = ENTRY.match(remaining)
        if not match or cells[5 - int(match[2])]:
            return None
        cells[5 - int(match[2])] = match[1].strip()
        remaining = remaining[match.end() :].strip()
    return tuple(cells)


def text_of(chosen, *, before=""):
    """The policy as text; `before`, the text there was, where it says the same: what nobody touched stays as it was typed."""
    if before and parts(before) == chosen:
        return before
    if chosen.choice != RATE:
        return chosen.choice
    between = "; " if any("," in cell for cell in chosen.cells) else ", "
    rated = between.join(
        f"{cell} = {points}" for cell, points in zip(chosen.cells, (5, 4, 3, 2, 1), strict=True) if cell
    )
    return f"rate {chosen.fact}: {rated}".strip()
