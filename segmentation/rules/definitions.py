"""A definition's document: dimensions, criteria and rules as people type them, checked, frozen and hashed.

Pure: plain data in, dataclasses out. Numbers stay the strings that were typed (`0.40` stays `0.40`). The database is left
to `segmentation.authoring.versions`, which decides what is stored and when.
"""

import difflib
import re
from decimal import Decimal

from segmentation.rules import condition_rows, conditions, sketch
from segmentation.rules.document import (
    AGE,
    FIELDS,
    QUINTILES,
    STATE,
    Criterion,
    Dimension,
    Document,
    DocumentErrors,
    Maturity,
    Missing,
    Problem,
    Rule,
    Top,
    composite_bound,
    dimension_bound,
)
from segmentation.rules.document_text import from_yaml
from segmentation.rules.missing import ENTRY
from segmentation.rules.rubric import ORDERED, CellsDisagree, RubricError
from segmentation.rules.rubric import parse as parse_rubric

MAX_BITS = 126
MAX_ITEMS = 200
WEIGHT = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4})?|\.[0-9]{1,4}")
KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
SEGMENT_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


INCLUDES = ("churned",)  # customers evaluated beside the active and the paused
_RANKED = ("integer", "money", "ratio", "number", "score")
_TOP = re.compile(r"([0-9]{1,7})\s+by\s+([a-z][a-z0-9_.]*)")


UNKNOWN_NAME, CELLS_DISAGREE, TAKES_EVERYONE = "unknown name", "cells disagree", "takes everyone"


def parse(data, *, types, segments=None):
    """Read a document (plain data or YAML text) over the facts `types` ({name: catalogue type}); the Document.

    `segments`: the layer's segment keys, where they are known. Raises DocumentErrors with every problem.
    """
    reader = _Reader(data, types, segments)
    document = reader.document()
    if reader.problems:
        raise DocumentErrors(reader.problems)
    return document


def problems(data, *, types, segments=None):
    """Everything that keeps a document from leaving draft, all at once; an empty list when it is complete."""
    reader = _Reader(data, types, segments)
    reader.document()
    return reader.problems


def names(document_types, dimensions):
    """The names conditions may speak of: facts, `points.<criterion>`, `score.<dimension>`; {name: type}.

    `dimensions`: {dimension key: [criterion keys]}. `composite` is added where the document has one.
    """
    types = dict(document_types) | STATE
    for dimension, criteria in dimensions.items():
        types[f"score.{dimension}"] = "score"
        types |= {f"points.{criterion}": "points" for criterion in criteria}
    return types


# -- reading


class _Reader:
    """Reads plain data into a Document, collecting every problem on the way instead of stopping at the first."""

    def __init__(self, data, types, segments):
        self.problems = []
        self.types, self.segments = types, segments
        self.others = {}  # names of other layers that were met, with their types
        if isinstance(data, str):
            try:
                data = from_yaml(data)
            except DocumentErrors as errors:
                self.problems += errors.problems
                data = {}
        self.data = self.plain(data, "")

    def problem(self, path, message, kind=""):
        self.problems.append(Problem(path, message, kind))

    def plain(self, value, path, depth=0):
        """The same data with strings for scalars; empty entries dropped."""
        if depth > 10:
            self.problem(path, "Nested too deeply.")
            return ""
        if isinstance(value, dict):
            pairs = {str(key): entry for key, entry in value.items() if entry is not None}
            return {key: self.plain(entry, _join(path, key), depth + 1) for key, entry in pairs.items()}
        if isinstance(value, list | tuple):
            if len(value) > MAX_ITEMS:
                self.problem(path, f"More than {MAX_ITEMS} entries.")
                return []
            return [
                self.plain("" if entry is None else entry, _join(path, i), depth + 1)
                for i, entry in enumerate(value)
            ]
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", text):
            self.problem(path, "Contains a character that cannot be stored.")
            return ""
        return text.strip()

    # Each reader takes data and a path and gives the part, or None after telling what is wrong.

    def document(self):
        if not isinstance(self.data, dict):
            self.problem("", "The document must be a list of named parts: weights, dimensions, rules.")
            return None
        self.check_keys(self.data, "document", "")
        includes = self.includes()
        requires = tuple(self.requires())
        dimensions = self.dimensions()
        weights = self.weights(dimensions)
        rules = self.rules(dimensions, weights)
        expected_days = self.expected_days(rules)
        if self.problems:
            return None
        self.fits(dimensions, weights)
        types = dict(self.types) | STATE | self.others
        data = self.frozen(dimensions, includes, rules, expected_days)
        return Document(
            weights, requires, tuple(dimensions), tuple(rules), includes, expected_days, types, data
        )

    def check_keys(self, data, kind, path):
        for key in data:
            if key not in FIELDS[kind]:
                near = difflib.get_close_matches(key, FIELDS[kind], n=1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                self.problem(_join(path, key), f"'{key}' is not known here.{hint}")

    def items(self, data, name, path):
        """A list of mappings, with their paths."""
        path = _join(path, name)
        entries = data.get(name, [])
        if not isinstance(entries, list):
            self.problem(path, f"'{name}' must be a list.")
            return []
        good = []
        for index, entry in enumerate(entries):
            if isinstance(entry, dict):
                good.append((entry, f"{path}.{index}"))
            else:
                self.problem(f"{path}.{index}", "This entry must have named parts.")
        return good

    def text(self, data, name, path):
        value = data.get(name, "")
        if not isinstance(value, str):
            self.problem(_join(path, name), f"'{name}' must be a single text.")
            return ""
        return value

    def key(self, data, path, taken, what):
        key = self.text(data, "key", path)
        if not key:
            self.problem(_join(path, "key"), f"Give the {what} a key.")
        elif not KEY.fullmatch(key):
            self.problem(
                _join(path, "key"),
                f"'{key}' is no key: use small letters, digits and _, at most 40, a letter first.",
            )
        elif key in taken:
            self.problem(_join(path, "key"), f"There are two with the key '{key}'.")
        taken.add(key)
        return key

    def fact(self, name, path):
        """The type of a fact (or of a label or score of another layer); None after telling that there is none."""
        if type := conditions.type_of(name, self.types):
            self.others |= {name: type} if name not in self.types else {}
            return type
        near = difflib.get_close_matches(name.lower(), self.types, n=1, cutoff=0.6)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        self.problem(path, f"There is no data field '{name}'.{hint}", UNKNOWN_NAME)
        return None

    def includes(self):
        includes = self.data.get("includes", [])
        if not isinstance(includes, list) or not all(name in INCLUDES for name in includes):
            self.problem("includes", f"'includes' is a list of: {', '.join(INCLUDES)}.")
            return ()
        return tuple(dict.fromkeys(includes))

    def requires(self):
        fields = self.data.get("requires", [])
        if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
            self.problem("requires", "'requires' must be a list of data fields.")
            return []
        for index, name in enumerate(fields):
            if self.fact(name, f"requires.{index}") and name in fields[:index]:
                self.problem(f"requires.{index}", f"'{name}' is there twice.")
        return fields

    def expected_days(self, rules):
        """How long an account is expected to stay in some segments: {segment: days}."""
        path, data = "expected_days", self.data.get("expected_days") or {}
        if not isinstance(data, dict):
            self.problem(path, "'expected_days' names segments, each with a number of days.")
            return {}
        given = {rule.segment for rule in rules if rule}
        for segment in data:
            if segment not in given:
                self.problem(_join(path, segment), f"No rule gives the segment '{segment}'.")
        days = {segment: self.days(data, segment, path) for segment in data}
        return {segment: number for segment, number in days.items() if number}

    def dimensions(self):
        keys, criterion_keys, dimensions = set(), set(), []
        for data, path in self.items(self.data, "dimensions", ""):
            self.check_keys(data, "dimension", path)
            key = self.key(data, path, keys, "score group")
            scale = self.text(data, "scale", path) or "mean"
            if scale not in ("mean", "points"):
                self.problem(f"{path}.scale", f"The scale is 'mean' or 'points', not '{scale}'.")
            maturity = self.maturity(data, path)
            before = len(self.problems)
            criteria = [
                self.criterion(entry, at, scale, criterion_keys)
                for entry, at in self.items(data, "criteria", path)
            ]
            if not criteria and len(self.problems) == before:
                self.problem(f"{path}.criteria", "Add at least one measure.")
            criteria = [criterion for criterion in criteria if criterion]
            if criteria and not sum(criterion.weight for criterion in criteria):
                self.problem(f"{path}.criteria", "At least one measure must have a weight above 0.")
            name = self.text(data, "name", path) or None
            dimensions.append(Dimension(key, name, scale, tuple(criteria), maturity))
        return dimensions

    def maturity(self, data, path):
        path, data = f"{path}.maturity", data.get("maturity")
        if not data:
            return None
        if not isinstance(data, dict):
            self.problem(path, "'maturity' has the parts after_days, needs_data_after_days and until_then.")
            return None
        self.check_keys(data, "maturity", path)
        after = self.days(data, "after_days", path)
        until = self.days(data, "needs_data_after_days", path) if "needs_data_after_days" in data else after
        if after and until and until < after:
            self.problem(f"{path}.needs_data_after_days", f"Must not be earlier than after_days ({after}).")
        policy = self.text(data, "until_then", path) or "skip"
        match = re.fullmatch(r"skip|assume\s+([1-5])", policy)
        if not match:
            self.problem(f"{path}.until_then", f"Write 'skip' or 'assume 3', not '{policy}'.")
        if self.types.get(AGE) != "integer":
            self.problem(path, f"There is no data field '{AGE}'.", UNKNOWN_NAME)
        return Maturity(after or 1, until or 1, int(match[1]) if match and match[1] else None)

    def days(self, data, name, path):
        text = self.text(data, name, path)
        if re.fullmatch(r"[0-9]{1,4}", text) and 1 <= int(text) <= 3650:
            return int(text)
        self.problem(_join(path, name), f"'{name}' must be a number of days from 1 to 3650.")
        return None

    def criterion(self, data, path, scale, taken):
        before = len(self.problems)
        self.check_keys(data, "criterion", path)
        key = self.key(data, path, taken, "measure")
        fact = self.text(data, "fact", path) or key
        type = self.fact(fact, f"{path}.fact" if "fact" in data else f"{path}.key") if fact else None
        weight = self.weight(self.text(data, "weight", path) or "1", f"{path}.weight")
        if scale == "points" and weight not in (None, 1):
            self.problem(
                f"{path}.weight", "In a plain sum of points every measure counts once; remove the weight."
            )
        cells = data.get("cells", [])
        quintiles = cells == QUINTILES
        if quintiles:
            cells = []
            if type and type not in ORDERED:
                self.problem(f"{path}.cells", f"'{fact}' has no order, so there are no quintiles of it.")
        elif not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
            self.problem(f"{path}.cells", "'cells' must be a list of five texts, or 'quintiles'.")
            cells = []
        table = self.rubric(cells, type, f"{path}.cells") if type and not quintiles else None
        missing = self.missing(self.text(data, "missing", path) or "skip", scale, f"{path}.missing")
        name = self.text(data, "name", path) or None
        if len(self.problems) > before:
            return None
        cells = (*cells, *[""] * (5 - len(cells)))
        return Criterion(key, fact, name, weight, cells, table, missing, quintiles)

    def weight(self, text, path):
        if WEIGHT.fullmatch(text):
            return Decimal(text)
        self.problem(path, f"'{text}' is not a weight: a number from 0 with at most 4 decimals.")
        return None

    def rubric(self, cells, type, path):
        try:
            return parse_rubric(cells, type)
        except RubricError as errors:
            kind = CELLS_DISAGREE if isinstance(errors, CellsDisagree) else ""
            for index, message in errors.problems:
                self.problem(f"{path}.{index}", f"Cell {index + 1}: {message}.", kind)
        return None

    def missing(self, text, scale, path):
        if text == "skip":
            if scale == "points":
                self.problem(
                    path,
                    "A plain sum cannot leave out a measure: count it as 1 to 5 points ('assume 3'), rate another data "
                    "field, or let the account need data.",
                )
            return Missing("skip", text=text)
        if text == "needs data":
            return Missing("needs data", text=text)
        if match := re.fullmatch(r"assume\s+([1-5])", text):
            return Missing("assume", points=int(match[1]), text=text)
        if match := re.fullmatch(r"rate\s+([\w.]+)\s*:\s*(.+)", text, re.DOTALL):
            return self.rate(match[1], match[2], text, path)
        if text.startswith("rate"):
            self.problem(
                path,
                "Say which data field is rated instead, and what earns how many points, "
                "such as: rate arr: 100K+ = 5, < 100K = 1",
            )
            return None
        self.problem(
            path,
            f"'{text}' is not known. Write skip, assume 3, needs data, or for example: "
            "rate arr: 100K+ = 5, 25K-99K = 3, < 25K = 1",
        )
        return None

    def rate(self, fact, text, typed, path):
        """`rate arr: 100K+ = 5, 25K-99K = 3, < 25K = 1`: another fact's scoring table."""
        type = self.fact(fact, path)
        if not type:
            return None
        cells, remaining = [""] * 5, text.strip()
        while remaining:
            match = ENTRY.match(remaining)
            if not match or cells[5 - int(match[2])]:
                why = (
                    f"{match[2]} point{' is' if match[2] == '1' else 's are'} there twice"
                    if match
                    else f"cannot read '{remaining}'"
                )
                self.problem(
                    path,
                    f"After 'rate {fact}:' write cells and points, such as 100K+ = 5, < 100K = 1: {why}.",
                )
                return None
            cells[5 - int(match[2])] = match[1].strip()
            remaining = remaining[match.end() :].strip()
        try:
            return Missing("rate", fact=fact, rubric=parse_rubric(cells, type), text=typed)
        except RubricError as errors:
            for index, message in errors.problems:
                self.problem(path, f"For {5 - index} {'points' if index < 4 else 'point'}: {message}.")
        return None

    def weights(self, dimensions):
        """{dimension: Decimal} that sum to exactly 1, or None: no composite."""
        data = self.data.get("weights") or None
        keys = [dimension.key for dimension in dimensions]
        if data is None:
            return {keys[0]: Decimal(1)} if len(keys) == 1 else None
        if not isinstance(data, dict):
            self.problem("weights", "'weights' names each score group and its weight.")
            return None
        weights = {key: self.composite_weight(key, text) for key, text in data.items()}
        for key in set(weights) - set(keys):
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            self.problem(f"weights.{key}", f"There is no score group '{key}'.{hint}")
        for key in keys:
            if key and key not in weights:
                self.problem("weights", f"Say what '{key}' counts (0 if it should not).")
        if None not in weights.values() and sum(weights.values()) != 1:
            total = f"{sum(weights.values()).normalize():f}"
            self.problem("weights", f"The weights add up to {total}; they must add up to exactly 1.")
        return {key: weights.get(key) for key in keys}

    def composite_weight(self, key, text):
        path = f"weights.{key}"
        if not isinstance(text, str) or not WEIGHT.fullmatch(text) or Decimal(text) > 1:
            self.problem(path, f"'{text}' is not a weight: a number from 0 to 1 with at most 4 decimals.")
            return None
        return Decimal(text)

    def rules(self, dimensions, weights):
        types = names(
            self.types,
            {dimension.key: [criterion.key for criterion in dimension.criteria] for dimension in dimensions},
        )
        if weights:
            types["composite"] = "score"
        items = self.items(self.data, "rules", "")
        if not items:
            self.problem("rules", "Add at least one rule.")
        keys = sketch.rule_keys([data for data, _ in items])
        rules = []
        for index, (data, path) in enumerate(items):
            if keys[index] in keys[:index]:
                self.problem(f"{path}.key", f"There are two rules with the key '{keys[index]}'.")
            rules.append(self.rule(data, path, types, keys[index], last=index == len(items) - 1))
        return rules

    def rule(self, data, path, types, key, last):
        self.check_keys(data, "rule", path)
        segment, unfinished = self.text(data, "segment", path), self.rows(data, types, path)
        when = self.text(data, "when", path)
        if data.get("key") and not (isinstance(data["key"], str) and KEY.fullmatch(key)):
            self.problem(
                f"{path}.key", f"'{key}' is no key: use small letters, digits and _, a letter first."
            )
        if not segment:
            self.problem(f"{path}.segment", "Say which segment the rule gives.")
        else:
            self.segment(segment, f"{path}.segment")
        sources, top = self.sources(data, path), self.top(data, path, types)
        if unfinished:
            return Rule(segment, None, key, sources, top)
        if not when:
            if not (last or sources or top):
                self.problem(
                    f"{path}.when",
                    "A rule without a condition takes everyone: it can only be the last.",
                    TAKES_EVERYONE,
                )
            return Rule(segment, None, key, sources, top)
        try:
            condition = conditions.compile(when, types)
        except conditions.ConditionError as error:
            place = "" if error.position is None else f" (at character {error.position + 1})"
            kind = UNKNOWN_NAME if isinstance(error, conditions.UnknownName) else ""
            self.problem(f"{path}.when", f"{error.message}{place}", kind)
            return Rule(segment, None, key, sources, top)
        self.others |= {
            name: conditions.type_of(name, types) for name in condition.names if name not in types
        }
        return Rule(segment, condition, key, sources, top)

    def rows(self, data, types, path):
        """Whether the condition is rows that are not finished, which a draft may hold; rows that are become its text."""
        if "rows" not in data:
            return False
        try:
            data["when"] = condition_rows.to_text(data.pop("rows"), types)
        except condition_rows.RowErrors as errors:
            for place, message in errors.problems:
                self.problem(_join(f"{path}.rows", place) if place else f"{path}.rows", message)
            return True
        return False

    def segment(self, segment, path):
        if self.segments is not None and segment not in self.segments:
            near = difflib.get_close_matches(segment, self.segments, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            self.problem(path, f"There is no segment '{segment}'.{hint}")
        elif not SEGMENT_KEY.fullmatch(segment):
            self.problem(path, f"'{segment}' is no key: use small letters, digits and -.")

    def sources(self, data, path):
        """`from`: the segments a rule takes accounts from."""
        sources, path = data.get("from") or [], f"{path}.from"
        if isinstance(sources, str):
            sources = [name.strip() for name in sources.split(",")]
        if not isinstance(sources, list) or not all(isinstance(name, str) for name in sources):
            self.problem(path, "'from' is a list of segments.")
            return ()
        for index, name in enumerate(sources):
            self.segment(name, f"{path}.{index}")
        return tuple(dict.fromkeys(sources))

    def top(self, data, path, types):
        """`top: 50 by arr`."""
        text, path = self.text(data, "top", path), f"{path}.top"
        if not text:
            return None
        match = _TOP.fullmatch(text)
        if not match or int(match[1]) == 0:
            self.problem(path, f"'{text}' is not known. Write for example: 50 by arr")
            return None
        count, by = int(match[1]), match[2]
        type = conditions.type_of(by, types)
        if type not in _RANKED:
            self.problem(path, f"'{by}' is no number that accounts can be ranked by.")
            return None
        self.others |= {by: type} if by not in types else {}
        return Top(count, by)

    def fits(self, dimensions, weights):
        """The bit bound of the exact arithmetic."""
        for index, dimension in enumerate(dimensions):
            if dimension_bound(dimension).bit_length() > MAX_BITS:
                self.problem(
                    f"dimensions.{index}", "Too many measures with too long weights to score exactly."
                )
        if weights and composite_bound(dimensions, weights).bit_length() > MAX_BITS:
            self.problem(
                "weights", "Too many score groups and measures with too long weights to score exactly."
            )

    def frozen(self, dimensions, includes, rules, expected_days):
        """The canonical form."""
        frozen = {"includes": list(includes)} if includes else {}
        for name in ("weights", "requires"):
            if self.data.get(name):
                frozen[name] = self.data[name]
        if dimensions:
            frozen["dimensions"] = [
                _frozen_dimension(dimension, data)
                for dimension, data in zip(dimensions, self.data["dimensions"], strict=True)
            ]
        if "weights" in frozen:
            frozen["weights"] = {dimension.key: frozen["weights"][dimension.key] for dimension in dimensions}
        frozen["rules"] = [
            _frozen_rule(rule, data) for rule, data in zip(rules, self.data["rules"], strict=True)
        ]
        if expected_days:
            frozen["expected_days"] = {segment: str(days) for segment, days in expected_days.items()}
        return frozen


def _join(path, name):
    return f"{path}.{name}" if path else str(name)


def _frozen_dimension(dimension, data):
    frozen = {"key": dimension.key}
    if dimension.name:
        frozen["name"] = dimension.name
    frozen["scale"] = dimension.scale
    if dimension.maturity:
        typed = data["maturity"]
        frozen["maturity"] = {
            "after_days": typed["after_days"],
            "needs_data_after_days": typed.get("needs_data_after_days") or typed["after_days"],
            "until_then": typed.get("until_then") or "skip",
        }
    frozen["criteria"] = [
        _frozen_criterion(criterion, typed)
        for criterion, typed in zip(dimension.criteria, data["criteria"], strict=True)
    ]
    return frozen


def _frozen_criterion(criterion, data):
    frozen = {"key": criterion.key, "fact": criterion.fact}
    if criterion.name:
        frozen["name"] = criterion.name
    frozen["weight"] = data.get("weight") or "1"
    frozen["cells"] = QUINTILES if criterion.quintiles else list(criterion.cells)
    frozen["missing"] = criterion.missing.text
    return frozen


def _frozen_rule(rule, data):
    typed = data | {"key": rule.key, "from": list(rule.sources)}
    return {name: typed[name] for name in FIELDS["rule"] if typed.get(name)}
