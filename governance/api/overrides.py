"""Overrides: segments that people pin against the rules."""

from rest_framework import serializers

from core.api import queries
from core.api.resources import Listed, Resource, register
from governance.models import Override


class OverrideSerializer(serializers.ModelSerializer):
    account = serializers.SlugRelatedField(slug_field="external_id", read_only=True)
    layer = serializers.SlugRelatedField(slug_field="key", read_only=True)
    segment = serializers.SlugRelatedField(slug_field="key", read_only=True)

    class Meta:
        model = Override
        fields = [
            "id", "account", "layer", "segment", "status", "reason_code", "text", "evidence", "expires_on", "request",
            "requested_at", "requested_by_label", "started_on", "disagrees_since", "ended_on", "end_reason",
        ]  # fmt: skip


@register
class Overrides(Listed, Resource):
    """Segments that are pinned."""

    path = "overrides"
    queryset = Override.objects.select_related("account", "layer", "segment")
    serializer_class = OverrideSerializer
    permissions = {"list": "governance.view_override", "retrieve": "governance.view_override"}
    filters = {
        "account": queries.text("account__external_id", most=200, help="ID of the account."),
        "layer": queries.text("layer__key", most=50, help="Key of the segmentation."),
        "status": queries.one_of(Override.Status, "status"),
    }
