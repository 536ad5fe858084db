"""Tier changes: crossings of a boundary, from the moment the rules say so until they are carried out or decided against."""

from rest_framework import serializers

from core.api import queries
from core.api.resources import Listed, Resource, register
from governance.models import Transition


class TransitionSerializer(serializers.ModelSerializer):
    account = serializers.SlugRelatedField(slug_field="external_id", read_only=True)
    layer = serializers.SlugRelatedField(slug_field="key", read_only=True)
    from_segment = serializers.SlugRelatedField(slug_field="key", read_only=True)
    to_segment = serializers.SlugRelatedField(slug_field="key", read_only=True)
    receiver = serializers.SlugRelatedField(slug_field="email", read_only=True, allow_null=True)
    giver = serializers.SlugRelatedField(slug_field="email", read_only=True, allow_null=True)

    class Meta:
        model = Transition
        fields = [
            "id", "account", "layer", "from_segment", "to_segment", "direction", "status", "origin", "why", "crossed_on",
            "flagged_at", "held_for", "held_until", "applies_on", "kept_until", "giver", "receiver", "joint_days", "joint_from",
            "joint_until", "request", "override", "ended_at", "end_reason",
        ]  # fmt: skip


@register
class Transitions(Listed, Resource):
    """Tier changes."""

    path = "transitions"
    queryset = Transition.objects.select_related(
        "account", "layer", "from_segment", "to_segment", "receiver", "giver"
    )
    serializer_class = TransitionSerializer
    permissions = {"list": "governance.view_transition", "retrieve": "governance.view_transition"}
    filters = {
        "account": queries.text("account__external_id", most=200, help="ID of the account."),
        "layer": queries.text("layer__key", most=50, help="Key of the segmentation."),
        "status": queries.one_of(Transition.Status, "status"),
    }
