"""The engine's input: a range of accounts at a clock, their facts, and what layers say of them."""

import polars as pl

from accounts import catalogue
from segmentation import scopes
from segmentation.evaluation import frames
from segmentation.evaluation.run_rules import accounts_of, document_of, spoken
from segmentation.models import Definition
from segmentation.scopes import GONE

NEAR = 2_000  # a range of so many accounts is read about as fast as one account

FEW, DENSE = 100, 4


def together(ids):
    """Ids in groups, in order, each within a range of NEAR; where they lie dense, all in one."""
    groups, ids = [], sorted(ids)
    if len(ids) > FEW and ids[-1] - ids[0] < NEAR * len(ids) // DENSE:
        return [ids]
    for id in ids:
        if groups and id - groups[-1][0] < NEAR:
            groups[-1].append(id)
        else:
            groups.append([id])
    return groups


class Range:
    """A range of accounts at a clock: their facts, read once for all layers, and what layers say of them.

    besides: facts that are read beside those the rules use.
    """

    def __init__(self, layers, *, at, first, last, which=None, besides=()):
        self.layers, self.at, self.first, self.last, self.besides = layers, at, first, last, besides
        self.which = which or accounts_of(layer.document for layer in layers)
        self._facts, self._outcomes, self._digests, self._standing = {}, {}, {}, {}
        self._partly = set()  # layers that said something of some accounts only

    def facts(self, scope):
        if scope not in self._facts:
            documents = [layer.document for layer in self.layers if layer.scope == scope]
            names = [*(fact for document in documents for fact in document.facts), *self.besides]
            names = dict.fromkeys(names)
            self._facts[scope] = self._read(names, scope)
        return self._facts[scope]

    def _read(self, names, scope):
        span = {"at": self.at, "first": self.first, "last": self.last}
        return frames.facts(names, which=self.which, scope=scope, **span)

    def inputs(self, layer, document=None, standing=None):
        """The engine's frame for a layer: facts, the account's state on it, and labels and scores of others.

        document: other rules than the layer's own, such as those before.
        """
        document = document or layer.document
        facts = self.facts(layer.scope)
        if not set(document.facts) <= set(facts.columns):
            facts = self._read(document.facts, layer.scope)
        if "churned" not in document.includes and self.which == frames.SCORED_OR_CHURNED:
            facts = facts.filter(~pl.col("churned"))
        frame = frame_for(document, facts, layer.scope)
        if document.stays:
            frame = frame.join(
                self._before(layer, standing), on=layer.keys, how="left", maintain_order="left"
            )
        if document.declared:
            declared = frames.declared(layer.id, at=self.at, first=self.first, last=self.last)
            frame = frame.join(declared, on="id", how="left", maintain_order="left")
        for key in document.layers:
            frame = frame.join(self._terms(document, key), on="id", how="left", maintain_order="left")
        return frame

    def standing(self, layer):
        """The segments in force on a layer, as `frames.standing`; read once for all, first for layers that look back."""
        stays = layer.document.stays
        if stays not in self._standing:
            some = [other for other in self.layers if other.document.stays == stays]
            parts = scopes.parts_of(other.scope for other in some)
            options = {"first": self.first, "last": self.last, "parts": parts, "since": stays}
            self._standing[stays] = frames.standings([other.id for other in some], **options)
        frame = self._standing[stays][layer.id]
        others = set(scopes.parts_of(scopes.SCOPES.values())) - set(layer.keys)
        return frame.select(pl.exclude(others))

    def unchanged(self, layer, result):
        """The segments in force, as `standing`, where the whole range was evaluated as before; else None: read them."""
        if layer.scope.several or layer.document.stays:  # no one label to add up, or read already
            return None
        count, digest, differing = self._digest(layer)
        if (count, digest) != (len(result), result["fingerprint"].bitwise_xor()):
            return None
        standing = result.select("id", old_effective="computed", old_fingerprint="fingerprint")
        if not differing:
            return standing
        schema = {"id": pl.Int64, "other": pl.Int64}
        others = pl.DataFrame(list(differing.items()), schema=schema, orient="row").with_columns(differs=True)
        standing = standing.join(others, on="id", how="left", maintain_order="left")
        effective = pl.when("differs").then("other").otherwise("old_effective")
        return standing.select("id", old_effective=effective, old_fingerprint="old_fingerprint")

    def _digest(self, layer):
        which = accounts_of([layer.document])
        if which not in self._digests:
            layers = [other.id for other in self.layers if accounts_of([other.document]) == which]
            options = {"first": self.first, "last": self.last, "which": which}
            self._digests[which] = frames.digests(layers, **options)
        return self._digests[which].get(layer.id, (0, None, {}))

    def _before(self, layer, standing):
        """`previous` and `days_in_stage`: what was in force before the clock, so that a second evaluation says the same."""
        if standing is None and layer.document.stays:
            standing = self.standing(layer)
        if standing is None:  # the rules before it looked back, and its own do not
            options = {"first": self.first, "last": self.last, "parts": layer.scope.parts}
            standing = frames.standing(layer.id, since=True, **options)
        now = standing.select(*layer.keys, segment="old_effective", since="old_effective_since")
        moved = now.filter(pl.col("since") >= self.at)
        before = now.filter(pl.col("since") < self.at)
        if len(moved):
            accounts = moved["id"].unique().to_list()
            then = frames.before(layer.id, accounts, at=self.at, parts=layer.scope.parts)
            kept = then.join(moved, on=layer.keys, how="semi").select(before.columns)
            before = pl.concat([before, kept])
        names = {id: key for key, id in layer.segments.items()}
        previous = pl.col("segment").replace_strict(names, default=None, return_dtype=pl.String)
        days = (pl.lit(self.at, pl.Date) - pl.col("since")).dt.total_days()
        before = before.filter(pl.col("segment").is_not_null())
        return before.select(*layer.keys, previous=previous, days_in_stage=days)

    def keep(self, layer, decided):
        """Keep what a layer says, for those that read it: nobody reads one that says several things of an account."""
        if layer.scope.several:
            return
        names = {id: key for key, id in layer.segments.items()}
        label = pl.col("effective").replace_strict(names, default=None, return_dtype=pl.String)
        scores = [f"score.{dimension.key}" for dimension in layer.document.dimensions]
        outcome = decided.select("id", "composite", *scores, label=label)
        self._outcomes[layer.name] = outcome
        if accounts_of([layer.document]) != self.which:
            self._partly.add(layer.name)

    def _terms(self, document, key):
        """The terms a document reads of another layer, by account: as evaluated in this pass, else as stored."""
        if key not in self._outcomes:
            self._outcomes[key] = self._stored(key)
        elif key in self._partly:  # who has left is not evaluated there, and keeps the label that is in force
            gone = self._stored(key).join(self._outcomes[key], on="id", how="anti")
            self._outcomes[key] = pl.concat([self._outcomes[key], gone], how="diagonal")
            self._partly.remove(key)
        outcome, columns = self._outcomes[key], []
        for name in (name for name, layer in document.others.items() if layer == key):
            part, _, *dimension = name.split(".")
            column = f"score.{dimension[0]}" if dimension else part
            value = pl.col(column) if column in outcome.columns else pl.lit(None)
            columns.append(value.cast(document.schema[name]).alias(name))
        return outcome.select("id", *columns)

    def _stored(self, key):
        span = {"first": self.first, "last": self.last}
        active = Definition.objects.filter(status=Definition.Status.ACTIVE).select_related("layer")
        for definition in active:
            if spoken(definition.layer.key) == key:
                dimensions = [dimension.key for dimension in document_of(definition.pk).dimensions]
                return frames.scores(
                    definition.layer_id, dimensions=dimensions, definition=definition.pk, **span
                )
        return frames.scores(0, dimensions=[], definition=0, **span)  # no such layer: nobody has a label


def frame_for(document, facts, scope):
    """The engine's frame out of a frame of facts: the columns it needs, and who cannot be evaluated at all."""
    blocked = []
    if scope.there:
        blocked.append(pl.when(facts["gone"]).then(pl.lit(GONE)))
    if catalogue.MONEY_FACTS & set(document.facts):
        blocked.append(pl.format("currency:{}", facts["foreign"]))
    frame = facts.select(*scope.columns, *document.facts)
    return frame.with_columns(blocked=pl.coalesce(blocked)) if blocked else frame
