"""Database -> COPY CSV -> Polars, and rows back the same way, on Django's own connection and in its transaction.

CSV keeps decimals exact and NULL apart from an empty text (which is quoted). Booleans travel as 0 and 1.
"""

import io
import re
from contextlib import contextmanager

import polars as pl
from django.conf import settings
from django.db import connection

from accounts import catalogue

_CUSTOMER = "a.kind = 'customer' and not a.excluded and a.status in ({statuses})"
SCORED = _CUSTOMER.format(statuses="'active', 'paused'")  # Account.objects.scored()
SCORED_OR_CHURNED = _CUSTOMER.format(statuses="'active', 'paused', 'churned'")

_JOINS = {
    "u": "left join accounts_usage u on u.account_id = a.id and u.product_id is null{within}",
    "s": "left join ({summary}) s on s.account_id = a.id",
    "g": "left join ({events}) g on g.account_id = a.id",
    "m": "left join accounts_csm m on m.id = a.csm_id",
    # offset 0: parents are anywhere, and looked up one by one even where nested loops are off
    "p": "left join lateral (select q.external_id from accounts_account q where q.id = a.parent_id offset 0) p on true",
}
# The range of accounts is said in each part: a join does not pass it on.
_WITHIN_RANGE = "product_id is not null and account_id between %(first)s and %(last)s"
# Per product: the same with the product in each join. x comes first, the others name it: the products an account has, by
# running subscriptions, or by usage where no subscription of the product is known at all (not everybody imports them).
# One that it had (not `there`) comes along until its assignments say that it is gone: that evaluation ends its tag, once,
# with a reason and a move. Left alone, it would go on to say that something is in use which nobody has.
_OF_PRODUCTS = {
    "x": f"""join (select account_id, product_id, coalesce(bool_or(running), bool_or(used)) as there
                    from (select account_id, product_id, null::boolean as running, true as used
                            from accounts_usage where {_WITHIN_RANGE}
                          union all
                          select account_id, product_id, status <> 'cancelled' and start_date <= %(at)s::date
                                 and (end_date is null or end_date > %(at)s::date), null
                            from accounts_subscription where {_WITHIN_RANGE}
                          union all
                          select account_id, product_id, null, false
                            from segmentation_assignment where {_WITHIN_RANGE} and reason <> 'gone') y
                   group by account_id, product_id
                  having coalesce(bool_or(running), bool_or(used)) or bool_or(not used)) x
                on x.account_id = a.id""",
    "u": "left join accounts_usage u on u.account_id = a.id and u.product_id = x.product_id{within}",
    "s": "left join ({summary}) s on s.account_id = a.id and s.product_id = x.product_id",
}
# What was imported for the whole account says nothing about one product of it.
_OF_THE_WHOLE = re.compile(r"\ba\.(arr|acv|seats_licensed|renewal_date|contract_type|contract_start)\b")
# The currency of an account's money where it is not the organisation's: its own, or a running subscription's.
_FOREIGN = "case when a.currency not in ('', %(currency)s) then a.currency else f.currency end"
_FOREIGN_SUBSCRIPTIONS = """
    left join (select f.account_id, min(f.currency) as currency from accounts_subscription f
                where f.account_id between %(first)s and %(last)s and f.currency not in ('', %(currency)s)
                  and f.status <> 'cancelled' and f.start_date <= %(at)s::date
                  and (f.end_date is null or f.end_date > %(at)s::date)
                group by f.account_id) f on f.account_id = a.id
"""
# A join does not pass the range on: without it here each chunk would read the whole table.
_WITHIN = " and {column} between %(first)s and %(last)s"


def facts(names, *, at, first, last, which=SCORED, products=False):
    """The facts `names` of the accounts with ids from `first` to `last` at the clock `at` (a date), by id.

    Columns: `id`, `churned`, each fact in its catalogue type, and `foreign` (a currency, or null) where money is among
    them. which: SCORED, SCORED_OR_CHURNED, or "true" for everybody. products: a row for each product an account has, with
    `product` (its id) and `gone` (it had it, and an assignment does not say so yet); usage and contract facts are then those of
    the product.
    """
    names = list(names)
    columns = ["a.id", "(a.status = 'churned')::int"] + [_column(name, products=products) for name in names]
    schema = {"id": pl.Int64, "churned": pl.Boolean} | {name: catalogue.dtype(name) for name in names}
    joins, order = _joins(names, products=products), "a.id"
    if products:
        columns += ["x.product_id", "(not x.there)::int"]
        schema |= {"product": pl.Int64, "gone": pl.Boolean}
        order += ", x.product_id"
    if catalogue.MONEY_FACTS & set(names):
        columns.append(_FOREIGN)
        joins += _FOREIGN_SUBSCRIPTIONS
        schema["foreign"] = pl.String
    where = f"a.id between %(first)s and %(last)s and {which}"
    query = f"select {', '.join(columns)} from accounts_account a {joins} where {where} order by {order}"
    with no_nested_loops():
        return read(query, schema, _parameters(at) | {"first": first, "last": last})


@contextmanager
def no_nested_loops():
    """Ranges are joined whole. Right after an import PostgreSQL takes each for one row, and would walk them n x n times.

    For the transaction of a run or of an explanation; without one it has no effect.
    """
    with connection.cursor() as cursor:
        cursor.execute("set local enable_nestloop = off; set local jit = off")
        yield
        cursor.execute("set local enable_nestloop to default; set local jit to default")


@contextmanager
def by_index():
    """Rows are looked up one by one along an index. Right after a first run PostgreSQL takes the tables it filled for tiny,
    and would go through all of them for each row instead.

    For the transaction of a run.
    """
    with connection.cursor() as cursor:
        cursor.execute("set local enable_seqscan = off; set local jit = off")
        yield
        cursor.execute("set local enable_seqscan to default; set local jit to default")


READ = ["accounts_account", "accounts_usage", "accounts_subscription", "accounts_signal"]
READ += [
    "segmentation_assignment",
    "segmentation_assignmentscore",
    "segmentation_move",
    "segmentation_declaration",
]


def acquaint():
    """Let PostgreSQL look at tables it knows nothing about, for whoever reads, writes or refers to them.

    It takes wide rows it has not seen for a single one, and then looks one up along the first index there is: past
    everybody's name, for each. A look in a transaction that was given up leaves the number of pages behind and not
    what was seen, so both are asked for.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """select relname from pg_class
                where oid = any(%s::regclass[]) and pg_relation_size(oid) > 0
                  and (relpages = 0 or not exists (select from pg_stats
                        where schemaname = relnamespace::regnamespace::text and tablename = relname))
                order by oid""",
            [READ],
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"analyze (skip_locked) {table}")


def known(names, *, at, products=False):
    """True when any scored account (or any product of one) has any of these facts at the clock."""
    if products:
        return any(completeness_of_products(names, at=at)[1].values())
    # Stored columns first: an account's own columns are cheaper to look at than its subscriptions.
    plain = [name for name in names if not _aliases(name) - {"a", "u"}]
    rest = [name for name in names if name not in plain]
    return any(_any_known(group, at) for group in (plain, rest) if group)


def _any_known(names, at):
    present = " or ".join(_is_known(name) for name in names)
    joins = _joins(names, correlated=True)
    query = f"select exists (select from accounts_account a {joins} where {SCORED} and ({present}))"
    with connection.cursor() as cursor:
        cursor.execute(query, _parameters(at))
        return cursor.fetchone()[0]


def completeness_of_products(names, *, at):
    """(the products that scored accounts have, {fact: of how many of them it is known}) at the clock, in one query."""
    names = list(names)
    counts = [f"count(*) filter (where {_is_known(name, products=True)})" for name in names]
    joins = _joins(names, products=True)
    query = f"select {', '.join(['count(*)', *counts])} from accounts_account a {joins} where x.there and {SCORED}"
    with connection.cursor() as cursor:
        cursor.execute(query, _parameters(at) | {"first": 0, "last": 2**62})
        total, *found = cursor.fetchone()
    return total, dict(zip(names, found, strict=True))


def _is_known(name, *, products=False):
    expression = _expression(name, products=products)
    if catalogue.TYPES[name] == "text":  # blank text is not known, as in the engine
        return f"btrim({expression}) <> ''"
    return f"{expression} is not null"


def _expression(name, *, products=False):
    return _OF_THE_WHOLE.sub("null", catalogue.sql(name)) if products else catalogue.sql(name)


def _column(name, *, products=False):
    expression = _expression(name, products=products)
    return f"({expression}){'::int' if catalogue.TYPES[name] == 'boolean' else ''}"


def _aliases(name):
    return set(re.findall(r"\b([agmpsu])\.", catalogue.sql(name)))


def _joins(names, *, correlated=False, products=False):
    """Only the joins these facts need; `correlated` lets an EXISTS stop at the first account."""
    needed = set().union(*(_aliases(name) for name in names)) if names else set()
    summary, events = catalogue.SUBSCRIPTION_SUMMARY, catalogue.SIGNAL_SUMMARY
    joins, within = (_OF_PRODUCTS | _JOINS | _OF_PRODUCTS if products else dict(_JOINS)), ""
    if correlated:
        joins["s"] = "left join lateral ({summary}) s on true"
        joins["g"] = "left join lateral ({events}) g on true"
        summary += " where b.account_id = a.id group by b.account_id"
        events += " and e.account_id = a.id group by e.account_id"
    else:
        summary += " where b.account_id between %(first)s and %(last)s group by b.account_id"
        summary += ", b.product_id" if products else ""
        events += _WITHIN.format(column="e.account_id") + " group by e.account_id"
        within = _WITHIN.format(column="u.account_id")
    if products:
        summary = summary.replace("b.account_id,", "b.account_id, b.product_id,", 1)
    texts = [text for alias, text in joins.items() if alias in needed or alias == "x"]
    return " ".join(text.format(summary=summary, events=events, within=within) for text in texts)


def _parameters(at):
    return {"at": at, "currency": settings.ORGANISATION_CURRENCY}


def settled(row):
    """SQL: true where an assignment (an alias) once had a segment that was not provisional, or that people pinned.

    Asked of its history, which is only added to: whether it is provisional now follows from dates that people type. Most
    rows tell it themselves, and nothing is looked up.
    """
    return f"""case when {row}.effective_id is null then false
                    when {row}.overridden or not {row}.provisional and {row}.computed_id is not null then true
                    else coalesce((select true from segmentation_historicalassignment past
                                    where past.id = {row}.id and past.effective_id is not null
                                      and (past.overridden or not past.provisional and past.computed_id is not null)
                                    limit 1), false) end"""


_STANDING = {
    "id": ("z.account_id", pl.Int64),
    "old_effective": ("z.effective_id", pl.Int64),
    "old_fingerprint": ("z.fingerprint", pl.Int64),
}
_PRODUCT = {"product": ("z.product_id", pl.Int64)}
_SINCE = {"old_effective_since": ("z.effective_since", pl.Date)}
_STATES = {
    "old_effective": ("z.effective_id", pl.Int64),
    "old_computed": ("z.computed_id", pl.Int64),
    "old_provisional": ("z.provisional::int", pl.Boolean),
    "old_settled": (f"({settled('z')})::int", pl.Boolean),
}
ASSIGNMENTS = {
    "id": ("z.account_id", pl.Int64),
    "assignment": ("z.id", pl.Int64),
    "old_computed": ("z.computed_id", pl.Int64),
    "old_definition": ("z.definition_id", pl.Int64),
    "old_provisional": ("z.provisional::int", pl.Int8),
    "old_until": ("z.provisional_until", pl.Date),
    "old_overridden": ("z.overridden::int", pl.Int8),
    "old_settled": (f"({settled('z')})::int", pl.Int8),
    "old_reason": ("z.reason", pl.String),
    "old_computed_since": ("z.computed_since", pl.Date),
    "old_effective_since": ("z.effective_since", pl.Date),
    "evaluated": ("c.definition_id", pl.Int64),
}
_RANGE = "z.account_id between %(first)s and %(last)s and z.layer_id = %(layer)s"


def standing(layer, *, first, last, products=False, since=False):
    """What is in force on a layer (its id) for a range of accounts, and the fingerprint of how they were evaluated last.

    Columns: `id`, with `products` also `product`, `old_effective`, `old_fingerprint`, with `since` also
    `old_effective_since`. Little, because every evaluation reads it for everybody.
    """
    return standings([layer], first=first, last=last, products=products, since=since)[layer]


def standings(layers, *, first, last, products=False, since=False):
    """`standing` of several layers (ids) at once: {layer: frame}. Those of one account lie together."""
    columns = {"layer": ("z.layer_id", pl.Int64)} | _STANDING
    columns |= (_PRODUCT if products else {}) | (_SINCE if since else {})
    where = "z.account_id between %(first)s and %(last)s and z.layer_id = any(%(layers)s)"
    known = {"first": first, "last": last, "layers": layers}
    found = _select(columns, f"segmentation_assignment z where {where}", known)
    parts = found.partition_by("layer", include_key=False, as_dict=True)
    return {layer: parts.get((layer,), found.drop("layer").clear()) for layer in layers}


def states(layer, *, first, last, products=False, since=False):
    """What is in force on a layer (its id), and what its rules said last, for a range of accounts.

    Columns: `id`, with `products` also `product`, `old_effective`, `old_computed`, `old_provisional`, `old_settled`, with
    `since` also `old_effective_since`. Most accounts share a state with many: their ids travel, and each state once.
    """
    columns = _STATES | (_SINCE if since else {})
    keys = {"id": "z.account_id"} | ({"product": "z.product_id"} if products else {})
    columns |= {name: (f"array_agg({column})::text", pl.String) for name, column in keys.items()}
    places = ", ".join(str(place + 1) for place in range(len(columns) - len(keys)))
    known = {"first": first, "last": last, "layer": layer}
    found = _select(columns, f"segmentation_assignment z where {_RANGE} group by {places}", known)
    lists = pl.col(list(keys)).str.strip_chars("{}").str.split(",").cast(pl.List(pl.Int64))
    return found.with_columns(lists).explode(list(keys))


def digests(layers, *, first, last, which):
    """{layer (id): (assignments, one number for all their fingerprints, {account: what is in force})} of a range of accounts.

    Of the accounts `which` says (as `facts` takes it). In force is told only where it is not what the rules say. The
    database adds up, and next to nothing travels: enough to see that nothing has changed.
    """
    known = {"first": first, "last": last, "layers": layers}
    with connection.cursor() as cursor:
        cursor.execute(
            f"select array(select a.id from accounts_account a where a.id between %s and %s and ({which}) is not true)",
            [first, last],
        )
        known["others"] = cursor.fetchone()[0]
        differs = "filter (where z.computed_id is distinct from z.effective_id)"
        cursor.execute(
            f"""select z.layer_id, count(*), bit_xor(z.fingerprint),
                       array_agg(z.account_id) {differs}, array_agg(z.effective_id) {differs}
                  from segmentation_assignment z
                 where z.account_id between %(first)s and %(last)s and z.layer_id = any(%(layers)s)
                   and z.account_id <> all(%(others)s::bigint[])
                 group by z.layer_id""",
            known,
        )
        return {
            layer: (count, digest, dict(zip(accounts or (), segments or (), strict=True)))
            for layer, count, digest, accounts, segments in cursor.fetchall()
        }


def assignments(layer, *, first, last, only=None, products=False):
    """The assignments on a layer (its id) of a range of accounts, or of `only` these among them (ids)."""
    columns = ASSIGNMENTS | (_PRODUCT if products else {})
    parameters = {"first": first, "last": last, "layer": layer, "only": only}
    where = _RANGE + (" and z.account_id = any(%(only)s)" if only is not None else "")
    with connection.cursor() as cursor:
        # Scores know no account: their range is that of the assignments. (+ 0: else PostgreSQL looks for the ends
        # along the primary key, past all other accounts.)
        cursor.execute(
            f"select min(z.id + 0), max(z.id + 0) from segmentation_assignment z where {where}", parameters
        )
        parameters["low"], parameters["high"] = cursor.fetchone()
    if parameters["low"] is None:
        return pl.DataFrame(schema={name: dtype for name, (_, dtype) in columns.items()})
    tables = f"""segmentation_assignment z
          left join segmentation_assignmentscore c
            on c.assignment_id = z.id and c.assignment_id between %(low)s and %(high)s
         where {where}"""
    return _select(columns, tables, parameters)


def before(layer, accounts, *, at, products=False):
    """What was in force on a layer before a date, by the moves: `id`, `product`, `segment` (id), `since`.

    For accounts that moved on that date or later: others have it in their assignment.
    """
    columns = {
        "id": ("m.account_id", pl.Int64),
        "product": ("m.product_id", pl.Int64),
        "segment": ("m.to_segment_id", pl.Int64),
        "since": ("m.at", pl.Date),
    }
    tables = """(select distinct on (account_id, product_id) account_id, product_id, to_segment_id, at
                   from segmentation_move
                  where account_id = any(%(accounts)s) and layer_id = %(layer)s and at < %(at)s
                  order by account_id, product_id, id desc) m"""
    found = _select(columns, tables, {"accounts": accounts, "layer": layer, "at": at})
    return found if products else found.drop("product")


def declared(layer, *, at, first, last):
    """What people declared (and others confirmed) on a layer for a range of accounts: `id`, `declared` (segment's key)."""
    columns = {"id": ("d.account_id", pl.Int64), "declared": ("g.key", pl.String)}
    tables = """segmentation_declaration d join segmentation_segment g on g.id = d.segment_id
         where d.account_id between %(first)s and %(last)s and d.layer_id = %(layer)s and d.from_date <= %(at)s
           and (d.until_date is null or d.until_date > %(at)s)
           and (d.status = 'confirmed' or d.until_date is not null)"""
    return _select(columns, tables, {"first": first, "last": last, "layer": layer, "at": at})


def scores(layer, *, first, last, dimensions, definition):
    """What a layer's stored evaluation says of a range of accounts: `id`, `label`, `composite`, `score.<dimension>`.

    dimensions: the keys in the order of the document of `definition` (its id); scores under other rules are left out.
    """
    columns = {"id": ("z.account_id", pl.Int64), "label": ("g.key", pl.String)}
    columns["composite"] = ("c.composite", pl.Decimal(38, 12))
    for place, key in enumerate(dimensions):
        score = f"case when c.definition_id = %(definition)s then c.scores[{place + 1}] end"
        columns[f"score.{key}"] = (score, pl.Decimal(38, 12))
    tables = f"""segmentation_assignment z
          left join segmentation_segment g on g.id = z.effective_id
          left join segmentation_assignmentscore c on c.assignment_id = z.id
         where {_RANGE} and z.product_id is null"""
    return _select(columns, tables, {"first": first, "last": last, "layer": layer, "definition": definition})


def _select(columns, tables, parameters):
    schema = {name: dtype for name, (_, dtype) in columns.items()}
    expressions = ", ".join(expression for expression, _ in columns.values())
    with no_nested_loops():
        return read(f"select {expressions} from {tables}", schema, parameters)


def read(query, schema, parameters):
    """The rows of a query as a frame of exactly this schema."""
    wire = {name: pl.Int8 if dtype == pl.Boolean else dtype for name, dtype in schema.items()}
    buffer = io.BytesIO()
    with (
        connection.cursor() as cursor,
        # psycopg's own cursor: the one Django wraps round it where queries are logged takes no parameters
        cursor.cursor.copy(f"copy ({query}) to stdout (format csv)", parameters) as copy,
    ):
        for piece in copy:
            buffer.write(piece)
    if not buffer.tell():
        return pl.DataFrame(schema=schema)
    buffer.seek(0)
    frame = pl.read_csv(buffer, has_header=False, schema=wire)
    return frame.cast({name: pl.Boolean for name, dtype in schema.items() if dtype == pl.Boolean})


def write(frame, table):
    """Append a frame to a table; its columns are those of the table with the same names."""
    columns = ", ".join(f'"{name}"' for name in frame.columns)
    buffer = io.BytesIO()
    frame.write_csv(buffer, include_header=False)
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy {table} ({columns}) from stdin (format csv)") as copy,
    ):
        copy.write(buffer.getbuffer())
