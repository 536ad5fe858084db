"""Definitions: the versions of the rules."""

from rest_framework import serializers

from core.api import queries
from core.api.resources import Listed, Resource, register
from segmentation.models import Definition


class DefinitionSerializer(serializers.ModelSerializer):
    layer = serializers.SlugRelatedField(slug_field="key", read_only=True)
    document = serializers.DictField(read_only=True)

    class Meta:
        model = Definition
        fields = [
            "id", "layer", "version", "status", "hash", "reason", "created_at", "created_by_label", "edited_at", "submitted_at",
            "submitted_by_label", "activated_at", "activated_by_label", "retired_at", "document",
        ]  # fmt: skip


@register
class Definitions(Listed, Resource):
    """Versions of rules. They become active by people, with a login of their own."""

    path = "definitions"
    queryset = Definition.objects.select_related("layer")
    serializer_class = DefinitionSerializer
    permissions = {
        "list": "segmentation.view_definition",
        "retrieve": "segmentation.view_definition",
    }
    orderings = ("id", "version")
    filters = {
        "layer": queries.text("layer__key", most=50, help="Key of the segmentation."),
        "status": queries.one_of(Definition.Status, "status"),
    }
