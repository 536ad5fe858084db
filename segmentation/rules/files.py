"""Definitions as files: YAML with the segmentation's key and the document, nothing else.

    key: service-tier
    document:
      weights:
        behavioural: 0.40
      ...

Numbers stay as typed. A file of the preset library has the same two parts and more; it is read for its rules.
Pure: text in, plain data out.
"""

import difflib
import re
from dataclasses import dataclass

import yaml

from segmentation.rules import document_text
from segmentation.rules.document import DocumentErrors, Problem

MAX_BYTES = 4 * document_text.MAX_TEXT  # UTF-8 has at most four bytes a character
PRESET = ("name", "description", "primary", "policy", "inactive", "scope", "decides", "segments")
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")

# The parts a draft may hold however unfinished it is: the shape, not the content. [x]: a list of x; TEXT | [..]: either.
TEXT = "a text"
_TEXTS = [TEXT]
_ROW = {"values": _TEXTS, "": TEXT}
_SHAPE = {
    "includes": _TEXTS,
    "weights": {"": TEXT},
    "requires": _TEXTS,
    "dimensions": [
        {
            "maturity": {"": TEXT},
            "criteria": [{"cells": (TEXT, _TEXTS), "": TEXT}],
            "": TEXT,
        }
    ],
    "rules": [{"from": _TEXTS, "rows": {"rows": [_ROW | {"rows": [_ROW]}], "": TEXT}, "": TEXT}],
    "expected_days": {"": TEXT},
}


class FileErrors(ValueError):
    """The file cannot be used; `problems` lists (line or None, path, sentence)."""

    def __init__(self, problems):
        self.problems = problems
        super().__init__("\n".join(message for _, _, message in problems))


@dataclass(frozen=True)
class File:
    """The content of a file. `left`: the parts of a preset that are not read.

    Its segments are read for their keys only (`segments`; None: it has none). `text`: as it was written.
    """

    key: str
    document: dict
    left: tuple
    segments: tuple | None
    text: str

    def line(self, path):
        """The line (from 1) of a place in the document, or of the nearest part round it that is there."""
        places = _places(self.text)
        path = f"document.{path}" if path else "document"
        while path not in places and "." in path:
            path = path.rpartition(".")[0]
        return places.get(path)


def write(key, document):
    """A definition as text: the same again when the text is read and written."""
    return document_text.dump({"key": key, "document": document_text.short(document)})


def read(content):
    """Read a file (bytes or text). Raises FileErrors with what is wrong and where."""
    text = _decoded(content) if isinstance(content, bytes) else content
    try:
        data = document_text.from_yaml(text)
    except DocumentErrors as errors:
        raise FileErrors([(None, problem.path, problem.message) for problem in errors.problems]) from None
    if problems := list(_problems(data)):
        places = _places(text)
        raise FileErrors([(places.get(problem.path), problem.path, problem.message) for problem in problems])
    left = tuple(name for name in PRESET if name in data)
    return File(data["key"], data["document"], left, _segments(data), text)


def _segments(data):
    segments = data.get("segments")
    if not isinstance(segments, list):
        return None
    return tuple(
        segment["key"]
        for segment in segments
        if isinstance(segment, dict) and isinstance(segment.get("key"), str)
    )


def _decoded(content):
    if len(content) > MAX_BYTES:
        raise FileErrors([(None, "", f"It is larger than {MAX_BYTES // 1000:,} kB; no rules are.")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FileErrors([(line, "", "It is not UTF-8 text. Save it as UTF-8 and try again.")]) from None


def _problems(data):
    """Find what keeps data from being a file of a definition."""
    if not isinstance(data, dict) or not {"key", "document"} <= set(data):
        hint = " Put what is there now under 'document:'." if _looks_bare(data) else ""
        yield Problem(
            "", f"It needs two parts: 'key:', of the segmentation, and 'document:', with the rules.{hint}"
        )
        return
    for name in data:
        if name not in ("key", "document", *PRESET):
            near = difflib.get_close_matches(name, PRESET, n=1)
            yield Problem(name, f"'{name}' is not known here.{f' Did you mean {near[0]!r}?' if near else ''}")
    if not isinstance(data["key"], str) or not _KEY.fullmatch(data["key"]):
        yield Problem("key", "'key' must be the key of a segmentation, such as service-tier.")
    yield from _misshapen(data["document"], _SHAPE, "document")


def _looks_bare(data):
    return isinstance(data, dict) and bool({"rules", "dimensions"} & set(data))


def _misshapen(value, shape, path):
    """Where a part is not of the kind it has to be; what is in it is not looked at."""
    name = path.rpartition(".")[2]
    name = "This entry" if name.isdigit() else f"'{name}'"
    if isinstance(shape, tuple):
        shape = shape[1] if isinstance(value, list) else shape[0]
    if isinstance(shape, list):
        if not isinstance(value, list):
            yield Problem(path, f"{name} must be a list.")
            return
        for index, entry in enumerate(value):
            yield from _misshapen(entry, shape[0], f"{path}.{index}")
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            yield Problem(path, f"{name} must have named parts.")
            return
        for key, entry in value.items():
            yield from _misshapen(entry, shape.get(key, shape.get("", TEXT)), f"{path}.{key}")
    elif not isinstance(value, str):
        yield Problem(path, f"{name} must be a single text.")


def _places(text):
    """{path: line} of every part of a YAML text that can be read."""
    places, open_parts = {}, [("", document_text.compose_yaml(text))]
    while open_parts:
        path, node = open_parts.pop()
        if isinstance(node, yaml.MappingNode):
            parts = [(key.value, key.start_mark, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            parts = [(index, value.start_mark, value) for index, value in enumerate(node.value)]
        else:
            continue
        for name, mark, value in parts:
            inner = f"{path}.{name}" if path else str(name)
            places[inner] = mark.line + 1
            open_parts.append((inner, value))
    return places
