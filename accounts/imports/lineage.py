"""Where the columns of a recipe's queries come from, in its files: which of those are text and IDs, whatever they look like.

A column of digits is read as numbers only where a query computes with it. IDs and other text stay as the file writes them:
10.1 and 10.10 are two accounts, 007 is not 7, and TRUE is not true.
"""

from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from . import facts, queries
from .errors import ImportFault

# Operations that leave a value as it is: the column below is still the text, or the number, it was.
_PASSING = (exp.Paren, exp.Coalesce, exp.Max, exp.Min, exp.Greatest, exp.Least, exp.Nullif, exp.Filter)
_COMPUTING = (
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.Pow, exp.Sum, exp.Avg, exp.Round, exp.Abs, exp.Floor,
    exp.Ceil, exp.Sign, exp.Sqrt, exp.Stddev, exp.Variance, exp.Median, exp.Extract, exp.DateTrunc, exp.TimestampTrunc,
    exp.Ordered, exp.And, exp.Or, exp.Not, exp.Where, exp.Having, exp.Join,
)  # fmt: skip
_COMPARING = (exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In)


@dataclass
class Lineage:
    """The uses that queries make of the columns of files, each named (source, column).

    texts: read as text; ids: those of them that tell one record from another; mixed: text, and computed with as well.
    outputs: {(query, its column): the one column of a file that it is}.
    """

    texts: set = field(default_factory=set)
    ids: set = field(default_factory=set)
    mixed: set = field(default_factory=set)
    outputs: dict = field(default_factory=dict)


def trace(recipe, headers):
    """The Lineage of a recipe over files with these columns: {source: names}. A query that cannot be read says nothing."""
    known = _Known(headers)
    for source in recipe.sources.values():
        for name, column in source.columns.items():
            if column.type:
                (known.texts if column.type == "text" else known.computed).add((source.name, name))
    for query, sql in [*recipe.queries.items(), *((None, sql) for sql in recipe.warnings.values())]:
        try:
            scopes = traverse_scope(queries.parse(query, sql, {}))
        except (ImportFault, SqlglotError, RecursionError):
            continue
        known.read(facts.QUERIES.get(query), scopes)
    return known.lineage()


class _Known:
    """All that has been read so far: columns used as text, as IDs or as numbers, and those that are compared with each other."""

    def __init__(self, headers):
        self.headers = {source: set(names) for source, names in headers.items()}
        self.texts, self.ids, self.computed, self.outputs, self.same = set(), set(), set(), {}, {}
        self.found = {}

    def read(self, query, scopes):
        for scope in scopes:
            for column in scope.find_all(exp.Column):
                origins = self.origins(scope, column)
                if origins and _is_computed(column):
                    self.computed |= origins
            for comparison in scope.find_all(*_COMPARING):
                self.join(self.compared(scope, comparison))
            for join in scope.find_all(exp.Join):
                for name in join.args.get("using") or ():
                    self.join(self.origins(scope, exp.column(name.name)))
        if query and scopes:
            self.read_outputs(query, scopes[-1])

    def read_outputs(self, query, scope):
        for name in query.fields:
            origins = self.outputs_of(scope, name)
            if len(origins) == 1:
                self.outputs[query.name, name] = next(iter(origins))
            if query.fields[name].type != "text":
                self.computed |= origins
            else:
                self.texts |= origins
                if name in facts.IDS:
                    self.ids |= origins
                self.join(origins)

    def compared(self, scope, comparison):
        sides = [comparison.this, *comparison.args.get("expressions", ())]
        sides += [comparison.args.get(name) for name in ("expression", "low", "high", "query")]
        return {origin for side in sides if side is not None for origin in self.made_of(scope, side)}

    def made_of(self, scope, node):
        """The columns of files whose values an expression passes on, if only as a part of a text."""
        if isinstance(node, exp.Column):
            return self.origins(scope, node)
        if isinstance(node, exp.Query):
            below = [each for each in scope.subquery_scopes if each.expression is node.unnest()]
            return {
                origin
                for each in below
                for part in each.expression.selects[:1]
                for origin in self.made_of(each, part)
            }
        if isinstance(node, exp.Case):
            parts = [each.args["true"] for each in node.args["ifs"]] + [node.args.get("default")]
        elif isinstance(node, exp.Nullif):
            parts = [node.this]
        elif isinstance(node, (exp.Cast, exp.TryCast)):
            parts = [node.this] if node.to.is_type(*exp.DataType.TEXT_TYPES) else []
        elif isinstance(node, (*_COMPUTING, exp.Predicate)):
            parts = []
        elif isinstance(node, exp.Window):
            parts = [node.this]
        else:
            parts = list(node.iter_expressions())
        return {origin for part in parts if part is not None for origin in self.made_of(scope, part)}

    def origins(self, scope, column):
        found = set()
        for name, (_, source) in scope.selected_sources.items():
            if column.table not in ("", name):
                continue
            if not isinstance(source, exp.Table):
                found |= self.outputs_of(source, column.name)
            elif column.name in self.headers.get(source.name, ()):
                found.add((source.name, column.name))
        return found if found or not scope.is_subquery else self.origins(scope.parent, column)

    def outputs_of(self, scope, name):
        """The columns of files that a column of a query passes on."""
        key = id(scope), name
        if key not in self.found:
            self.found[key] = set()
            self.found[key] = self._outputs_of(scope, name)
        return self.found[key]

    def _outputs_of(self, scope, name):
        if isinstance(scope.expression, exp.SetOperation):
            left, right = scope.set_operation_scopes
            names = left.expression.named_selects
            place = names.index(name) if name in names else None
            others = right.expression.named_selects
            other = (
                others[place] if place is not None and place < len(others) and others[place] != "*" else name
            )
            return self.outputs_of(left, name) | self.outputs_of(right, other)
        found = set()
        for each in getattr(scope.expression, "selects", ()):
            if each.is_star:
                table = each.table if isinstance(each, exp.Column) else None
                found |= self.origins(scope, exp.column(name, table=table))
            elif each.alias_or_name == name:
                found |= self.made_of(scope, each)
        return found

    def join(self, origins):
        """Columns that are compared with each other, or become one, are of one kind."""
        groups = [self.same.get(origin, {origin}) for origin in origins]
        merged = set().union(*groups)
        for origin in merged:
            self.same[origin] = merged

    def lineage(self):
        whole = {
            kind: {other for origin in found for other in self.same.get(origin, {origin})}
            for kind, found in (("texts", self.texts), ("ids", self.ids), ("computed", self.computed))
        }
        return Lineage(
            texts=whole["texts"] - whole["computed"],
            ids=whole["ids"],
            mixed=whole["texts"] & whole["computed"],
            outputs=self.outputs,
        )


def _is_computed(column):
    """Whether what is done with a column shows that it is a number, a date or a yes or no."""
    node, parent = column, column.parent
    while True:
        if isinstance(parent, exp.If):  # of a CASE
            if node is parent.this:
                return node is column
            node, parent = parent, parent.parent
        elif isinstance(parent, exp.Case):
            if node is parent.this:
                return any(_is_no_text(each.this) for each in parent.args["ifs"])
            results = [each.args["true"] for each in parent.args["ifs"]] + [parent.args.get("default")]
            if any(_is_no_text(each) for each in results):
                return True
            node, parent = parent, parent.parent
        elif isinstance(parent, _PASSING):
            if any(_is_no_text(each) for each in parent.iter_expressions()):
                return True
            node, parent = parent, parent.parent
        else:
            break
    if isinstance(parent, (exp.Cast, exp.TryCast)):
        return not parent.to.is_type(*exp.DataType.TEXT_TYPES)
    if isinstance(parent, _COMPARING):
        return any(_is_no_text(each) for each in parent.iter_expressions() if each is not node)
    if isinstance(parent, exp.Is):
        return isinstance(parent.expression, exp.Boolean)
    return isinstance(parent, _COMPUTING)


def _is_no_text(node):
    """Whether it cannot be compared with a text: a number, a day, something computed."""
    node = node.unnest() if isinstance(node, exp.Expression) else node
    if isinstance(node, exp.Literal):
        return not node.is_string
    if isinstance(node, (exp.Cast, exp.TryCast)):
        return not node.to.is_type(*exp.DataType.TEXT_TYPES)
    return isinstance(node, (exp.Boolean, exp.Placeholder, exp.Interval, *_COMPUTING))
