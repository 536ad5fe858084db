"""A document as far as it is typed: whatever a draft may hold, with the defaults filled in. Pure.

`segmentation.rules.definitions.Document` is what is right; a Sketch never refuses. It is read by whoever compares drafts, offers
what their rules may speak of or asks whether they look at something.
"""

import json
import re
from dataclasses import dataclass, field

POINTS = (5, 4, 3, 2, 1)
UNFINISHED = "(unfinished rows)"  # instead of a condition whose rows are none yet


@dataclass(frozen=True)
class Measure:
    """cells: how points are given where not by a scoring table; table: its five cells, for 5 points first."""

    key: str
    fact: str
    name: str
    weight: str
    cells: str
    table: tuple
    missing: str


@dataclass(frozen=True)
class Group:
    """A score group. typed: somebody has given it its key. after, until, then: its maturity, "" where it has none."""

    key: str
    typed: bool
    name: str
    scale: str
    after: str
    until: str
    then: str
    measures: tuple


@dataclass(frozen=True)
class Rule:
    """named: its key was given by people, and does not follow from its segment. sources: the segments it takes from."""

    key: str
    named: bool
    segment: str
    when: str
    sources: tuple
    top: str

    def names(self):
        """The names its condition speaks of, as far as it can be read."""
        return {text.lower() for kind, text in tokens(self.when) if kind == "name"}


@dataclass(frozen=True)
class Sketch:
    """groups: {key: Group}. measures: {key: (key of the group, Measure)}; keys are unique in the whole document."""

    data: dict
    groups: dict = field(default_factory=dict)
    measures: dict = field(default_factory=dict)
    weights: dict = field(default_factory=dict)
    requires: tuple = ()
    includes: tuple = ()
    rules: tuple = ()
    expected_days: dict = field(default_factory=dict)

    @classmethod
    def of(cls, document):
        """The Sketch of plain data, or of anything else a draft may hold."""
        data = document if isinstance(document, dict) else {}
        groups = [
            _group(entry, number) for number, entry in enumerate(entries(data.get("dimensions")), start=1)
        ]
        rules = entries(data.get("rules"))
        return cls(
            data,
            {group.key: group for group in groups},
            {measure.key: (group.key, measure) for group in groups for measure in group.measures},
            _named(data.get("weights")),
            _texts(data.get("requires")),
            _texts(data.get("includes")),
            tuple(_rule(rule, key) for rule, key in zip(rules, rule_keys(rules), strict=True)),
            _named(data.get("expected_days")),
        )


def text(value):
    """Any value a draft may hold, as typed."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


def entries(value):
    """The entries of a list that have named parts."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def rule_keys(rules):
    """The keys rules (plain data) have: as typed, else after their segment, numbered where it comes again."""
    typed = [rule.get("key") if isinstance(rule.get("key"), str) else "" for rule in rules]
    taken, keys = set(typed), []
    for rule, own in zip(rules, typed, strict=True):
        base = re.sub(r"^(?![a-z])", "s", str(rule.get("segment", "")).replace("-", "_"))[:36]
        key, number = base, 1
        while key in taken:
            number += 1
            key = f"{base}_{number}"
        keys.append(own or key)
        taken.add(keys[-1])
    return keys


def _named(value):
    return {key: text(part) for key, part in value.items()} if isinstance(value, dict) else {}


def _texts(value):
    return tuple(map(text, value)) if isinstance(value, list) else ()


def _group(data, number):
    key = text(data.get("key")) or f"group {number}"
    maturity = data.get("maturity") if isinstance(data.get("maturity"), dict) else {}
    after = text(maturity.get("after_days"))
    return Group(
        key=key,
        typed=bool(text(data.get("key"))),
        name=text(data.get("name")),
        scale=text(data.get("scale")) or "mean",
        after=after,
        until=text(maturity.get("needs_data_after_days")) or after,
        then=text(maturity.get("until_then")) or "skip",
        measures=tuple(
            _measure(entry, f"{key} {place}")
            for place, entry in enumerate(entries(data.get("criteria")), start=1)
        ),
    )


def _measure(data, otherwise):
    key = text(data.get("key")) or text(data.get("fact")) or otherwise
    cells = data.get("cells")
    return Measure(
        key=key,
        fact=text(data.get("fact")) or key,
        name=text(data.get("name")),
        weight=text(data.get("weight")) or "1",
        cells=text(cells) if cells and not isinstance(cells, list) else "",
        table=(*_texts(cells), *[""] * 5)[:5],
        missing=text(data.get("missing")) or "skip",
    )


def _rule(data, key):
    segment = text(data.get("segment"))
    [base] = rule_keys([{"segment": segment}])
    return Rule(
        key=key,
        named=not re.fullmatch(rf"{re.escape(base)}(_\d+)?", key),
        segment=segment,
        when=text(data.get("when")) or (UNFINISHED if data.get("rows") else ""),
        sources=_texts(data.get("from")),
        top=text(data.get("top")),
    )


# -- conditions that may not be readable yet

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')
      | (?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)
      | (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
      | (?P<sign><=|>=|<>|!=|[<>=])
      | (?P<space>\s+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def tokens(condition):
    """(kind, text) of each part of a condition, blanks included; kind: text, number, name, sign, space or other."""
    return [(match.lastgroup, match[0]) for match in _TOKEN.finditer(condition)]
