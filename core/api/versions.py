"""Versions of a single object (RFC 9110): a strong ETag of what is told of it, so that nobody overwrites what they have not seen."""

import hashlib
import re

from rest_framework import renderers
from rest_framework.response import Response

from core.api.problems import Problem

_TAGS = re.compile(r'\s*(?:(W/)?("[\x21\x23-\x7e]*"))\s*(?:,|$)')


def etag(told):
    """The ETag of an object as its serializer tells it."""
    return f'"{hashlib.sha256(renderers.JSONRenderer().render(told)).hexdigest()[:32]}"'


def answer(request, told):
    """The answer with an object and its ETag, or 304 where the one who asks has it already."""
    tag = etag(told)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    given = request.headers.get("If-None-Match", "")
    if given.strip() == "*" or tag in {found for _, found in _read(given)}:
        return Response(status=304, headers=headers)
    return Response(told, headers=headers)


def check(request, told):
    """Raise a Problem unless If-Match names the object as it is now (locked by the caller)."""
    given = request.headers.get("If-Match", "").strip()
    if not given:
        raise Problem(428, "if_match_missing")
    strong = {found for weak, found in _read(given) if not weak}
    if given != "*" and etag(told) not in strong:
        raise Problem(412, "stale")


def _read(header):
    """[(weak, tag)] of a header; what is none is left out."""
    return [match.groups() for match in _TAGS.finditer(header[:4_000])]
