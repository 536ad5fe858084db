"""Tier changes: crossings of a boundary, from the moment the rules say so until they are carried out or decided against."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action

from accounts.models import Csm
from core import texts
from core.api import queries
from core.api.resources import Listed, Resource, register
from governance.changes import transition_requests, transitions
from governance.changes.transition_steps import token
from governance.models import Transition


class TransitionSerializer(serializers.ModelSerializer):
    account = serializers.SlugRelatedField(slug_field="external_id", read_only=True)
    layer = serializers.SlugRelatedField(slug_field="key", read_only=True)
    from_segment = serializers.SlugRelatedField(slug_field="key", read_only=True)
    to_segment = serializers.SlugRelatedField(slug_field="key", read_only=True)
    receiver = serializers.SlugRelatedField(slug_field="email", read_only=True, allow_null=True)
    giver = serializers.SlugRelatedField(slug_field="email", read_only=True, allow_null=True)
    token = serializers.SerializerMethodField(help_text="The mark that a step has to name as `seen`.")

    class Meta:
        model = Transition
        fields = [
            "id", "account", "layer", "from_segment", "to_segment", "direction", "status", "origin", "why", "crossed_on",
            "flagged_at", "held_for", "held_until", "applies_on", "kept_until", "giver", "receiver", "joint_days", "joint_from",
            "joint_until", "request", "override", "ended_at", "end_reason", "token",
        ]  # fmt: skip

    def get_token(self, transition) -> str:
        return token(transition)


def _text(**options):
    return serializers.CharField(max_length=texts.LONGEST, **options)


class Plan(serializers.Serializer):
    """The hand-over: who takes the account (nobody: the CSM stays), for how long both do, and what the customer is told."""

    seen = serializers.CharField(max_length=100)
    receiver = serializers.SlugRelatedField(
        slug_field="email", queryset=Csm.objects.all(), required=False, allow_null=True
    )
    joint_days = serializers.IntegerField(min_value=0, max_value=transitions.MOST_DAYS, required=False)
    success_plan = _text(required=False, allow_blank=True)
    notice = _text(required=False, allow_blank=True)
    notice_on = serializers.DateField(required=False, allow_null=True)
    notes = _text(required=False, allow_blank=True)


class Keep(serializers.Serializer):
    """The account stays where it is: until a day, or until something material changes."""

    seen = serializers.CharField(max_length=100)
    reason = _text()
    until = serializers.DateField(required=False, allow_null=True)


class Asked(serializers.Serializer):
    """The reason, for those who decide."""

    why = _text()


class Complete(serializers.Serializer):
    """The hand-over is done; an unfinished, early or late one needs a reason."""

    seen = serializers.CharField(max_length=100)
    reason = _text(required=False, allow_blank=True)


@register
class Transitions(Listed, Resource):
    """Tier changes."""

    path = "transitions"
    queryset = Transition.objects.select_related(
        "account", "layer", "from_segment", "to_segment", "receiver", "giver"
    )
    serializer_class = TransitionSerializer
    permissions = {
        "list": "governance.view_transition",
        "retrieve": "governance.view_transition",
        "plan": "governance.plan_transition",
        "keep": "governance.plan_transition",
        "ask": "governance.plan_transition",
        "complete": "governance.view_transition",  # whoever gives it away or takes it over, too: the verb looks
    }
    filters = {
        "account": queries.text("account__external_id", most=200, help="ID of the account."),
        "layer": queries.text("layer__key", most=50, help="Key of the segmentation."),
        "status": queries.one_of(Transition.Status, "status"),
    }

    @extend_schema(request=Plan, responses=TransitionSerializer)
    @action(detail=True, methods=["post"])
    def plan(self, request, pk=None):
        """Plans the hand-over, or changes the plan."""
        row = self.row()
        transitions.plan(row, by=request.user, **self.sent(Plan))
        return self.changed(row)

    @extend_schema(request=Keep, responses=TransitionSerializer)
    @action(detail=True, methods=["post"])
    def keep(self, request, pk=None):
        """Leaves the account where it is."""
        row, sent = self.row(), self.sent(Keep)
        transitions.keep([row], by=request.user, **sent | {"seen": {row.pk: sent["seen"]}})
        return self.changed(row)

    @extend_schema(request=Asked, responses=TransitionSerializer)
    @action(detail=True, methods=["post"])
    def ask(self, request, pk=None):
        """Asks for approval of what was planned; `request` is the one that others decide."""
        row = self.row()
        transition_requests.ask([row], by=request.user, **self.sent(Asked))
        return self.changed(row)

    @extend_schema(request=Complete, responses=TransitionSerializer)
    @action(detail=True, methods=["post"])
    def complete(self, request, pk=None):
        """Completes the hand-over: the CSM changes now. A person's login only."""
        row = self.row()
        transitions.complete(row, by=request.user, **self.sent(Complete))
        return self.changed(row)
