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

SCORED = (
    "a.kind = 'customer' and not a.excluded and a.status in ('active', 'paused')"  # Account.objects.scored()
)

_JOINS = {
    "u": "left join accounts_usage u on u.account_id = a.id and u.product_id is null{within}",
    "s": "left join ({summary}) s on s.account_id = a.id",
    "g": "left join ({events}) g on g.account_id = a.id",
    "m": "left join accounts_csm m on m.id = a.csm_id",
    # offset 0: parents are anywhere, and looked up one by one even where nested loops are off
    "p": "left join lateral (select q.external_id from accounts_account q where q.id = a.parent_id offset 0) p on true",
}
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


def facts(names, *, at, first, last, scored=True):
    """The facts `names` of the accounts with ids from `first` to `last` at the clock `at` (a date), by id.

    Columns: `id`, each fact in its catalogue type, and `foreign` (a currency, or null) where money is among them.
    `scored=False` reads the accounts the rules are not applied to as well.
    """
    names = list(names)
    columns = ["a.id"] + [_column(name) for name in names]
    schema = {"id": pl.Int64} | {name: catalogue.dtype(name) for name in names}
    joins = _joins(names)
    if catalogue.MONEY_FACTS & set(names):
        columns.append(_FOREIGN)
        joins += _FOREIGN_SUBSCRIPTIONS
        schema["foreign"] = pl.String
    where = f"a.id between %(first)s and %(last)s{f' and {SCORED}' if scored else ''}"
    query = f"select {', '.join(columns)} from accounts_account a {joins} where {where} order by a.id"
    with _no_nested_loops():
        return read(query, schema, _parameters(at) | {"first": first, "last": last})


@contextmanager
def _no_nested_loops():
    """Ranges are joined whole. Right after an import PostgreSQL takes each for one row, and would walk them n x n times.

    For the transaction of a run or of an explanation; without one it has no effect.
    """
    with connection.cursor() as cursor:
        cursor.execute("set local enable_nestloop = off; set local jit = off")
        yield
        cursor.execute("set local enable_nestloop to default; set local jit to default")


def known(names, *, at):
    """True when any scored account has any of these facts at the clock."""
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


def _is_known(name):
    expression = catalogue.sql(name)
    if catalogue.TYPES[name] == "text":  # blank text is not known, as in the engine
        return f"btrim({expression}) <> ''"
    return f"{expression} is not null"


def _column(name):
    return f"({catalogue.sql(name)}){'::int' if catalogue.TYPES[name] == 'boolean' else ''}"


def _aliases(name):
    return set(re.findall(r"\b([agmpsu])\.", catalogue.sql(name)))


def _joins(names, *, correlated=False):
    """Only the joins these facts need; `correlated` lets an EXISTS stop at the first account."""
    needed = set().union(*(_aliases(name) for name in names)) if names else set()
    summary, events = catalogue.SUBSCRIPTION_SUMMARY, catalogue.SIGNAL_SUMMARY
    joins, within = dict(_JOINS), ""
    if correlated:
        joins["s"] = "left join lateral ({summary}) s on true"
        joins["g"] = "left join lateral ({events}) g on true"
        summary += " where b.account_id = a.id group by b.account_id"
        events += " and e.account_id = a.id group by e.account_id"
    else:
        summary += " where b.account_id between %(first)s and %(last)s group by b.account_id"
        events += _WITHIN.format(column="e.account_id") + " group by e.account_id"
        within = _WITHIN.format(column="u.account_id")
    texts = [text for alias, text in joins.items() if alias in needed]
    return " ".join(text.format(summary=summary, events=events, within=within) for text in texts)


def _parameters(at):
    return {"at": at, "currency": settings.ORGANISATION_CURRENCY}


ASSIGNMENTS = {
    "id": ("z.account_id", pl.Int64),
    "layer": ("z.layer_id", pl.Int64),
    "assignment": ("z.id", pl.Int64),
    "old_computed": ("z.computed_id", pl.Int64),
    "old_effective": ("z.effective_id", pl.Int64),
    "old_definition": ("z.definition_id", pl.Int64),
    "old_provisional": ("z.provisional::int", pl.Int8),
    "old_until": ("z.provisional_until", pl.Date),
    "old_reason": ("z.reason", pl.String),
    "old_computed_since": ("z.computed_since", pl.Date),
    "old_effective_since": ("z.effective_since", pl.Date),
    "evaluated": ("c.definition_id", pl.Int64),
    "old_composite": ("c.composite", pl.Decimal(38, 12)),
    "old_points": ("c.points", pl.String),
    "old_rule": ("c.rule", pl.Int16),
    "old_distance": ("c.distance", pl.Decimal(38, 12)),
    "old_thin": ("c.thin::int", pl.Int8),
}


def assignments(layers, *, first, last):
    """The assignments on these layers (ids) of a range of accounts, with their scores; arrays as PostgreSQL prints them."""
    schema = {name: dtype for name, (_, dtype) in ASSIGNMENTS.items()}
    with _no_nested_loops():
        frames = [_assignments(layer, first, last, schema) for layer in layers]
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def _assignments(layer, first, last, schema):
    where = "z.account_id between %(first)s and %(last)s and z.layer_id = %(layer)s"
    parameters = {"first": first, "last": last, "layer": layer}
    with connection.cursor() as cursor:
        # Scores know no account: their range is that of the assignments. (+ 0: else PostgreSQL looks for the ends
        # along the primary key, past all other accounts.)
        cursor.execute(
            f"select min(z.id + 0), max(z.id + 0) from segmentation_assignment z where {where}", parameters
        )
        parameters["low"], parameters["high"] = cursor.fetchone()
    if parameters["low"] is None:
        return pl.DataFrame(schema=schema)
    columns = ", ".join(expression for expression, _ in ASSIGNMENTS.values())
    query = f"""
        select {columns} from segmentation_assignment z
          left join segmentation_assignmentscore c
            on c.assignment_id = z.id and c.assignment_id between %(low)s and %(high)s
         where {where}
    """
    return read(query, schema, parameters)


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
