"""What is different between two documents: sentences first, rows second.

Score groups and measures are the same across versions when their keys are; rules when their keys are, else their
segment and condition, else their place. Pure: plain data in, whatever a draft may hold.
"""

import json
import re
from bisect import bisect_left
from dataclasses import dataclass, field

from segmentation import definitions

POINTS = (5, 4, 3, 2, 1)
ADDED, REMOVED, CHANGED, MOVED = "added", "removed", "changed", "moved"


@dataclass(frozen=True)
class Names:
    """What people call things: {segment key: name}, {fact: label}, {key of a layer: name}."""

    segments: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)
    layers: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One place that differs. `path` goes by keys, as `dimensions.value.criteria.arr.cells.4` (points, not a number
    in a list); `place` is the same for people; old or new is None where the place was not there."""

    path: str
    place: str
    kind: str  # added, removed, changed, moved
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Comparison:
    sentences: tuple
    rows: tuple

    def __bool__(self):
        return bool(self.rows)


def compare(old, new, *, names):
    """The Comparison of two documents (plain data), from old to new."""
    return _Comparer(_Reading(old, names), _Reading(new, names)).comparison()


def called(term, document, *, names):
    """What people call a name in the conditions of a document: `overall score`, `Value score`."""
    return _Reading(document, names).term(term)


def rules(document, *, names):
    """The rules of a document in words: {segment, sources, top, condition, sql}; "" where a rule says nothing of it."""
    reading = _Reading(document, names)
    return [
        {
            "segment": reading.segment(rule["segment"]),
            "sources": reading.sources(rule) if rule["from"] else "",
            "top": reading.term_text(rule["top"]),
            "condition": reading.term_text(rule["when"]),
            "sql": rule["when"],
        }
        for rule in reading.rules
    ]


# -- a document as it is compared


class _Reading:
    """One of the two documents: parts by key, defaults filled in, and its words for people."""

    def __init__(self, document, names):
        self.names = names
        self.data = document = document if isinstance(document, dict) else {}
        self.groups = {}
        self.measures = {}  # key: (group key, measure); unique in the whole document
        for number, data in enumerate(_entries(document.get("dimensions"))):
            key = _text(data.get("key")) or f"group {number + 1}"
            group = self.groups[key] = _group(key, data)
            for measure in group["criteria"]:
                self.measures[measure["key"]] = (key, measure)
        weights = document.get("weights")
        self.weights = {key: _text(one) for key, one in weights.items()} if isinstance(weights, dict) else {}
        self.requires = [_text(one) for one in _list(document.get("requires"))]
        self.includes = [_text(one) for one in _list(document.get("includes"))]
        found = _entries(document.get("rules"))
        keys = definitions.rule_keys(found)
        self.rules = [_rule(data, key) for data, key in zip(found, keys, strict=True)]

    # The words people see.

    def segment(self, key):
        return self.names.segments.get(key) or key or "no segment"

    def fact(self, key):
        return self.names.facts.get(key) or key

    def group(self, key):
        return self.groups.get(key, {}).get("name") or key.replace("_", " ").capitalize()

    def measure(self, key):
        _, measure = self.measures.get(key, (None, {"name": "", "fact": key}))
        return measure["name"] or self.fact(measure["fact"])

    def rule(self, rule):
        """`High-Touch when overall score >= 4.0`."""
        parts = [self.segment(rule["segment"])]
        if rule["from"]:
            parts.append(f"from {self.sources(rule)}")
        if rule["top"]:
            parts.append(f"for the top {self.term_text(rule['top'])}")
        if rule["when"]:
            parts.append(f"when {self.condition(rule)}")
        return " ".join(parts) if len(parts) > 1 else f"{parts[0]} for everyone else"

    def sources(self, rule):
        return ", ".join(map(self.segment, rule["from"])) or "any segment"

    def condition(self, rule):
        return self.term_text(rule["when"]) or "everyone else"

    def term_text(self, text):
        """A condition with labels for names."""
        words, about = [], ""
        for kind, token in _tokens(text, spaces=True):
            if kind == "name":
                about = about if token.lower() in ("in", "not", "is") else token
                token = self.term(token)
            elif kind == "text" and about in ("previous", "declared"):
                token = f"'{self.segment(token[1:-1])}'"
            words.append(token)
        return "".join(words)

    def term(self, name):
        """What people call a name in a condition; keywords stay."""
        head, _, rest = name.partition(".")
        inner, _, last = rest.partition(".")
        if head == "composite":
            return f"overall score of {self.layer(rest)}" if rest else "overall score"
        if head == "score" and last:
            return f"{last.replace('_', ' ').capitalize()} score of {self.layer(inner)}"
        if head == "score" and rest:
            return f"{self.group(rest)} score"
        if head == "points" and rest:
            return f"points of {self.measure(rest)}"
        if head == "label" and rest:
            return f"{self.layer(rest)} segment"
        return _STATE.get(name) or self.names.facts.get(name) or name

    def layer(self, key):
        return self.names.layers.get(key) or self.names.layers.get(key.replace("_", "-")) or key

    def missing(self, measure):
        text = measure["missing"]
        if match := re.fullmatch(r"rate\s+(\w+)\s*:\s*(.+)", text, re.DOTALL):
            return f"rated by {self.fact(match[1])} ({match[2]})"
        return _policy(text)


_STATE = {"previous": "previous segment", "days_in_stage": "days in stage", "declared": "declared segment"}


def _policy(text):
    if match := re.fullmatch(r"assume\s+(\d)", text):
        return f"counts as {match[1]}"
    return {"skip": "left out", "needs data": "the account needs data"}.get(text, text)


def _list(value):
    return value if isinstance(value, list) else []


def _entries(value):
    return [one for one in _list(value) if isinstance(one, dict)]


def _text(value):
    """Any value a draft may hold, as typed."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


def _group(key, data):
    maturity = data.get("maturity") if isinstance(data.get("maturity"), dict) else {}
    after = _text(maturity.get("after_days"))
    return {
        "name": _text(data.get("name")),
        "scale": _text(data.get("scale")) or "mean",
        "after": after,
        "until": _text(maturity.get("needs_data_after_days")) or after,
        "then": _text(maturity.get("until_then")) or "skip",
        "criteria": [_measure(one, key, place) for place, one in enumerate(_entries(data.get("criteria")))],
    }


def _measure(data, group, place):
    key = _text(data.get("key")) or f"{group} {place + 1}"
    cells = data.get("cells")
    return {
        "key": key,
        "fact": _text(data.get("fact")) or key,
        "name": _text(data.get("name")),
        "weight": _text(data.get("weight")) or "1",
        "table": [*map(_text, _list(cells)), *[""] * 5][:5],
        "cells": _text(cells) if cells and not isinstance(cells, list) else "",
        "missing": _text(data.get("missing")) or "skip",
    }


def _rule(data, key):
    segment = _text(data.get("segment"))
    [base] = definitions.rule_keys([{"segment": segment}])
    return {
        "key": key,
        "named": not re.fullmatch(rf"{re.escape(base)}(_\d+)?", key),  # by people, not after its segment
        "segment": segment,
        "when": _text(data.get("when")),
        "from": [_text(one) for one in _list(data.get("from"))],
        "top": _text(data.get("top")),
    }


# -- comparing


class _Comparer:
    def __init__(self, old, new):
        self.old, self.new = old, new
        self.sentences, self.rows = [], []

    def comparison(self):
        self.includes()
        self.weights()
        self.requires()
        self.groups()
        self.measures()
        self.rules()
        self.rest()
        return Comparison(tuple(self.sentences), tuple(self.rows))

    def say(self, sentence):
        self.sentences.append(sentence)

    def row(self, path, place, old, new, kind=None):
        kind = kind or (ADDED if old is None else REMOVED if new is None else CHANGED)
        self.rows.append(Row(path, place, kind, old, new))

    def changed(self, path, place, old, new, sentence):
        """A row and a sentence, where they differ."""
        if old != new:
            self.row(path, place, old or None, new or None, CHANGED)
            self.say(sentence)

    def includes(self):
        for key in _either(self.old.includes, self.new.includes):
            if (key in self.old.includes) != (key in self.new.includes):
                now = key in self.new.includes
                self.row("includes", "Who is evaluated", None if now else key, key if now else None)
                self.say(
                    f"{key.capitalize()} customers are {'evaluated too' if now else 'no longer evaluated'}"
                )

    def weights(self):
        groups = _either(self.old.groups, self.new.groups)
        place = {key: number for number, key in enumerate(groups)}
        found = _either(self.old.weights, self.new.weights)
        for key in sorted(found, key=lambda key: place.get(key, len(groups))):
            old, new = self.old.weights.get(key), self.new.weights.get(key)
            if old != new:
                name = (self.new if key in self.new.groups else self.old).group(key)
                self.row(f"weights.{key}", f"Weight of {name}", old, new)
                self.say(f"Weight of {name} {old or 'none'} -> {new or 'none'}")

    def requires(self):
        before, after = set(self.old.requires), set(self.new.requires)
        for fact in _either(self.old.requires, self.new.requires):
            if (fact in before) != (fact in after):
                now = fact in after
                self.row("requires", "Required data field", None if now else fact, fact if now else None)
                self.say(f"{self.new.fact(fact)} {'is required now' if now else 'is no longer required'}")
        self.order("requires", "Required data fields", self.old.requires, self.new.requires)

    def groups(self):
        for key in _either(self.old.groups, self.new.groups):
            path, place = (
                f"dimensions.{key}",
                f"{(self.new if key in self.new.groups else self.old).group(key)}",
            )
            if key not in self.old.groups:
                holds = ", ".join(self.new.measure(one["key"]) for one in self.new.groups[key]["criteria"])
                self.row(path, place, None, holds)
                self.say(f"New score group '{self.new.group(key)}': {holds or 'without measures'}")
            elif key not in self.new.groups:
                holds = ", ".join(self.old.measure(one["key"]) for one in self.old.groups[key]["criteria"])
                self.row(path, place, holds, None)
                self.say(f"Score group removed: '{self.old.group(key)}'")
            else:
                self.group(key, path, place)
        self.order("dimensions", "Score groups", list(self.old.groups), list(self.new.groups))

    def group(self, key, path, place):
        old, new, name = self.old.groups[key], self.new.groups[key], self.new.group(key)
        self.changed(
            f"{path}.name", f"{place} › name", old["name"], new["name"],
            f"Score group '{self.old.group(key)}' is called '{name}' now",
        )  # fmt: skip
        scales = {"mean": "weighted average", "points": "plain sum of points"}
        told = [scales.get(one["scale"], one["scale"]) for one in (old, new)]
        self.changed(
            f"{path}.scale", f"{place} › scale", old["scale"], new["scale"], f"{name}: {told[0]} -> {told[1]}"
        )
        self.maturity(path, place, old, new, name)
        keys = [[one["key"] for one in group["criteria"]] for group in (old, new)]
        self.order(f"{path}.criteria", f"{place}: measures", *keys)

    def maturity(self, path, place, old, new, name):
        """When the group counts; how it counts before only where it is not from the first day, before and after."""
        told = [f"after {one['after']} days" if one["after"] else "from the first day" for one in (old, new)]
        path = f"{path}.maturity"
        self.changed(
            f"{path}.after_days", f"{place} › counts after days", old["after"], new["after"],
            f"{name} counts {told[0]} -> {told[1]}",
        )  # fmt: skip
        if not (old["after"] and new["after"]):
            return
        if (old["until"], new["until"]) != (old["after"], new["after"]):
            self.changed(
                f"{path}.needs_data_after_days", f"{place} › needs data after days", old["until"], new["until"],
                f"{name}: accounts without its data need it after {old['until']} -> {new['until']} days",
            )  # fmt: skip
        self.changed(
            f"{path}.until_then", f"{place} › until then", old["then"], new["then"],
            f"{name} until then: {_policy(old['then'])} -> {_policy(new['then'])}",
        )  # fmt: skip

    def measures(self):
        before = {key for key in self.old.groups if key not in self.new.groups}
        after = {key for key in self.new.groups if key not in self.old.groups}
        for key in _either(self.old.measures, self.new.measures):
            was, one = self.old.measures.get(key), self.new.measures.get(key)
            if was and one:
                self.measure(key, *was, *one)
            elif one and one[0] not in after:  # those of a new group are told with it
                self.row(_path(*one), _place(self.new, *one), None, _summary(self.new, one[1]))
                self.say(f"New measure '{self.new.measure(key)}' in {self.new.group(one[0])}")
            elif was and was[0] not in before:
                self.row(_path(*was), _place(self.old, *was), _summary(self.old, was[1]), None)
                self.say(f"Measure removed: '{self.old.measure(key)}' of {self.old.group(was[0])}")

    def measure(self, key, group_before, old, group, new):
        name, path, place = self.new.measure(key), _path(group, new), _place(self.new, group, new)
        if group_before != group:
            self.row(path, place, self.old.group(group_before), self.new.group(group), MOVED)
            self.say(f"Measure '{name}' moved from {self.old.group(group_before)} to {self.new.group(group)}")
        self.changed(
            f"{path}.name", f"{place} › name", old["name"], new["name"],
            f"Measure '{self.old.measure(key)}' is called '{name}' now",
        )  # fmt: skip
        self.changed(
            f"{path}.fact", f"{place} › data field", old["fact"], new["fact"],
            f"Measure '{name}' reads {self.old.fact(old['fact'])} -> {self.new.fact(new['fact'])}",
        )  # fmt: skip
        self.changed(
            f"{path}.weight", f"{place} › weight", old["weight"], new["weight"],
            f"Measure '{name}': weight {old['weight']} -> {new['weight']}",
        )  # fmt: skip
        self.cells(path, place, name, old, new)
        self.changed(
            f"{path}.missing", f"{place} › missing data", old["missing"], new["missing"],
            f"Missing data of {name}: {self.old.missing(old)} -> {self.new.missing(new)}",
        )  # fmt: skip

    def cells(self, path, place, name, old, new):
        ways = [one["cells"] or "a scoring table" for one in (old, new)]
        self.changed(
            f"{path}.cells", f"{place} › points", old["cells"], new["cells"],
            f"Measure '{name}': points by {ways[0]} -> {ways[1]}",
        )  # fmt: skip
        for points, was, now in zip(POINTS, old["table"], new["table"], strict=True):
            if was == now:
                continue
            self.row(f"{path}.cells.{points}", f"{place} › {points} points", was or None, now or None)
            if not old["cells"] and not new["cells"]:
                for_points = f"for {points} point{'s' if points > 1 else ''}"
                self.say(f"Measure '{name}': {for_points} {was or 'nothing'} -> {now or 'nothing'}")

    def order(self, path, place, old, new):
        """Told where nothing but the order of what is in both differs; it changes no result."""
        shared = set(old) & set(new)
        both = [[key for key in keys if key in shared] for keys in (old, new)]
        if both[0] != both[1]:
            self.row(path, f"{place} › order", ", ".join(both[0]), ", ".join(both[1]), MOVED)
            self.say(f"{place}: in another order")

    def rules(self):
        pairs = _paired(self.old.rules, self.new.rules)
        moved = _moved([before for _, before in sorted((now, before) for before, now in pairs.items())])
        for place, rule in enumerate(self.old.rules):
            if place not in pairs:
                self.row(f"rules.{rule['key']}", f"Rule {place + 1}", self.old.rule(rule), None)
                self.say(f"Rule removed: {self.old.rule(rule)}")
        before = {now: was for was, now in pairs.items()}
        for place, rule in enumerate(self.new.rules):
            if place not in before:
                self.row(f"rules.{rule['key']}", f"Rule {place + 1}", None, self.new.rule(rule))
                self.say(f"New rule {place + 1}: {self.new.rule(rule)}")
                continue
            self.rule(place, self.old.rules[before[place]], rule)
            if before[place] in moved:
                self.moved(place, before[place], {now for now, was in before.items() if was not in moved})

    def moved(self, place, before, stayed):
        rule = self.new.rules[place]
        after = next((self.new.rules[now] for now in sorted(stayed) if now > place), None)
        where = f"before '{self.new.rule(after)}'" if after else "to the end"
        self.row(f"rules.{rule['key']}", "Order of rules", f"rule {before + 1}", f"rule {place + 1}", MOVED)
        self.say(f"Rule '{self.new.rule(rule)}' moved {where}")

    def rule(self, place, old, new):
        path, where = f"rules.{new['key']}", f"Rule {place + 1}"
        segment = self.new.segment(new["segment"])
        self.changed(
            f"{path}.segment", f"{where} › segment", old["segment"], new["segment"],
            f"Rule {place + 1} gives {segment} instead of {self.old.segment(old['segment'])}",
        )  # fmt: skip
        self.changed(
            f"{path}.from", f"{where} › coming from", ", ".join(old["from"]), ", ".join(new["from"]),
            f"{segment}: from {self.old.sources(old)} -> {self.new.sources(new)}",
        )  # fmt: skip
        number = _only_number(old["when"], new["when"])
        told = self.new.term(number[0]) if number else ""
        sentence = (
            f"{segment}: {told} {number[1]} -> {number[2]}"
            if number
            else f"{segment}: {self.old.condition(old)} -> {self.new.condition(new)}"
        )
        self.changed(f"{path}.when", f"{where} › condition", old["when"], new["when"], sentence)
        tops = [
            f"the top {one.term_text(rule['top'])}" if rule["top"] else "however many"
            for one, rule in ((self.old, old), (self.new, new))
        ]
        self.changed(
            f"{path}.top", f"{where} › top", old["top"], new["top"], f"{segment}: {tops[0]} -> {tops[1]}"
        )
        if old["key"] != new["key"]:
            self.row(f"{path}.key", f"{where} › key", old["key"], new["key"])
            if old["named"] or new["named"]:
                self.say(f"{segment}: the rule's key {old['key']} -> {new['key']}")

    def rest(self):
        """What only an unfinished draft may hold: told as it is."""
        known = definitions.FIELDS["document"]
        for key in _either(self.old.data, self.new.data):
            if key not in known and self.old.data.get(key) != self.new.data.get(key):
                old, new = (_text(one.data.get(key)) for one in (self.old, self.new))
                self.row(key, key, old or None, new or None)
                self.say(f"'{key}': {old or 'nothing'} -> {new or 'nothing'}")


def _either(old, new):
    """The keys of either, in the new order; those that went at the end."""
    return list(dict.fromkeys([*new, *old]))


def _path(group, measure):
    return f"dimensions.{group}.criteria.{measure['key']}"


def _place(reading, group, measure):
    return f"{reading.group(group)} › {reading.measure(measure['key'])}"


def _summary(reading, measure):
    cells = measure["cells"] or " | ".join(measure["table"])
    return f"{cells}; weight {measure['weight']}; missing: {reading.missing(measure)}"


# -- which rule is which


def _paired(old, new):
    """{index of an old rule: index of the new one that is the same}."""
    pairs, free = {}, dict(enumerate(new))
    for same in (_same_name, _same_words, _same_key, _same_segment, _same_condition):
        for before, rule in enumerate(old):
            if before in pairs:
                continue
            now = next((at for at, other in free.items() if same(rule, other)), None)
            if now is not None:
                pairs[before] = now
                del free[now]
    for before, rule in enumerate(old):
        if before not in pairs and before in free and not _two_names(rule, free[before]):
            pairs[before] = before
            del free[before]
    return pairs


def _two_names(one, other):
    return one["named"] and other["named"] and one["key"] != other["key"]


def _same_name(one, other):
    return one["key"] == other["key"] and one["named"] and other["named"]


def _same_words(one, other):
    return all(one[name] == other[name] for name in ("segment", "when", "from", "top"))


def _same_key(one, other):
    return one["key"] == other["key"]


def _same_segment(one, other):
    return one["segment"] == other["segment"] and not _two_names(one, other)


def _same_condition(one, other):
    return (one["when"], one["from"]) == (other["when"], other["from"]) and not _two_names(one, other)


def _moved(order):
    """Those of a sequence of numbers that are not part of its longest rising sequence."""
    ends, chain, previous = [], [], {}
    for number in order:
        at = bisect_left(ends, number)
        previous[number] = chain[at - 1] if at else None
        ends[at : at + 1] = [number]
        chain[at : at + 1] = [number]
    kept, number = set(), chain[-1] if chain else None
    while number is not None:
        kept.add(number)
        number = previous[number]
    return set(order) - kept


# -- conditions as text


_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')
      | (?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)
      | (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
      | (?P<sign><=|>=|<>|!=|[<>=])
      | (?P<space>\s+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _tokens(text, *, spaces=False):
    """(kind, text) of each part; the minus of a negative number belongs to it."""
    found = []
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, match[0]
        negative = kind == "number" and len(found) > 1 and found[-1] == ("other", "-") and not spaces
        if negative and found[-2][0] == "sign":
            found[-1] = ("number", f"-{token}")
        elif spaces or kind != "space":
            found.append((kind, token))
    return found


def _only_number(old, new):
    """(name, number before, number after) where two conditions differ in the constant of one comparison and in
    nothing else; the sign comes with the numbers where the name is compared more than once. None otherwise."""
    before, after = _tokens(old), _tokens(new)
    differ = [at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]]
    if len(before) != len(after) or len(differ) != 1:
        return None
    [at] = differ
    kinds = {before[at][0], after[at][0]}
    if kinds not in ({"number"}, {"text"}):
        return None
    found = _compared(after, at)
    if found is None or _continues(after, at):
        return None
    name, sign = found
    often = sum(token == ("name", name) for token in after) > 1
    prefix = f"{sign} " if often else ""
    return name, f"{prefix}{before[at][1]}", f"{prefix}{after[at][1]}"


def _compared(tokens, at):
    """(name, sign) of `name sign constant`, or of the mirrored way."""
    part = [kind for kind, _ in tokens]
    if part[max(at - 2, 0) : at] == ["name", "sign"] and not _calculates(tokens, at - 3):
        return tokens[at - 2][1], tokens[at - 1][1]
    if part[at + 1 : at + 3] == ["sign", "name"] and not _calculates(tokens, at + 3):
        sign = tokens[at + 1][1]
        return tokens[at + 2][1], _MIRROR.get(sign, sign)
    return None


def _calculates(tokens, at):
    return 0 <= at < len(tokens) and tokens[at][1] in ("+", "-", "*", "/", "%")


def _continues(tokens, at):
    """Whether the constant is part of a sum: `arr > 10 * employees`."""
    return _calculates(tokens, at + 1) or _calculates(tokens, at - 1)
