"""Alerts: accounts on which an alert rule holds."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action

from core import texts
from core.api import queries
from core.api.resources import Listed, Resource, register
from governance.changes import alerts
from governance.models import Alert


class AlertSerializer(serializers.ModelSerializer):
    account = serializers.SlugRelatedField(slug_field="external_id", read_only=True)
    rule = serializers.SlugRelatedField(slug_field="key", read_only=True)
    evidence = serializers.DictField(read_only=True)

    class Meta:
        model = Alert
        fields = [
            "id", "rule", "account", "status", "opened_on", "evidence", "acknowledged_at", "acknowledged_by_label", "note",
            "resolved_on",
        ]  # fmt: skip


class Note(serializers.Serializer):
    note = serializers.CharField(max_length=texts.LONGEST, required=False, allow_blank=True)


@register
class Alerts(Listed, Resource):
    """Alerts."""

    path = "alerts"
    queryset = Alert.objects.select_related("account", "rule")
    serializer_class = AlertSerializer
    permissions = {
        "list": "governance.view_alert",
        "retrieve": "governance.view_alert",
        "acknowledge": "governance.acknowledge_alert",
    }
    filters = {
        "account": queries.text("account__external_id", most=200, help="ID of the account."),
        "rule": queries.text("rule__key", most=50),
        "status": queries.one_of(Alert.Status, "status"),
    }

    @extend_schema(request=Note, responses=AlertSerializer)
    @action(detail=True, methods=["post"])
    def acknowledge(self, request, pk=None):
        """Says that somebody has seen it."""
        row = self.row()
        alerts.acknowledge(row, by=request.user, **self.sent(Note))
        return self.changed(row)
