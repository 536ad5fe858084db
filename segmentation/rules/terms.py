"""Terms rules may read, in words: data fields, the account's state on the layer, labels and scores of other layers. Pure."""

import re
from dataclasses import dataclass, field

from accounts import catalogue
from segmentation.rules import sketch

STATE = {
    "previous": "Segment before",
    "days_in_stage": "Days in that segment",
    "declared": "Declared value",
    "composite": "Overall score",
}


def label(name, layer=""):
    """A term of rules as people read it. layer: what the segmentation it is of is called, where that is known."""
    if name in catalogue.FACTS:
        return catalogue.FACTS[name].label
    if name in STATE:
        return STATE[name]
    part, _, within = name.partition(".")
    key, _, group = within.partition(".")
    layer = layer or words(key)
    if part == "label":
        return layer
    if part == "composite":
        return f"{layer}: overall score"
    return f"{layer}: {words(group)}" if group else layer


def words(key):
    """A key as words: `value_tier` is Value tier."""
    return key.replace("_", " ").replace("-", " ").capitalize()


@dataclass(frozen=True)
class Names:
    """Names as people call things: {segment key: name}, {fact: label}, {key of a layer: name}.

    values: {name of a label: {key: name of the segment}}, where a text that it is compared with is told by its name.
    """

    segments: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)
    layers: dict = field(default_factory=dict)
    values: dict = field(default_factory=dict)


class Words:
    """The words of a document's parts, as sentences about it use them."""

    def __init__(self, document, names):
        self.sketch, self.names = document, names

    def segment(self, key):
        return self.names.segments.get(key) or key or "no segment"

    def fact(self, key):
        return self.names.facts.get(key) or key

    def layer(self, key):
        return self.names.layers.get(key) or self.names.layers.get(key.replace("_", "-")) or key

    def group(self, key):
        group = self.sketch.groups.get(key)
        return group.name if group and group.name else words(key)

    def measure(self, key):
        if key not in self.sketch.measures:
            return self.fact(key)
        _, measure = self.sketch.measures[key]
        return measure.name or self.fact(measure.fact)

    def term(self, name):
        """The words for a name in a condition: `overall score`, `Value score`; keywords stay."""
        head, _, within = name.partition(".")
        layer, _, group = within.partition(".")
        if name in STATE:
            return STATE[name].lower()
        match head, bool(within):
            case "composite", True:
                return f"overall score of {self.layer(within)}"
            case "score", True if group:
                return f"{words(group)} score of {self.layer(layer)}"
            case "score", True:
                return f"{self.group(within)} score"
            case "points", True:
                return f"points of {self.measure(within)}"
            case "label", True:
                return f"{self.layer(within)} segment"
        return self.names.facts.get(name) or name

    def condition(self, text):
        """A condition with labels for names; "" where there is none."""
        shown, about = [], ""
        for kind, token in sketch.tokens(text):
            if kind == "name":
                about = about if token.lower() in ("in", "not", "is") else token
                token = self.term(token)
            elif kind == "text" and about in ("previous", "declared"):
                token = f"'{self.segment(token[1:-1])}'"
            elif kind == "text" and (called := self.names.values.get(about, {}).get(token[1:-1])):
                token = f"'{called}'"
            shown.append(token)
        return "".join(shown)

    def sources(self, rule):
        return ", ".join(map(self.segment, rule.sources)) or "any segment"

    def rule(self, rule):
        """`High-Touch when overall score >= 4.0`."""
        parts = [self.segment(rule.segment)]
        if rule.sources:
            parts.append(f"from {self.sources(rule)}")
        if rule.top:
            parts.append(f"for the top {self.condition(rule.top)}")
        if rule.when:
            parts.append(f"when {self.condition(rule.when)}")
        return " ".join(parts) if len(parts) > 1 else f"{parts[0]} for everyone else"

    def missing(self, measure):
        """Say what happens without a value: `left out`, `counts as 3`, `rated by CSAT (4+ = 5)`."""
        if match := re.fullmatch(r"rate\s+(\w+)\s*:\s*(.+)", measure.missing, re.DOTALL):
            return f"rated by {self.fact(match[1])} ({match[2]})"
        return policy(measure.missing)


def policy(text):
    """Say what a policy for missing data does."""
    if match := re.fullmatch(r"assume\s+(\d)", text):
        return f"counts as {match[1]}"
    return {"skip": "left out", "needs data": "the account needs data"}.get(text, text)


def term(name, document, *, names):
    """The words for a name in the conditions of a document (plain data)."""
    return Words(sketch.Sketch.of(document), names).term(name)


def rules(document, *, names):
    """The rules of a document in words: {segment, sources, top, condition, sql}; "" where a rule says nothing of it."""
    words = Words(sketch.Sketch.of(document), names)
    return [
        {
            "segment": words.segment(rule.segment),
            "sources": words.sources(rule) if rule.sources else "",
            "top": words.condition(rule.top),
            "condition": words.condition(rule.when),
            "sql": rule.when,
        }
        for rule in words.sketch.rules
    ]
