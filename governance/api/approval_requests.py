"""Approval requests: what waits for people's word; and their word, which only a person with a login gives."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action

from core import texts
from core.api import queries
from core.api.resources import Listed, Resource, register
from governance.models import ApprovalRequest
from governance.signoff import approvals, kinds


class ApprovalRequestSerializer(serializers.ModelSerializer):
    token = serializers.SerializerMethodField(help_text="What a decision has to name as `seen`.")
    changes = serializers.ListField(child=serializers.CharField(), read_only=True)
    needed = serializers.DictField(child=serializers.IntegerField(), read_only=True)

    class Meta:
        model = ApprovalRequest
        fields = [
            "id", "kind", "subject", "status", "revision", "hash", "token", "changes", "why", "evidence", "requester_label",
            "requested_at", "accounts", "arr", "csm_changes", "top_tier", "needed", "due_at", "expires_at", "apply_on",
            "ended_at", "ended_by_label", "end_reason",
        ]  # fmt: skip

    def get_token(self, request) -> str:
        return approvals.token(request)


class Word(serializers.Serializer):
    """`seen`: the `token` of the request as it was read; a decision about an older one is refused."""

    seen = serializers.CharField(max_length=100)


class No(Word):
    reason = serializers.CharField(max_length=texts.LONGEST)


@register
class ApprovalRequests(Listed, Resource):
    """Requests that wait for approval, and those that were decided."""

    path = "approval-requests"
    queryset = ApprovalRequest.objects.all()
    serializer_class = ApprovalRequestSerializer
    permissions = {
        "list": "governance.view_approvalrequest",
        "retrieve": "governance.view_approvalrequest",
        "approve": "governance.view_approvalrequest",
        "reject": "governance.view_approvalrequest",
        "ask_changes": "governance.view_approvalrequest",
    }
    orderings = ("id", "requested_at", "due_at")
    filters = {
        "kind": queries.one_of(kinds.KINDS, "kind"),
        "status": queries.one_of(ApprovalRequest.Status, "status"),
    }

    @extend_schema(request=Word, responses=ApprovalRequestSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request, pk=None):
        """Approves exactly what was read. A person's login only."""
        return self.decided(approvals.approve, Word)

    @extend_schema(request=No, responses=ApprovalRequestSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request, pk=None):
        """Rejects it. A person's login only."""
        return self.decided(approvals.reject, No)

    @extend_schema(request=No, responses=ApprovalRequestSerializer)
    @action(detail=True, methods=["post"], url_path="ask-changes")
    def ask_changes(self, request, pk=None):
        """Asks for changes. A person's login only."""
        return self.decided(approvals.ask_for_changes, No)

    def decided(self, verb, body):
        row = self.row()
        verb(row, by=self.request.user, **self.sent(body))
        return self.changed(row)
