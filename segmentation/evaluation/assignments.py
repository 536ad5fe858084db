"""The only writer of Assignment and Move: evaluates a range of accounts and writes what changed.

Everything here happens in the caller's transaction. All layers are evaluated in one pass over the facts, those that
others read first. Each assignment carries a fingerprint of its last evaluation: where it is the same, nothing else is
read back. Differences are found in Polars, written through COPY into a temporary table and from there with a few
statements for the whole range.
"""

import json

import polars as pl
from django.db import connection

from segmentation.evaluation import causes, frames
from segmentation.evaluation.decide import decide, why_moved
from segmentation.evaluation.evidence import SOURCES, of_moves, of_rules
from segmentation.evaluation.ranges import Range
from segmentation.models import Assignment, Cause

# -- what the engine is given


# -- deciding


def evaluate(pinned, *, first, last):
    """Evaluate the accounts with ids from `first` to `last` on every layer of a run, and write what changed.

    Returns {layer key: counts}. Raises what the data make PostgreSQL or Polars raise: the caller finds the account.
    """
    part = Range(pinned.layers, at=pinned.run.as_of, first=first, last=last)
    counts, changes = {}, []
    for layer in pinned.layers:
        decided = decide(layer, part)
        part.keep(layer, decided.everyone)
        differing = why_moved(decided.differing, layer, part)
        changes.append(_changes(differing, layer, decided.inputs, part.at))
        counts[layer.key] = _counts(decided.everyone, differing, layer)
    lost = _write(pl.concat(changes), pinned)
    for layer in pinned.layers:
        counts[layer.key]["lost"] = lost.get(layer.id, 0)
    return counts


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
    evidence = of_moves(rows, layer, inputs)
    return rows.join(
        evidence, on=["account_id", "product_id"], how="left", maintain_order="left", nulls_equal=True
    )


# -- counting


def _counts(everyone, differing, layer):
    """The counts a run reports of a layer; every number can be summed over chunks."""

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
       set definition_id = t.evaluated_id, computed_at = %(at)s, {", ".join(f"{column} = t.{column}" for column in _SCORE)}
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
# offset 0: each move looks up its own account. Where PostgreSQL knows no figures it would take accounts for a handful, and
# walk through all moves for each.
_MOVES = f"""
    insert into segmentation_move (account_id, layer_id, product_id, from_segment_id, to_segment_id, why, definition_id,
                                   cause_id, at, evidence)
    select t.account_id, t.layer_id, t.product_id, t.read_effective_id, t.effective_id, t.why, t.evaluated_id, %(cause)s, %(at)s,
           %(pinned)s::jsonb || jsonb_build_object('facts', jsonb_strip_nulls(t.fact_values::jsonb),
               'sources', {SOURCES.format(product="t.product_id")})
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
    tracked = [field.column for field in Assignment._meta.concrete_fields if field.name not in excluded]
    return _HISTORY.format(table=Assignment.history.model._meta.db_table, columns=", ".join(tracked))


def _history_parameters(run):
    return {
        "user": run.started_by,
        "label": run.started_by_label,
        "channel": run.channel,
        "reason": run.reason,
        "run": run.pk,
    }


def _move_parameters(run, layer, cause):
    pinned = of_rules(layer)
    return {
        "layer": layer.id,
        "cause": cause.pk,
        "at": run.as_of,
        "facts": list(layer.document.facts),
        "pinned": json.dumps(pinned),
    }


# -- decided by people
