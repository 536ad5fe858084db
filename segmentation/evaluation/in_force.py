"""The segment that will be in force for an account, as Polars expressions: one for recalculations, previews and requests.

Over the columns of an evaluation (`computed`, `provisional`) and those of its assignment (`old_effective`,
`old_provisional`, `old_settled`, `old_overridden`; null where there is none yet). A layer is a `LayerRules`.
"""

from functools import partial
from types import SimpleNamespace

import polars as pl

from segmentation.evaluation import frames
from segmentation.models import Layer

PINNED = pl.col("old_overridden").fill_null(False)  # by an override: it stays, whatever the rules say


def will_be(layer, *, approved=False):
    """The segment in force after this evaluation; approved: and after everything that waits for approval was approved."""
    return pl.when(PINNED).then("old_effective").otherwise(unpinned(layer, approved=approved))


def unpinned(layer, *, approved=False):
    """The same where no override pins it.

    A first segment is in force at once. An automatic layer follows the rules. On one that needs approval, lacking data
    never takes a segment away, and another segment waits: until it is approved, or as `_follows` says.
    """
    old, computed = pl.col("old_effective"), pl.col("computed")
    if layer.automatic:
        return computed
    follows = computed.is_not_null() if approved else _follows(layer)
    return pl.when(old.is_null() | follows).then(computed).otherwise(old)


def _follows(layer):
    """Where a layer that needs approval follows the rules all the same.

    An account follows while it is provisional, and once more when that is decided (not down where the layer wants a plan
    for that). Once it had a segment that was not provisional it waits, whatever a new date says of its age.
    """
    old, computed = pl.col("old_effective"), pl.col("computed")
    provisional = pl.col("old_provisional").fill_null(False) | pl.col("provisional")
    follows = provisional & ~pl.col("old_settled").fill_null(False) & computed.is_not_null()
    if layer.steps_down:
        place = partial(pl.Expr.replace_strict, old=layer.steps_down, default=None, return_dtype=pl.Int64)
        follows &= pl.col("provisional") | (place(computed) <= place(old)).fill_null(True)
    return follows


# -- of what is stored

PINS, APPROVAL, RUN = "pins", "approval", "run"


def waits_for(state, computed, *, provisional):
    """Tell what keeps the segment in force of an assignment (with `settled`) where the rules say `computed` (an id).

    PINS: an override. APPROVAL: somebody's approval. RUN: the next recalculation only.
    """
    layer, segments = state.layer, state.layer.segments.all()
    steps = (
        {segment.pk: segment.position for segment in segments} if layer.plan_provisional_downgrades else {}
    )
    row = pl.DataFrame(
        {
            "computed": [computed], "provisional": [provisional], "old_effective": [state.effective_id],
            "old_provisional": [state.provisional], "old_settled": [state.settled], "old_overridden": [state.overridden],
        },
        schema_overrides={"computed": pl.Int64, "old_effective": pl.Int64},
    )  # fmt: skip
    rules = SimpleNamespace(automatic=layer.policy == Layer.Policy.AUTOMATIC, steps_down=steps)
    if state.overridden:
        return PINS
    [after] = row.select(after=will_be(rules))["after"]
    return RUN if after == computed else APPROVAL


def waiting(row):
    """SQL: of an assignment (an alias) on a layer that needs approval, another segment waits to be approved.

    The same as `will_be` says where a recalculation has put in force what follows by itself.
    """
    return f"""({row}.computed_id <> {row}.effective_id and not {row}.overridden
                and (not {row}.provisional or {frames.settled(row)}))"""
