"""Parameters of an address: closed lists of filters and orders. Whatever else stands there is refused."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware

from core.api.problems import Error, Problem

PAGING = ("cursor", "limit", "ordering")
LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Filter:
    """A parameter: how its text is read (ValueError where it is none), the lookup it filters by, and its JSON schema."""

    read: Callable
    lookup: str = ""
    schema: dict = field(default_factory=lambda: {"type": "string"})
    help: str = ""


def text(lookup="", *, most=400, help=""):
    def read(typed):
        if not typed or len(typed) > most:
            raise ValueError(f"a text of 1 to {most} characters")
        return typed

    return Filter(read, lookup, {"type": "string", "minLength": 1, "maxLength": most}, help)


def whole(lookup="", *, least=0, most=LARGEST, help=""):
    def read(typed):
        if not re.fullmatch(r"-?[0-9]{1,19}", typed) or not least <= int(typed) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(typed)

    return Filter(read, lookup, {"type": "integer", "minimum": least, "maximum": most}, help)


def one_of(choices, lookup="", *, help=""):
    """One of a TextChoices, or of some texts."""
    known = [str(getattr(choice, "value", choice)) for choice in choices]

    def read(typed):
        if typed not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return typed

    return Filter(read, lookup, {"type": "string", "enum": known}, help)


def flag(lookup="", *, help=""):
    def read(typed):
        if typed not in ("true", "false"):
            raise ValueError("true or false")
        return typed == "true"

    return Filter(read, lookup, {"type": "boolean"}, help)


def day(lookup="", *, help=""):
    def read(typed):
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", typed, re.ASCII):
            raise ValueError("a day as 2026-01-31")
        try:
            found = date.fromisoformat(typed)
        except ValueError:
            raise ValueError("a day as 2026-01-31") from None
        if not 1900 <= found.year <= 9000:  # days before and after are counted
            raise ValueError("a day between 1900 and 9000")
        return found

    return Filter(read, lookup, {"type": "string", "format": "date"}, help)


def moment(lookup="", *, help=""):
    def read(typed):
        try:
            found = parse_datetime(typed)
        except ValueError:
            found = None
        if found is None or not is_aware(found):
            raise ValueError("a moment as 2026-01-31T12:00:00Z")
        return found

    return Filter(read, lookup, {"type": "string", "format": "date-time"}, help)


def parameters(request, known):
    """{name: value} of the parameters given, read by the Filters known. Problem where one is wrong, unknown or there twice."""
    errors, values = [], {}
    for name, given in request.query_params.lists():
        pointer = f"?{name[:100]}"
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            detail = f"There is no parameter {name[:100]}. There are: {listed}."
            errors.append(Error(pointer, "parameter_unknown", detail))
        elif len(given) > 1:
            errors.append(Error(pointer, "parameter_twice", f"{name} is given {len(given)} times."))
        elif "\x00" in given[0]:
            errors.append(Error(pointer, "text_unstorable", f"{name} has a NUL character."))
        else:
            try:
                values[name] = known[name].read(given[0])
            except ValueError as wrong:
                errors.append(Error(pointer, "invalid", f"{name} is {wrong}."))
    if errors:
        raise Problem(400, errors[0].code if len(errors) == 1 else "invalid", errors[0].detail, errors)
    return values


def filtered(rows, values, known):
    """The queryset, by the values that have a lookup."""
    lookups = {
        known[name].lookup: value for name, value in values.items() if name in known and known[name].lookup
    }
    return rows.filter(**lookups)
