"""Differences between two documents: sentences first, rows second.

Score groups and measures are the same across versions when their keys are; rules when their keys are, else their
segment and condition, else their place. Pure: plain data in, whatever a draft may hold.
"""

from dataclasses import dataclass

from segmentation.rules import sketch
from segmentation.rules.document import FIELDS
from segmentation.rules.sketch import POINTS, Sketch
from segmentation.rules.terms import Words, policy
from segmentation.rules.tree import MIRROR

ADDED, REMOVED, CHANGED, MOVED = "added", "removed", "changed", "moved"


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
    """The Comparison of two documents (plain data), from old to new. names: what people call things, a terms.Names."""
    return _Comparer(Words(Sketch.of(old), names), Words(Sketch.of(new), names)).comparison()


# -- comparing


class _Comparer:
    """old, new: the two sketches. was, now: their words."""

    def __init__(self, was, now):
        self.was, self.now = was, now
        self.old, self.new = was.sketch, now.sketch
        self.sentences, self.rows = [], []

    def words(self, key):
        """The words of the document that has this score group, of both the new one."""
        return self.now if key in self.new.groups else self.was

    def comparison(self):
        self.includes()
        self.weights()
        self.requires()
        self.groups()
        self.measures()
        self.rules()
        self.expected_days()
        self.leftovers()
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
        weights = _either(self.old.weights, self.new.weights)
        for key in sorted(weights, key=lambda key: place.get(key, len(groups))):
            old, new = self.old.weights.get(key), self.new.weights.get(key)
            if old != new:
                name = self.words(key).group(key)
                self.row(f"weights.{key}", f"Weight of {name}", old, new)
                was = f" {old} ->" if old else ":"
                self.say(f"Weight of {name}{was} {new or 'none'}")

    def requires(self):
        before, after = set(self.old.requires), set(self.new.requires)
        for fact in _either(self.old.requires, self.new.requires):
            if (fact in before) != (fact in after):
                now = fact in after
                self.row("requires", "Required data field", None if now else fact, fact if now else None)
                self.say(f"{self.now.fact(fact)} {'is required now' if now else 'is no longer required'}")
        self.order("requires", "Required data fields", self.old.requires, self.new.requires)

    def groups(self):
        for key in _either(self.old.groups, self.new.groups):
            path, place = (
                f"dimensions.{key}",
                f"{self.words(key).group(key)}",
            )
            if key not in self.old.groups:
                holds = ", ".join(self.now.measure(measure.key) for measure in self.new.groups[key].measures)
                self.row(path, place, None, holds)
                self.say(f"New score group '{self.now.group(key)}': {holds or 'without measures'}")
            elif key not in self.new.groups:
                holds = ", ".join(self.was.measure(measure.key) for measure in self.old.groups[key].measures)
                self.row(path, place, holds, None)
                self.say(f"Score group removed: '{self.was.group(key)}'")
            else:
                self.group(key, path, place)
        self.order("dimensions", "Score groups", list(self.old.groups), list(self.new.groups))

    def group(self, key, path, place):
        old, new, name = self.old.groups[key], self.new.groups[key], self.now.group(key)
        self.changed(
            f"{path}.name", f"{place} › name", old.name, new.name,
            f"Score group '{self.was.group(key)}' is called '{name}' now",
        )  # fmt: skip
        scales = {"mean": "weighted average", "points": "plain sum of points"}
        called = [scales.get(group.scale, group.scale) for group in (old, new)]
        self.changed(
            f"{path}.scale", f"{place} › scale", old.scale, new.scale, f"{name}: {called[0]} -> {called[1]}"
        )
        self.maturity(path, place, old, new, name)
        keys = [[measure.key for measure in group.measures] for group in (old, new)]
        self.order(f"{path}.criteria", f"{place}: measures", *keys)

    def maturity(self, path, place, old, new, name):
        """When the group counts; how it counts before only where it is not from the first day, before and after."""
        starts = [
            f"after {group.after} day{'s' if int(group.after) > 1 else ''}"
            if group.after
            else "from the first day"
            for group in (old, new)
        ]
        path = f"{path}.maturity"
        self.changed(
            f"{path}.after_days", f"{place} › counts after days", old.after, new.after,
            f"{name} counts {starts[0]} -> {starts[1]}",
        )  # fmt: skip
        if not (old.after and new.after):
            return
        if (old.until, new.until) != (old.after, new.after):
            self.changed(
                f"{path}.needs_data_after_days", f"{place} › needs data after days", old.until, new.until,
                f"{name}: accounts without its data need it after {old.until} -> {new.until} days",
            )  # fmt: skip
        self.changed(
            f"{path}.until_then", f"{place} › until then", old.then, new.then,
            f"{name} until then: {policy(old.then)} -> {policy(new.then)}",
        )  # fmt: skip

    def measures(self):
        before = {key for key in self.old.groups if key not in self.new.groups}
        after = {key for key in self.new.groups if key not in self.old.groups}
        for key in _either(self.old.measures, self.new.measures):
            was, now = self.old.measures.get(key), self.new.measures.get(key)
            if was and now:
                self.measure(key, *was, *now)
            elif now and now[0] not in after:  # those of a new group are told with it
                self.row(_path(*now), _place(self.now, *now), None, _summary(self.now, now[1]))
                self.say(f"New measure '{self.now.measure(key)}' in {self.now.group(now[0])}")
            elif was and was[0] not in before:
                self.row(_path(*was), _place(self.was, *was), _summary(self.was, was[1]), None)
                self.say(f"Measure removed: '{self.was.measure(key)}' of {self.was.group(was[0])}")

    def measure(self, key, group_before, old, group, new):
        name, path, place = self.now.measure(key), _path(group, new), _place(self.now, group, new)
        if group_before != group:
            self.row(path, place, self.was.group(group_before), self.now.group(group), MOVED)
            self.say(f"Measure '{name}' moved from {self.was.group(group_before)} to {self.now.group(group)}")
        self.changed(
            f"{path}.name", f"{place} › name", old.name, new.name,
            f"Measure '{self.was.measure(key)}' is called '{name}' now",
        )  # fmt: skip
        self.changed(
            f"{path}.fact", f"{place} › data field", old.fact, new.fact,
            f"Measure '{name}' reads {self.was.fact(old.fact)} -> {self.now.fact(new.fact)}",
        )  # fmt: skip
        self.changed(
            f"{path}.weight", f"{place} › weight", old.weight, new.weight,
            f"Measure '{name}': weight {old.weight} -> {new.weight}",
        )  # fmt: skip
        self.cells(path, place, name, old, new)
        self.changed(
            f"{path}.missing", f"{place} › missing data", old.missing, new.missing,
            f"Missing data of {name}: {self.was.missing(old)} -> {self.now.missing(new)}",
        )  # fmt: skip

    def cells(self, path, place, name, old, new):
        ways = [measure.cells or "a scoring table" for measure in (old, new)]
        self.changed(
            f"{path}.cells", f"{place} › points", old.cells, new.cells,
            f"Measure '{name}': points by {ways[0]} -> {ways[1]}",
        )  # fmt: skip
        for points, was, now in zip(POINTS, old.table, new.table, strict=True):
            if was == now:
                continue
            worth = f"{points} point{'s' if points > 1 else ''}"
            self.row(f"{path}.cells.{points}", f"{place} › {worth}", was or None, now or None)
            if not old.cells and not new.cells:
                self.say(f"Measure '{name}': for {worth} {was or 'nothing'} -> {now or 'nothing'}")

    def order(self, path, place, old, new):
        """Told where nothing but the order of what is in both differs; it changes no result."""
        shared = set(old) & set(new)
        both = [[key for key in keys if key in shared] for keys in (old, new)]
        if both[0] != both[1]:
            self.row(path, f"{place} › order", ", ".join(both[0]), ", ".join(both[1]), MOVED)
            self.say(f"{place}: in another order")

    def rules(self):
        pairs = _paired(self.old.rules, self.new.rules)
        for place, rule in enumerate(self.old.rules):
            if place not in pairs:
                self.row(f"rules.{rule.key}", f"Rule {place + 1}", self.was.rule(rule), None)
                self.say(f"Rule removed: {self.was.rule(rule)}")
        before = {now: was for was, now in pairs.items()}
        for place, rule in enumerate(self.new.rules):
            if place in before:
                self.rule(place, self.old.rules[before[place]], rule)
                continue
            self.row(f"rules.{rule.key}", f"Rule {place + 1}", None, self.now.rule(rule))
            self.say(f"New rule {place + 1}: {self.now.rule(rule)}")
        self.order_of_rules([before[place] for place in sorted(before)], pairs)

    def order_of_rules(self, places, pairs):
        """The order they are in now, where those of both are in another one. places: the old ones, in the new order."""
        if places != sorted(places):
            ordered = [
                [self.now.rule(self.new.rules[pairs[place]]) for place in order]
                for order in (sorted(places), places)
            ]
            was, now = ("; ".join(rules) for rules in ordered)
            self.row("rules", "Order of rules", was, now, MOVED)
            self.say(f"The rules are in another order: {now}")

    def rule(self, place, old, new):
        path, where = f"rules.{new.key}", f"Rule {place + 1}"
        segment = self.now.segment(new.segment)
        self.changed(
            f"{path}.segment", f"{where} › segment", old.segment, new.segment,
            f"Rule {place + 1} gives {segment} instead of {self.was.segment(old.segment)}",
        )  # fmt: skip
        self.changed(
            f"{path}.from", f"{where} › coming from", ", ".join(old.sources), ", ".join(new.sources),
            f"{segment}: from {self.was.sources(old)} -> {self.now.sources(new)}",
        )  # fmt: skip
        conditions = [
            words.condition(rule.when) or "everyone else"
            for words, rule in ((self.was, old), (self.now, new))
        ]
        number = _only_number(old.when, new.when)
        term = self.now.term(number[0]) if number else ""
        sentence = (
            f"{segment}: {term} {number[1]} -> {number[2]}"
            if number
            else f"{segment}: {conditions[0]} -> {conditions[1]}"
        )
        self.changed(f"{path}.when", f"{where} › condition", old.when, new.when, sentence)
        tops = [
            f"the top {words.condition(rule.top)}" if rule.top else "however many"
            for words, rule in ((self.was, old), (self.now, new))
        ]
        self.changed(f"{path}.top", f"{where} › top", old.top, new.top, f"{segment}: {tops[0]} -> {tops[1]}")
        if old.key != new.key:
            self.row(f"{path}.key", f"{where} › key", old.key, new.key)
            if old.named or new.named:
                self.say(f"{segment}: the rule's key {old.key} -> {new.key}")

    def expected_days(self):
        """How long accounts are expected to stay in a segment."""
        for key in _either(self.old.expected_days, self.new.expected_days):
            old, new = self.old.expected_days.get(key), self.new.expected_days.get(key)
            if old != new:
                name = self.now.segment(key)
                self.row(f"expected_days.{key}", f"Expected days in {name}", old, new)
                self.say(f"Expected days in {name}: {old or 'any number'} -> {new or 'any number'}")

    def leftovers(self):
        """The rest, which only an unfinished draft may hold: told as it is."""
        document_fields = FIELDS["document"]
        for key in _either(self.old.data, self.new.data):
            if key not in document_fields and self.old.data.get(key) != self.new.data.get(key):
                old, new = (sketch.text(side.data.get(key)) for side in (self.old, self.new))
                self.row(key, key, old or None, new or None)
                self.say(f"'{key}': {old or 'nothing'} -> {new or 'nothing'}")


def _either(old, new):
    """The keys of either, in the new order; those that went at the end."""
    return list(dict.fromkeys([*new, *old]))


def _path(group, measure):
    return f"dimensions.{group}.criteria.{measure.key}"


def _place(reading, group, measure):
    return f"{reading.group(group)} › {reading.measure(measure.key)}"


def _summary(words, measure):
    cells = measure.cells or " | ".join(measure.table)
    return f"{cells}; weight {measure.weight}; missing: {words.missing(measure)}"


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


def _two_names(rule, other):
    return rule.named and other.named and rule.key != other.key


def _same_name(rule, other):
    return rule.key == other.key and rule.named and other.named


def _same_words(rule, other):
    return (rule.segment, rule.when, rule.sources, rule.top) == (
        other.segment,
        other.when,
        other.sources,
        other.top,
    )


def _same_key(rule, other):
    return rule.key == other.key


def _same_segment(rule, other):
    return rule.segment == other.segment and not _two_names(rule, other)


def _same_condition(rule, other):
    return (rule.when, rule.sources) == (other.when, other.sources) and not _two_names(rule, other)


# -- conditions as text


def _tokens(text):
    """(kind, text) of each part but blanks; the minus of a negative number belongs to it."""
    parts = []
    for kind, token in sketch.tokens(text):
        if kind == "number" and len(parts) > 1 and parts[-1] == ("other", "-") and parts[-2][0] == "sign":
            parts[-1] = ("number", f"-{token}")
        elif kind != "space":
            parts.append((kind, token))
    return parts


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
    comparison = _compared(after, at)
    if comparison is None or _continues(after, at):
        return None
    name, sign = comparison
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
        return tokens[at + 2][1], MIRROR.get(sign, sign)
    return None


def _calculates(tokens, at):
    return 0 <= at < len(tokens) and tokens[at][1] in ("+", "-", "*", "/", "%")


def _continues(tokens, at):
    """Whether the constant is part of a sum: `arr > 10 * employees`."""
    return _calculates(tokens, at + 1) or _calculates(tokens, at - 1)
