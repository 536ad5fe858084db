"""Overrides: segments that people pin against the rules; and the way to ask for one, which others decide."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from accounts.models import Account
from core import texts
from core.api import queries
from core.api.problems import invalid
from core.api.resources import Listed, Resource, register
from governance.changes import overrides
from governance.models import Override
from segmentation.models import Layer

from .approval_requests import ApprovalRequestSerializer


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


def _text(**options):
    return serializers.CharField(max_length=texts.LONGEST, **options)


class Ask(serializers.Serializer):
    """These accounts in this segment until a day, and why."""

    accounts = serializers.ListField(
        child=serializers.SlugRelatedField(slug_field="external_id", queryset=Account.objects.all()),
        min_length=1,
        max_length=overrides.MOST,
        help_text="IDs of accounts.",
    )
    layer = serializers.SlugRelatedField(slug_field="key", queryset=Layer.objects.all())
    segment = serializers.CharField(max_length=50, help_text="Key of a segment of the segmentation.")
    reason_code = serializers.ChoiceField(Override.Reason.choices)
    text = _text(help_text="The explanation.")
    evidence = _text(required=False)
    expires_on = serializers.DateField(required=False)
    buying_centre = _text(required=False, help_text="After an acquisition, as the two below.")
    use_case = _text(required=False)
    contract = _text(required=False)


@register
class Overrides(Listed, Resource):
    """Segments that are pinned."""

    path = "overrides"
    queryset = Override.objects.select_related("account", "layer", "segment")
    serializer_class = OverrideSerializer
    permissions = {
        "list": "governance.view_override",
        "retrieve": "governance.view_override",
        "create": "governance.request_override",
    }
    filters = {
        "account": queries.text("account__external_id", most=200, help="ID of the account."),
        "layer": queries.text("layer__key", most=50, help="Key of the segmentation."),
        "status": queries.one_of(Override.Status, "status"),
    }

    @extend_schema(request=Ask, responses={201: ApprovalRequestSerializer})
    def create(self, request):
        """Asks for an override; the answer is the request that others decide."""
        sent = self.sent(Ask)
        accounts, layer, key = sent.pop("accounts"), sent.pop("layer"), sent.pop("segment")
        segment = layer.segments.filter(key=key).first()
        if segment is None:
            raise invalid("/segment", f"{layer} has no segment {key}.")
        asked = overrides.ask(accounts, layer, segment, by=request.user, **sent)
        asked.refresh_from_db()
        answer = Response(ApprovalRequestSerializer(asked).data, 201)
        answer["Location"] = request.build_absolute_uri(f"/api/v1/approval-requests/{asked.pk}")
        return answer
