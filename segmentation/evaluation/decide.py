"""Decisions about a range of accounts: what rules say, what would be in force, and why it differs; nothing is written."""

import zlib
from dataclasses import dataclass

import polars as pl

from segmentation.evaluation import engine, frames, in_force
from segmentation.evaluation.run_rules import document_of
from segmentation.models import Move, RunLayer


@dataclass(frozen=True)
class Decided:
    """The outcome of an evaluation: the engine's inputs, every account, and those whose assignment differs."""

    inputs: pl.DataFrame
    everyone: pl.DataFrame
    differing: pl.DataFrame


def decide(layer, part):
    """Decide a range of accounts by a layer's rules: what they say, and what would be in force; nothing is written."""
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
    where = {"first": part.first, "last": part.last, "only": only, "parts": layer.scope.parts}
    rows = rows.join(frames.assignments(layer.id, **where), on=layer.keys, how="left", maintain_order="left")
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


def why_moved(rows, layer, part):
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
    """Accounts (their keys) that the old rules, on today's facts, would have left where they were."""
    dimensions = {dimension.key for dimension in document.dimensions}
    left_out = [key for key in layer.left_out if key in dimensions]
    inputs = part.inputs(layer, document=document).join(rows, on=layer.keys, how="semi")
    again = engine.evaluate(document, inputs, part.at, left_out=left_out)
    ids = pl.col("segment").replace_strict(layer.segments, default=None, return_dtype=pl.Int64)
    again = again.with_columns(*(inputs[part] for part in layer.scope.parts), again=ids)
    both = rows.join(again.select(*layer.keys, "again"), on=layer.keys)
    return both.filter(pl.col("again").eq_missing(pl.col("old_computed"))).select(layer.keys)
