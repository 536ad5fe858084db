"""The rules a recalculation, or whatever evaluates like one, goes by: each layer with its document, cut-offs and segments."""

from dataclasses import dataclass, field
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter

import polars as pl
from django.db import connection

from accounts import catalogue
from core.refusals import Refused
from segmentation import scopes
from segmentation.evaluation import frames
from segmentation.models import Definition, Layer
from segmentation.rules import definitions
from segmentation.rules.document import Document
from segmentation.scopes import Scope


@dataclass(frozen=True)
class LayerRules:
    """A layer as a run has pinned it: its rules, what is left out, and the ids of its segments."""

    id: int
    key: str
    automatic: bool
    definition: int
    document: Document = field(repr=False)  # with its cut-offs
    left_out: tuple
    segments: dict  # {segment key: id}
    cutoffs: dict = field(default_factory=dict)  # those in the document, as pinned on the run
    scope: Scope = scopes.ACCOUNT
    # {segment id: place from the top} of a layer that needs approval, where the decision after the provisional period
    # waits for a plan when it leads down.
    steps_down: dict = field(default_factory=dict)

    @property
    def keys(self):
        """The columns that tell its rows apart."""
        return self.scope.columns

    @property
    def product(self):
        """The product that a row is about, as a Polars expression; null where it is about the whole account."""
        return pl.col("product") if "product" in self.keys else pl.lit(None, pl.Int64)

    @property
    def name(self):
        """The name by which the rules of others call it."""
        return spoken(self.key)


@dataclass(frozen=True)
class RunRules:
    """A run as its workers see it; the layers in the order in which they are evaluated."""

    run: object  # Run
    layers: tuple

    @property
    def which(self):
        """The accounts it is about, as `frames.facts` takes it."""
        return accounts_of(layer.document for layer in self.layers)


def of_run(run):
    """Everything `evaluate` needs of a run."""
    return RunRules(run, ordered(of_layer(run_layer) for run_layer in run.layers.select_related("layer")))


def of_layer(run_layer, document=None):
    """A layer of a run (a RunLayer) with its rules, cut-offs and segments. document: its rules, where they are at hand.

    An unsaved RunLayer stands for a run that there is not: a preview, a count, a check.
    """
    planned = run_layer.layer.plan_provisional_downgrades
    segments = run_layer.layer.segments.all()
    return LayerRules(
        id=run_layer.layer_id,
        key=run_layer.layer.key,
        automatic=run_layer.layer.policy == Layer.Policy.AUTOMATIC,
        definition=run_layer.definition_id,
        document=(document or document_of(run_layer.definition_id)).pinned(run_layer.cutoffs or {}),
        left_out=tuple(run_layer.left_out),
        segments={segment.key: segment.pk for segment in segments},
        cutoffs=run_layer.cutoffs or {},
        scope=run_layer.layer.scoped,
        steps_down={segment.pk: segment.position for segment in segments} if planned else {},
    )


def ordered(layers):
    """RunRules layers in dependency order: a layer after those it reads. The activation of rules refuses circles."""
    layers = {layer.id: layer for layer in sorted(layers, key=lambda layer: layer.id)}
    reads = {
        id: [other.id for other in layers.values() if other.name in layer.document.layers]
        for id, layer in layers.items()
    }
    try:
        return tuple(layers[id] for id in TopologicalSorter(reads).static_order())
    except CycleError:  # rules written past the verbs: each reads what was stored
        return tuple(layers.values())


def spoken(key):
    """A layer's key as rules write it: `value_tier`."""
    return key.replace("-", "_")


@lru_cache(maxsize=200)
def _parsed(hash, definition):
    data = Definition.objects.values_list("document", flat=True).get(pk=definition)
    return definitions.parse(data, types=catalogue.TYPES)


def document_of(definition):
    """The parsed document of a version (an id) that is no draft: such a document never changes."""
    return _parsed(Definition.objects.values_list("hash", flat=True).get(pk=definition), definition)


def document_in(definition):
    """The same of a version that is at hand: without a query, once it has been parsed."""
    return _parsed(definition.hash, definition.pk)


_GONE = """
    select d.layer_id, r ->> 'segment' from segmentation_definition d, jsonb_array_elements(d.document -> 'rules') r
     where d.status in ('active', 'retired') group by 1, 2 having not bool_or(d.status = 'active')
"""


def gone():
    """{(id of a layer, segment key)} of the segments that are no more: earlier rules gave them, the active ones do not.

    A segment no rules ever gave is there for people to pin accounts to.
    """
    with connection.cursor() as cursor:
        cursor.execute(_GONE)
        return set(cursor.fetchall())


def check_there(*segments):
    """Refuse segments that are no more."""
    left = gone()
    for segment in segments:
        if (segment.layer_id, segment.key) in left:
            raise Refused("segment_no_more", segment=segment, layer=segment.layer)


def accounts_of(documents):
    """Which accounts some rules are about, as `frames.facts` takes it."""
    churned = any("churned" in document.includes for document in documents)
    return frames.SCORED_OR_CHURNED if churned else frames.SCORED
