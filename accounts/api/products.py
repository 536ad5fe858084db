"""Products: what accounts pay for and use."""

from rest_framework import serializers

from accounts.models import Product
from core.api import queries
from core.api.resources import Listed, Resource, Saved, register


class ProductSerializer(serializers.ModelSerializer):
    class Meta:
        model = Product
        fields = ["id", "key", "name"]


@register
class Products(Saved, Listed, Resource):
    """Products accounts pay for."""

    path = "products"
    queryset = Product.objects.all()
    serializer_class = ProductSerializer
    permissions = {
        "list": "accounts.view_product",
        "retrieve": "accounts.view_product",
        "create": "accounts.add_product",
        "partial_update": "accounts.change_product",
    }
    orderings = ("id", "key")
    filters = {"key": queries.text("key", most=100)}
