"""Documents as YAML text, and back: every scalar stays the text that was typed."""

import re

import yaml

from accounts import plain_yaml
from segmentation.rules import sketch
from segmentation.rules.document import FIELDS, Document, DocumentErrors, Problem

MAX_TEXT = 200_000


class _Loader(plain_yaml.Loader):
    """Every scalar stays the string that was typed."""


_Loader.yaml_implicit_resolvers = {}


class _Dumper(yaml.SafeDumper):
    """Strings without quotes where possible: 0.40 is read back as typed."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


_Dumper.yaml_implicit_resolvers = {}


def _written(dumper, text):
    """Texts over lines as a block; what YAML would read back as another line break in double quotes."""
    odd = re.search("[\x85\u2028\u2029\ufeff]", text)
    style = '"' if odd else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _written)


def from_yaml(text):
    """YAML text -> plain data whose scalars are all strings. Raises DocumentErrors."""
    if len(text) > MAX_TEXT:
        raise DocumentErrors([Problem("", f"The text is longer than {MAX_TEXT:,} characters.")])
    try:
        return plain_yaml.load(text, _Loader)
    except plain_yaml.Unreadable as error:
        where = f" (line {error.line})" if error.line else ""
        raise DocumentErrors([Problem("", f"The YAML cannot be read{where}: {error.problem}.")]) from None


def compose_yaml(text):
    """The nodes of a text that `from_yaml` can read; they know their lines."""
    return plain_yaml.compose(text, _Loader)


def to_yaml(document):
    """A document (or its plain data) as YAML, without the defaults; `from_yaml` reads the same back."""
    return dump(short(document.data if isinstance(document, Document) else document))


def dump(data):
    """Plain data whose scalars are texts as YAML; `from_yaml` reads the same back."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def short(data):
    """Leave out what is the default anyway, in the order of FIELDS (the database keeps none). A draft may hold
    anything: what is no text becomes one."""
    data = _plain(data)
    if not isinstance(data, dict):
        return data
    data = _ordered(data, "document")
    for dimension in sketch.entries(data.get("dimensions")):
        if dimension.get("scale") == "mean":
            del dimension["scale"]
        for criterion in sketch.entries(dimension.get("criteria")):
            if criterion.get("fact") == criterion.get("key"):
                criterion.pop("fact", None)
            if criterion.get("weight") == "1":
                del criterion["weight"]
    rules = sketch.entries(data.get("rules"))
    if sketch.rule_keys([{**rule, "key": None} for rule in rules]) == [rule.get("key") for rule in rules]:
        for rule in rules:
            del rule["key"]
    return data


def _plain(value):
    """A copy with texts for scalars; nothing for null."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _ordered(data, kind):
    """Known parts first, in their order; weights in the order of the score groups."""
    data = {name: data[name] for name in _first(FIELDS[kind], data)}
    for name, inner in (("dimensions", "dimension"), ("criteria", "criterion"), ("rules", "rule")):
        if isinstance(data.get(name), list):
            data[name] = [
                _ordered(entry, inner) if isinstance(entry, dict) else entry for entry in data[name]
            ]
    if isinstance(data.get("maturity"), dict):
        data["maturity"] = _ordered(data["maturity"], "maturity")
    if isinstance(data.get("weights"), dict):
        groups = [str(entry.get("key")) for entry in sketch.entries(data.get("dimensions"))]
        data["weights"] = {key: data["weights"][key] for key in _first(groups, data["weights"])}
    return data


def _first(wanted, data):
    """The keys of data: the wanted ones in their order, then the others."""
    return list(dict.fromkeys([*(key for key in wanted if key in data), *sorted(data)]))
