"""Moves: each change of a segment in force, and why."""

from rest_framework import serializers

from accounts.api.exports import Exported
from core.api import queries
from core.api.changes import tells
from core.api.resources import Listed, Resource, register
from segmentation.models import Move


class MoveSerializer(serializers.ModelSerializer):
    account = serializers.CharField(source="account.external_id", read_only=True)
    layer = serializers.SlugRelatedField(slug_field="key", read_only=True)
    product = serializers.CharField(source="product.key", read_only=True, allow_null=True, default=None)
    from_segment = serializers.SlugRelatedField(slug_field="key", read_only=True, allow_null=True)
    to_segment = serializers.SlugRelatedField(slug_field="key", read_only=True, allow_null=True)
    definition = serializers.IntegerField(source="definition.version", read_only=True)
    actor = serializers.CharField(source="cause.actor_label", read_only=True)
    reason = serializers.CharField(source="cause.reason", read_only=True)

    class Meta:
        model = Move
        fields = [
            "id", "account", "layer", "product", "from_segment", "to_segment", "why", "at", "written_at", "definition",
            "actor", "reason", "evidence",
        ]  # fmt: skip


ROWS = Move.objects.select_related(
    "account", "layer", "product", "from_segment", "to_segment", "definition", "cause"
)


@register
class Moves(Exported, Listed, Resource):
    """Changes of segments, the oldest first."""

    path = "moves"
    queryset = ROWS
    serializer_class = MoveSerializer
    permissions = {
        "list": "segmentation.view_move",
        "retrieve": "segmentation.view_move",
        "export": ("segmentation.view_move", "accounts.export_accounts"),
    }
    filters = {
        "account": queries.text("account__external_id", most=200, help="ID of the account."),
        "layer": queries.text("layer__key", most=50, help="Key of the segmentation."),
        "why": queries.one_of(Move.Why, "why"),
        "since": queries.day("at__gte"),
        "until": queries.day("at__lte"),
        "written_since": queries.moment("written_at__gte"),
    }


def moves(ids):
    return {row.pk: MoveSerializer(row).data for row in ROWS.filter(pk__in=ids)}


tells("move", "segmentation.view_move", moves)
