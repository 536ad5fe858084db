"""The audit trail: who did what, when, why and through which channel, the newest first."""

from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.response import Response

from core.api import pages, queries
from core.api.resources import Resource, register
from governance.reading import audit


class Changed(serializers.ListField):
    """The field, what it was, and what it is."""

    child = serializers.CharField(allow_null=True)


class EntrySerializer(serializers.Serializer):
    at = serializers.DateTimeField()
    kind = serializers.CharField(source="code")
    who = serializers.CharField(allow_blank=True)
    person = serializers.IntegerField(allow_null=True)
    channel = serializers.CharField(allow_blank=True)
    what = serializers.CharField()
    about = serializers.CharField(source="text", allow_blank=True)
    reason = serializers.CharField(allow_blank=True)
    changes = serializers.SerializerMethodField(help_text="Field, before, after.")

    def get_changes(self, entry) -> list[list[str]]:
        return [[str(part) for part in change] for change in entry.changes]


@extend_schema_serializer(many=False)
class TrailSerializer(serializers.Serializer):
    """`after`: what to ask for to read on, towards the past; null at the end."""

    results = EntrySerializer(many=True)
    after = serializers.CharField(allow_null=True)


@register
class Audit(Resource):
    """Everything that is kept, in one list."""

    path = "audit"
    serializer_class = TrailSerializer
    pagination_class = None
    permissions = {"list": audit.PERMISSION}

    def parameters(self):
        return {
            "after": queries.text(most=100, help="Of the answer before."),
            "limit": queries.whole(least=1, most=pages.MOST, help=f"{pages.USUAL} where it is not said."),
            "text": queries.text(most=100, help="Of a person, an account, an object or a reason."),
            "kind": queries.one_of(audit.KINDS),
            "channel": queries.one_of(audit.CHANNELS),
            "person": queries.text(most=150, help="A user name, or `#12`, their id."),
            "since": queries.day(),
            "until": queries.day(),
        }

    @extend_schema(responses=TrailSerializer)
    def list(self, request):
        given = dict(self.values)
        limit, after = given.pop("limit", pages.USUAL), given.pop("after", "")
        if "person" in given:
            given["person"] = given["person"].lower()
        entries, following = audit.entries(audit.Filters(**given), after=after, limit=limit)
        return Response({"results": EntrySerializer(entries, many=True).data, "after": following or None})
