"""Account events: something that happened at an account on a day."""

from rest_framework import serializers

from accounts.models import Signal
from core.api import queries
from core.api.resources import Listed, Resource, register

from .bulk import TakesRows


class SignalSerializer(serializers.ModelSerializer):
    account = serializers.SlugRelatedField(slug_field="external_id", read_only=True)

    class Meta:
        model = Signal
        fields = ["id", "account", "signal", "at", "source", "learnt_at"]


@register
class Signals(TakesRows, Listed, Resource):
    """Events at accounts, such as a sponsor who left."""

    path, takes = "signals", "signals"
    queryset = Signal.objects.select_related("account")
    serializer_class = SignalSerializer
    permissions = {
        "list": "accounts.view_signal",
        "retrieve": "accounts.view_signal",
        "bulk": "accounts.import_accounts",
    }
    orderings = ("id", "at")
    filters = {
        "account": queries.text("account__external_id", most=200, help="ID of the account."),
        "signal": queries.text("signal", most=100),
        "since": queries.day("at__gte"),
        "until": queries.day("at__lte"),
    }
