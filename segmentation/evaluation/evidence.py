"""The evidence of a move: the values it was decided on, where they come from, and what the rules had been given."""

import json

import polars as pl
from django.db import connection

from segmentation.scopes import GONE

EVIDENCE_FACTS = "fact_values"  # a column of the temporary table


def of_moves(rows, layer, inputs):
    """The evidence of each move, as JSON text {input: value as text}."""
    moved = rows.filter(pl.col("why").is_not_null())["account_id"]
    held = inputs.filter(pl.col("id").is_in(moved.implode()))
    ids = held.select(pl.col("id").alias("account_id"), layer.product.alias("product_id"))
    return ids.with_columns(facts_as_text(held, layer).alias(EVIDENCE_FACTS))


def facts_as_text(inputs, layer):
    """A series of JSON texts, one a row of the engine's inputs."""
    texts = [pl.col(name).cast(pl.String) for name in layer.document.inputs]
    if "blocked" in inputs.columns:
        blocked = pl.col("blocked")
        foreign = pl.when(blocked.str.starts_with("currency:")).then(blocked.str.strip_prefix("currency:"))
        texts += [foreign.alias("foreign"), pl.when(blocked == GONE).then(pl.lit("true")).alias(GONE)]
    values = pl.struct(texts).struct.json_encode() if texts else pl.lit("{}")
    return inputs.select("id", said=values)["said"]


def facts_from_text(texts, document):
    """The engine's frame out of such texts: the facts as the catalogue types them, `id` counts the rows."""
    names = [*document.inputs, "foreign", GONE]
    texts = texts.fill_null("{}").str.json_decode(pl.Struct(dict.fromkeys(names, pl.String)))
    held = texts.struct.unnest()
    columns = [_typed(name, document.schema[name]).alias(name) for name in document.inputs]
    foreign = pl.format("currency:{}", pl.col("foreign"))
    blocked = pl.when(pl.col(GONE).is_not_null()).then(pl.lit(GONE)).otherwise(foreign)
    return held.select(pl.row_index("id").cast(pl.Int64), *columns, blocked=blocked)


def _typed(name, dtype):
    column = pl.col(name)
    if dtype == pl.Date:
        return column.str.to_date("%Y-%m-%d")
    return column == "true" if dtype == pl.Boolean else column.cast(dtype)


# Where the facts of an account (a, and its usage u) come from: {fact: [source, observed]}.
SOURCES = """coalesce((select jsonb_object_agg(p.key, p.value)
                                      from jsonb_each(a.provenance || coalesce(u.provenance, '{{}}')) p
                                     where p.key = any(%(facts)s)), '{{}}')
                   || coalesce((select jsonb_build_object('subscriptions', jsonb_build_array(b.source, b.observed))
                                  from accounts_subscription b
                                 where b.account_id = a.id and ({product} is null or b.product_id = {product})
                                 order by b.observed desc nulls last, b.id desc limit 1), '{{}}')"""


def of_rules(layer):
    return {"left_out": list(layer.left_out)} | ({"cutoffs": layer.cutoffs} if layer.cutoffs else {})


def sources_of(accounts, layer):
    """{account: where its facts come from} as moves of a recalculation keep it."""
    tables = "accounts_account a left join accounts_usage u on u.account_id = a.id and u.product_id is null"
    query = (
        f"select a.id, {SOURCES.format(product='null::bigint')} from {tables} where a.id = any(%(accounts)s)"
    )
    with connection.cursor() as cursor:
        cursor.execute(query, {"facts": list(layer.document.facts), "accounts": accounts})
        return {account: json.loads(sources) for account, sources in cursor.fetchall()}
