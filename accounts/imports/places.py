"""The line of a file from which a row of a query comes: a column that nobody asked for travels with the others.

It is of the source that stands after FROM, and of each joined one for the columns that are taken from there. Where rows
are added up it is the first line. Where it could change what a query says, the query goes without.
"""

import polars as pl
import sqlglot
from sqlglot import exp

from accounts.sql_text import DIALECT

from . import sizes

PLACE = " place"  # no header begins with a blank
_BITS = 40  # of a line's number; the source's comes above


class _Untold(Exception):
    """The column cannot travel through this query."""


def added(frame, source_number, lines):
    """The frame with the column: the source's position in the recipe, and the line."""
    return frame.with_columns((lines + (source_number << _BITS)).alias(PLACE))


def without(frame):
    return frame.drop(PLACE, strict=False)


def told(place):
    """(position of the source in the recipe, line) of a value of the column."""
    return (place >> _BITS, place & ((1 << _BITS) - 1)) if place is not None else (None, None)


def hidden(frame):
    """The columns of a result that are places, not asked for."""
    return [name for name in frame.columns if name.startswith(" ")]


def carried(sql, frames):
    """The query with the column, which comes last in its result; None where that is not possible."""
    if not all(PLACE in frame.columns for frame in frames.values()):
        return None
    tree = sqlglot.parse_one(sql, dialect=DIALECT)
    try:
        _check(tree)
        if not _add(tree, dict.fromkeys(frames, True), outermost=True):
            return None
    except _Untold:
        return None
    return tree.sql(DIALECT, identify=True)


def _check(tree):
    """A star takes the column along to where rows are compared whole."""
    selects = list(tree.find_all(exp.Select))
    merged = any(select.args.get("distinct") for select in selects) or any(
        map(_is_merging, tree.find_all(exp.SetOperation))
    )
    stars = [select for select in selects if select.is_star]
    if stars and (merged or any(star.find_ancestor(exp.In) for star in stars)):
        raise _Untold
    if any(join.args.get("method") == "NATURAL" for join in tree.find_all(exp.Join)):
        raise _Untold


def _is_merging(node):
    return not isinstance(node, exp.Union) or bool(node.args.get("distinct"))


def _add(node, known, *, outermost=False):
    """Whether the rows of a query have the column now. known: {relation: whether it has the column}."""
    known = dict(known)
    for cte in node.ctes:
        known[cte.alias_or_name] = _add(cte.this, known)
    if isinstance(node, exp.Subquery):
        return _add(node.this, known)
    if isinstance(node, exp.SetOperation):
        if _is_merging(node):
            return False
        sides = [_add(side, known) for side in (node.this, node.expression)]
        if sides[0] != sides[1]:
            raise _Untold
        return sides[0]
    return _add_to_select(node, known, outermost)


def _add_to_select(select, known, outermost):
    first = select.args.get("from_")
    joined = [join.this for join in select.args.get("joins") or ()]
    if not first:
        return False
    has = {each.alias_or_name: _has(each, known) for each in (first.this, *joined)}
    name = first.this.alias_or_name
    if not name or not has[name] or (select.args.get("distinct") and not _group(select)):
        return False
    if select.is_star:
        tables = {each.table for each in select.expressions if isinstance(each, exp.Column) and each.is_star}
        return tables <= {"", name}
    gathered = select.args.get("group") or sizes.is_one_row(select)
    others = [each for each in has if outermost and each and each != name and has[each]]
    for relation in (*others, name):
        column = exp.column(PLACE, table=relation, quoted=True)
        column = exp.Min(this=column) if gathered else column
        alias = PLACE if relation == name else f"{PLACE} {relation}"
        select.select(exp.alias_(column, alias, quoted=True), copy=False)
    return True


def _group(select):
    """Say DISTINCT as GROUP BY, where that is the same."""
    if select.args["distinct"].args.get("on") or select.args.get("group") or select.is_star:
        return False
    if any(column.find(exp.AggFunc, exp.Window) for column in select.expressions):
        return False
    select.set("distinct", None)
    select.group_by(
        *(exp.Literal.number(number + 1) for number in range(len(select.expressions))), copy=False
    )
    return True


def _has(relation, known):
    if isinstance(relation, exp.Table):
        return known.get(relation.name, False)
    return (
        isinstance(relation, exp.Subquery) and not relation.args.get("joins") and _add(relation.this, known)
    )


def relations(tree):
    """{column of the result: the relation its value is taken from, where the query says it}."""
    return {
        each.alias_or_name: column.table
        for each in tree.selects
        if (column := each.find(exp.Column)) is not None and column.table
    }


def of_column(frame, name, relations):
    """The places of a column's values in a result."""
    if PLACE not in frame.columns:
        return pl.Series([None] * len(frame), dtype=pl.Int64)
    of_its_own = f"{PLACE} {relations.get(name)}"
    return frame[of_its_own if of_its_own in frame.columns else PLACE]
