"""The rules of a layer as they decide: now, or on dates."""

from copy import copy
from dataclasses import dataclass
from datetime import date

from django.utils import timezone

from core.refusals import Refused
from segmentation.evaluation import run_rules
from segmentation.evaluation.run_rules import LayerRules
from segmentation.models import Definition, RunLayer
from segmentation.runs import recalculation


@dataclass(frozen=True)
class InForce:
    """The rules in force on a date. early: they were in force only later, the first there are."""

    definition: Definition
    rules: LayerRules
    early: bool = False


def in_use(definition, layer):
    """(LayerRules, date): the layer's active rules as they decide now, at the clock and by the cut-offs of its last run."""
    run_layer = recalculation.latest_of(layer)
    return _pinned(definition, layer, run_layer), run_layer.run.as_of if run_layer else timezone.localdate()


def on_dates(layer, dates):
    """{date: InForce}: the newest rules activated by the end of a day, or used by a recalculation as of then.

    By the cut-offs of the last recalculation as of then. Raises Refused where no rules were ever active.
    """
    runs = list(
        recalculation.ended(layer).order_by("run_id").values_list("pk", "run__as_of", "definition_id")
    )
    last = {at: next((run for run in reversed(runs) if run[1] <= at), None) for at in dates}
    run_layers = RunLayer.objects.in_bulk({run[0] for run in last.values() if run})
    used = {run[2] for run in runs}
    versions = [
        definition
        for definition in layer.definitions.order_by("version").defer("document")
        if definition.activated_at or definition.pk in used
    ]
    if not versions:
        raise Refused("layer_without_rules", layer=layer)
    in_force = {}
    for at, run in last.items():
        by_then = [
            definition
            for definition in versions
            if (run and definition.pk == run[2]) or _day(definition.activated_at) <= at
        ]
        definition = by_then[-1] if by_then else versions[0]
        rules = _pinned(definition, layer, run and run_layers[run[0]])
        in_force[at] = InForce(definition, rules, early=not by_then)
    return in_force


def _day(moment):
    return timezone.localdate(moment) if moment else date.max


def _pinned(definition, layer, run_layer):
    pinned = copy(run_layer) or RunLayer()
    pinned.layer = layer
    if run_layer and pinned.definition_id != definition.pk:  # activated since
        pinned.cutoffs = _still(pinned.cutoffs, pinned.definition_id, definition.pk)
    pinned.definition = definition
    return run_rules.of_layer(pinned, document=run_rules.document_in(definition))


def _still(cutoffs, former, definition):
    """The cut-offs of former rules that newer ones take from the same thing: the rest waits for the next run."""
    before, now = (run_rules.document_of(pk).population for pk in (former, definition))
    return {key: cutoff for key, cutoff in (cutoffs or {}).items() if before[key] == now.get(key)}
