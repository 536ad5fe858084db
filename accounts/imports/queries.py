"""The recipe's SQL: parsed and checked with sqlglot, then run by Polars over the typed columns.

One SELECT from declared sources and its own CTEs; nothing that opens a file or makes rows out of nothing. `/` is
decimal division (by zero gives NULL), AVG is exact, `:as_of` is the import's date.
"""

import difflib
import re

import polars as pl
import polars.selectors as cs
import sqlglot
from sqlglot import exp

from accounts import sql_text
from accounts.sql_text import DIALECT, where

from . import places, sizes
from .errors import ImportFault

LONGEST, DEEPEST = 50_000, 200  # characters of a query, levels of its tree
GUESSES = (pl.String, pl.Int64, pl.Date)  # of a column without any value
REFUSED = (
    exp.Into, exp.Lock, exp.Lateral, exp.Unnest, exp.Explode, exp.GenerateSeries, exp.Values, exp.TableSample,
    exp.Pivot, exp.Parameter, exp.Command, exp.ReadCSV,
)  # fmt: skip
# Functions that make a date of a text, with or without a guess: sqlglot's names, and those it does not know.
GUESSED_DATES = (
    exp.Date, exp.Datetime, exp.ParseDatetime, exp.StrToDate, exp.StrToTime, exp.Time, exp.Timestamp,
    exp.TsOrDsToDate,
)  # fmt: skip
NAMED_DATES = r"(?i)(strptime|try_strptime|date_parse|parse_date)$"
# Functions that say something else each time: the same import twice would change something.
UNSTEADY = (
    exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp, exp.CurrentDatetime, exp.Localtime, exp.Localtimestamp,
    exp.Rand, exp.Uuid,
)  # fmt: skip
TURN = " turn"  # no header begins with a blank
MOST_NAMES = 40  # columns listed where one is not found
LONGEST_PADDING = 1_000  # characters that LPAD and RPAD may make of one
_DECIMAL = exp.DataType.build("DECIMAL(38, 12)", dialect=DIALECT)


def prepare(name, sql, frames, as_of):
    """The query as it may be run, in SQL for Polars. ImportFault says what is refused, and where."""
    tree = parse(name, sql, frames)
    _check_depth(name, tree)
    _check_nodes(name, tree)
    _check_names(name, tree)
    _check_tables(name, tree, frames)
    sizes.check(name, tree, {source: len(frame) for source, frame in frames.items()})
    dates = _date_columns(frames)
    _rewrite(name, tree, as_of)
    _check_dates(name, tree, dates)
    return tree.sql(DIALECT, identify=True)  # quoted: a column may be called End


def _steady(rows, sql):
    """The rows in the same order each time: of two with one key the first counts, in the preview as in the import.

    A file's rows come in its own order, and ORDER BY is taken at its word; joins and groups come as the threads end.
    """
    tree = sqlglot.parse_one(sql, dialect=DIALECT)
    shuffled = tree.find(exp.Join, exp.Group, exp.Distinct, exp.SetOperation)
    return rows.sort(pl.all()) if shuffled and not tree.args.get("order") else rows


def run(name, sql, frames, notes):
    """The result of a prepared query. notes: {column: why it is text}, told where a query fails on its types."""
    with_places = places.carried(sql, frames)
    if with_places:
        try:
            return _tried(with_places, frames)
        except pl.exceptions.PolarsError:
            pass  # what is wrong is told of the query as it was written
    frames = {source: places.without(frame) for source, frame in frames.items()}
    empty = {column for frame in frames.values() for column, kind in frame.schema.items() if kind == pl.Null}
    try:
        return _tried(sql, frames)
    except pl.exceptions.PolarsError as error:
        fault = error
    complaint = re.sub(r"\s+", " ", str(fault).split("\n")[0])
    if unknown := _unknown(sql, complaint, frames):
        raise ImportFault(f"The {name} query: {unknown}") from fault
    hints = [note for column, note in notes.items() if _mentions(sql, column)]
    hints += [
        f"{column} is empty: declare its type under columns"
        for column in sorted(empty)
        if _mentions(sql, column)
    ]
    if "join keys don't match" in complaint:
        hints.append("an ID that is a number in one file and text in the other is declared as text in both")
    raise ImportFault(
        f"The {name} query fails: {complaint}" + "".join(f" - {hint}." for hint in hints)
    ) from fault


def _tried(sql, frames):
    """The result; Polars' first complaint where there is none."""
    empty = any(kind == pl.Null for frame in frames.values() for kind in frame.dtypes)
    faults = []
    # A column without any value has no type; what the query does with it shows which one is meant.
    for kind in [pl.Null, *(GUESSES if empty else ())]:
        lazy = {
            source: frame.lazy().with_columns(cs.by_dtype(pl.Null).cast(kind))
            for source, frame in frames.items()
        }
        try:
            return _steady(pl.SQLContext(lazy).execute(sql, eager=False).collect(), sql)
        except pl.exceptions.PolarsError as fault:
            faults.append(fault)
        except pl.exceptions.PanicException as fault:
            faults.append(pl.exceptions.ComputeError(str(fault)))
    raise faults[0]


def _unknown(sql, complaint, frames):
    """The sentence about a column, or a table's name, that is not there; None where Polars complains of something else."""
    if match := re.match(r'unable to find column "(.+?)"; valid columns: \[(.*)\]', complaint):
        what, word, there = "column", match[1], re.findall(r'"(.*?)"', match[2])
    elif match := re.match(r"no column named '(.+?)' found in table '(.+?)'", complaint):
        what, word, there = f"column in {match[2]}", match[1], _columns_of(sql, match[2], frames)
    elif match := re.match(r"""no table or struct column named '"?(.+?)"?' found""", complaint):
        tables = sqlglot.parse_one(sql, dialect=DIALECT).find_all(exp.Table)
        what, word, there = "source or alias", match[1], [table.alias_or_name for table in tables]
    else:
        return None
    there = [each for each in dict.fromkeys(there) if each != places.PLACE]
    near = next((f'; did you mean "{each}"?' for each in _nearest(word, there)), ".")
    more = ", ..." if len(there) > MOST_NAMES else ""
    listed = f" There are: {', '.join(there[:MOST_NAMES])}{more}." if there else ""
    return f'there is no {what} "{word}"{near}{listed}'


def _columns_of(sql, alias, frames):
    """The columns of the source or CTE that the query calls by this name."""
    tree = sqlglot.parse_one(sql, dialect=DIALECT)
    names = {table.alias_or_name: table.name for table in tree.find_all(exp.Table)}
    given = {cte.alias_or_name: cte.this.named_selects for cte in tree.find_all(exp.CTE)}
    source = names.get(alias, alias)
    return frames[source].columns if source in frames else given.get(source, [])


def _mentions(sql, column):
    return re.search(rf"\b{re.escape(column)}\b", sql)


def _nearest(word, words):
    """[the word most like it, whatever the case], or []."""
    lower = {each.lower(): each for each in words}
    return [lower[near] for near in difflib.get_close_matches(word.lower(), lower, n=1)]


def parse(name, sql, frames):
    """The tree of a query. ImportFault where it is none; the columns of the frames are for the hint."""
    if len(sql) > LONGEST:
        raise ImportFault(f"The {name} query is longer than {LONGEST:,} characters.")
    try:
        trees = [tree for tree in sql_text.parse(sql_text.tokens(sql), sql) if tree is not None]
    except sql_text.TooMuch as error:
        raise ImportFault(
            f"The {name} query {error.reason} (line {error.line}, column {error.column})."
        ) from None
    except sqlglot.errors.ParseError as error:
        at = error.errors[0] if error.errors else {}
        place = f", line {at['line']}, column {at['col']}, at {at['highlight']!r}" if at.get("line") else ""
        complaint = at.get("description") or str(error)
        raise ImportFault(
            f"The {name} query is not readable SQL{place}: {complaint}{_unquoted(sql, frames, at.get('highlight', ''))}"
        ) from error
    except sqlglot.errors.SqlglotError as error:
        raise ImportFault(f"The {name} query is not readable SQL: {error}") from error
    if len(trees) == 1 and isinstance(trees[0], exp.SetOperation):
        return _selected(name, trees[0])
    if len(trees) != 1 or not isinstance(trees[0], exp.Select):
        raise ImportFault(f"The {name} query must be one SELECT.")
    distinct = trees[0].args.get("distinct")
    return _first_of_each(name, trees[0]) if distinct and distinct.args.get("on") else trees[0]


def _selected(name, union):
    """A UNION as one SELECT from it; its columns are those of its first part."""
    columns = union.named_selects
    if not all(re.fullmatch(r"[^*\d].*", column) for column in columns):
        raise ImportFault(
            f"The {name} query must be one SELECT, or the first SELECT of its UNION names each column: SELECT id AS external_id, .."
        )
    return _around(union, columns)


def _around(query, columns):
    """SELECT these columns FROM the query, whose common tables come first."""
    ctes = query.args.pop("with_", None)
    select = exp.select(*(exp.column(column, quoted=True) for column in columns)).from_(
        query.subquery("every")
    )
    select.set("with_", ctes)
    return select


def _first_of_each(name, select):
    """DISTINCT ON (id) .. ORDER BY day DESC as rows counted in that order, of which the first is taken: Polars takes any."""
    columns, order = select.named_selects, select.args.pop("order", None)
    if select.args.get("limit") or not all(re.fullmatch(r"[^*\d].*", column) for column in columns):
        raise ImportFault(
            f"The {name} query: DISTINCT ON needs the name of each column and no LIMIT. Or count the rows: "
            "ROW_NUMBER() OVER (PARTITION BY id ORDER BY day DESC) AS n in a WITH table, of which n = 1 is taken."
        )
    given = {each.alias: each.this for each in select.selects if isinstance(each, exp.Alias)}
    on = select.args["distinct"].args["on"].expressions
    select.set("distinct", None)
    turn = exp.Window(this=exp.RowNumber(), partition_by=[each.copy() for each in on], order=order or exp.Order(
        expressions=[exp.Ordered(this=each.copy()) for each in on]
    ))  # fmt: skip
    for column in list(turn.find_all(exp.Column)):
        if not column.table and column.name in given:  # the name of what is selected
            column.replace(given[column.name].copy())
    select.select(exp.alias_(turn, TURN, quoted=True), copy=False)
    first = exp.EQ(this=exp.column(TURN, quoted=True), expression=exp.Literal.number(1))
    return _around(select, columns).where(first, copy=False)


def _unquoted(sql, frames, word):
    """A hint at a source or a column that SQL can only say in quotes and the query says without."""
    for source, frame in frames.items():
        if word and word in (source, *frame.columns):  # such as on, a word of SQL's own
            return f' - a name that SQL uses itself is written in double quotes: "{word}".'
        for column in frame.columns:
            if not re.fullmatch(r"\w+", column) and re.search(rf'(?<!"){re.escape(column)}(?!")', sql):
                return f' - a column with such a name is written in double quotes: "{column}".'
    return ""


def adds_up(tree):
    """Whether a query makes one row of several."""
    return any(select.args.get("group") or sizes.is_one_row(select) for select in tree.find_all(exp.Select))


def _check_depth(name, tree):
    level, nodes = 0, [tree]
    while nodes:
        level += 1
        if level > DEEPEST:
            raise ImportFault(f"The {name} query is nested too deeply.")
        nodes = [child for node in nodes for child in node.iter_expressions()]


def _check_nodes(name, tree):
    for node in tree.walk():
        refused = isinstance(node, REFUSED) or (
            isinstance(node, exp.Anonymous) and re.match(r"(?i)(read_|scan_|range$|pg_)", node.name)
        )
        if isinstance(node, exp.Pad):
            length = node.expression
            refused = not (length.is_int and int(length.name) <= LONGEST_PADDING)
        if refused:
            raise ImportFault(f"The {name} query may not use {node.sql(DIALECT)[:60]}{where(node)}.")
        if isinstance(node, UNSTEADY):
            raise ImportFault(
                f"The {name} query may not use {node.sql(DIALECT)}{where(node)}: the same import would change from "
                "day to day. :as_of is the import's date."
            )
        # Each is written out as SUM / COUNT of the same, so that it would double at every level.
        if isinstance(node, exp.Avg) and node.this.find(exp.Avg):
            raise ImportFault(f"The {name} query has an AVG within an AVG{where(node)}.")
        if isinstance(node, exp.With) and node.args.get("recursive"):
            raise ImportFault(f"The {name} query may not be recursive.")
        if isinstance(node, exp.Placeholder) and node.name != "as_of":
            raise ImportFault(f"The {name} query: unknown placeholder :{node.name}; there is :as_of.")


def _check_names(name, tree):
    names = tree.named_selects
    for column in names:
        if column != "*" and names.count(column) > 1:
            raise ImportFault(f"The {name} query gives the column {column!r} twice.")


def _check_tables(name, tree, frames):
    """FROM and JOIN name declared sources and CTEs, nothing else: no table function, no path, no schema."""
    readable = {*frames, *(cte.alias_or_name for cte in tree.find_all(exp.CTE))}
    for cte in tree.find_all(exp.CTE):
        if cte.alias_or_name in frames:
            raise ImportFault(f"The {name} query: {cte.alias_or_name} is already the name of a source.")
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or table.args.get("db") or table.args.get("catalog"):
            raise ImportFault(
                f"The {name} query may not read from {table.sql(DIALECT)[:60]}{where(table)}, only from its sources."
            )
        if table.name not in readable:
            near = _nearest(table.name, readable)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(readable))}"
            raise ImportFault(f"The {name} query: no source {table.name!r}{where(table)}; {hint}")


def _rewrite(name, tree, as_of):
    """Put in the date, and make division exact; the deepest first, so that what is replaced is done already."""
    for node in reversed(list(tree.find_all(exp.Placeholder, exp.Div, exp.Avg))):
        if isinstance(node, exp.Placeholder):
            node.replace(_date(as_of.isoformat()))
        elif isinstance(node, exp.Div):
            node.replace(_exact(_paren(node.this), node.expression))
        elif isinstance(node.parent, (exp.Filter, exp.Window)) or isinstance(node.this, exp.Distinct):
            raise ImportFault(
                f"The {name} query: write SUM(..) / COUNT(..) instead of this AVG{where(node)}."
            )
        else:
            node.replace(_exact(exp.Sum(this=node.this.copy()), exp.Count(this=node.this.copy())))


def _exact(dividend, divisor):
    """Decimal division, NULL by zero: Polars would divide whole numbers as floats."""
    return exp.Paren(
        this=exp.Div(this=exp.Cast(this=dividend, to=_DECIMAL.copy()), expression=_not_zero(divisor))
    )


def _paren(node):
    return (
        node.copy() if isinstance(node, (exp.Column, exp.Literal, exp.Func)) else exp.Paren(this=node.copy())
    )


def _not_zero(node):
    return exp.Nullif(this=node.copy(), expression=exp.Literal.number(0))


def _date(text):
    return exp.Cast(this=exp.Literal.string(text), to=exp.DataType.build("DATE"))


def _date_columns(frames):
    """Names that are a date or a time in every source that has them."""
    kinds = {}
    for frame in frames.values():
        for column, kind in frame.schema.items():
            kinds.setdefault(column, set()).add(kind.is_temporal() or kind == pl.Null)
    return {column for column, temporal in kinds.items() if temporal == {True}}


def _check_dates(name, tree, dates):
    """Text must not become a date by a guess, and days between dates must not be compared as microseconds."""
    for node in tree.walk():
        if isinstance(node, (exp.Cast, exp.TryCast)) and node.to.is_type(*exp.DataType.TEMPORAL_TYPES):
            _check_cast(name, node, dates)
        elif isinstance(node, GUESSED_DATES) or (
            isinstance(node, exp.Anonymous) and re.match(NAMED_DATES, node.name)
        ):
            raise _text_to_date(name, node)
        elif isinstance(node, exp.Sub) and _is_date(node.this, dates) and _is_date(node.expression, dates):
            around = node.find_ancestor(exp.Predicate, exp.Binary, exp.Select)
            if around is not None and not isinstance(around, exp.Select):
                raise ImportFault(
                    f"The {name} query: compare dates with dates (a <= b + INTERVAL '30 days'), not the difference "
                    f"{node.sql(DIALECT)[:60]} with a number{where(node)}."
                )


def _check_cast(name, node, dates):
    value = node.this.unnest()
    if isinstance(value, exp.Literal) and value.is_string:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value.name):
            return
    elif _is_date(value, dates):
        return
    raise _text_to_date(name, node)


def _text_to_date(name, node):
    return ImportFault(
        f"The {name} query may not turn text into a date with {node.sql(DIALECT)[:60]}{where(node)}: 01/02/2024 would "
        "be guessed. Declare the notation at the source (dates: DD/MM/YYYY); its columns are dates then."
    )


def _is_date(node, dates):
    node = node.unnest()
    if isinstance(node, exp.Column):
        return node.name in dates
    if isinstance(node, (exp.Cast, exp.TryCast)):
        return node.to.is_type(*exp.DataType.TEMPORAL_TYPES)
    if isinstance(node, (exp.Max, exp.Min, exp.Coalesce, exp.Greatest, exp.Least)):
        return _is_date(node.this, dates)
    if isinstance(node, (exp.Add, exp.Sub)):
        return _is_date(node.this, dates) and isinstance(node.expression, exp.Interval)
    return isinstance(node, (exp.TimestampTrunc, exp.DateTrunc, exp.CurrentDate))
