"""Segmentations: the ways customers are segmented."""

from rest_framework import serializers

from core.api import queries
from core.api.resources import Listed, Resource, register
from segmentation.models import Layer


class LayerSerializer(serializers.ModelSerializer):
    class Meta:
        model = Layer
        fields = ["id", "key", "name", "description", "scope", "policy", "primary", "position", "decides"]


@register
class Layers(Listed, Resource):
    """Segmentations. Exactly one is the primary one."""

    path = "layers"
    queryset = Layer.objects.all()
    serializer_class = LayerSerializer
    permissions = {"list": "segmentation.view_layer", "retrieve": "segmentation.view_layer"}
    orderings = ("id", "key", "position")
    filters = {
        "key": queries.text("key", most=50),
        "policy": queries.one_of(Layer.Policy, "policy"),
        "primary": queries.flag("primary"),
    }
