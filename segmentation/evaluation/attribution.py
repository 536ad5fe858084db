"""Attribution: was it the customer's data, the rules, or both, that moved an account to another segment?

Two evaluations tell. The old rules on the new data say what the data alone would have done; the new rules on the old data
say what the rules alone would have done. Cut-offs and other measures of all accounts come with the data, and so do labels
of other segmentations; they are told apart from the customer's own data afterwards.
"""

from dataclasses import dataclass, field
from datetime import date

import polars as pl

from segmentation.evaluation import engine, run_rules
from segmentation.models import Move
from segmentation.rules.document import Document

ANY_DAY = date(2000, 1, 1)  # the clock decides nothing here: days are counted in the frame already
STAGE = ("previous", "days_in_stage")
DATA, RULES, BOTH = Move.Why.DATA, Move.Why.DEFINITION, Move.Why.BOTH
KINDS = (DATA, RULES, BOTH, Move.Why.CUTOFFS, Move.Why.SEGMENTATION)  # what attribution tells apart


@dataclass(frozen=True)
class Ruler:
    """Rules as they decided: the document without its cut-offs, and what was measured over all accounts then."""

    definition: int
    document: Document = field(repr=False)
    cutoffs: dict
    left_out: tuple

    def measured_as(self, other):
        """(document, what is left out) of these rules with what was measured for another Ruler."""
        theirs = {dimension.key for dimension in other.document.dimensions}
        left_out = tuple(
            dimension.key
            for dimension in self.document.dimensions
            if dimension.key in (other.left_out if dimension.key in theirs else self.left_out)
        )
        before, now = other.document.population, self.document.population
        same = {key: cutoff for key, cutoff in other.cutoffs.items() if before.get(key) == now.get(key)}
        return self.document.pinned(self.cutoffs | same), left_out


def ruler_of_layer(layer):
    """The Ruler of a LayerRules."""
    return Ruler(layer.definition, run_rules.document_of(layer.definition), layer.cutoffs, layer.left_out)


def ruler_of_move(definition, evidence):
    """The Ruler that a move was decided by; evidence: the move's."""
    document = run_rules.document_of(definition)
    return Ruler(definition, document, evidence.get("cutoffs") or {}, tuple(evidence.get("left_out") or ()))


@dataclass(frozen=True)
class Judged:
    """The outcome for the rows of two frames: a `kind` each ("" where neither data nor rules differ in what they say).

    The four evaluations, as the engine gives them: old rules on old data, old rules on new data, new rules on old data,
    new rules on new data.
    """

    kinds: pl.Series
    before: pl.DataFrame
    by_data: pl.DataFrame
    by_rules: pl.DataFrame
    after: pl.DataFrame


def alike(before, after, old, new):
    """Both frames with the same columns: what only one of them has counts as it stands there.

    An account stands where it stood: `previous` is that of the new side, and days in its stage begin with the old one.
    """
    names = dict.fromkeys([*old.document.inputs, *new.document.inputs])
    types = old.document.schema | new.document.schema
    sides = []
    for mine, other in ((before, after), (after, before)):
        columns = [(mine if name in mine.columns else other)[name].cast(types[name]) for name in names]
        nothing = pl.Series("blocked", [None] * len(mine), pl.String)
        blocked = mine["blocked"] if "blocked" in mine.columns else nothing
        sides.append(pl.DataFrame([pl.Series("id", range(len(mine)), pl.Int64), *columns, blocked]))
    before, after = sides
    if "previous" in names:
        before = before.with_columns(after["previous"])
    if "days_in_stage" in names:
        before = before.with_columns(days_in_stage=pl.lit(0, pl.Int64))
    return before, after


def outcome(frame, rules, measured):
    """The engine's result for the rules of one Ruler with what was measured for another."""
    document, left_out = rules.measured_as(measured)
    return engine.evaluate(document, frame, ANY_DAY, left_out=left_out)


def judge(before, after, old, new):
    """The Judged of rows as they were (`before`, decided by the Ruler `old`) and as they are: frames made `alike`."""
    first, last = outcome(before, old, old), outcome(after, new, new)
    if old.definition == new.definition:
        by_data, by_rules = last, first
    else:
        by_data, by_rules = outcome(after, old, new), outcome(before, new, old)
    told = pl.DataFrame(
        {
            "was": first["segment"], "now": last["segment"],
            "data": by_data["segment"], "rules": by_rules["segment"],
        }
    )  # fmt: skip
    enough = {side: pl.col(side).eq_missing(pl.col("now")) for side in ("data", "rules")}
    kind = pl.when(pl.col("was").eq_missing(pl.col("now"))).then(pl.lit(""))
    kind = kind.when(enough["data"] & ~enough["rules"]).then(pl.lit(_finer(before, after, old, new, last)))
    kind = kind.when(enough["rules"] & ~enough["data"]).then(pl.lit(RULES))
    kinds = told.select(kind=kind.otherwise(pl.lit(BOTH)))["kind"]
    return Judged(kinds, first, by_data, by_rules, last)


def _finer(before, after, old, new, last):
    """For each row: the customer's own data where they suffice, else the cut-offs, else another segmentation."""
    others = [name for name in before.columns if "." in name]
    own = after.with_columns(before[name] for name in others)
    alone = [(Move.Why.DATA, own, old)]
    if (old.cutoffs, old.left_out) != (new.cutoffs, new.left_out):
        alone.append((Move.Why.CUTOFFS, before, new))
    if others:
        alone.append((Move.Why.SEGMENTATION, before.with_columns(after[name] for name in others), old))
    kinds = pl.Series("kind", [str(DATA)] * len(before))
    if len(alone) == 1:
        return kinds
    for kind, frame, measured in reversed(alone):
        suffices = outcome(frame, old, measured)["segment"].eq_missing(last["segment"])
        kinds = pl.select(kind=pl.when(suffices).then(pl.lit(str(kind))).otherwise(kinds))["kind"]
    return kinds


# -- which values it was


def movers(before, after, old, new):
    """Names of the inputs that moved the account, those that did most first: of one row of each frame, made `alike`.

    One that differs and changes neither the score nor the segment, put in place of the old value or taken back from the
    new ones, did nothing.
    """
    names = [name for name in before.columns if name not in ("id", "blocked", *STAGE)]
    names = [name for name in names if before[name].ne_missing(after[name]).item()]
    if not names:
        return []
    rows = [before, after]
    rows += [before.with_columns(after[name]) for name in names]
    rows += [after.with_columns(before[name]) for name in names]
    result = outcome(pl.concat(rows), old, new)
    scores = (
        ["composite"]
        if old.document.weights
        else [column for column in result.columns if column.startswith("score.")]
    )
    told = result.select("segment", *scores).rows()
    effects = {}
    for place, name in enumerate(names):
        put, taken = told[2 + place], told[2 + len(names) + place]
        if put != told[0] or taken != told[1]:
            effects[name] = _effect(put[1:], told[0][1:])
    if not effects:  # only together
        return names
    way = _effect(told[1][1:], told[0][1:])
    return sorted(effects, key=lambda name: -effects[name] if way >= 0 else effects[name])


def _effect(scores, base):
    return sum((score or 0) - (other or 0) for score, other in zip(scores, base, strict=True))
