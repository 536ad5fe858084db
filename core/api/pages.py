"""Pages of a list, by cursor: each begins after the last row of the one before, wherever rows came or went meanwhile."""

import base64
import binascii
import json

from django.db.models import Q

from core.api import queries
from core.api.problems import Problem

USUAL, MOST = 100, 1_000  # rows of a page


def filters(orderings):
    """The Filters of the parameters each list has. orderings: columns that are never NULL; the first is the usual one."""
    both = [sign + name for name in orderings for sign in ("", "-")]
    return {
        "cursor": queries.text(most=2_000, help="Of the answer before: where its next page begins."),
        "limit": queries.whole(least=1, most=MOST, help=f"Rows of a page; {USUAL} where it is not said."),
        "ordering": queries.one_of(both, help=f"`{orderings[0]}` where it is not said."),
    }


def page(rows, values, orderings):
    """(rows of the page, cursor of the page after it or None)."""
    ordering, limit = values.get("ordering", orderings[0]), values.get("limit", USUAL)
    column, down = ordering.removeprefix("-"), ordering.startswith("-")
    key = "pk" if column == "id" else column
    if "cursor" in values:
        rows = rows.filter(_after(rows, ordering, key, down, values["cursor"]))
    names = [key] if key == "pk" else [key, "pk"]
    found = list(rows.order_by(*(f"-{name}" if down else name for name in names))[: limit + 1])
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], _written(ordering, _value(last, key), last.pk)


def _value(row, key):
    for name in key.split("__"):
        row = getattr(row, name)
    return row if isinstance(row, str | int) else str(row)


def _written(*parts):
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _after(rows, ordering, key, down, cursor):
    """The condition on rows that stand behind the one a cursor names."""
    try:
        said, value, pk = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if said != ordering or not isinstance(pk, int) or not 0 <= pk <= queries.LARGEST:
            raise ValueError
        value = _field(rows.model, key).to_python(value)
        if value is None or "\x00" in str(value):
            raise ValueError
    except (ValueError, TypeError, RecursionError, binascii.Error, ArithmeticError):
        raise Problem(400, "cursor_wrong") from None
    except Exception as error:  # Django's ValidationError, of a date that is none
        if type(error).__name__ != "ValidationError":
            raise
        raise Problem(400, "cursor_wrong") from None
    beyond = "lt" if down else "gt"
    if key == "pk":
        return Q(**{f"pk__{beyond}": pk})
    return Q(**{f"{key}__{beyond}e": value}) & (Q(**{f"{key}__{beyond}": value}) | Q(**{f"pk__{beyond}": pk}))


def _field(model, key):
    *relations, name = key.split("__")
    for relation in relations:
        model = model._meta.get_field(relation).related_model
    return model._meta.pk if name == "pk" else model._meta.get_field(name)


class Described:
    """A page as the schema tells it; the framework asks a pagination class for that."""

    def get_paginated_response_schema(self, schema):
        url = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "properties": {"results": schema, "next": url, "cursor": {"type": ["string", "null"]}},
            "required": ["results", "next", "cursor"],
        }

    def get_schema_operation_parameters(self, view):
        return []
