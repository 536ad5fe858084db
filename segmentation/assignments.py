"""The only writer of Assignment and Move: evaluates a range of accounts and writes what changed.

Everything here happens in the caller's transaction. All layers are evaluated in one pass over the facts, those that others
read first. Each assignment carries a fingerprint of its last evaluation: where it is the same, nothing else is read back.
What differs is compared in Polars, written through COPY into a temporary table and from there with a few statements for
the whole range.
"""

import json
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter

import polars as pl
from django.db import connection

from accounts import catalogue
from accounts.locking import locked
from core.refusals import Refused
from segmentation import causes, cutoffs, definitions, engine, frames, in_force, scopes
from segmentation.document import Document
from segmentation.models import Assignment, Cause, Definition, Layer, Move, RunLayer
from segmentation.scopes import GONE, Scope

EVIDENCE_FACTS = "fact_values"  # a column of the temporary table


@dataclass(frozen=True)
class PinnedLayer:
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
    # Of a layer that needs approval, {segment id: place from the top} where the decision after the provisional period
    # waits for a plan when it leads down.
    steps_down: dict = field(default_factory=dict)

    @property
    def keys(self):
        """What tells its rows apart."""
        return self.scope.columns

    @property
    def product(self):
        """The product that a row is about, as a Polars expression; null where it is about the whole account."""
        return pl.col("product") if "product" in self.keys else pl.lit(None, pl.Int64)

    @property
    def name(self):
        """What the rules of others call it."""
        return spoken(self.key)


@dataclass(frozen=True)
class Pinned:
    """A run as its workers see it; the layers in the order in which they are evaluated."""

    run: object  # Run
    layers: tuple

    @property
    def which(self):
        """The accounts it is about, as `frames.facts` takes it."""
        return accounts_of(layer.document for layer in self.layers)


def pin(run):
    """What `evaluate` needs of a run."""
    return Pinned(run, ordered(pin_layer(one) for one in run.layers.select_related("layer")))


def pin_layer(one, document=None):
    """A layer of a run (a RunLayer) with its rules, cut-offs and segments. document: its rules, where they are at hand.

    An unsaved RunLayer stands for a run that there is not: a preview, a count, a check.
    """
    planned = one.layer.plan_provisional_downgrades
    segments = one.layer.segments.all()
    return PinnedLayer(
        id=one.layer_id,
        key=one.layer.key,
        automatic=one.layer.policy == Layer.Policy.AUTOMATIC,
        definition=one.definition_id,
        document=(document or document_of(one.definition_id)).pinned(one.cutoffs or {}),
        left_out=tuple(one.left_out),
        segments={segment.key: segment.pk for segment in segments},
        cutoffs=one.cutoffs or {},
        scope=one.layer.scoped,
        steps_down={segment.pk: segment.position for segment in segments} if planned else {},
    )


def ordered(layers):
    """Pinned layers in dependency order: a layer after those it reads. The activation of rules refuses circles."""
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


def accounts_of(documents):
    """Which accounts some rules are about, as `frames.facts` takes it."""
    churned = any("churned" in document.includes for document in documents)
    return frames.SCORED_OR_CHURNED if churned else frames.SCORED


# -- what the engine is given


class Range:
    """A range of accounts at a clock: their facts, read once for all layers, and what layers say of them.

    besides: facts that are read beside those the rules use.
    """

    def __init__(self, layers, *, at, first, last, which=None, besides=()):
        self.layers, self.at, self.first, self.last, self.besides = layers, at, first, last, besides
        self.which = which or accounts_of(layer.document for layer in layers)
        self._facts, self._said, self._digests, self._standing = {}, {}, {}, {}
        self._partly = set()  # layers that said something of some accounts only

    def facts(self, scope):
        if scope not in self._facts:
            documents = [layer.document for layer in self.layers if layer.scope == scope]
            names = [*(fact for document in documents for fact in document.facts), *self.besides]
            names = dict.fromkeys(names)
            self._facts[scope] = self._read(names, scope)
        return self._facts[scope]

    def _read(self, names, scope):
        known = {"at": self.at, "first": self.first, "last": self.last}
        return frames.facts(names, which=self.which, scope=scope, **known)

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
        """What is in force on a layer, as `frames.standing`; read once for all layers, first for those that look back."""
        stays = layer.document.stays
        if stays not in self._standing:
            some = [one for one in self.layers if one.document.stays == stays]
            parts = scopes.parts_of(one.scope for one in some)
            known = {"first": self.first, "last": self.last, "parts": parts, "since": stays}
            self._standing[stays] = frames.standings([one.id for one in some], **known)
        found = self._standing[stays][layer.id]
        others = set(scopes.parts_of(scopes.SCOPES.values())) - set(layer.keys)
        return found.select(pl.exclude(others))

    def unchanged(self, layer, result):
        """What is in force, as `standing`, where the whole range was evaluated as before; else None: it has to be read."""
        if layer.scope.several or layer.document.stays:  # no one label to add up, or read already
            return None
        count, digest, differing = self._digest(layer)
        if (count, digest) != (len(result), result["fingerprint"].bitwise_xor()):
            return None
        found = result.select("id", old_effective="computed", old_fingerprint="fingerprint")
        if not differing:
            return found
        schema = {"id": pl.Int64, "other": pl.Int64}
        others = pl.DataFrame(list(differing.items()), schema=schema, orient="row").with_columns(differs=True)
        found = found.join(others, on="id", how="left", maintain_order="left")
        effective = pl.when("differs").then("other").otherwise("old_effective")
        return found.select("id", old_effective=effective, old_fingerprint="old_fingerprint")

    def _digest(self, layer):
        which = accounts_of([layer.document])
        if which not in self._digests:
            layers = [one.id for one in self.layers if accounts_of([one.document]) == which]
            known = {"first": self.first, "last": self.last, "which": which}
            self._digests[which] = frames.digests(layers, **known)
        return self._digests[which].get(layer.id, (0, None, {}))

    def _before(self, layer, standing):
        """`previous` and `days_in_stage`: what was in force before the clock, so that a second evaluation says the same."""
        if standing is None and layer.document.stays:
            standing = self.standing(layer)
        if standing is None:  # the rules before it looked back, and its own do not
            known = {"first": self.first, "last": self.last, "parts": layer.scope.parts}
            standing = frames.standing(layer.id, since=True, **known)
        now = standing.select(*layer.keys, segment="old_effective", since="old_effective_since")
        moved = now.filter(pl.col("since") >= self.at)
        rest = now.filter(pl.col("since") < self.at)
        if len(moved):
            accounts = moved["id"].unique().to_list()
            then = frames.before(layer.id, accounts, at=self.at, parts=layer.scope.parts)
            kept = then.join(moved, on=layer.keys, how="semi").select(rest.columns)
            rest = pl.concat([rest, kept])
        names = {id: key for key, id in layer.segments.items()}
        previous = pl.col("segment").replace_strict(names, default=None, return_dtype=pl.String)
        days = (pl.lit(self.at, pl.Date) - pl.col("since")).dt.total_days()
        rest = rest.filter(pl.col("segment").is_not_null())
        return rest.select(*layer.keys, previous=previous, days_in_stage=days)

    def said(self, layer, decided):
        """Keep what a layer says, for those that read it: nobody reads one that says several things of an account."""
        if layer.scope.several:
            return
        names = {id: key for key, id in layer.segments.items()}
        label = pl.col("effective").replace_strict(names, default=None, return_dtype=pl.String)
        scores = [f"score.{dimension.key}" for dimension in layer.document.dimensions]
        said = decided.select("id", "composite", *scores, label=label)
        self._said[layer.name] = said
        if accounts_of([layer.document]) != self.which:
            self._partly.add(layer.name)

    def _terms(self, document, key):
        """What a document reads of another layer, by account: as evaluated in this pass, else as stored."""
        if key not in self._said:
            self._said[key] = self._stored(key)
        elif key in self._partly:  # who has left is not evaluated there, and keeps the label that is in force
            rest = self._stored(key).join(self._said[key], on="id", how="anti")
            self._said[key] = pl.concat([self._said[key], rest], how="diagonal")
            self._partly.remove(key)
        said, columns = self._said[key], []
        for name in (name for name, layer in document.others.items() if layer == key):
            part, _, *dimension = name.split(".")
            column = f"score.{dimension[0]}" if dimension else part
            known = pl.col(column) if column in said.columns else pl.lit(None)
            columns.append(known.cast(document.schema[name]).alias(name))
        return said.select("id", *columns)

    def _stored(self, key):
        known = {"first": self.first, "last": self.last}
        active = Definition.objects.filter(status=Definition.Status.ACTIVE).select_related("layer")
        for one in active:
            if spoken(one.layer.key) == key:
                dimensions = [dimension.key for dimension in document_of(one.pk).dimensions]
                return frames.scores(one.layer_id, dimensions=dimensions, definition=one.pk, **known)
        return frames.scores(0, dimensions=[], definition=0, **known)  # no such layer: nobody has a label


def frame_for(document, facts, scope):
    """The engine's frame out of a frame of facts: the columns it needs, and who cannot be evaluated at all."""
    blocked = []
    if scope.there:
        blocked.append(pl.when(facts["gone"]).then(pl.lit(GONE)))
    if catalogue.MONEY_FACTS & set(document.facts):
        blocked.append(pl.format("currency:{}", facts["foreign"]))
    frame = facts.select(*scope.columns, *document.facts)
    return frame.with_columns(blocked=pl.coalesce(blocked)) if blocked else frame


def measure(layer, values):
    """The cut-offs of a layer ({as in `Document.population`: [text]}); {} where it needs none.

    values: a function that gives, for a document, frames of the values over the whole portfolio (see `values`).
    """
    found = {}
    for kind in ("measure.", "rule."):  # quintiles first: an overall score over them is only known with them
        keys = [key for key in layer.document.population if key.startswith(kind)]
        parts = values(layer.document.pinned(found)) if keys else []
        if parts:
            measured = cutoffs.measure(layer.document, pl.concat(parts))
            found |= {key: measured[key] for key in keys if key in measured}
    return found


def values(layer, document, layers, *, at, first, last):
    """The values that a document's cut-offs are taken from, for a range of accounts: a frame, a column a term.

    layers: those of the run, in order, for what the layer reads of them.
    """
    before = _read_by(layer, layers)
    part = Range([*before, layer], at=at, first=first, last=last)
    for one in before:
        part.said(one, decide(one, part).everyone)
    inputs = part.inputs(layer, document=document)
    return cutoffs.take(document, inputs, engine.evaluate(document, inputs, at, left_out=layer.left_out))


def _read_by(layer, layers):
    """Those of the layers that a layer reads, directly or through others, in their order."""
    wanted = {layer.name}
    for one in reversed(layers):
        if one.name in wanted:
            wanted |= set(one.document.layers)
    return [one for one in layers if one.name in wanted and one.name != layer.name]


# -- deciding


@dataclass(frozen=True)
class Decided:
    """What an evaluation gives: the engine's inputs, every account, and those whose assignment differs."""

    inputs: pl.DataFrame
    everyone: pl.DataFrame
    differing: pl.DataFrame


def evaluate(pinned, *, first, last):
    """Evaluate the accounts with ids from `first` to `last` on every layer of a run, and write what changed.

    Returns {layer key: counts}. Raises what the data make PostgreSQL or Polars raise: the caller finds the account.
    """
    part = Range(pinned.layers, at=pinned.run.as_of, first=first, last=last)
    counts, changes = {}, []
    for layer in pinned.layers:
        decided = decide(layer, part)
        part.said(layer, decided.everyone)
        differing = _why(decided.differing, layer, part)
        changes.append(_changes(differing, layer, decided.inputs, part.at))
        counts[layer.key] = _counts(decided.everyone, differing, layer)
    lost = _write(pl.concat(changes), pinned)
    for layer in pinned.layers:
        counts[layer.key]["lost"] = lost.get(layer.id, 0)
    return counts


def decide(layer, part):
    """What a layer's rules say of a range of accounts, and what would be in force; nothing is written."""
    inputs = part.inputs(layer)
    result = engine.evaluate(layer.document, inputs, part.at, left_out=layer.left_out)
    ids = pl.col("segment").replace_strict(layer.segments, default=None, return_dtype=pl.Int64)
    result = result.with_columns(
        *(inputs[part] for part in layer.scope.parts),
        computed=ids,
        reason=pl.col("reason").fill_null(""),
    )
    result = result.with_columns(fingerprint=_fingerprint(layer))
    standing = part.unchanged(layer, result)
    standing = part.standing(layer) if standing is None else standing
    result = result.join(standing, on=layer.keys, how="left", maintain_order="left")
    result = result.with_columns(same=_same(layer))
    same = result.filter("same").with_columns(effective="old_effective")
    differing = _against(layer, result.filter(~pl.col("same")), part)
    everyone = pl.concat([same, differing.select(same.columns)])
    return Decided(inputs, everyone, differing)


def _fingerprint(layer):
    """One number for all that an evaluation says of an account; scores follow from points, rules and what is left out.

    Polars keeps it the same within one of its versions; after an upgrade every score is written once more.
    """
    seed = zlib.crc32(f"{layer.definition}:{layer.left_out}".encode())
    columns = [*layer.keys, "computed", "reason", "provisional", "provisional_until", "rule", "thin"]
    columns += [f"points.{criterion.key}" for criterion in layer.document.criteria]
    return pl.struct(*columns, pl.col("distance").to_physical()).hash(seed).reinterpret(signed=True)


def _same(layer):
    """True where nothing is to be written: evaluated as before, and in force is what that evaluation puts in force."""
    computed, old = pl.col("computed"), pl.col("old_effective")
    follows = (
        pl.lit(True) if layer.automatic else old.is_null() | (pl.col("provisional") & computed.is_not_null())
    )
    settled = ~follows | computed.eq_missing(old)
    return pl.col("fingerprint").eq_missing(pl.col("old_fingerprint")) & settled


def _against(layer, rows, part):
    """Rows beside their assignments: what would be in force, and what is different."""
    most = len(rows) * 4 > part.last - part.first  # then the range as a whole is read faster than its parts
    only = None if most else rows["id"].unique().to_list()
    known = {"first": part.first, "last": part.last, "only": only, "parts": layer.scope.parts}
    rows = rows.join(frames.assignments(layer.id, **known), on=layer.keys, how="left", maintain_order="left")
    rows = rows.with_columns(
        new=pl.col("assignment").is_null(),
        was_provisional=pl.col("old_provisional").fill_null(False),
        overridden=in_force.PINNED,
        scores=_array([f"score.{dimension.key}" for dimension in layer.document.dimensions]),
        points=_array([f"points.{criterion.key}" for criterion in layer.document.criteria]),
        scored=pl.col("fingerprint").ne_missing(pl.col("old_fingerprint")),
    )
    rows = rows.with_columns(effective=in_force.will_be(layer))
    rows = rows.with_columns(
        moved=pl.col("effective").ne_missing(pl.col("old_effective")),
        recomputed=pl.col("new") | pl.col("computed").ne_missing(pl.col("old_computed")),
    )
    return rows.with_columns(tracked=_tracked())


def _array(columns):
    """A PostgreSQL array as PostgreSQL prints it, so that it can be compared as text."""
    if not columns:
        return pl.lit("{}")
    parts = [pl.col(column).cast(pl.String).fill_null("NULL") for column in columns]
    return pl.concat_str([pl.lit("{"), pl.concat_str(parts, separator=","), pl.lit("}")])


def _tracked():
    return (
        pl.col("recomputed")
        | pl.col("moved")
        | (pl.col("provisional") != pl.col("was_provisional"))
        | pl.col("provisional_until").ne_missing(pl.col("old_until"))
        | (pl.col("reason") != pl.col("old_reason"))
    )


def _why(rows, layer, part):
    """`why` of each move. The rules changed, rather than the customer, where the old rules would still say the same."""
    first = pl.col("old_effective_since").is_null()
    ended = pl.col("was_provisional") & ~pl.col("provisional")
    why = (
        pl.when(~pl.col("moved"))
        .then(None)
        .when(first)
        .then(pl.lit(Move.Why.INITIAL))
        .when(pl.col("old_effective").is_null())
        .then(pl.lit(Move.Why.DATA))
        .when(ended)
        .then(pl.lit(Move.Why.PROVISIONAL))
        .otherwise(pl.lit(Move.Why.DATA))
    )
    rows = rows.with_columns(why=why.cast(pl.String))
    candidates = rows.filter(
        (pl.col("why") == Move.Why.DATA)
        & pl.col("old_effective").is_not_null()
        & (pl.col("evaluated") != layer.definition)
    )
    by_rules = [
        _unmoved(some, _former(layer, former), layer, part)
        for (former,), some in candidates.group_by("evaluated")
    ]
    if not by_rules:
        return rows
    by_rules = pl.concat(by_rules).with_columns(by_rules=True)
    rows = rows.join(by_rules, on=layer.keys, how="left", maintain_order="left")
    ruler = pl.when("by_rules").then(pl.lit(Move.Why.DEFINITION))
    return rows.with_columns(why=ruler.otherwise(pl.col("why")))


def _former(layer, definition):
    """The rules before, with the cut-offs they last decided by."""
    document = document_of(definition)
    if not document.population:
        return document
    used = RunLayer.objects.filter(layer=layer.id, definition=definition, cutoffs__isnull=False)
    return document.pinned(used.order_by("-run_id").values_list("cutoffs", flat=True).first() or {})


def _unmoved(rows, document, layer, part):
    """Those accounts (their keys) that the old rules, on today's facts, would have left where they were."""
    dimensions = {dimension.key for dimension in document.dimensions}
    left_out = [key for key in layer.left_out if key in dimensions]
    inputs = part.inputs(layer, document=document).join(rows, on=layer.keys, how="semi")
    again = engine.evaluate(document, inputs, part.at, left_out=left_out)
    ids = pl.col("segment").replace_strict(layer.segments, default=None, return_dtype=pl.Int64)
    again = again.with_columns(*(inputs[part] for part in layer.scope.parts), again=ids)
    both = rows.join(again.select(*layer.keys, "again"), on=layer.keys)
    return both.filter(pl.col("again").eq_missing(pl.col("old_computed"))).select(layer.keys)


def _changes(rows, layer, inputs, at):
    """The rows to be written, as the temporary table holds them."""
    clock, moved = pl.lit(at, pl.Date), pl.col("moved")
    rows = rows.select(
        pl.col("assignment").alias("id"),
        pl.col("id").alias("account_id"),
        pl.lit(layer.id, pl.Int64).alias("layer_id"),
        layer.product.alias("product_id"),
        pl.col("computed").alias("computed_id"),
        pl.col("effective").alias("effective_id"),
        pl.when("tracked")
        .then(pl.lit(layer.definition, pl.Int64))
        .otherwise("old_definition")
        .alias("definition_id"),
        "provisional",
        "provisional_until",
        "overridden",
        "reason",
        pl.when("recomputed").then(clock).otherwise("old_computed_since").alias("computed_since"),
        pl.when(moved).then(clock).otherwise("old_effective_since").alias("effective_since"),
        pl.col("old_effective").alias("read_effective_id"),
        pl.lit(layer.definition, pl.Int64).alias("evaluated_id"),
        "fingerprint",
        "composite",
        "scores",
        "points",
        "rule",
        "distance",
        "thin",
        "new",
        "tracked",
        "scored",
        pl.col("evaluated").is_null().alias("unscored"),
        "why",
    )
    evidence = _evidence(rows, layer, inputs)
    return rows.join(
        evidence, on=["account_id", "product_id"], how="left", maintain_order="left", nulls_equal=True
    )


def _evidence(rows, layer, inputs):
    """What each move was decided on, as JSON text {input: value as text}."""
    moved = rows.filter(pl.col("why").is_not_null())["account_id"]
    held = inputs.filter(pl.col("id").is_in(moved.implode()))
    known = held.select(pl.col("id").alias("account_id"), layer.product.alias("product_id"))
    return known.with_columns(_evidence_text(held, layer).alias(EVIDENCE_FACTS))


def _evidence_text(inputs, layer):
    """A series of JSON texts, one a row of the engine's inputs."""
    texts = [pl.col(name).cast(pl.String) for name in layer.document.inputs]
    if "blocked" in inputs.columns:
        blocked = pl.col("blocked")
        foreign = pl.when(blocked.str.starts_with("currency:")).then(blocked.str.strip_prefix("currency:"))
        texts += [foreign.alias("foreign"), pl.when(blocked == GONE).then(pl.lit("true")).alias(GONE)]
    values = pl.struct(texts).struct.json_encode() if texts else pl.lit("{}")
    return inputs.select("id", said=values)["said"]


# -- counting


def _counts(everyone, differing, layer):
    """What a run reports of a layer; every number can be summed over chunks."""

    def total(expr):
        return expr.fill_null(False).sum().cast(pl.Int64)

    computed, effective = pl.col("computed"), pl.col("effective")
    counted = pl.col("observed") + pl.col("fallbacks")
    counts = differing.select(
        changed=total(pl.col("tracked")), rescored=total(pl.col("scored")), moved=total(pl.col("moved"))
    ).row(0, named=True)
    counts |= everyone.select(
        accounts=(pl.col("id").n_unique() if layer.scope.several else pl.len()).cast(pl.Int64),
        scanned=pl.len().cast(pl.Int64),
        differs=total(computed != effective),
        needs_data=total(computed.is_null()),
        provisional=total(pl.col("provisional")),
        thin=total(pl.col("thin")),
        criteria=counted.sum().cast(pl.Int64),
        fallbacks=pl.col("fallbacks").sum().cast(pl.Int64),
    ).row(0, named=True)
    names = {id: key for key, id in layer.segments.items()}
    counts["moves"] = _tally(differing.filter("moved")["why"])
    counts["segments"] = {names[id]: count for id, count in _tally(everyone["effective"]).items()}
    counts["computed_segments"] = _tally(everyone["segment"])
    counts["reasons"] = _tally(everyone.filter(computed.is_null())["reason"])
    counts["observed"] = {str(key): count for key, count in _tally(everyone["observed"]).items()}
    return counts


def _tally(series):
    return dict(series.drop_nulls().value_counts(sort=True, name="n").iter_rows())


# -- writing

_TABLE = """
    create temporary table if not exists demarc_changes (
        id bigint, account_id bigint, layer_id bigint, product_id bigint, computed_id bigint, effective_id bigint, definition_id bigint,
        provisional boolean, provisional_until date, overridden boolean, reason text, computed_since date, effective_since date,
        read_effective_id bigint, evaluated_id bigint, fingerprint bigint, composite numeric, scores numeric[], points smallint[],
        rule smallint, distance numeric, thin boolean, new boolean, tracked boolean, scored boolean,
        unscored boolean, why text, fact_values text
    ) on commit delete rows
"""
_LOCK = """
    select count(*) from (
        select z.id from segmentation_assignment z join demarc_changes t on t.id = z.id
         where t.tracked and not t.new order by z.id for update of z) locked
"""
# Somebody else has moved or pinned these meanwhile: they are left alone, and the next run sees them.
_LOSE = """
    delete from demarc_changes t using segmentation_assignment z
     where z.id = t.id and t.tracked and not t.new
       and (z.effective_id, z.overridden) is distinct from (t.read_effective_id, t.overridden)
    returning t.layer_id
"""
_COLUMNS = [
    "computed_id", "effective_id", "definition_id", "provisional", "provisional_until", "overridden", "reason",
    "computed_since", "effective_since", "fingerprint",
]  # fmt: skip
_UPDATE = f"""
    update segmentation_assignment z set {", ".join(f"{column} = t.{column}" for column in _COLUMNS)}
      from demarc_changes t where z.id = t.id and t.tracked and not t.new
"""
_INSERT = f"""
    insert into segmentation_assignment (id, account_id, layer_id, product_id, {", ".join(_COLUMNS)})
    select id, account_id, layer_id, product_id, {", ".join(_COLUMNS)} from demarc_changes where new order by id
"""
_MARK = """
    update segmentation_assignment z set fingerprint = t.fingerprint
      from demarc_changes t where z.id = t.id and t.scored and not t.tracked and not t.new
"""
_SCORE = ["composite", "scores", "points", "rule", "distance", "thin"]
_UPDATE_SCORE = f"""
    update segmentation_assignmentscore c
       set definition_id = t.evaluated_id, computed_at = %(at)s, {", ".join(f"{one} = t.{one}" for one in _SCORE)}
      from demarc_changes t where c.assignment_id = t.id and t.scored and not t.unscored
"""
_INSERT_SCORE = f"""
    insert into segmentation_assignmentscore (assignment_id, definition_id, computed_at, {", ".join(_SCORE)})
    select id, evaluated_id, %(at)s, {", ".join(_SCORE)} from demarc_changes where scored and unscored order by id
"""
_HISTORY = """
    insert into {table} ({columns}, history_date, history_type, history_user_id, history_user_label,
                         history_channel, history_change_reason, history_run)
    select {columns}, transaction_timestamp(), case when new then '+' else '~' end, %(user)s, %(label)s,
           %(channel)s, %(reason)s, %(run)s
      from demarc_changes where tracked order by id
"""
# Where the facts of an account (a, and its usage u) come from: {fact: [source, observed]}.
_SOURCES = """coalesce((select jsonb_object_agg(p.key, p.value)
                                      from jsonb_each(a.provenance || coalesce(u.provenance, '{{}}')) p
                                     where p.key = any(%(facts)s)), '{{}}')
                   || coalesce((select jsonb_build_object('subscriptions', jsonb_build_array(b.source, b.observed))
                                  from accounts_subscription b
                                 where b.account_id = a.id and ({product} is null or b.product_id = {product})
                                 order by b.observed desc nulls last, b.id desc limit 1), '{{}}')"""
# offset 0: each move looks up its own account. Where PostgreSQL knows no figures it would take accounts for a handful, and
# walk through all moves for each.
_MOVES = f"""
    insert into segmentation_move (account_id, layer_id, product_id, from_segment_id, to_segment_id, why, definition_id,
                                   cause_id, at, evidence)
    select t.account_id, t.layer_id, t.product_id, t.read_effective_id, t.effective_id, t.why, t.evaluated_id, %(cause)s, %(at)s,
           %(pinned)s::jsonb || jsonb_build_object('facts', jsonb_strip_nulls(t.fact_values::jsonb),
               'sources', {_SOURCES.format(product="t.product_id")})
      from demarc_changes t
     cross join lateral (select q.id, q.provenance from accounts_account q where q.id = t.account_id offset 0) a
      left join lateral (select q.provenance from accounts_usage q
                          where q.account_id = t.account_id and q.product_id is not distinct from t.product_id
                         offset 0) u on true
     where t.layer_id = %(layer)s and t.why is not null
     order by t.id
"""


def _write(changes, pinned):
    """Write the changed rows, their history and the moves. Returns {layer id: rows lost to somebody else}."""
    if changes.is_empty():
        return {}
    run = pinned.run
    with frames.by_index(), connection.cursor() as cursor:
        cursor.execute(_TABLE)
        cursor.execute("delete from demarc_changes")  # what an earlier attempt of this transaction left
        frames.write(_numbered(changes, cursor), "demarc_changes")
        cursor.execute("analyze demarc_changes (id)")
        # A statement about nobody is left out: where PostgreSQL knows no figures of tables that a first run fills, it
        # may look through them row by row for nothing.
        standing, scored = not changes["new"].all(), (changes["scored"] & ~changes["unscored"]).any()
        lost = _take(cursor) if standing else []
        moved = changes.filter(pl.col("why").is_not_null())
        cause = causes.take(Cause.Kind.RUN, run=run) if changes["tracked"].any() else None
        if standing:
            cursor.execute(_UPDATE)
            cursor.execute(_MARK)
        cursor.execute(_INSERT)
        clock = {"at": run.as_of}
        if scored:
            cursor.execute(_UPDATE_SCORE, clock)
        cursor.execute(_INSERT_SCORE, clock)
        cursor.execute(_history(), _history_parameters(run))
        for layer in pinned.layers:
            if cause and layer.id in moved["layer_id"]:
                cursor.execute(_MOVES, _move_parameters(run, layer, cause))
    return {layer: lost.count(layer) for layer in set(lost)}


def _take(cursor):
    """Lock what is to be changed, in id order, and leave alone what somebody else has moved; their layers' ids."""
    cursor.execute(_LOCK)
    cursor.execute(_LOSE)
    return [layer for (layer,) in cursor.fetchall()]


def _numbered(changes, cursor):
    """New assignments get their ids here, so that scores and history can name them."""
    count = changes["new"].sum()
    if not count:
        return changes
    sequence = "pg_get_serial_sequence('segmentation_assignment', 'id')"
    cursor.execute(f"select nextval({sequence}) from generate_series(1, %s)", [count])
    ids = pl.Series("id", [id for (id,) in cursor.fetchall()], dtype=pl.Int64)
    numbered = changes.filter("new").with_columns(ids)
    return pl.concat([changes.filter(~pl.col("new")), numbered])


def _history():
    excluded = Assignment.history.model._history_excluded_fields
    tracked = [one.column for one in Assignment._meta.concrete_fields if one.name not in excluded]
    return _HISTORY.format(table=Assignment.history.model._meta.db_table, columns=", ".join(tracked))


def _history_parameters(run):
    return {
        "user": run.started_by,
        "label": run.started_by_label,
        "channel": run.channel,
        "reason": run.reason,
        "run": run.pk,
    }


def _pinned_evidence(layer):
    return {"left_out": list(layer.left_out)} | ({"cutoffs": layer.cutoffs} if layer.cutoffs else {})


def _move_parameters(run, layer, cause):
    pinned = _pinned_evidence(layer)
    return {
        "layer": layer.id,
        "cause": cause.pk,
        "at": run.as_of,
        "facts": list(layer.document.facts),
        "pinned": json.dumps(pinned),
    }


# -- decided by people

ANYTHING = object()


@dataclass(frozen=True)
class Known:
    """What moves of a layer are decided on: the rules that were evaluated last (an id), and {account id: evidence}."""

    definition: int
    evidence: dict


def known_of(accounts, layer, *, at):
    """The Known of some accounts (ids) at a clock: few queries where their ids lie together, a few each where they do not."""
    ended = RunLayer.objects.filter(layer=layer, running=False).select_related("layer")
    last = ended.order_by("-run_id").first()  # not "-run": that turns the newest-first of runs round
    if last is None:
        raise Refused("never_recalculated", layer=layer)
    pinned, evidence = pin_layer(last), {}
    for some in _together(sorted(accounts)):
        part = Range([pinned], at=at, first=some[0], last=some[-1])
        inputs = part.inputs(pinned).filter(pl.col("id").is_in(some))
        facts = dict(zip(inputs["id"], _evidence_text(inputs, pinned), strict=True))
        sources = _sources(some, pinned)
        for account in some:
            said = {
                name: value
                for name, value in json.loads(facts.get(account, "{}")).items()
                if value is not None
            }
            evidence[account] = _pinned_evidence(pinned) | {
                "facts": said,
                "sources": sources.get(account, {}),
            }
    return Known(last.definition_id, evidence)


NEAR = 2_000  # a range of so many accounts is read about as fast as one account


def _together(ids):
    """Sorted ids in groups, each within a range of NEAR."""
    groups = []
    for id in ids:
        if groups and id - groups[-1][0] < NEAR:
            groups[-1].append(id)
        else:
            groups.append([id])
    return groups


def _sources(accounts, layer):
    """{account: where its facts come from} as moves of a recalculation keep it."""
    tables = "accounts_account a left join accounts_usage u on u.account_id = a.id and u.product_id is null"
    query = (
        f"select a.id, {_SOURCES.format(product='null::bigint')} from {tables} where a.id = any(%(accounts)s)"
    )
    with connection.cursor() as cursor:
        cursor.execute(query, {"facts": list(layer.document.facts), "accounts": accounts})
        return {account: json.loads(sources) for account, sources in cursor.fetchall()}


def put(account, layer, segment, *, why, at, overridden=None, expected=ANYTHING, known=None):
    """Put a segment in force for an account by a decision, as of the date `at`; returns the Move, None where nothing moved.

    why: one of Move.Why. overridden: whether people pin it from now on; None leaves that as it is. expected: the segment
    (or None) that has to be in force until now. known: as `known_of` gives it, where many are put. In the caller's
    transaction, which has taken its cause. Raises Refused where the account was never evaluated on the layer, or something
    else is in force by now.
    """
    found = Assignment.objects.filter(account=account, layer=layer, product=None)
    held = locked(found.select_related("effective")).first()
    if held is None:
        raise Refused("account_without_segment", account=account, layer=layer)
    before = held.effective
    if expected is not ANYTHING and before != expected:
        raise Refused("segment_moved", account=account, layer=layer, now=before, then=expected)
    if before != segment:
        held.effective, held.effective_since = segment, at
    if overridden is not None:
        held.overridden = overridden
    held.save()
    if before == segment:
        return None
    known = known or known_of([account.pk], layer, at=at)
    return Move.objects.create(
        account=account,
        layer=layer,
        from_segment=before,
        to_segment=segment,
        why=why,
        definition_id=known.definition,
        cause=causes.take(Cause.Kind.DECISION),
        at=at,
        evidence=known.evidence[account.pk],
    )
