"""Assignments for other systems: CSV and JSON lines, straight from the database, a row at a time."""

import json
from itertools import chain

from django.db import connection
from django.utils import timezone

from accounts import exports, revenue
from core.refusals import Refused
from segmentation import scopes
from segmentation.evaluation import frames
from segmentation.evaluation.run_rules import document_of
from segmentation.models import Definition, Layer

FORMATS = ("csv", "jsonl")
HEAD = ["external_id", "layer"]
SEGMENTS = ["computed_segment", "effective_segment", "composite"]
TAIL = ["provisional", "provisional_until", "unsegmented_reason", "thin_data", "definition", "computed_at"]
BATCH = 2_000

# The accounts of an export are those that a recalculation counts: of a segmentation whose rules cover customers who left, those
# too. Nobody else (excluded, a trial): such segments are no longer current. Nor are the products an account does not have any more.
_THERE = f"z.reason <> '{scopes.GONE}'"
_COVERED = f"({frames.SCORED} or z.layer_id = any(%s) and {frames.SCORED_OR_CHURNED})"
_LONG = f"""
    select a.external_id, z.layer_id, p.key, computed.key, effective.key, c.composite::text, c.scores::text[], c.definition_id,
           z.provisional, z.provisional_until, z.reason, coalesce(c.thin, false), d.version, c.computed_at
      from segmentation_assignment z
      join accounts_account a on a.id = z.account_id
      join segmentation_layer l on l.id = z.layer_id
      left join accounts_product p on p.id = z.product_id
      left join segmentation_segment computed on computed.id = z.computed_id
      left join segmentation_segment effective on effective.id = z.effective_id
      left join segmentation_assignmentscore c on c.assignment_id = z.id
      left join segmentation_definition d on d.id = c.definition_id
     where z.layer_id = any(%s) and {_THERE} and {_COVERED}
     order by l.position, l.key, z.account_id, p.key
"""
_WIDE = f"""
    select a.id, a.external_id, a.name, m.email,
           array_agg(array[z.layer_id::text, s.key, p.key, z.provisional::text, nullif(z.reason, '')] order by p.key, z.id)
      from accounts_account a
      left join accounts_csm m on m.id = a.csm_id
      join segmentation_assignment z on z.account_id = a.id and z.layer_id = any(%s)
      left join segmentation_segment s on s.id = z.effective_id
      left join accounts_product p on p.id = z.product_id
     where {_COVERED}
     group by a.id, m.id order by a.id
"""


def assignments(*, layer=None, format="csv", wide=False):
    """The assignments of the scored accounts, as an iterator of lines (text).

    layer: only that one; default all. wide: one row an account with its name, CSM and ARR, and for each layer its current
    segment; on a layer of products the segments of all, as `core: adopted; reports: unused`. Else such layers have a row a product, and the
    column `product` is there with them.
    """
    if format not in FORMATS:
        raise Refused("format_unknown", format=format, formats=list(FORMATS))
    layers = [layer] if layer else list(Layer.objects.order_by("position", "key"))
    header, rows = _wide(layers) if wide else _long(layers)
    return _csv_lines(header, rows) if format == "csv" else _json_lines(header, rows)


def _csv_lines(header, rows):
    """Decimals as PostgreSQL prints them, true and false in small letters."""
    flags = {True: "true", False: "false"}
    return exports.lines(
        header, ([flags[value] if isinstance(value, bool) else value for value in row] for row in rows)
    )


def _json_lines(header, rows):
    """Scores as numbers: they have at most 15 digits, which a float holds and prints exactly. Amounts as text."""
    numbers = {index for index, name in enumerate(header) if name == "composite" or name.startswith("score_")}
    for row in rows:
        row = [
            float(value) if index in numbers and value is not None else value
            for index, value in enumerate(row)
        ]
        yield json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False, default=str) + "\n"


def _long(layers):
    dimensions, columns = _dimensions(layers)
    keys = {layer.pk: layer.key for layer in layers}
    parts = list(scopes.parts_of(layer.scoped for layer in layers))

    def rows():
        for row in _stream(_LONG, [[layer.pk for layer in layers], _with_churned(layers)]):
            external_id, layer, product, computed, effective, composite, scores, definition, *tail = row
            held = dict(zip(dimensions.get(definition, ()), scores or (), strict=False))
            scores = [held.get(key) for key in columns]
            head = [external_id, keys[layer], *([product] if parts else [])]
            yield [*head, computed, effective, composite, *scores, *_tail(*tail)]

    head = HEAD + parts + SEGMENTS
    return head + [f"score_{key}" for key in columns] + TAIL, rows()


def _tail(provisional, until, reason, thin, version, computed_at):
    until = until and until.isoformat()
    return [provisional, until, reason or None, thin, version, computed_at and computed_at.isoformat()]


def _dimensions(layers):
    """({definition id: its dimension keys}, the keys of the active versions, which become columns)."""
    versions = Definition.objects.filter(layer__in=layers).filter(status__in=["active", "retired"])
    dimensions, columns = {}, {}
    for version in versions.order_by("layer__position", "layer__key").only("pk", "status"):
        dimensions[version.pk] = [dimension.key for dimension in document_of(version.pk).dimensions]
        if version.status == Definition.Status.ACTIVE:
            columns |= dict.fromkeys(dimensions[version.pk])
    return dimensions, list(columns)


def _wide(layers):
    """One row an account: who it is, and for each layer its segment, whether that is provisional, and why there is none."""
    header = ["external_id", "account_name", "account_csm", "account_arr", "account_currency"]
    for layer in layers:
        header += [layer.key, f"{layer.key}_provisional", f"{layer.key}_reason"]

    def rows():
        at = timezone.localdate()
        for batch in _batches(_WIDE, [[layer.pk for layer in layers], _with_churned(layers)]):
            arr = revenue.of([id for id, *_ in batch], at)
            for id, external_id, name, csm, states in batch:
                by_layer = {}
                for layer, *state in states:
                    by_layer.setdefault(int(layer), []).append(state)
                cells = [_cells(by_layer.get(layer.pk, [])) for layer in layers]
                yield [external_id, name, csm, *arr[id].cells, *chain.from_iterable(cells)]

    return header, rows()


def _cells(states):
    """[segment, provisional, reason] of an account's states on a layer: of several, one for each product."""

    def told(values):
        return (
            "; ".join(f"{product}: {text}" if product else text for product, text in values if text) or None
        )

    provisional = any(flag == "true" for _, _, flag, _ in states) if states else None
    segments = told((product, segment) for segment, product, *_ in states)
    return [segments, provisional, told((product, reason) for _, product, _, reason in states)]


def _with_churned(layers):
    """The ids of the layers whose active rules cover customers who left."""
    active = Definition.objects.filter(layer__in=layers, status=Definition.Status.ACTIVE)
    return [row.layer_id for row in active if "churned" in document_of(row.pk).includes]


def _stream(query, parameters):
    return chain.from_iterable(_batches(query, parameters))


def _batches(query, parameters):
    """The rows of a query through a cursor on the server, some at a time: a million need no memory here."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(query, parameters)
        while rows := cursor.fetchmany(BATCH):
            yield rows
