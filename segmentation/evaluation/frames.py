"""Database -> COPY CSV -> Polars, and rows back the same way, on Django's own connection and in its transaction.

CSV keeps decimals exact and NULL apart from an empty text (which is quoted). Booleans travel as 0 and 1.
"""

import io
import re
from contextlib import contextmanager

import polars as pl
from django.db import connection

from accounts import catalogue, revenue
from accounts.quality import figures
from segmentation import scopes

_CUSTOMER = "a.kind = 'customer' and not a.excluded and a.status in ({statuses})"
SCORED = _CUSTOMER.format(statuses="'active', 'paused'")  # Account.objects.scored()
SCORED_OR_CHURNED = _CUSTOMER.format(statuses="'active', 'paused', 'churned'")

# A join does not pass the range on: without it here each chunk would read the whole table.
_WITHIN = " and {column} between %(first)s and %(last)s"
_CORRELATED = {
    "s": "left join lateral ({summary}) s on true",
    "g": "left join lateral ({events}) g on true",
}


def facts(names, *, at, first, last, which=SCORED, scope=scopes.ACCOUNT):
    """The facts `names` of the accounts with ids from `first` to `last` at the clock `at` (a date), by id.

    Columns: `id`, `churned`, each fact in its catalogue type, and `foreign` (currencies, or null; see revenue.FOREIGN) where
    money is among them. which: SCORED, SCORED_OR_CHURNED, or "true" for everybody. scope: a row for each unit an account has, with the
    columns that tell them apart (ids) and `gone` (it had it, and an assignment does not say so yet); usage and contract
    facts are then those of the unit.
    """
    keys = {"id": ("a.id", pl.Int64)} | _parts("x", scope.parts)
    columns = {"id": keys["id"], "churned": ("(a.status = 'churned')::int", pl.Boolean)}
    columns |= {name: (_column(name, scope), catalogue.dtype(name)) for name in names} | keys
    if scope.there:
        columns["gone"] = (f"(not {scope.there})::int", pl.Boolean)
    money = bool(catalogue.MONEY_FACTS & set(names))
    if money:
        columns["foreign"] = (revenue.FOREIGN, pl.String)
    joins = _joins(names, scope, also="s" if money else "")
    where = f"a.id between %(first)s and %(last)s and {which}"
    order = ", ".join(column for column, _ in keys.values())
    tables = f"accounts_account a {joins} where {where} order by {order}"
    return _select(columns, tables, revenue.parameters(at) | {"first": first, "last": last})


# The same tables where an account is as it was on dates: rows that Python has put together.
_ON_DATES = """
    unnest(%(rows)s::jsonb[]) r (told)
 cross join lateral (select (r.told ->> 'at')::date as at) d
 cross join lateral jsonb_populate_record(null::accounts_account, r.told -> 'account') a
"""
_JOINS_ON_DATES = {
    "u": "left join lateral jsonb_populate_record(null::accounts_usage, r.told -> 'usage') u on true",
    "s": "left join lateral ({summary}) s on true",
    "g": "left join lateral ({events}) g on true",
}
_SUBSCRIPTIONS_ON_DATES = "jsonb_populate_recordset(null::accounts_subscription, r.told -> 'subscriptions')"
_EVENTS_ON_DATES = "jsonb_populate_recordset(null::accounts_signal, r.told -> 'events')"
# It has the product by a contract, or by usage where no contract of the product is known, as in scopes.
_PRODUCT_ON_DATES = f"""
 cross join lateral (select %(product)s::bigint as product_id,
       coalesce((select bool_or({catalogue.HAD}) from accounts_subscription b where b.product_id = %(product)s),
                r.told -> 'usage' <> '{{}}') as there) x
"""


def facts_on(names, snapshots, *, scope=scopes.ACCOUNT, product=None):
    """The same of one account as it was on dates (accounts.past.Snapshot), a row each: the columns of `facts`, and `at`.

    product: its id, on a scope of products.
    """
    keys = {"id": ("a.id", pl.Int64)} | _parts("x", scope.parts)
    columns = {"at": ("d.at", pl.Date)} | keys
    columns |= {name: (_column(name, scope), catalogue.dtype(name)) for name in names}
    if scope.there:
        columns["gone"] = ("(not x.there)::int", pl.Boolean)
    money = bool(catalogue.MONEY_FACTS & set(names))
    if money:
        columns["foreign"] = (revenue.FOREIGN, pl.String)
    own = " and b.product_id = x.product_id" if scope.parts else ""
    texts = {
        "summary": catalogue.subscription_summary(scope.subscriptions, f"b.account_id = a.id{own}"),
        "events": f"{catalogue.SIGNAL_SUMMARY} group by e.account_id",
    }
    needed = {"s" if money else ""}.union(*(_aliases(name) for name in names))
    joins = scope.joins | _JOINS_ON_DATES
    tables = _ON_DATES + (_PRODUCT_ON_DATES if scope.parts else "")
    tables += " ".join(joins[alias].format(**texts) for alias in joins if alias in needed and alias != "x")
    tables = re.sub(r"\baccounts_subscription\b(?= [bn]\b)", _SUBSCRIPTIONS_ON_DATES, tables)
    tables = tables.replace("accounts_signal e", f"{_EVENTS_ON_DATES} e")
    schema = {name: dtype for name, (_, dtype) in columns.items()}
    expressions = ", ".join(expression for expression, _ in columns.values())
    query = f"select {expressions} from {tables} order by d.at".replace("%(at)s", "d.at")
    rows = [snapshot.row() for snapshot in snapshots]
    return read(query, schema, revenue.parameters(None) | {"rows": rows, "product": product})


def _parts(row, parts):
    """The columns of a row (an alias) that tell the labels of one account apart."""
    return {part: (f"{row}.{part}_id", pl.Int64) for part in parts}


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


def any_known(names, *, at, scope=scopes.ACCOUNT):
    """True when any scored account (or any unit of one) has any of these facts at the clock."""
    if scope.there:
        return any(completeness(names, at=at, scope=scope)[1].values())
    # Stored columns first: an account's own columns are cheaper to look at than its subscriptions.
    plain = [name for name in names if not _aliases(name) - {"a", "u"}]
    joined = [name for name in names if name not in plain]
    return any(_any_known(group, at, scope) for group in (plain, joined) if group)


def _any_known(names, at, scope):
    present = " or ".join(_is_known(name, scope) for name in names)
    joins = _joins(names, scope, correlated=True)
    query = f"select exists (select from accounts_account a {joins} where {SCORED} and ({present}))"
    with connection.cursor() as cursor:
        cursor.execute(query, revenue.parameters(at))
        return cursor.fetchone()[0]


def completeness(names, *, at, scope):
    """(units there are, {fact: of how many of them it is known}) at the clock, in one query.

    Units are the active customers; of a scope whose units come and go, those that scored accounts have now.
    """
    if not scope.there:
        return figures.completeness(names, at=at)
    names = list(names)
    counts = [f"count(*) filter (where {_is_known(name, scope)})" for name in names]
    columns, joins = ", ".join(["count(*)", *counts]), _joins(names, scope)
    query = f"select {columns} from accounts_account a {joins} where {scope.there} and {SCORED}"
    with connection.cursor() as cursor:
        cursor.execute(query, revenue.parameters(at) | {"first": 0, "last": 2**62})
        total, *numbers = cursor.fetchone()
    return total, dict(zip(names, numbers, strict=True))


def _is_known(name, scope):
    expression = catalogue.sql(name, whole=scope.whole)
    if catalogue.TYPES[name] == "text":  # blank text is not known, as in the engine
        return f"btrim({expression}) <> ''"
    return f"{expression} is not null"


def _column(name, scope):
    expression = catalogue.sql(name, whole=scope.whole)
    return f"({expression}){'::int' if catalogue.TYPES[name] == 'boolean' else ''}"


def _aliases(name):
    return set(re.findall(r"\b([agmpsu])\.", catalogue.sql(name)))


def _joins(names, scope, *, also="", correlated=False):
    """Only the joins these facts need, beside x and `also`; `correlated` lets an EXISTS stop at the first account."""
    return joins({"x", also}.union(*(_aliases(name) for name in names)), scope, each=correlated)


def joins(aliases, scope=scopes.ACCOUNT, *, each=False):
    """The joins to accounts (a) that these aliases need. each: looked up for each account, else those from first to last."""
    if each:
        joins, within = scope.joins | _CORRELATED, ""
        of_subscriptions, of_events = "b.account_id = a.id", " and e.account_id = a.id"
    else:
        joins, within = scope.joins, _WITHIN.format(column="u.account_id")
        of_subscriptions = "b.account_id between %(first)s and %(last)s"
        of_events = _WITHIN.format(column="e.account_id")
    by = scope.subscriptions
    summary = catalogue.subscription_summary(by, of_subscriptions)
    events = f"{catalogue.SIGNAL_SUMMARY}{of_events} group by e.account_id"
    texts = [text for alias, text in joins.items() if alias in aliases]
    return " ".join(text.format(summary=summary, events=events, within=within) for text in texts)


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
_SINCE = {"old_effective_since": ("z.effective_since", pl.Date)}
_STATES = {
    "old_effective": ("z.effective_id", pl.Int64),
    "old_computed": ("z.computed_id", pl.Int64),
    "old_provisional": ("z.provisional::int", pl.Boolean),
    "old_settled": (f"({settled('z')})::int", pl.Boolean),
    "old_overridden": ("z.overridden::int", pl.Boolean),
}
ASSIGNMENTS = {
    "id": ("z.account_id", pl.Int64),
    "assignment": ("z.id", pl.Int64),
    "old_computed": ("z.computed_id", pl.Int64),
    "old_definition": ("z.definition_id", pl.Int64),
    "old_provisional": ("z.provisional::int", pl.Boolean),
    "old_until": ("z.provisional_until", pl.Date),
    "old_overridden": ("z.overridden::int", pl.Boolean),
    "old_settled": (f"({settled('z')})::int", pl.Boolean),
    "old_reason": ("z.reason", pl.String),
    "old_computed_since": ("z.computed_since", pl.Date),
    "old_effective_since": ("z.effective_since", pl.Date),
    "evaluated": ("c.definition_id", pl.Int64),
}
_RANGE = "z.account_id between %(first)s and %(last)s and z.layer_id = %(layer)s"


def standing(layer, *, first, last, parts=(), since=False):
    """Segments in force on a layer (its id) for a range of accounts, and the fingerprint of how they were evaluated last.

    Columns: `id`, `old_effective`, `old_fingerprint`, those of `parts` (see Scope), with `since` also
    `old_effective_since`. Little, because every evaluation reads it for everybody.
    """
    return standings([layer], first=first, last=last, parts=parts, since=since)[layer]


def standings(layers, *, first, last, parts=(), since=False):
    """The `standing` of several layers (ids) at once: {layer: frame}. Rows of one account lie together."""
    columns = {"layer": ("z.layer_id", pl.Int64)} | _STANDING
    columns |= _parts("z", parts) | (_SINCE if since else {})
    where = "z.account_id between %(first)s and %(last)s and z.layer_id = any(%(layers)s)"
    parameters = {"first": first, "last": last, "layers": layers}
    frame = _select(columns, f"segmentation_assignment z where {where}", parameters)
    parts = frame.partition_by("layer", include_key=False, as_dict=True)
    return {layer: parts.get((layer,), frame.drop("layer").clear()) for layer in layers}


def states(layer, *, first, last, parts=(), since=False):
    """Segments in force on a layer (its id), and what its rules said last, for a range of accounts.

    Columns: `id`, those of `parts` (see Scope), `old_effective`, `old_computed`, `old_provisional`, `old_settled`,
    `old_overridden`, with `since` also `old_effective_since`. Most accounts share a state with many: their ids travel, and each state once.
    """
    columns = _STATES | (_SINCE if since else {})
    keys = {"id": ("z.account_id", pl.Int64)} | _parts("z", parts)
    columns |= {name: (f"array_agg({column})::text", pl.String) for name, (column, _) in keys.items()}
    places = ", ".join(str(place + 1) for place in range(len(columns) - len(keys)))
    parameters = {"first": first, "last": last, "layer": layer}
    frame = _select(columns, f"segmentation_assignment z where {_RANGE} group by {places}", parameters)
    lists = pl.col(list(keys)).str.strip_chars("{}").str.split(",").cast(pl.List(pl.Int64))
    return frame.with_columns(lists).explode(list(keys))


def digests(layers, *, first, last, which):
    """{layer (id): (assignments, one number for all their fingerprints, {account: what is in force})} of a range of accounts.

    It is about the accounts `which` says (as `facts` takes it). In force is told only where it is not what the rules say.
    The database adds up, and next to nothing travels: enough to see that nothing has changed.
    """
    parameters = {"first": first, "last": last, "layers": layers}
    with connection.cursor() as cursor:
        cursor.execute(
            f"select array(select a.id from accounts_account a where a.id between %s and %s and ({which}) is not true)",
            [first, last],
        )
        parameters["others"] = cursor.fetchone()[0]
        differs = "filter (where z.computed_id is distinct from z.effective_id)"
        cursor.execute(
            f"""select z.layer_id, count(*), bit_xor(z.fingerprint),
                       array_agg(z.account_id) {differs}, array_agg(z.effective_id) {differs}
                  from segmentation_assignment z
                 where z.account_id between %(first)s and %(last)s and z.layer_id = any(%(layers)s)
                   and z.account_id <> all(%(others)s::bigint[])
                 group by z.layer_id""",
            parameters,
        )
        return {
            layer: (count, digest, dict(zip(accounts or (), segments or (), strict=True)))
            for layer, count, digest, accounts, segments in cursor.fetchall()
        }


def assignments(layer, *, first, last, only=None, parts=()):
    """The assignments on a layer (its id) of a range of accounts, or of `only` these among them (ids)."""
    columns = ASSIGNMENTS | _parts("z", parts)
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


def before(layer, accounts, *, at, parts=()):
    """Segments in force on a layer before a date, by the moves: `id`, those of `parts`, `segment` (id), `since`.

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
    frame = _select(columns, tables, {"accounts": accounts, "layer": layer, "at": at})
    return frame.select("id", *parts, "segment", "since")


def last_moves(layer, accounts, *, unless=None):
    """The last move of accounts (ids) on a layer, and what it was decided by: `id`, `product`, `definition`, and as JSON
    texts `facts`, `cutoffs`, `left_out`. unless: leaves out those that were decided by this definition (its id).
    """
    columns = {
        "id": ("m.account_id", pl.Int64),
        "product": ("m.product_id", pl.Int64),
        "definition": ("m.definition_id", pl.Int64),
        "facts": ("(m.evidence -> 'facts')::text", pl.String),
        "cutoffs": ("(m.evidence -> 'cutoffs')::text", pl.String),
        "left_out": ("(m.evidence -> 'left_out')::text", pl.String),
    }
    tables = """(select distinct on (account_id, product_id) account_id, product_id, definition_id, evidence
                   from segmentation_move
                  where account_id = any(%(accounts)s) and layer_id = %(layer)s
                  order by account_id, product_id, id desc) m
                 where m.definition_id is distinct from %(unless)s"""
    return _select(columns, tables, {"accounts": accounts, "layer": layer, "unless": unless})


def declared(layer, *, at, first, last):
    """Segments people declared (and others confirmed) on a layer for a range: `id`, `declared` (segment's key)."""
    columns = {"id": ("d.account_id", pl.Int64), "declared": ("g.key", pl.String)}
    tables = """segmentation_declaration d join segmentation_segment g on g.id = d.segment_id
         where d.account_id between %(first)s and %(last)s and d.layer_id = %(layer)s and d.from_date <= %(at)s
           and (d.until_date is null or d.until_date > %(at)s)
           and (d.status = 'confirmed' or d.until_date is not null)"""
    return _select(columns, tables, {"first": first, "last": last, "layer": layer, "at": at})


def scores(layer, *, first, last, dimensions, definition):
    """The stored evaluation of a layer for a range of accounts: `id`, `label`, `composite`, `score.<dimension>`.

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
