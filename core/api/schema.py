"""The API's OpenAPI document, as drf-spectacular makes it, with what every resource here shares."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

from core.api import idempotency, problems

SAFE = ("GET", "HEAD")
ALWAYS = (400, 401, 403, 406, 429)
OF_CHANGES = (409, 413, 415, 422)
OF_ONE = (404,)
OF_CHANGES_OF_ONE = (412, 428)
SAID = {
    400: "Something in the address, the headers or the body is wrong.",
    401: "Nobody is logged in, or the token is not valid.",
    403: "Not allowed to whoever asks.",
    404: "There is nothing there.",
    406: "The API answers in JSON.",
    409: "Not possible as things are.",
    412: "It has changed since it was read.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The body was understood, and cannot be taken.",
    428: "If-Match is missing.",
    429: "Too many requests; Retry-After says when to come again.",
}


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "core.api.authentication.ByToken"
    name = "token"

    def get_security_definition(self, auto_schema):
        return {"type": "http", "scheme": "bearer", "bearerFormat": "dmc_<key>.<secret>"}


class Schema(AutoSchema):
    """Adds the closed list of parameters, the headers, and the problems an operation may answer with."""

    def get_tags(self):
        return [self.view.path] if getattr(self.view, "path", "") else super().get_tags()

    def get_override_parameters(self):
        parameters = getattr(self.view, "parameters", dict)()
        found = [
            OpenApiParameter(name, each.schema, OpenApiParameter.QUERY, description=each.help)
            for name, each in parameters.items()
        ]
        if self.method not in SAFE:
            found.append(
                _header("Idempotency-Key", "Sent again within a day, the same request is done once.")
            )
        if self.method == "PATCH":
            found.append(_header("If-Match", "The ETag of the object as it was read.", required=True))
        if self.method == "GET" and self._is_of_one():
            found.append(_header("If-None-Match", "An ETag: 304 where the object is still that."))
        return found

    def _is_of_one(self):
        return "{" in self.path

    def _get_response_bodies(self, direction="response"):
        bodies = super()._get_response_bodies(direction)
        if direction != "response" or not getattr(self.view, "path", ""):
            return bodies
        if self.method == "GET" and self._is_of_one():
            bodies["304"] = {"description": "It is still as the ETag says."}
        for status in self._problems():
            content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
            bodies[str(status)] = {"description": SAID[status], "content": content}
        return dict(sorted(bodies.items()))

    def _problems(self):
        found = [*ALWAYS]
        found += OF_CHANGES if self.method not in SAFE else ()
        found += OF_ONE if self._is_of_one() else ()
        found += OF_CHANGES_OF_ONE if self.method == "PATCH" else ()
        return sorted(found)


def _header(name, help, *, required=False):
    schema = {"type": "string", "minLength": 1, "maxLength": idempotency.LONGEST}
    return OpenApiParameter(name, schema, OpenApiParameter.HEADER, required=required, description=help)


def with_problems(result, generator, request, public):
    """Add what the answers that are no success look like."""
    error = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("pointer", "code", "detail")},
        "required": ["pointer", "code", "detail"],
    }
    texts = {name: {"type": "string"} for name in ("type", "title", "code", "detail")}
    result["components"].setdefault("schemas", {}).update({
        "Error": error,
        "Problem": {
            "type": "object",
            "description": "RFC 9457. `code` is one of docs/api.md, or that of a refusal (docs/refusals.md).",
            "properties": texts | {
                "status": {"type": "integer"},
                "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Error"}},
            },
            "required": ["type", "title", "status", "code", "detail"],
        },
    })  # fmt: skip
    return result


def markdown():
    """The codes of problems that are no refusals, as a table; docs/api.md shows it."""
    rows = [f"| `{code}` | {text} |" for code, text in sorted(problems.CODES.items())]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])
