"""Files that are taken away from a page: their headers once, and for lists the day and the filter in every row."""

import codecs
from itertools import chain

from django.http import HttpResponse, StreamingHttpResponse
from django.utils import timezone

from accounts import exports

ROWS = 2_000  # read at a time
BYTE_ORDER_MARK = "\ufeff"


def csv(name, lines, encoding="utf-8"):
    """A CSV file, a line at a time (see `exports.lines`, which makes it safe for spreadsheets).

    It begins with a byte order mark: without one Excel takes `Müller` for another encoding.
    """
    marked = chain([BYTE_ORDER_MARK], lines) if encoding == "utf-8" else lines
    encoded = codecs.iterencode(marked, encoding)
    return _named(StreamingHttpResponse(encoded, content_type=f"text/csv; charset={encoding}"), name)


def csv_list(name, header, rows, *, filters, ends=("As of", "Filter")):
    """A list as it is shown. filters: in words, which each row tells, with the day; `ends` are those two columns."""
    today = timezone.localdate().isoformat()
    return csv(
        f"{name}-{today}.csv", exports.lines([*header, *ends], ([*row, today, filters] for row in rows))
    )


def yaml(name, text):
    return _named(HttpResponse(text, content_type="application/yaml; charset=utf-8"), name)


def _named(answer, name):
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
