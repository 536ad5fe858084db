"""Segments: the labels of a segmentation, and how each is served."""

from rest_framework import serializers

from core.api import queries
from core.api.resources import Listed, Resource, register
from segmentation.models import Segment


class SegmentSerializer(serializers.ModelSerializer):
    layer = serializers.SlugRelatedField(slug_field="key", read_only=True)
    treatment = serializers.SlugRelatedField(slug_field="key", read_only=True, allow_null=True)

    class Meta:
        model = Segment
        fields = [
            "id",
            "layer",
            "key",
            "name",
            "description",
            "position",
            "parent",
            "owner_role",
            "treatment",
        ]


@register
class Segments(Listed, Resource):
    """Labels, the highest first within a segmentation."""

    path = "segments"
    queryset = Segment.objects.select_related("layer", "treatment")
    serializer_class = SegmentSerializer
    permissions = {"list": "segmentation.view_segment", "retrieve": "segmentation.view_segment"}
    orderings = ("id", "position")
    filters = {
        "layer": queries.text("layer__key", most=50, help="Key of the segmentation."),
        "key": queries.text("key", most=50),
    }
