"""SQL written by hand beside Django's: a queryset within it, and it within a queryset. Its parameters have names."""

import re
from contextlib import contextmanager

from django.db import connection, transaction
from django.db.models.expressions import RawSQL

_NAME = re.compile(r"%\((\w+)\)s")


def ids(queryset):
    """(SQL that selects the ids of a queryset, its parameters). Raises EmptyResultSet where it can find nothing."""
    text, values = queryset.order_by().values("pk").query.sql_with_params()
    names = [f"chosen_{number}" for number in range(len(values))]
    text = text.replace("%%", "%%%%") % tuple(f"%({name})s" for name in names)
    return text, dict(zip(names, values, strict=True))


def narrowed(queryset):
    """True where a queryset is not about all rows: then, and only then, its ids are worth asking for."""
    return bool(queryset.query.where) or queryset.query.is_sliced


def expression(text, parameters, field=None):
    """An expression of Django's."""
    values = [parameters[name] for name in _NAME.findall(text)]
    return RawSQL(_NAME.sub("%s", text), values, output_field=field)


@contextmanager
def within_seconds(seconds=5):
    """A cursor of a database that gives up on what takes too long for somebody who waits."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select set_config('statement_timeout', %s, true)", [f"{seconds}s"])
        yield cursor
