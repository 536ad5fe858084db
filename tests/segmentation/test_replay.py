"""The lifecycle of a published portfolio, month by month, as it would have been told at the time."""

import calendar
import json
from collections import Counter
from datetime import date
from pathlib import Path

import library
import pytest
from django.conf import settings
from django.db import transaction
from segmenting import state

from segmentation.authoring import versions
from segmentation.evaluation import run_rules
from segmentation.models import Layer, Move
from segmentation.reading import explain
from segmentation.runs import recalculation

pytestmark = [pytest.mark.django_db, pytest.mark.data]
RECIPE = settings.BASE_DIR / "examples" / "ravenstack" / "recipe.yaml"
COUNTS = Path(__file__).parent.parent / "fixtures" / "ravenstack_lifecycle.json"
MONTHS = [
    date(year, month, calendar.monthrange(year, month)[1]) for year in (2023, 2024) for month in range(1, 13)
]


@pytest.fixture(autouse=True)
def _data(published_data):
    pass


def replay(months):
    """Import and recalculate once for each of these days; the lifecycle's Layer."""
    versions.load_presets()
    layer = Layer.objects.get(key="lifecycle")
    for day in months:
        library.import_set(RECIPE, as_of=day)
        assert done(layer, day)["scanned"] > 0
        again = done(layer, day)
        assert (again["changed"], again["moved"], again["rescored"]) == (0, 0, 0), day
    return layer


def done(layer, day):
    run = recalculation.work(recalculation.start(layers=[layer], as_of=day).pk, wait=True)
    return run.layers.get(layer=layer).counts


def explained(move):
    """The key of the rule that made a move, told again from nothing but the move's evidence."""
    told = explain.explain(move.account, move.layer, at=move.at)
    rule = run_rules.document_of(move.definition_id).rules[told["rule"]["index"]]
    before = move.from_segment.key if move.from_segment else None
    assert told["computed_segment"] == rule.segment == move.to_segment.key
    assert move.evidence["facts"].get("previous") == before
    assert not rule.sources or before in rule.sources
    assert move.evidence["facts"]["status"] in ("active", "churned")
    assert move.evidence["sources"]["status"][0] == "ravenstack"
    return rule.key


@pytest.mark.parametrize("months", [7, pytest.param(24, marks=pytest.mark.long)])
def test_every_change_of_two_years_has_its_rule_and_evidence(months):
    layer = replay(MONTHS[:months])
    moves = Move.objects.filter(layer=layer).select_related("account", "layer", "from_segment", "to_segment")
    counts = {str(day): Counter() for day in MONTHS[:months]}
    for move in moves.order_by("at", "id"):
        step = f"{move.from_segment.key if move.from_segment else 'new'} -> {move.to_segment.key}"
        counts[str(move.at)][f"{step}: {explained(move)}"] += 1
    told = json.loads(COUNTS.read_text())
    assert {day: dict(sorted(found.items())) for day, found in counts.items()} == {
        day: told[day] for day in counts
    }
    assert len(told) == len(MONTHS)


@pytest.mark.parametrize("months", [2, pytest.param(24, marks=pytest.mark.long)])
def test_a_replay_in_a_fresh_database_gives_the_same(months):
    with transaction.atomic():
        replay(MONTHS[:months])
        once = state()
        transaction.set_rollback(True)
    assert not Move.objects.exists()
    replay(MONTHS[:months])
    assert state() == once
    assert once["moves"]
