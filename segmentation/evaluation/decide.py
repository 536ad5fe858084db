"""Decisions about a range of accounts: what rules say, what would be in force, and why it differs; nothing is written."""

import json
import zlib
from dataclasses import dataclass

import polars as pl

from segmentation.evaluation import attribution, engine, frames, in_force
from segmentation.evaluation.evidence import facts_from_text
from segmentation.models import Move


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
    """`why` of each move; what moved it is asked since the account came into the segment it leaves (`attribution`)."""
    first = pl.col("old_effective_since").is_null()
    ended = pl.col("was_provisional") & ~pl.col("provisional")
    said_before = pl.col("computed").eq_missing(pl.col("old_computed"))  # and now it is in force
    why = (
        pl.when(~pl.col("moved"))
        .then(None)
        .when(first)
        .then(pl.lit(Move.Why.INITIAL))
        .when(pl.col("old_effective").is_null())
        .then(pl.lit(Move.Why.DATA))
        .when(ended)
        .then(pl.lit(Move.Why.PROVISIONAL))
        .when(said_before)
        .then(pl.lit(Move.Why.POLICY))
        .otherwise(pl.lit(Move.Why.DATA))
    )
    rows = rows.with_columns(why=why.cast(pl.String))
    asked = rows.filter((pl.col("why") == Move.Why.DATA) & pl.col("old_effective").is_not_null())
    kinds = kinds_since_last_move(asked.select(layer.keys), layer, part)
    if kinds.is_empty():
        return rows
    rows = rows.join(kinds, on=layer.keys, how="left", maintain_order="left")
    told = pl.when(pl.col("kind") != "").then(pl.col("kind"))
    return rows.with_columns(why=pl.coalesce(told, "why"))


def kinds_since_last_move(keys, layer, part, *, everyone=False):
    """The `kind` (see attribution.Judged) of accounts of a range, with their keys.

    Only where more than data can have moved them, or of everyone.
    """
    whole = bool(everyone or layer.document.layers or layer.document.population or layer.left_out)
    accounts = keys["id"].unique().to_list()
    moves = frames.last_moves(layer.id, accounts, unless=None if whole else layer.definition)
    moves = moves.select(pl.exclude("product"), *(moves[part] for part in layer.scope.parts))
    moves = keys.join(moves, on=layer.keys, how="inner", maintain_order="left")
    if moves.is_empty():
        return moves.select(layer.keys).with_columns(kind=pl.lit(None, pl.String))
    now, inputs, told = attribution.ruler_of_layer(layer), {}, []
    for (definition, cutoffs, left_out), some in moves.group_by("definition", "cutoffs", "left_out"):
        evidence = {"cutoffs": json.loads(cutoffs or "{}"), "left_out": json.loads(left_out or "[]")}
        then = attribution.ruler_of_move(definition, evidence)
        if definition not in inputs:
            inputs[definition] = inputs_of_both(layer, part, then.document, moves)
        after = some.select(layer.keys).join(
            inputs[definition], on=layer.keys, how="left", maintain_order="left"
        )
        before = facts_from_text(some["facts"], then.document)
        judged = attribution.judge(*attribution.alike(before, after, then, now), then, now)
        told.append(some.select(layer.keys).with_columns(kind=judged.kinds))
    return pl.concat(told)


def inputs_of_both(layer, part, document, accounts):
    """The inputs of a layer's rules and of another document, of some accounts (a frame with the layer's keys)."""
    own, other = (
        part.inputs(layer, document=rules).join(accounts, on=layer.keys, how="semi")
        for rules in (None, document)
    )
    return own.join(other.select(*layer.keys, *set(other.columns) - set(own.columns)), on=layer.keys)
