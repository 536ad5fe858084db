"""A condition as SQL: its tree over the SQL of its names, with its values as parameters.

PostgreSQL answers as the compiled condition does (`segmentation.rules.conditions`), also where values are not known. It
compares names with values and with each other. Calculations are refused: their decimals are Polars'. Pure.
"""

from decimal import Decimal

from segmentation.rules import conditions, tree
from segmentation.rules.tree import ConditionError

CALCULATES = (
    "A filter compares data fields with values or with each other: it does not calculate with + - * and /."
)


def to_sql(condition, sql_of):
    """(SQL, {parameter: value}) of a compiled condition. sql_of(name): the SQL of a name. Raises ConditionError."""
    writer = _Writer(sql_of)
    return writer.sql(condition.root), writer.values


def read(text, names):
    """The compiled condition of a text, of those that can be SQL. Raises ConditionError."""
    condition = conditions.compile(text, names)
    to_sql(condition, lambda name: name)
    return condition


class _Writer:
    def __init__(self, sql_of):
        self.sql_of, self.values = sql_of, {}

    def sql(self, node):
        match node:
            case tree.Name():
                return self.sql_of(node.name)
            case tree.Constant():
                return self.constant(node)
            case tree.Parentheses():
                return f"({self.sql(node.part)})"
            case tree.Not():
                return f"(not {self.sql(node.part)})"
            case tree.Negative():
                return f"(- {self.sql(node.part)})"
            case tree.All() | tree.Any():
                word = " and " if isinstance(node, tree.All) else " or "
                return f"({word.join(map(self.sql, node.several))})"
            case tree.Compare():
                return f"({self.sql(node.left)} {node.sign} {self.sql(node.right)})"
            case tree.Between():
                return f"({self.sql(node.part)} between {self.sql(node.low)} and {self.sql(node.high)})"
            case tree.In():
                return f"({self.sql(node.part)} in ({', '.join(map(self.sql, node.several))}))"
            case tree.Is():
                what = {None: "null", True: "true", False: "false"}[node.what]
                return f"({self.sql(node.part)} is {'not ' if node.negated else ''}{what})"
            case tree.Like():
                return (
                    f"({self.sql(node.part)} {'not ' if node.negated else ''}like {self.sql(node.pattern)})"
                )
            case tree.Coalesce():
                return f"coalesce({', '.join(map(self.sql, node.several))})"
        raise ConditionError(CALCULATES, node.position)

    def constant(self, node):
        """A value, never within the text."""
        name = f"value_{len(self.values)}"
        self.values[name] = Decimal(node.value) if node.kind == "number" else node.value
        return f"%({name})s::date" if node.kind == "date" else f"%({name})s"
