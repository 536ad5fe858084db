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

NO_KEY = -1  # of a text that a name never gives


def to_sql(condition, sql_of, keyed=None):
    """(SQL, {parameter: value}) of a compiled condition. sql_of(name): the SQL of a name. Raises ConditionError.

    keyed: {name: (SQL, {text: what that gives for it})} where another expression than that of the text is compared faster
    with given texts, as an id with the ids of segments.
    """
    writer = _Writer(sql_of, keyed or {})
    return writer.sql(condition.root), writer.values


def read(text, names):
    """The compiled condition of a text, of those that can be SQL. Raises ConditionError."""
    condition = conditions.compile(text, names)
    to_sql(condition, lambda name: name)
    return condition


class _Writer:
    def __init__(self, sql_of, keyed):
        self.sql_of, self.keyed, self.values = sql_of, keyed, {}

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
                left, right = self.compared(node.left, node.right)
                return f"({left} {node.sign} {right})"
            case tree.Between():
                return f"({self.sql(node.part)} between {self.sql(node.low)} and {self.sql(node.high)})"
            case tree.In():
                part, *several = self.compared(node.part, *node.several)
                return f"({part} in ({', '.join(several)}))"
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

    def compared(self, *nodes):
        """The SQL of parts that are compared with each other: by key, where a name that has keys meets given texts."""
        bare = [tree.bare(node) for node in nodes]
        names = [node.name for node in bare if isinstance(node, tree.Name)]
        texts = [node for node in bare if isinstance(node, tree.Constant) and node.kind == "text"]
        if len(names) != 1 or names[0] not in self.keyed or len(names) + len(texts) < len(nodes):
            return [self.sql(node) for node in nodes]
        sql, keys = self.keyed[names[0]]
        return [
            sql if isinstance(node, tree.Name) else self.value(keys.get(node.value, NO_KEY)) for node in bare
        ]

    def constant(self, node):
        """A value, never within the text."""
        value = self.value(Decimal(node.value) if node.kind == "number" else node.value)
        return f"{value}::date" if node.kind == "date" else value

    def value(self, value):
        name = f"value_{len(self.values)}"
        self.values[name] = value
        return f"%({name})s"
