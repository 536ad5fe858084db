"""The nearest way over a boundary against brute force, and as `explain` tells it."""

from decimal import Decimal
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from scoring import AT, frame

from accounts.catalogue import FACTS
from segmentation.evaluation import engine, ways
from segmentation.rules import definitions

# {fact: (its cells, a value in each)}: two that a team can change, two that change by themselves, one that nobody changes.
TABLES = {
    "nps": (["50+", "20-49", "0-19", "-30 to -1", "< -30"], [50, 20, 0, -30, -60]),
    "tickets_90d": (["0-1", "2-4", "5-9", "", "10+"], [0, 2, 5, 10]),
    "arr": (["$100K+", "", "$50K-$99K", "", "< $50K"], ["100000", "50000", "1"]),
    "employees": (["1,000+", "100-999", "", "", "< 100"], [1000, 100, 1]),
    "industry": (["SaaS", "", "Retail, Media", "*", ""], ["SaaS", "Retail", "Mining"]),
}
EARNED = {fact: [5 - n for n, cell in enumerate(cells) if cell] for fact, (cells, _) in TABLES.items()}
RATED = "rate employees: 1,000+ = 5, 100-999 = 2, < 100 = 1"
AROUND = ["1.5", "2", "2.5", "3", "3.5", "4", "4.5"]


@st.composite
def rules(draw):
    """Rules over some of the facts in two score groups, and an account in a cell of each, or in none."""
    facts = draw(st.lists(st.sampled_from(list(TABLES)), min_size=2, max_size=5, unique=True))
    groups = {"one": facts[: len(facts) // 2], "two": facts[len(facts) // 2 :]}
    share = draw(st.sampled_from(["0.25", "0.5", "0.9"]))
    high, low = sorted(draw(st.lists(st.sampled_from(AROUND), min_size=2, max_size=2, unique=True)))[::-1]
    sign = draw(st.sampled_from([">=", ">"]))
    missing = ["skip", "assume 3", "assume 1", "needs data"]

    def policy(fact):
        return draw(st.sampled_from([*missing, RATED] if fact in ("nps", "arr") else missing))

    data = {
        "weights": {"one": share, "two": str(1 - Decimal(share))},
        "dimensions": [
            {
                "key": key,
                "criteria": [
                    {
                        "key": fact,
                        "cells": TABLES[fact][0],
                        "weight": draw(st.sampled_from(["1", "2", "0.5"])),
                        "missing": policy(fact),
                    }
                    for fact in named
                ],
            }
            for key, named in groups.items()
        ],
        "rules": [
            {"segment": "high", "when": f"composite {sign} {high}"},
            {"segment": "low", "when": f"composite {sign} {low}"},
            {"segment": "tech"},
        ],
    }
    return data, {fact: draw(st.none() | st.sampled_from(TABLES[fact][1])) for fact in TABLES}


def moves(document, fact, values, row):
    """[(value, cells)] of a fact: where it is, and each other cell with how far it is."""
    here = values[fact]
    yield here, 0
    criterion = next((each for each in document.criteria if each.key == fact), None)
    cells = EARNED[fact] if criterion else [5, 2, 1]  # only in RATED
    place = None if here is None else TABLES[fact][1].index(here)
    if here is None and criterion and row[f"points.{fact}"] in cells:
        place = cells.index(row[f"points.{fact}"])
    for other, value in enumerate(TABLES[fact][1]):
        apart = len(cells) if place is None else abs(other - place)
        if apart:
            yield value, apart


def shortest(document, values, row, sign, moved_by):
    """(whether several, cells, measures) of the shortest way there is, out of all that there are; None without one."""
    options = [
        list(moves(document, fact, values, row)) if FACTS[fact].moved_by in moved_by else [(values[fact], 0)]
        for fact in document.facts
    ]
    taken = list(product(*options))
    rows = [dict(zip(document.facts, [value for value, _ in each], strict=True)) for each in taken]
    tried = engine.evaluate(document, frame(document, rows), AT).to_dicts()
    beyond = row["up"] if sign > 0 else row["down"]
    found = []
    for each, after in zip(taken, tried, strict=True):
        if beyond is not None and after["segment"] not in (None, row["segment"]):
            apart = sign * (after["composite"] - row["composite"])
            strict = (sign < 0) == (document.boundaries[0].op == ">=")
            if apart > beyond or (apart == beyond and not strict):
                cells = [cells for _, cells in each if cells]
                found.append((len(cells) > 1, sum(cells), len(cells)))
    return min(found, default=None)


@settings(deadline=None, max_examples=60)
@given(rules())
def test_no_way_is_shorter_than_the_one_that_is_told(ruled):
    data, values = ruled
    document = definitions.parse(data, types={fact: FACTS[fact].type for fact in TABLES})
    values = {fact: values[fact] for fact in document.facts}
    one = frame(document, [values])
    [row] = engine.evaluate(document, one, AT).to_dicts()
    told = ways.nearest(document, one, AT)
    if row["segment"] is None:
        assert told == {"up": (), "down": ()}
        return
    for name, sign in (("up", 1), ("down", -1)):
        kinds = [("team",), ("team", "itself"), ("team", "itself", "")]
        lengths = [shortest(document, values, row, sign, kind) for kind in kinds]
        first = next((length for length in lengths if length), None)
        nearer = [length for length in lengths[1:2] if first and length and length < first]
        assert [(len(way.steps) > 1, way.cells, len(way.steps)) for way in told[name]] == (
            [first] if first else []
        ) + nearer
        for way in told[name]:  # and it leads where it says
            moved = values | {step.fact: step.value for step in way.steps}
            [after] = engine.evaluate(document, frame(document, [moved]), AT).to_dicts()
            assert (after["segment"], after["composite"]) == (way.segment, way.value)
