"""Bodies: JSON as it has to be, before anybody looks at what it says.

Numbers keep their decimals (Decimal). A name twice in an object, NaN, NUL, half a character, and nesting deeper than DEEPEST
are refused: what one program reads in them another does not.
"""

import hashlib
import json
import re
from decimal import Decimal

from rest_framework.parsers import BaseParser

from core.api.problems import Problem

DEEPEST = 12
LARGEST = 8 << 20  # bytes; told before they are read (config.middleware.size_limit)
ESCAPES = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
HALVES = re.compile("[\x00\ud800-\udfff]")


class Json(BaseParser):
    """application/json in UTF-8. The digest of what was sent is left on the request as `digest`."""

    media_type = "application/json"

    def parse(self, stream, media_type=None, parser_context=None):
        content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise Problem(413, "body_too_large")
        parser_context["request"].digest = hashlib.sha256(content).hexdigest()
        return read(content)


def read(content):
    """The value of a body."""
    try:
        value = json.loads(
            content.decode("utf-8"),
            parse_float=_number,
            parse_int=_integer,
            parse_constant=_no_number,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise Problem(400, "body_nested_too_deeply") from None
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        raise Problem(400, "body_not_json", f"The body is not JSON: {str(error)[:200]}.") from None
    _check(value, texts=bool(ESCAPES.search(content)) or b"\x00" in content)
    return value


def _number(text):
    if len(text) > 60:
        raise ValueError(f"{text[:20]}... has too many digits")
    number = Decimal(text)
    if not -40 < number.adjusted() < 40:
        raise ValueError(f"{text[:20]} is too large or too small")
    return number


def _integer(text):
    if len(text) > 40:
        raise ValueError(f"{text[:20]}... has too many digits")
    return int(text)


def _no_number(text):
    raise ValueError(f"{text} is no number of JSON")


def _object(pairs):
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has one name twice")
    return made


def _check(value, *, texts):
    """Look through a value level by level. texts: whether one of them may hold what cannot be stored."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise Problem(400, "body_nested_too_deeply")
        below = []
        for container in level:
            if isinstance(container, dict):
                if texts and any(HALVES.search(name) for name in container):
                    raise Problem(400, "text_unstorable")
                container = container.values()
            elif not isinstance(container, list):
                container = [container]
            for inner in container:
                if isinstance(inner, dict | list):
                    below.append(inner)
                elif texts and isinstance(inner, str) and HALVES.search(inner):
                    raise Problem(400, "text_unstorable")
        level = below
