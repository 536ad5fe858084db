"""Subscriptions: what an account pays for, from when until when."""

from rest_framework import serializers

from accounts.models import Subscription
from core.api import queries
from core.api.resources import Listed, Resource, register

from .bulk import TakesRows


class SubscriptionSerializer(serializers.ModelSerializer):
    account = serializers.SlugRelatedField(slug_field="external_id", read_only=True)
    product = serializers.SlugRelatedField(slug_field="key", read_only=True, allow_null=True)

    class Meta:
        model = Subscription
        fields = [
            "id", "account", "subscription_id", "product", "start_date", "end_date", "arr", "currency", "seats_licensed",
            "contract_type", "status", "source", "observed",
        ]  # fmt: skip


@register
class Subscriptions(TakesRows, Listed, Resource):
    """Contracts of accounts."""

    path, takes = "subscriptions", "subscriptions"
    queryset = Subscription.objects.select_related("account", "product")
    serializer_class = SubscriptionSerializer
    permissions = {
        "list": "accounts.view_subscription",
        "retrieve": "accounts.view_subscription",
        "bulk": "accounts.import_accounts",
    }
    orderings = ("id", "start_date")
    filters = {
        "account": queries.text("account__external_id", most=200, help="ID of the account."),
        "subscription_id": queries.text("subscription_id", most=200),
        "product": queries.text("product__key", most=100),
        "status": queries.one_of(Subscription.Status, "status"),
    }
