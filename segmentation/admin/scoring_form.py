"""The scoring table as a form: field names are paths into the document, such as `dimensions.0.criteria.2.cells.1`."""

CELLS = range(5)
POINTS = (5, 4, 3, 2, 1)
LIMIT = 5_000  # fields of one form
MATURITY = ("after_days", "needs_data_after_days", "until_then")


def read(post):
    """A document from the posted form. Empty optional parts are left out; nothing is checked here."""
    tree = {}
    for name in list(post)[:LIMIT]:
        if name.startswith(("dimensions.", "rules.")):
            _put(tree, name.split("."), post[name].strip())
    groups = _list(tree.get("dimensions"))
    document = {}
    weights = {group.get("key", ""): group["share"] for group in groups if group.get("share")}
    if weights:
        document["weights"] = weights
    if requires := [name.strip() for name in post.get("requires", "").split(",") if name.strip()]:
        document["requires"] = requires
    if groups:
        document["dimensions"] = [_group(group) for group in groups]
    document["rules"] = [_present(rule, ("segment", "when")) for rule in _list(tree.get("rules"))]
    return document


def _put(tree, path, value):
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            return
    tree[path[-1]] = value


def _list(tree):
    """The entries of {"0": .., "1": ..} in order."""
    entries = [(int(key), value) for key, value in (tree or {}).items() if key.isdigit()]
    return [value for _, value in sorted(entries) if isinstance(value, dict)]


def _present(values, names):
    return {name: values[name] for name in names if isinstance(values.get(name), str) and values[name]}


def _group(group):
    found = _present(group, ("key", "name"))
    found["scale"] = "points" if group.get("scale") == "points" else "mean"
    maturity = _present(group.get("maturity") or {}, MATURITY)
    if maturity.get("after_days") or maturity.get("needs_data_after_days"):
        found["maturity"] = maturity
    found["criteria"] = [_criterion(one) for one in _list(group.get("criteria"))]
    return found


def _criterion(one):
    found = _present(one, ("key", "fact", "name", "weight"))
    cells = one.get("cells") or {}
    found["cells"] = [cells.get(str(index), "") for index in CELLS]
    return found | _present(one, ("missing",))


def rows(document):
    """The document as the page shows it: groups with their share, five cells in each row."""
    document = document if isinstance(document, dict) else {}
    weights = document.get("weights") or {}
    groups = [
        {
            **group,
            "share": weights.get(group.get("key"), ""),
            "maturity": group.get("maturity") or {},
            "criteria": [_row(one) for one in group.get("criteria", [])],
        }
        for group in document.get("dimensions") or []
    ]
    return {
        "groups": groups,
        "rules": document.get("rules") or [],
        "requires": ", ".join(document.get("requires") or []),
        "blank_row": _row({}),
    }


def _row(one):
    cells = [*one.get("cells", []), *[""] * 5][:5]
    return {
        **one,
        "fact": one.get("fact") or one.get("key", ""),
        "cells": list(zip(POINTS, cells, strict=True)),
    }
