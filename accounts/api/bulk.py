"""Rows sent together: read, taken in (accounts.deliveries), and answered row by row."""

from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from accounts import currency, deliveries
from core.api.problems import Error, Problem, escaped


@extend_schema_field({
    "type": "array", "minItems": 1, "maxItems": deliveries.MOST,
    "items": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
})  # fmt: skip
class Rows(serializers.Field):
    """A list of objects; what is in them is looked at by the delivery, all at once."""

    def to_internal_value(self, given):
        if not isinstance(given, list) or not 1 <= len(given) <= deliveries.MOST:
            raise serializers.ValidationError(f"A list of 1 to {deliveries.MOST:,} objects.")
        wrong = [number for number, row in enumerate(given) if not isinstance(row, dict)]
        if wrong:
            raise serializers.ValidationError(f"Row {wrong[0]} is no object.")
        return given

    def to_representation(self, value):
        return value


class Delivery(serializers.Serializer):
    """The body: rows, and once for all of them which system says so and of which day."""

    source = serializers.SlugField(max_length=50, help_text="The system that says so, such as `crm`.")
    observed = serializers.DateField(
        required=False, help_text="The day it is of; today where it is not said."
    )
    currency = serializers.ChoiceField(
        choices=sorted(currency.CODES), required=False, help_text="Of amounts whose row names none."
    )
    atomic = serializers.BooleanField(
        default=True, help_text="All rows or none. With false the good ones are taken."
    )
    rows = Rows()


class ErrorOfRow(serializers.Serializer):
    pointer = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class ResultOfRow(serializers.Serializer):
    index = serializers.IntegerField()
    id = serializers.CharField(allow_null=True, help_text="The caller's own ID, as the row has it.")
    status = serializers.ChoiceField(["created", "updated", "unchanged", "queued", "rejected"])
    errors = ErrorOfRow(many=True, required=False)


class Warned(serializers.Serializer):
    warning = serializers.CharField()
    count = serializers.IntegerField()
    examples = serializers.ListField(child=serializers.CharField())


class Taken(serializers.Serializer):
    """The outcome of the rows. `queued`: a value waits for a person's decision, the rest of the row was taken."""

    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    queued = serializers.IntegerField()
    rejected = serializers.IntegerField()
    warnings = Warned(many=True)
    results = ResultOfRow(many=True)


def taken(view, query):
    """The answer to rows of this kind; a Problem that names every fault where all or nothing was asked for."""
    sent = view.sent(Delivery)
    rows = sent.pop("rows")
    try:
        delivery = deliveries.take(query, rows, **sent)
    except deliveries.Rejected as rejected:
        raise _problem(rejected.delivery) from None
    return Response(_told(query, rows, delivery))


def _problem(delivery):
    errors = [_error(fault) for fault in delivery.faults]
    wrong = len({fault.index for fault in delivery.faults})
    detail = f"Nothing was written: {wrong:,} of {delivery.rows:,} rows cannot be taken. `atomic: false` takes the others."
    return Problem(422, "rows_rejected", detail, errors)


def _error(fault):
    pointer = f"/rows/{fault.index}" + (f"/{escaped(fault.column)}" if fault.column else "")
    return Error(pointer, fault.code, fault.why)


def _told(query, rows, delivery):
    own, faults = deliveries.KEYS[query], {}
    for fault in delivery.faults:
        error = _error(fault)
        told = {"pointer": error.pointer, "code": error.code, "detail": error.detail}
        faults.setdefault(fault.index, []).append(told)
    results = []
    for index, row in enumerate(rows):
        key = row.get(own)
        result = {"index": index, "id": key if key is None else str(key), "status": delivery.became(index)}
        results.append(result | ({"errors": faults[index]} if index in faults else {}))
    return {**delivery.counts, "warnings": delivery.warnings, "results": results}


class TakesRows:
    """A resource whose rows are sent together: `POST .../bulk`."""

    takes = ""  # accounts, subscriptions, usage or signals

    @extend_schema(
        request=Delivery, responses={200: Taken, 422: OpenApiResponse(description="rows_rejected")}
    )
    @action(detail=False, methods=["post"])
    def bulk(self, request):
        """Take up to 5,000 rows: new ones are made, known ones changed, and the same again changes nothing."""
        return taken(self, self.takes)
