"""Problem details (RFC 9457): the answer of the API where it does not do what it was asked.

    {"type": "about:blank", "title": "Conflict", "status": 409, "code": "request_expired",
     "detail": "This request expired on 2 Nov 2026. ...", "errors": [{"pointer": "/rows/3/arr", "code": ..., "detail": ...}]}

`code` is for programs: that of a refusal (docs/refusals.md) or one of CODES. `pointer` leads into the body that was sent
(RFC 6901); `?status` is a parameter of the address.
"""

from dataclasses import asdict, dataclass
from http import HTTPStatus

from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as Unfit
from django.http import Http404, HttpResponse
from rest_framework import exceptions, renderers
from rest_framework.response import Response

from core.refusals import Refused, refused_by

MEDIA_TYPE = "application/problem+json"
CODES = {
    "body_nested_too_deeply": "Objects and lists within one another go too deep.",
    "body_not_json": "The body is not JSON, or names a field twice.",
    "body_too_large": "The body is larger than a request may be.",
    "credentials_missing": "Nobody is logged in, and there is no token.",
    "credentials_wrong": "The token is not known, or is not valid any more.",
    "csrf_failed": "A browser's session comes without its CSRF token.",
    "cursor_wrong": "The cursor is not one of this list in this order.",
    "idempotency_in_flight": "The first request with this key is being carried out.",
    "idempotency_key_wrong": "The key is no text of 1 to 200 plain characters.",
    "idempotency_other_request": "The key was used for another request.",
    "if_match_missing": "Say with If-Match which state is to be changed.",
    "invalid": "A value is not what it should be.",
    "media_type_unknown": "The body is sent in another form than JSON.",
    "method_not_allowed": "This address does not do that.",
    "not_acceptable": "The API answers in JSON.",
    "not_allowed": "Nobody with these roles may do this.",
    "not_found": "There is nothing at this address, or nothing you may see.",
    "parameter_twice": "A parameter is given twice.",
    "parameter_unknown": "There is no such parameter.",
    "program_decides_nothing": "A program never decides, signs or completes.",
    "rows_rejected": "Rows cannot be taken, and all or nothing was asked for.",
    "stale": "It has changed since it was read.",
    "text_unstorable": "A text contains a character that cannot be stored.",
    "token_network": "The token may not be used from this address.",
    "token_reads_only": "The token may read only.",
    "too_many_requests": "More requests than allowed in a minute.",
}


@dataclass(frozen=True)
class Error:
    """One thing that is wrong, and where."""

    pointer: str
    code: str
    detail: str


class Problem(Exception):
    """An answer that is no success, raised from wherever it is noticed."""

    def __init__(self, status, code, detail="", errors=(), headers=None, **more):
        super().__init__(code)
        self.status, self.code, self.detail = int(status), code, detail or CODES[code]
        self.errors, self.headers, self.more = list(errors), headers or {}, more

    def body(self):
        told = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors:
            told["errors"] = [asdict(error) for error in self.errors]
        return told | self.more

    def response(self):
        """As a view of the API gives it."""
        return Response(self.body(), self.status, headers=self.headers, content_type=MEDIA_TYPE)

    def plain(self):
        """As a middleware gives it, before any view was asked."""
        content = renderers.JSONRenderer().render(self.body())
        return HttpResponse(content, status=self.status, content_type=MEDIA_TYPE, headers=self.headers)


def invalid(pointer, detail, code="invalid"):
    """A Problem about one value of what was sent."""
    return Problem(400, "invalid", detail, [Error(pointer, code, detail)])


# -- refusals

_FORBIDDEN = {"not_logged_in", "superuser_needed"}  # codes that say "not you", rather than "not now"


def forbids(*codes):
    """Answer these refusals with 403: they are about who asks."""
    _FORBIDDEN.update(codes)


_AGAIN = {"changed_in_the_same_moment": 1, "delivery_busy": 5}  # seconds after which it may well be taken


def of_refusal(refusal):
    """The Problem a refusal comes to: 403 where it is about who asks, else 409."""
    forbidden = refusal.code in _FORBIDDEN or refusal.code.endswith("_not_allowed")
    headers = {"Retry-After": str(_AGAIN[refusal.code])} if refusal.code in _AGAIN else {}
    return Problem(403 if forbidden else 409, refusal.code, str(refusal), headers=headers)


# -- what Django and the framework raise


def answer(error, context):
    """The answer to whatever a view raises (settings.REST_FRAMEWORK); None where it is a mistake of ours."""
    problem = of(error)
    return problem and problem.response()


def of(error):
    """The Problem of an exception; None where it is a mistake of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Refused):
        return of_refusal(error)
    if isinstance(error, Http404):
        return Problem(404, "not_found")
    if isinstance(error, PermissionDenied):
        return Problem(403, "not_allowed")
    if isinstance(error, exceptions.ValidationError):
        errors = list(_errors(error.detail, ""))
        return Problem(400, "invalid", errors[0].detail if errors else "", errors)
    if isinstance(error, Unfit):
        told = error.message_dict if hasattr(error, "error_dict") else {"__all__": error.messages}
        errors = [
            Error("" if name == "__all__" else f"/{escaped(name)}", "invalid", text)
            for name, texts in told.items()
            for text in texts
        ]
        return Problem(400, "invalid", errors[0].detail, errors)
    if isinstance(error, exceptions.APIException):
        return _of_framework(error)
    refusal = refused_by(error)
    return refusal and of_refusal(refusal)


_CODES = {
    exceptions.NotAuthenticated: "credentials_missing",
    exceptions.AuthenticationFailed: "credentials_wrong",
    exceptions.PermissionDenied: "not_allowed",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.UnsupportedMediaType: "media_type_unknown",
    exceptions.ParseError: "body_not_json",
    exceptions.Throttled: "too_many_requests",
}


def _of_framework(error):
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "invalid")
    if str(error.detail).startswith("CSRF"):
        code = "csrf_failed"
    headers = {}
    if getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = error.auth_header
    if getattr(error, "wait", None):
        headers["Retry-After"] = str(int(error.wait))
    told = CODES[code] if code == "not_found" else str(error.detail)
    return Problem(error.status_code, code, told, headers=headers)


def _errors(detail, pointer):
    """The Errors in what a serializer says of a body: {field: ...}, [row, ...] or [sentence, ...]."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            whole = name == "non_field_errors"
            yield from _errors(inner, pointer if whole else f"{pointer}/{escaped(name)}")
    elif isinstance(detail, list):
        for number, inner in enumerate(detail):
            nested = isinstance(inner, dict | list)
            yield from _errors(inner, f"{pointer}/{number}" if nested else pointer)
    else:
        yield Error(pointer or "", getattr(detail, "code", "invalid"), str(detail))


def escaped(name):
    """A name as a part of a JSON pointer."""
    return str(name).replace("~", "~0").replace("/", "~1")
