"""Columns of the list of accounts: any data field, label or score, to be shown, filtered by and put in order.

A filter is a condition as rules are written, over data fields and `label.<layer>`, `composite.<layer>`,
`score.<layer>.<group>` of the segmentations with active rules. Unknown values come last in either direction. Blank
text is not known, and money in another currency than the organisation's is no money that is compared.
"""

import re
from dataclasses import dataclass, field

from django.core.exceptions import EmptyResultSet
from django.db import connection

from accounts import catalogue, revenue
from core import raw_sql
from core.wording import compared
from segmentation import scopes
from segmentation.evaluation import frames, run_rules
from segmentation.models import Definition
from segmentation.reading.spelling import score, spelt
from segmentation.rules import condition_sql, conditions, impossible, terms
from segmentation.rules.sketch import Sketch

SEGMENTATIONS = "Segmentations"
FEW = 20_000  # accounts whose contracts are looked up one by one; of more, all there are are read at once


@dataclass(frozen=True)
class Column:
    """A data field, or something of a segmentation. sql: its value; ordered: what it is put in order by.

    in_condition: what a condition compares. Aliases: those of `catalogue.Fact`, and z, e, c with the id of a layer behind them
    for an assignment, its segment and its score. choices: {key: name} of a label.
    """

    name: str
    label: str
    type: str
    sql: str
    family: str = SEGMENTATIONS
    unit: str = ""
    ordered: str = ""
    in_condition: str = ""
    choices: dict = field(default_factory=dict)
    layer: str = ""  # what the segmentation is called
    keyed: str = ""  # of a label: the id of its segment, and the ids by their keys
    keys: dict = field(default_factory=dict)

    @property
    def order_sql(self):
        return self.ordered or self.sql

    @property
    def condition_sql(self):
        return self.in_condition or self.sql

    def shown(self, value, currency=""):
        """A value as people read it; None where it is not known."""
        if value is None or value == "":
            return None
        if self.name in catalogue.FACTS:
            return spelt(self.name, value, currency)
        return self.choices.get(value, value) if self.type == "text" else score(value)


# The largest contract, where contracts in several currencies have no sum.
_ARR_ORDER = """coalesce({arr}, case when s.currency <> s.other_currency then
    (select max(b.arr) from accounts_subscription b where b.account_id = a.id and {counts}) end)"""


def _fact(fact):
    sql, in_condition, ordered = f"({catalogue.sql(fact.name)})", "", ""
    if fact.type == "text" and not fact.sql:
        sql = f"(case when btrim(a.{fact.name}) <> '' then a.{fact.name} end)"
    if fact.name in catalogue.MONEY_FACTS:
        in_condition = f"(case when ({revenue.FOREIGN}) is null then {sql} end)"
    if fact.name == "arr":
        ordered = _ARR_ORDER.format(arr=sql, counts=catalogue.ACTIVE_NOW)
    if fact.name == "csm":
        ordered = "coalesce(nullif(m.name, ''), m.email)"
    return Column(
        fact.name, fact.label, fact.type, sql, fact.family.capitalize(), fact.unit, ordered, in_condition
    )


FACTS = {fact.name: _fact(fact) for fact in catalogue.FACTS.values()}


def offered():
    """{name: Column} of all there are."""
    of_layers = {name: column for active in _active() for name, column in of_segmentation(active).items()}
    return of_layers | FACTS


def columns(names):
    """{name: Column} of those of these names there are; no query for data fields."""
    own = {name: FACTS[name] for name in names if name in FACTS}
    if not any("." in name for name in names):
        return own
    keys = {name.split(".")[1] for name in names if "." in name}
    several = (of_segmentation(active) for active in _active() if run_rules.spoken(active.layer.key) in keys)
    there = {name: column for some in several for name, column in some.items()}
    return own | {name: there[name] for name in names if name in there}


def _active():
    return (
        Definition.objects.filter(status=Definition.Status.ACTIVE, layer__scope__in=scopes.ONE_LABEL)
        .select_related("layer")
        .prefetch_related("layer__segments")
        .order_by("-layer__primary", "layer__position", "layer__key")
    )


def of_segmentation(active):
    """{name: Column} of what a segmentation says by its active rules (a Definition)."""
    layer, key = active.layer, run_rules.spoken(active.layer.key)
    document = run_rules.document_in(active)
    found = [label_of(layer)]
    if document.dimensions:
        name = f"composite.{key}"
        found.append(
            Column(name, terms.label(name, layer.name), "score", f"c{layer.pk}.composite", layer=layer.name)
        )
    for place, dimension in enumerate(document.dimensions, start=1):
        name = f"score.{key}.{run_rules.spoken(dimension.key)}"
        under = f"(case when c{layer.pk}.definition_id = {active.pk} then c{layer.pk}.scores[{place}] end)"
        found.append(Column(name, terms.label(name, layer.name), "score", under, layer=layer.name))
    return {column.name: column for column in found}


def label_of(layer):
    """The label in force on a layer as a Column; put in order from the top segment down."""
    segments = sorted(layer.segments.all(), key=lambda segment: (segment.position, segment.key))
    places = " ".join(f"when {segment.pk} then {place}" for place, segment in enumerate(segments))
    return Column(
        f"label.{run_rules.spoken(layer.key)}",
        layer.name,
        "text",
        f"e{layer.pk}.key",
        ordered=f"(case z{layer.pk}.effective_id {places} end)" if places else "null::int",
        keyed=f"z{layer.pk}.effective_id",
        keys={segment.key: segment.pk for segment in segments},
        choices={segment.key: segment.name for segment in segments},
        layer=layer.name,
    )


# -- a condition over them


@dataclass(frozen=True)
class Filter:
    """A condition that accounts are found by, and {name: Column} of what it compares."""

    condition: conditions.Condition
    columns: dict

    def ids(self, at):
        """An expression of Django's for the ids of the accounts on which it holds at the date."""
        keyed = {name: (column.keyed, column.keys) for name, column in self.columns.items() if column.keyed}
        where, values = condition_sql.to_sql(
            self.condition, lambda name: self.columns[name].condition_sql, keyed
        )
        query = f"select a.id from {_tables([where])} where {where}"
        return raw_sql.expression(query, _parameters(at) | values)

    def in_words(self):
        """The condition with labels instead of names."""
        names = terms.Names(
            facts={name: column.label for name, column in self.columns.items()},
            layers={
                name.split(".")[1]: column.layer for name, column in self.columns.items() if column.layer
            },
            values={name: column.choices for name, column in self.columns.items()},
        )
        return compared(terms.Words(Sketch.of({}), names).condition(self.condition.text))

    def doubts(self):
        """Say of each value that nothing can have, a sentence each: `status is never 'chruned'`."""
        labels = {name: column.choices for name, column in self.columns.items() if column.choices}
        return impossible.sentences(self.condition.root, labels)


def read(text):
    """The Filter of a condition. Raises ConditionError, with a sentence."""
    condition = condition_sql.read(text, catalogue.TYPES)
    used = columns(sorted(condition.names))
    for name in sorted(condition.names - used.keys()):
        raise conditions.UnknownName(f"There is no '{name}' in a segmentation with active rules.", 0)
    return Filter(condition, used)


# -- what they say of some accounts, and in which order


def values(chosen, ids, at):
    """{id: {name of a Column: value}} of accounts, in one query; "currency" is that of the account."""
    expressions = ["a.id", revenue.OF_ACCOUNT, *(column.sql for column in chosen)]
    tables = _tables(expressions, each=True)
    query = f"select {', '.join(expressions)} from {tables} where a.id = any(%(ids)s)"
    with connection.cursor() as cursor:
        cursor.execute(query, _parameters(at) | {"ids": list(ids)})
        names = ["currency", *(column.name for column in chosen)]
        return {id: dict(zip(names, row, strict=True)) for id, *row in cursor.fetchall()}


def in_order(accounts, order, at, *, count=None, first=0, most=None):
    """The ids of a queryset of accounts put in order by [(Column, whether it is descending)], unknown last, then by name.

    first, most: which of them. count: how many there are, where that is known.
    """
    by = [f"{column.order_sql} {'desc' if descending else 'asc'} nulls last" for column, descending in order]
    each = count is not None and count <= FEW
    tables = _tables([column.order_sql for column, _ in order], each=each)
    where, parameters = "true", {}
    if raw_sql.narrowed(accounts):
        try:
            chosen, parameters = raw_sql.ids(accounts)
        except EmptyResultSet:
            return []
        where = f"a.id in ({chosen})"
    query = f"""select a.id from {tables} where {where}
                 order by {", ".join(by)}, a.name, a.id desc limit %(most)s offset %(skip)s"""
    with connection.cursor() as cursor:
        cursor.execute(query, _parameters(at) | parameters | {"most": most, "skip": first})
        return [id for (id,) in cursor.fetchall()]


def _parameters(at):
    return revenue.parameters(at) | {"first": 0, "last": 2**62}


def _tables(expressions, each=False):
    """The accounts with the tables that these expressions read. each: looked up for each account, else read as a whole."""
    text = " ".join(expressions)
    aliases = set(re.findall(r"\b([agmpsu])\.", text))
    joins = frames.joins(aliases, each=each)
    of_layers = set(re.findall(r"\b([zec])(\d+)\.", text))
    for layer in sorted({layer for _, layer in of_layers}, key=int):
        joins += "".join(
            join.format(layer)
            for alias, join in _JOINS.items()
            if alias == "z" or (alias, layer) in of_layers
        )
    return f"accounts_account a {joins}"


_JOINS = {
    "z": " left join segmentation_assignment z{0} on z{0}.account_id = a.id and z{0}.layer_id = {0} and z{0}.product_id is null",
    "e": " left join segmentation_segment e{0} on e{0}.id = z{0}.effective_id",
    "c": " left join segmentation_assignmentscore c{0} on c{0}.assignment_id = z{0}.id",
}
