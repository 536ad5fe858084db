"""How large a recipe's query may become, counted before it is run: joins, reads of its sources, rows of joins without ON.

A refusal names the place. A size that cannot be foreseen ends at the limit of memory or time, see `confinement`.
"""

from dataclasses import dataclass

from sqlglot import exp

from accounts.sql_text import where

from .errors import ImportFault

MOST_PARTS = 40  # joins, common tables or unions of one query
MOST_READS = 100  # of sources, where each common table is written out: Polars plans them so
MOST_ROWS = 10_000_000  # of a join without a condition
_PARTS = {"joins": exp.Join, "WITH tables": exp.CTE, "unions": exp.SetOperation}
_LINKS = (exp.EQ, exp.NullSafeEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)


@dataclass(frozen=True)
class _Size:
    """The rows something has at most, unless a join multiplies them, and how often it reads a source."""

    rows: int
    reads: int


def check(name, tree, rows):
    """ImportFault where the query is too large. rows: {source: how many it has}."""
    for what, kind in _PARTS.items():
        count = sum(1 for _ in tree.find_all(kind))
        if count > MOST_PARTS:
            raise ImportFault(f"The {name} query has {count} {what}; at most {MOST_PARTS} are taken.")
    _Counter(name).query(tree, {source: _Size(count, 1) for source, count in rows.items()})


class _Counter:
    def __init__(self, name):
        self.name = name

    def query(self, node, sizes):
        """The size of a SELECT, a union or either in parentheses. known: {name: size} of sources and common tables."""
        sizes = dict(sizes)
        for cte in node.ctes:
            sizes[cte.alias_or_name] = self.query(cte.this, sizes)
        if isinstance(node, exp.Subquery):
            size = self.source(node.this, sizes)
        elif isinstance(node, exp.SetOperation):
            left, right = self.query(node.this, sizes), self.query(node.expression, sizes)
            rows = left.rows + right.rows if isinstance(node, exp.Union) else left.rows
            size = _Size(rows, left.reads + right.reads)
        else:
            size = self.select(node, sizes)
        self.check_reads(size)
        return _Size(_limited(node, size.rows), size.reads)

    def select(self, node, sizes):
        start = node.args.get("from_")
        size = self.source(start.this, sizes) if start else _Size(1, 0)
        size = self.joined(size, node.args.get("joins"), node, sizes)
        inner = [self.query(query, sizes) for query in _inner_queries(node)]
        rows = 1 if is_one_row(node) else size.rows
        return _Size(rows, size.reads + sum(part.reads for part in inner))

    def source(self, node, sizes):
        """The size of what stands in FROM or JOIN, with the joins in its parentheses."""
        is_table = isinstance(node, exp.Table)
        size = sizes.get(node.name, _Size(1, 1)) if is_table else self.query(node, sizes)
        return self.joined(size, node.args.get("joins"), node, sizes)

    def joined(self, size, joins, within, sizes):
        for join in joins or ():
            other = self.source(join.this, sizes)
            rows = max(size.rows, other.rows)
            if not _is_linked(join, within):
                rows = size.rows * other.rows
                if rows > MOST_ROWS:
                    raise ImportFault(
                        f"The {self.name} query joins {join.this.alias_or_name!r} without a condition: "
                        f"{size.rows:,} x {other.rows:,} rows are {rows:,}, and at most {MOST_ROWS:,} are taken. "
                        f"Say which rows belong together: JOIN .. ON a.id = b.id{where(join)}."
                    )
            size = _Size(rows, size.reads + other.reads)
        return size

    def check_reads(self, size):
        if size.reads > MOST_READS:
            raise ImportFault(
                f"The {self.name} query reads its sources {size.reads:,} times, each WITH table written out where it is "
                f"used; at most {MOST_READS} times are taken."
            )


def _inner_queries(node):
    """The queries within a SELECT's expressions, not those in its FROM, JOIN and WITH."""
    begun = [
        value
        for name, values in node.args.items()
        if name not in ("from_", "joins", "with_")
        for value in (values if isinstance(values, list) else [values])
        if isinstance(value, exp.Expression)
    ]
    begun += [join.args["on"] for join in node.args.get("joins") or () if join.args.get("on")]
    for expression in begun:
        for below in expression.walk(prune=lambda part: isinstance(part, exp.Query)):
            if isinstance(below, exp.Query):
                yield below


def is_one_row(select):
    """Whether it adds everything up: SELECT MAX(day) FROM .., without GROUP BY."""
    if select.args.get("group"):
        return False
    return any(
        isinstance(below, exp.AggFunc) and not below.find_ancestor(exp.Window)
        for column in select.expressions
        for below in column.walk(prune=lambda part: isinstance(part, exp.Query))
    )


def _limited(node, rows):
    limit = node.args.get("limit")
    if limit is not None and limit.expression is not None and limit.expression.is_int:
        return min(rows, int(limit.expression.name))
    return rows


def _is_linked(join, within):
    """Whether a condition says which rows belong together: it compares a column of one side with one of the other."""
    if join.args.get("using") or join.args.get("method") == "NATURAL":
        return True
    conditions = [join.args.get("on")]
    if isinstance(within, exp.Select) and (wanted := within.args.get("where")):
        conditions.append(wanted.this)
    new = {join.this.alias_or_name} if join.this.alias_or_name else _names(join.this)
    return any(_links(part, new) for each in conditions if each is not None for part in _all_of(each))


def _names(node):
    return {table.alias_or_name for table in node.find_all(exp.Table)}


def _all_of(condition):
    """The parts that all have to hold; none of those of an OR has to."""
    condition = condition.unnest()
    return [part.unnest() for part in condition.flatten()] if isinstance(condition, exp.And) else [condition]


def _links(part, new):
    """A column without a table's name may be of either side."""
    if not isinstance(part, _LINKS):
        return False
    tables = [column.table for column in part.find_all(exp.Column)]
    return len(tables) > 1 and ("" in tables or (len(set(tables)) > 1 and bool(new & set(tables))))
