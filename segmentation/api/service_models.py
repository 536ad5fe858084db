"""Service models: how customer success engages."""

from rest_framework import serializers

from core.api import queries
from core.api.resources import Listed, Resource, register
from segmentation.models import ServiceModel


class ServiceModelSerializer(serializers.ModelSerializer):
    class Meta:
        model = ServiceModel
        fields = [
            "id", "key", "name", "accounts_per_csm_min", "accounts_per_csm_max", "csm_kind", "check_in", "qbr", "onboarding",
            "channels", "cost_to_serve", "staff", "description",
        ]  # fmt: skip


@register
class ServiceModels(Listed, Resource):
    """How customer success engages: High-Touch, Low-Touch, Tech-Touch or the team's own."""

    path = "service-models"
    queryset = ServiceModel.objects.all()
    serializer_class = ServiceModelSerializer
    permissions = {"list": "segmentation.view_servicemodel", "retrieve": "segmentation.view_servicemodel"}
    orderings = ("id", "key")
    filters = {"key": queries.text("key", most=50)}
