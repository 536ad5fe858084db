"""Facts: the data dictionary, and the way in for what is measured again and again, of accounts and of their products."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from accounts import catalogue
from core.api import versions
from core.api.problems import Problem
from core.api.resources import Resource, register

from .bulk import TakesRows


class FactSerializer(serializers.Serializer):
    name = serializers.CharField()
    label = serializers.CharField()
    type = serializers.ChoiceField(sorted(catalogue.DTYPES))
    home = serializers.ChoiceField(["account", "usage", "derived"])
    unit = serializers.CharField()
    family = serializers.CharField()
    refresh_days = serializers.IntegerField(help_text="Older than this is stale.")
    minimum = serializers.IntegerField(allow_null=True)
    maximum = serializers.IntegerField(allow_null=True)
    help = serializers.CharField()


@register
class Facts(TakesRows, Resource):
    """The data dictionary. Rows of usage are sent here, those of accounts to /accounts/bulk."""

    path, takes = "facts", "usage"
    pagination_class = None
    serializer_class = FactSerializer
    lookup_value_regex = "[a-z0-9_]{1,100}"
    permissions = {
        "list": "accounts.view_account",
        "retrieve": "accounts.view_account",
        "bulk": "accounts.import_accounts",
    }

    def parameters(self):
        return {}

    @extend_schema(responses=FactSerializer(many=True))
    def list(self, request):
        return Response(FactSerializer(catalogue.FACTS.values(), many=True).data)

    def retrieve(self, request, pk=None):
        if pk not in catalogue.FACTS:
            raise Problem(404, "not_found")
        return versions.answer(request, FactSerializer(catalogue.FACTS[pk]).data)
