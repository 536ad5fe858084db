"""The rules in use: as they decide now, at the clock and by the cut-offs of the last recalculation."""

from django.utils import timezone

from segmentation.evaluation import run_rules
from segmentation.models import RunLayer
from segmentation.runs import recalculation


def in_use(definition, layer):
    """(LayerRules, date): the layer's active rules as they decide now, at the clock and by the cut-offs of its last run."""
    run_layer = recalculation.latest_of(layer)
    pinned = run_layer or RunLayer()
    pinned.layer = layer
    if run_layer and pinned.definition_id != definition.pk:  # activated since
        pinned.cutoffs = _still(pinned.cutoffs, pinned.definition_id, definition.pk)
    pinned.definition = definition
    rules = run_rules.of_layer(pinned, document=run_rules.document_in(definition))
    return rules, run_layer.run.as_of if run_layer else timezone.localdate()


def _still(cutoffs, former, definition):
    """The cut-offs of former rules that newer ones take from the same thing: the rest waits for the next run."""
    before, now = (run_rules.document_of(pk).population for pk in (former, definition))
    return {key: cutoff for key, cutoff in (cutoffs or {}).items() if before[key] == now.get(key)}
