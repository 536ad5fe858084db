"""The segment that will be in force for an account, as Polars expressions: one for recalculations, previews and requests.

Over the columns of an evaluation (`computed`, `provisional`) and those of its assignment (`old_effective`,
`old_provisional`, `old_settled`, `old_overridden`; null where there is none yet). A layer is a `LayerRules`.
"""

from functools import partial

import polars as pl

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
