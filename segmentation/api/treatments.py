"""Treatments: what a segment gets."""

from rest_framework import serializers

from core.api import queries
from core.api.resources import Listed, Resource, register
from segmentation import treatments
from segmentation.models import Treatment


class TreatmentSerializer(serializers.ModelSerializer):
    service_model = serializers.SlugRelatedField(slug_field="key", read_only=True, allow_null=True)

    class Meta:
        model = Treatment
        fields = ["id", "key", "name", *treatments.FIELDS, "notes"]


@register
class Treatments(Listed, Resource):
    """How segments are served."""

    path = "treatments"
    queryset = Treatment.objects.select_related("service_model")
    serializer_class = TreatmentSerializer
    permissions = {"list": "segmentation.view_treatment", "retrieve": "segmentation.view_treatment"}
    orderings = ("id", "key")
    filters = {"key": queries.text("key", most=100)}
