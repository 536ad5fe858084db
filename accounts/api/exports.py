"""Whole lists as files: CSV for spreadsheets, JSON lines for programs; read a part at a time, so that a million need no memory."""

import json

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import renderers
from rest_framework.decorators import action

from accounts import exports
from core.api import queries

CSV, NDJSON = "csv", "ndjson"
TYPES = {CSV: "text/csv; charset=utf-8", NDJSON: "application/x-ndjson; charset=utf-8"}
ROWS = 2_000  # read at a time
FORMAT = {"format": queries.one_of(TYPES, help="`ndjson` where it is not said: a JSON object a line.")}


class Exported:
    """A resource whose list can be had as a whole: `GET .../export`. Stands before Listed among the bases."""

    def parameters(self):
        return self.filters | FORMAT if self.action == "export" else super().parameters()

    def perform_content_negotiation(self, request, force=False):
        """A file is what it is, whatever the Accept header says."""
        return super().perform_content_negotiation(request, force or self.action == "export")

    @extend_schema(responses={(200, "application/x-ndjson"): OpenApiResponse({"type": "string"})})
    @action(detail=False, methods=["get"])
    def export(self, request):
        """The rows of the list, all of them, in the order of their ids."""
        form = self.values.get("format", NDJSON)
        rows = self.narrowed(queries.filtered(self.rows(), self.values, self.filters)).order_by("pk")
        lines = self._csv(rows) if form == CSV else self._json(rows)
        answer = StreamingHttpResponse(lines, content_type=TYPES[form])
        answer["Content-Disposition"] = f'attachment; filename="{self.path}.{form}"'
        return answer

    def _told(self, rows):
        """Each row as the API tells it; by id, so that what others write meanwhile is met once or not at all."""
        last = 0
        while found := list(rows.filter(pk__gt=last)[:ROWS]):
            last = found[-1].pk
            yield from self.get_serializer_class()(self.filled(found), many=True).data

    def _json(self, rows):
        render = renderers.JSONRenderer().render
        for row in self._told(rows):
            yield render(row) + b"\n"

    def _csv(self, rows):
        names = list(self.get_serializer_class()().fields)
        return exports.lines(names, ([_cell(row[name]) for name in names] for row in self._told(rows)))


def _cell(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
