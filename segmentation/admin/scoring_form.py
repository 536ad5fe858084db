"""The scoring table as a form: field names are paths into the document, such as `dimensions.0.criteria.2.cells.1`.

A rule's condition is typed as text (`rules.0.when`) or, with JavaScript, as rows (`rules.0.rows`, JSON): rows win. Rows that
are no condition yet stand in a draft as they are (`rules.0.kept` without JavaScript). Numbers are typed as people write
them: a share of `40%` is kept as 0.4.
"""

import json

from accounts.catalogue import FACTS, TYPES
from core import numbers
from segmentation.rules import definitions, missing, terms
from segmentation.rules.condition_rows import (
    OPERATORS,
    RowErrors,
    is_shaped,
    kind_of,
    read_rows,
    to_rows,
    to_text,
)
from segmentation.rules.document import QUINTILES, STATE
from segmentation.rules.sketch import UNFINISHED, Sketch

CELLS = range(5)
POINTS = (5, 4, 3, 2, 1)
LIMIT = 5_000  # fields of one form
MATURITY = ("after_days", "needs_data_after_days", "until_then")
KINDS = {"points": "Points", "score": "Scores", "state": "Where it stands", "other": "Other segmentations"}


def read(post):
    """A document from the posted form. Empty optional parts are left out; nothing is checked here."""
    tree = {}
    for name in list(post)[:LIMIT]:
        if name.startswith(("dimensions.", "rules.")):
            _put(tree, name.split("."), post[name].strip())
    groups = _list(tree.get("dimensions"))
    document = {}
    weights = {
        group.get("key", ""): numbers.plain(group["share"])
        for group in groups
        if isinstance(group.get("share"), str) and group["share"]
    }
    if weights:
        document["weights"] = weights
    if requires := [name.strip() for name in post.get("requires", "").split(",") if name.strip()]:
        document["requires"] = requires
    if groups:
        document["dimensions"] = [_group(group) for group in groups]
    if post.get("includes"):
        document["includes"] = [name.strip() for name in post["includes"].split(",") if name.strip()]
    if post.get("expected_days"):
        document["expected_days"] = dict(map(_expected, post["expected_days"].split(",")))
    rules = _list(tree.get("rules"))
    document["rules"] = [_rule(rule) for rule in rules]
    types = names(document) if any(map(_rows_of, rules)) else {}
    for rule, typed in zip(document["rules"], rules, strict=True):
        if text := _rows_of(typed):
            _put_rows(rule, text, types)
    return document


def _rows_of(typed):
    """The rows of a rule as they were sent; those kept with the draft only where no condition was typed instead."""
    return typed.get("rows") or ("" if typed.get("when") else typed.get("kept", ""))


def _expected(text):
    """`onboarding 90` as a pair; what is no number of days is told by the check of the document."""
    segment, _, days = text.strip().rpartition(" ")
    return (segment.strip(), days) if segment else (days, "")


def _rule(typed):
    rule = _present(typed, ("key", "segment", "when"))
    if isinstance(typed.get("from"), dict) and (
        sources := [source for source in typed["from"].values() if source]
    ):
        rule["from"] = sources
    top = typed.get("top")
    if isinstance(top, dict) and (top.get("count") or top.get("by")):
        rule["top"] = f"{numbers.plain(str(top.get('count', '')))} by {top.get('by', '')}"
    return rule


def _put_rows(rule, text, types):
    group = read_rows(text)
    rule.pop("when", None)
    try:
        if when := to_text(group, types):
            rule["when"] = when
    except RowErrors:
        rule |= {"rows": group} if is_shaped(group) else {"when": UNFINISHED}


def row_problems(post):
    """Problems of what was sent as rows and is none: [{"path": "rules.0.rows", "message": sentence}]; it cannot be saved."""
    return [
        {"path": f"rules.{index}.rows", "message": "These rows cannot be read."}
        for index, typed in enumerate(_typed_rules(post))
        if _rows_of(typed) and not is_shaped(read_rows(_rows_of(typed)))
    ]


def _typed_rules(post):
    tree = {}
    for name in list(post)[:LIMIT]:
        if name.startswith("rules."):
            _put(tree, name.split("."), post[name].strip())
    return _list(tree.get("rules"))


def names(document):
    """The names the rules of a document may speak of, as far as it is typed: {name: type}."""
    sketch = Sketch.of(document)
    dimensions = {
        group.key: [measure.key for measure in group.measures]
        for group in sketch.groups.values()
        if group.typed
    }
    types = definitions.names(TYPES, dimensions)
    if sketch.weights or len(dimensions) == 1:
        types["composite"] = "score"
    return types


def fields(document, layer, others):
    """The fields a row may ask about: [{name, label, kind, family, choices}]; `others` are the other layers."""
    words = terms.Words(
        Sketch.of(document), terms.Names(facts={name: fact.label for name, fact in FACTS.items()})
    )
    own = _choices(layer)
    offered = []
    for name, type in names(document).items():
        family, _, part = name.partition(".")
        fact = FACTS.get(name)
        offered.append({
            "name": name, "kind": kind_of(type),
            "label": fact.label if fact else terms.STATE.get(name) or f"{KINDS[family]}: {_part(family, part, words)}",
            "family": fact.family.capitalize() if fact else KINDS["state" if name in STATE else "score"],
            "unit": fact.unit if fact else "",
            "choices": own if name in ("previous", "declared") else [],
        })  # fmt: skip
    for other in others:
        key = other.key.replace("-", "_")
        shared = {"family": KINDS["other"], "unit": ""}
        offered.append(
            {
                "name": f"label.{key}",
                "kind": "text",
                "label": f"{other.name}: segment",
                "choices": _choices(other),
            }
            | shared
        )
        offered.append(
            {"name": f"composite.{key}", "kind": "number", "label": f"{other.name}: score", "choices": []}
            | shared
        )
    return offered


def _choices(layer):
    return [[segment.key, str(segment)] for segment in layer.segments.all()]


def _part(family, key, words):
    """The name of a score group or of a measure."""
    return words.measure(key) if family == "points" else words.group(key)


def operators():
    """The operators of each kind, as the page offers them: {kind: [[code, words]]}."""
    return {kind: [list(choice) for choice in choices] for kind, choices in OPERATORS.items()}


def _put(tree, path, value):
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            return
    tree[path[-1]] = value


def _list(tree):
    """The entries of {"0": .., "1": ..} in order."""
    entries = [(int(key), value) for key, value in (tree or {}).items() if key.isdecimal()]
    return [value for _, value in sorted(entries) if isinstance(value, dict)]


def _present(values, names):
    return {name: values[name] for name in names if isinstance(values.get(name), str) and values[name]}


def _group(group):
    dimension = _present(group, ("key", "name"))
    dimension["scale"] = "points" if group.get("scale") == "points" else "mean"
    typed = group.get("maturity")
    maturity = _present(typed if isinstance(typed, dict) else {}, MATURITY)
    maturity |= {name: numbers.plain(maturity[name]) for name in MATURITY[:2] if name in maturity}
    if maturity.get("after_days") or maturity.get("needs_data_after_days"):
        dimension["maturity"] = maturity
    dimension["criteria"] = [_criterion(measure) for measure in _list(group.get("criteria"))]
    return dimension


def _criterion(typed):
    criterion = _present(typed, ("key", "fact", "name", "weight"))
    if "weight" in criterion:
        criterion["weight"] = numbers.plain(criterion["weight"])
    criterion["cells"] = list(_five(typed.get("cells")))
    if criterion["cells"] == [QUINTILES, "", "", "", ""]:  # typed into the first cell
        criterion["cells"] = QUINTILES
    policy = _present(typed, ("missing", "missing_fact", "missing_as"))
    if policy.get("missing") == missing.RATE:
        fact, cells = policy.get("missing_fact", ""), _five(typed.get("missing_cells"))
        chosen = missing.Parts(missing.RATE, fact, cells)
    else:
        chosen = missing.Parts(policy.get("missing", ""))
    text = missing.text_of(chosen, before=policy.get("missing_as", ""))
    return criterion | ({"missing": text} if text else {})


def _five(typed):
    """Five cells as they were sent."""
    typed = typed if isinstance(typed, dict) else {}
    return tuple(text if isinstance(text := typed.get(str(index), ""), str) else "" for index in CELLS)


def rows(document, post=None):
    """The document as the page shows it: groups with their share, five cells in each row.

    post: what was typed, where it is shown again: rows that are no condition yet stand in no document.
    """
    document = document if isinstance(document, dict) else {}
    weights = document.get("weights") or {}
    groups = [
        {
            **group,
            "path": f"dimensions.{index}",
            "share": weights.get(group.get("key"), ""),
            "maturity": group.get("maturity") or {},
            "criteria": [
                _row(criterion, f"dimensions.{index}.criteria.{place}")
                for place, criterion in enumerate(group.get("criteria", []))
            ],
        }
        for index, group in enumerate(document.get("dimensions") or [])
    ]
    types, typed = names(document), _typed_rules(post) if post else []
    return {
        "groups": groups,
        "rules": [
            _shown_rule(rule, f"rules.{index}", types, typed[index] if index < len(typed) else {})
            for index, rule in enumerate(document.get("rules") or [])
        ],
        "requires": ", ".join(document.get("requires") or []),
        "includes": ", ".join(document.get("includes") or []),
        "expected_days": ", ".join(
            f"{key} {days}" for key, days in (document.get("expected_days") or {}).items()
        ),
        "blank_row": _row({}, ""),
        "blank_rule": _shown_rule({}, "", types, {}),
    }


def _row(criterion, path):
    cells = criterion.get("cells", [])
    cells = [cells] if isinstance(cells, str) else cells
    return {
        **criterion,
        "path": path,
        "fact": criterion.get("fact") or criterion.get("key", ""),
        "cells": list(zip(POINTS, [*cells, *[""] * 5][:5], strict=True)),
        "if_missing": _if_missing(str(criterion.get("missing") or "")),
    }


def _if_missing(text):
    """The policy as it is chosen: {choices: [(value, words, chosen)], fact, cells, text}."""
    parts = missing.parts(text)
    choices = [(value, words, value == parts.choice) for value, words in missing.CHOICES]
    if parts.choice not in dict(missing.CHOICES):
        choices.insert(0, (parts.choice, parts.choice or "Choose …", True))
    rated = list(zip(POINTS, parts.cells, strict=True))
    return {"choices": choices, "fact": parts.fact, "cells": rated, "text": text}


def _shown_rule(rule, path, types, typed):
    sources = rule.get("from") or []
    if isinstance(sources, str):
        sources = [source.strip() for source in sources.split(",") if source.strip()]
    count, _, by = str(rule.get("top") or "").partition(" by ")
    unfinished = rule["rows"] if is_shaped(rule.get("rows")) else None
    return {
        **rule,
        "path": path,
        "sources": sources,
        "count": count.strip(),
        "by": by.strip(),
        "limited": bool(sources or count),
        "rows": read_rows(typed.get("rows")) or unfinished or to_rows(str(rule.get("when") or ""), types),
        "edited": typed.get("rows", ""),
        "kept": json.dumps(unfinished) if unfinished else "",
    }
