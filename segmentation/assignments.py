"""The only writer of Assignment and Move: evaluates a range of accounts and writes what changed.

Everything here happens in the caller's transaction. Rows are compared in Polars, written through COPY into a temporary
table and from there with a few statements for the whole range.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import polars as pl
from django.db import connection

from accounts import catalogue
from segmentation import causes, engine, frames
from segmentation.definitions import Document
from segmentation.models import Assignment, Cause, Definition, Layer, Move

EVIDENCE_FACTS = "fact_values"  # a column of the temporary table


@dataclass(frozen=True)
class PinnedLayer:
    """A layer as a run has pinned it: its rules, what is left out, and the ids of its segments."""

    id: int
    key: str
    automatic: bool
    definition: int
    document: Document = field(repr=False)
    left_out: tuple
    segments: dict  # {segment key: id}


@dataclass(frozen=True)
class Pinned:
    """A run as its workers see it."""

    run: object  # Run
    layers: tuple


def pin(run):
    """What `evaluate` needs of a run."""
    layers = []
    for one in run.layers.select_related("layer", "definition").order_by("layer_id"):
        segments = dict(one.layer.segments.values_list("key", "id"))
        layers.append(
            PinnedLayer(
                id=one.layer_id,
                key=one.layer.key,
                automatic=one.layer.policy == Layer.Policy.AUTOMATIC,
                definition=one.definition_id,
                document=document_of(one.definition_id),
                left_out=tuple(one.left_out),
                segments=segments,
            )
        )
    return Pinned(run, tuple(layers))


@lru_cache(maxsize=200)
def _parsed(hash, definition):
    data = Definition.objects.values_list("document", flat=True).get(pk=definition)
    return Document.parse(data, types=catalogue.TYPES)


def document_of(definition):
    """The parsed document of a version (an id) that is no draft: such a document never changes."""
    return _parsed(Definition.objects.values_list("hash", flat=True).get(pk=definition), definition)


def evaluate(pinned, *, first, last):
    """Evaluate the scored accounts with ids from `first` to `last` on every layer of a run, and write what changed.

    Returns {layer key: counts}. Raises what the data make PostgreSQL or Polars raise: the caller finds the account.
    """
    at = pinned.run.as_of
    current = frames.assignments([layer.id for layer in pinned.layers], first=first, last=last)
    known = {layer.id: current.filter(pl.col("layer") == layer.id) for layer in pinned.layers}
    former = {layer.id: _former(layer, known[layer.id]) for layer in pinned.layers}
    documents = [layer.document for layer in pinned.layers]
    documents += [document for old in former.values() for document in old.values()]
    names = dict.fromkeys(fact for document in documents for fact in document.facts)
    facts = frames.facts(names, at=at, first=first, last=last)
    counts, changes = {}, []
    for layer in pinned.layers:
        decided = _decide(layer, facts, known[layer.id], at)
        decided = _why(decided, layer, facts, former[layer.id], at)
        changes.append(_changes(decided, layer, facts, at))
        counts[layer.key] = _counts(decided, layer)
    lost = _write(pl.concat(changes), pinned)
    for layer in pinned.layers:
        counts[layer.key]["lost"] = lost.get(layer.id, 0)
    return counts


def _former(layer, current):
    """{definition id: document} of the older rules under which some of these assignments were last evaluated."""
    ids = current["evaluated"].drop_nulls().unique().to_list()
    return {one: document_of(one) for one in ids if one != layer.definition}


def frame_for(document, facts):
    """The engine's frame out of a frame of facts: the columns it needs, and who cannot be evaluated at all."""
    frame = facts.select("id", *document.facts)
    if catalogue.MONEY_FACTS & set(document.facts):
        frame = frame.with_columns(blocked=pl.format("currency:{}", facts["foreign"]))
    return frame


# -- deciding


def _decide(layer, facts, current, at):
    """The engine's result beside the assignments: what would be in force, and what is different."""
    result = engine.evaluate(layer.document, frame_for(layer.document, facts), at, left_out=layer.left_out)
    ids = pl.col("segment").replace_strict(layer.segments, default=None, return_dtype=pl.Int64)
    decided = result.with_columns(computed=ids).join(current, on="id", how="left", maintain_order="left")
    decided = decided.with_columns(
        new=pl.col("assignment").is_null(),
        was_provisional=pl.col("old_provisional").fill_null(0) == 1,
        reason=pl.col("reason").fill_null(""),
        scores=_array([f"score.{dimension.key}" for dimension in layer.document.dimensions]),
        points=_array([f"points.{criterion.key}" for criterion in layer.document.criteria]),
    )
    decided = decided.with_columns(effective=_effective(layer))
    decided = decided.with_columns(
        moved=pl.col("effective").ne_missing(pl.col("old_effective")),
        recomputed=pl.col("new") | pl.col("computed").ne_missing(pl.col("old_computed")),
    )
    return decided.with_columns(tracked=_tracked(), scored=_scored(layer))


def _array(columns):
    """A PostgreSQL array as PostgreSQL prints it, so that it can be compared as text."""
    if not columns:
        return pl.lit("{}")
    parts = [pl.col(column).cast(pl.String).fill_null("NULL") for column in columns]
    return pl.concat_str([pl.lit("{"), pl.concat_str(parts, separator=","), pl.lit("}")])


def _effective(layer):
    """What is in force after this evaluation.

    A first segment is in force at once. An automatic layer follows the rules. On one that needs approval an account
    follows while it is provisional, and once more when that is decided; else it waits, and lacking data never takes
    a segment away.
    """
    old, computed = pl.col("old_effective"), pl.col("computed")
    follows = pl.lit(True) if layer.automatic else pl.col("was_provisional") & computed.is_not_null()
    return pl.when(old.is_null() | follows).then(computed).otherwise(old)


def _tracked():
    return (
        pl.col("recomputed")
        | pl.col("moved")
        | (pl.col("provisional") != pl.col("was_provisional"))
        | pl.col("provisional_until").ne_missing(pl.col("old_until"))
        | (pl.col("reason") != pl.col("old_reason"))
    )


def _scored(layer):
    """Under the same rules the scores follow from the points, so they need not be read back."""
    return (
        pl.col("evaluated").ne_missing(layer.definition)
        | pl.col("composite").ne_missing(pl.col("old_composite"))
        | pl.col("points").ne_missing(pl.col("old_points"))
        | pl.col("rule").ne_missing(pl.col("old_rule"))
        | pl.col("distance").ne_missing(pl.col("old_distance"))
        | pl.col("thin").cast(pl.Int8).ne_missing(pl.col("old_thin"))
    )


def _why(decided, layer, facts, former, at):
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
    decided = decided.with_columns(why=why.cast(pl.String))
    candidates = decided.filter(
        (pl.col("why") == Move.Why.DATA)
        & pl.col("old_effective").is_not_null()
        & (pl.col("evaluated") != layer.definition)
    )
    ruler = [
        _unmoved(candidates.filter(pl.col("evaluated") == id), document, layer, facts, at)
        for id, document in former.items()
    ]
    ids = pl.concat(ruler) if ruler else pl.Series("id", [], dtype=pl.Int64)
    by_rules = pl.col("id").is_in(ids.implode()) & pl.col("why").is_not_null()
    return decided.with_columns(
        why=pl.when(by_rules).then(pl.lit(Move.Why.DEFINITION)).otherwise(pl.col("why"))
    )


def _unmoved(rows, document, layer, facts, at):
    """The ids of those accounts that the old rules, on today's facts, would have left where they were."""
    if rows.is_empty():
        return pl.Series("id", [], dtype=pl.Int64)
    dimensions = {dimension.key for dimension in document.dimensions}
    left_out = [key for key in layer.left_out if key in dimensions]
    frame = frame_for(document, facts.filter(pl.col("id").is_in(rows["id"].implode())))
    ids = pl.col("segment").replace_strict(layer.segments, default=None, return_dtype=pl.Int64)
    again = engine.evaluate(document, frame, at, left_out=left_out).select("id", again=ids)
    both = rows.join(again, on="id")
    return both.filter(pl.col("again").eq_missing(pl.col("old_computed")))["id"]


def _changes(decided, layer, facts, at):
    """The rows to be written, as the temporary table holds them."""
    rows = decided.filter(pl.col("tracked") | pl.col("scored"))
    clock, moved = pl.lit(at, pl.Date), pl.col("moved")
    rows = rows.select(
        pl.col("assignment").alias("id"),
        pl.col("id").alias("account_id"),
        pl.lit(layer.id, pl.Int64).alias("layer_id"),
        pl.col("computed").alias("computed_id"),
        pl.col("effective").alias("effective_id"),
        pl.when("tracked")
        .then(pl.lit(layer.definition, pl.Int64))
        .otherwise("old_definition")
        .alias("definition_id"),
        "provisional",
        "provisional_until",
        "reason",
        pl.when("recomputed").then(clock).otherwise("old_computed_since").alias("computed_since"),
        pl.when(moved).then(clock).otherwise("old_effective_since").alias("effective_since"),
        pl.col("old_effective").alias("read_effective_id"),
        pl.lit(layer.definition, pl.Int64).alias("evaluated_id"),
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
    return rows.join(_evidence(rows, layer, facts), on="account_id", how="left", maintain_order="left")


def _evidence(rows, layer, facts):
    """The raw facts behind each move, as JSON text {fact: value as text}."""
    moved = rows.filter(pl.col("why").is_not_null())["account_id"]
    held = facts.filter(pl.col("id").is_in(moved.implode()))
    names = layer.document.facts
    if "foreign" in facts.columns and catalogue.MONEY_FACTS & set(names):
        names = (*names, "foreign")
    texts = [pl.col(name).cast(pl.String) for name in names]
    values = pl.struct(texts).struct.json_encode() if texts else pl.lit("{}")
    return held.select(pl.col("id").alias("account_id"), values.alias(EVIDENCE_FACTS))


# -- counting


def _counts(decided, layer):
    """What a run reports of a layer; every number can be summed over chunks."""

    def total(expr):
        return expr.fill_null(False).sum().cast(pl.Int64)

    computed, effective = pl.col("computed"), pl.col("effective")
    counted = pl.col("observed") + pl.col("fallbacks")
    counts = decided.select(
        scanned=pl.len().cast(pl.Int64),
        changed=total(pl.col("tracked")),
        rescored=total(pl.col("scored")),
        moved=total(pl.col("moved")),
        differs=total(computed != effective),
        needs_data=total(computed.is_null()),
        provisional=total(pl.col("provisional")),
        thin=total(pl.col("thin")),
        criteria=counted.sum().cast(pl.Int64),
        fallbacks=pl.col("fallbacks").sum().cast(pl.Int64),
    ).row(0, named=True)
    names = {id: key for key, id in layer.segments.items()}
    counts["moves"] = _tally(decided.filter("moved")["why"])
    counts["segments"] = {names[id]: count for id, count in _tally(decided["effective"]).items()}
    counts["computed_segments"] = _tally(decided["segment"])
    counts["reasons"] = _tally(decided.filter(computed.is_null())["reason"])
    counts["observed"] = {str(key): count for key, count in _tally(decided["observed"]).items()}
    return counts


def _tally(series):
    return dict(series.drop_nulls().value_counts(sort=True, name="n").iter_rows())


# -- writing

_TABLE = """
    create temporary table if not exists demarc_changes (
        id bigint, account_id bigint, layer_id bigint, computed_id bigint, effective_id bigint, definition_id bigint,
        provisional boolean, provisional_until date, reason text, computed_since date, effective_since date,
        read_effective_id bigint, evaluated_id bigint, composite numeric, scores numeric[], points smallint[],
        rule smallint, distance numeric, thin boolean, new boolean, tracked boolean, scored boolean,
        unscored boolean, why text, fact_values text
    ) on commit delete rows
"""
_LOCK = """
    select count(*) from (
        select z.id from segmentation_assignment z join demarc_changes t on t.id = z.id
         where t.tracked and not t.new order by z.id for update of z) locked
"""
# Somebody else has moved these meanwhile: they are left alone, and the next run sees them.
_LOSE = """
    delete from demarc_changes t using segmentation_assignment z
     where z.id = t.id and t.tracked and not t.new and z.effective_id is distinct from t.read_effective_id
    returning t.layer_id
"""
_COLUMNS = [
    "computed_id", "effective_id", "definition_id", "provisional", "provisional_until", "reason", "computed_since",
    "effective_since",
]  # fmt: skip
_UPDATE = f"""
    update segmentation_assignment z set {", ".join(f"{column} = t.{column}" for column in _COLUMNS)}
      from demarc_changes t where z.id = t.id and t.tracked and not t.new
"""
_INSERT = f"""
    insert into segmentation_assignment (id, account_id, layer_id, {", ".join(_COLUMNS)})
    select id, account_id, layer_id, {", ".join(_COLUMNS)} from demarc_changes where new order by id
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
_MOVES = """
    insert into segmentation_move (account_id, layer_id, from_segment_id, to_segment_id, why, definition_id,
                                   cause_id, at, evidence)
    select t.account_id, t.layer_id, t.read_effective_id, t.effective_id, t.why, t.evaluated_id, %(cause)s, %(at)s,
           jsonb_build_object('facts', jsonb_strip_nulls(t.fact_values::jsonb), 'left_out', %(left_out)s::jsonb,
               'sources', coalesce((select jsonb_object_agg(p.key, p.value)
                                      from jsonb_each(a.provenance || coalesce(u.provenance, '{}')) p
                                     where p.key = any(%(facts)s)), '{}')
                   || coalesce((select jsonb_build_object('subscriptions', jsonb_build_array(b.source, b.observed))
                                  from accounts_subscription b where b.account_id = a.id
                                 order by b.observed desc nulls last, b.id desc limit 1), '{}'))
      from demarc_changes t
      join accounts_account a on a.id = t.account_id
      left join accounts_usage u on u.account_id = a.id and u.product_id is null
     where t.layer_id = %(layer)s and t.why is not null
     order by t.id
"""


def _write(changes, pinned):
    """Write the changed rows, their history and the moves. Returns {layer id: rows lost to somebody else}."""
    if changes.is_empty():
        return {}
    run = pinned.run
    with connection.cursor() as cursor:
        cursor.execute(_TABLE)
        cursor.execute("delete from demarc_changes")  # what an earlier attempt of this transaction left
        frames.write(_numbered(changes, cursor), "demarc_changes")
        cursor.execute("analyze demarc_changes (id)")
        cursor.execute(_LOCK)
        cursor.execute(_LOSE)
        lost = [layer for (layer,) in cursor.fetchall()]
        moved = changes.filter(pl.col("why").is_not_null())
        cause = causes.take(Cause.Kind.RUN, run=run) if len(moved) else None
        cursor.execute(_UPDATE)
        cursor.execute(_INSERT)
        clock = {"at": run.as_of}
        cursor.execute(_UPDATE_SCORE, clock)
        cursor.execute(_INSERT_SCORE, clock)
        cursor.execute(_history(), _history_parameters(run))
        for layer in pinned.layers:
            if cause and layer.id in moved["layer_id"]:
                cursor.execute(_MOVES, _move_parameters(run, layer, cause))
    return {layer: lost.count(layer) for layer in set(lost)}


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
    tracked = [one.column for one in Assignment._meta.concrete_fields]
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
    left_out = "[" + ",".join(f'"{key}"' for key in layer.left_out) + "]"
    return {
        "layer": layer.id,
        "cause": cause.pk,
        "at": run.as_of,
        "facts": list(layer.document.facts),
        "left_out": left_out,
    }
